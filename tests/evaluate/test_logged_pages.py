"""Logged pages through a release: the one that served them gets its own probabilities back, whatever the page was conditioned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from upnext.evaluate.gather import offline_parts
from upnext.evaluate.off_policy.gather_pages import Gathered, PageTask, through
from upnext.evaluate.off_policy.logged_pages import AlreadyUploaded
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.pipeline.assemble import assemble
from upnext.pipeline.config import SurfaceConfig

from .closed_platform import ClosedPlatform, home

SURFACE = home(temperature=0.7, epsilon=0.05)


def replayed(platform: ClosedPlatform, surface: SurfaceConfig) -> Gathered:
    """All logged pages through a pipeline of these settings."""
    task = PageTask(platform.settings(surface), Path(), 0, None)
    past = PastState(platform.view, CounterTable(platform.view.n_items), task.settings.features)
    assembled = assemble(offline_parts(task.settings, platform.view, past.counters), None)
    return through(assembled, AlreadyUploaded(platform.view), past, platform.log, task)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> ClosedPlatform:
    """Forty viewers scroll; some events come late, some requests exclude videos, some sessions run out of videos."""
    made = ClosedPlatform(tmp_path_factory.mktemp("closed"), 40, 120)
    made.told(400)
    serving = made.serving(SURFACE, share=0.5)
    rng = np.random.default_rng(4)
    waiting = []
    for i in range(400):
        viewer = int(rng.integers(40)) if i % 2 else i % 12
        exclude = (made.world.video_ids[i % 120],) if i % 5 == 0 else ()
        answer = made.page(
            serving, viewer, f"r{i}", page=i, size=int(rng.integers(2, 6)), exclude=exclude
        )
        waiting.append(made.reactions(viewer, answer))
        while len(waiting) > 3:
            made.hear(waiting.pop(int(rng.integers(len(waiting)))))
    return made


def test_the_settings_that_served_give_every_slot_its_logged_probability(
    platform: ClosedPlatform,
) -> None:
    found = replayed(platform, SURFACE)
    assert len(found.pages) > 300
    print(np.nanmax(np.abs(found.pages.target / found.pages.logged - 1)), found.left_out)
    ratio = found.pages.target / found.pages.logged
    assert np.abs(ratio - 1).max() < 1e-9
    print(len(found.pages), found.left_out)

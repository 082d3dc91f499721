"""Logged pages through a release: the one that served them gets its own probabilities back, whatever the page was conditioned on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from upnext.core.event import Event
from upnext.evaluate.gather import offline_parts
from upnext.evaluate.off_policy.gather_pages import Gathered, PageTask, through
from upnext.evaluate.off_policy.logged_pages import AlreadyUploaded, Pages
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.pipeline.assemble import assemble
from upnext.pipeline.config import SurfaceConfig

from .closed_platform import ClosedPlatform, home, hot

SURFACE = home(temperature=0.7, epsilon=0.05)
N_PAGES = 300


def replayed(platform: ClosedPlatform, surface: SurfaceConfig, **task: object) -> Gathered:
    """All logged pages through a pipeline of these settings."""
    asked = PageTask(platform.settings(surface), Path(), **{"from_us": 0, "until_us": None, **task})
    past = PastState(platform.view, CounterTable(platform.view.n_items), asked.settings.features)
    assembled = assemble(offline_parts(asked.settings, platform.view, past.counters), None)
    return through(assembled, AlreadyUploaded(platform.view), past, platform.log, asked)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> ClosedPlatform:
    """Forty viewers scroll: feedback comes late and out of order, videos are excluded, a few sessions run out of fresh videos."""
    made = ClosedPlatform(tmp_path_factory.mktemp("closed"), 40, 90)
    made.told(400)
    serving = made.serving(SURFACE, share=0.5)
    rng = np.random.default_rng(4)
    waiting: list[list[Event]] = []
    for i in range(N_PAGES):
        viewer = int(rng.integers(40)) if i % 2 else i % 12
        exclude = (made.world.video_ids[i % 90],) if i % 5 == 0 else ()
        size = int(rng.integers(2, 7))
        answer = made.page(serving, viewer, f"r{i}", page=i, size=size, exclude=exclude)
        waiting.append(made.reactions(viewer, answer))
        while len(waiting) > 3:
            made.hear(waiting.pop(int(rng.integers(len(waiting)))))
    return made


def test_the_settings_that_served_give_every_slot_its_logged_probability(
    platform: ClosedPlatform,
) -> None:
    found = replayed(platform, SURFACE)
    pages = found.pages
    assert set(found.left_out) <= {"a page of repeats: nothing was drawn"}
    assert len(pages) + sum(found.left_out.values()) == N_PAGES
    assert np.abs(pages.target / pages.logged - 1).max() < 1e-9
    records = {r.request_id: r for part in platform.log.scan_slates() for r in part}
    ladders = [n for n in pages.request_id if records[n].degraded]
    assert len(ladders) > 5  # pages down the ladder are as exact as any
    full = np.isfinite(pages.outside).any(axis=1)
    assert 0.3 < full.mean() < 0.7  # the share that logs all candidates
    assert np.nanmax(pages.outside) == 0.0


def test_other_settings_are_not_the_same_and_a_replay_without_sessions_would_not_do(
    platform: ClosedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replayed(platform, hot(SURFACE, temperature=0.3)).pages
    assert np.abs(other.target / other.logged - 1).max() > 0.1
    monkeypatch.setattr(
        "upnext.features.slate_replay.PastSessions.served", lambda *_: np.zeros(0, np.int64)
    )
    without = replayed(platform, SURFACE)
    assert without.left_out["its session was served another page while it was drawn"] > 100


def test_parts_together_are_the_whole_and_a_share_is_a_part_of_it(platform: ClosedPlatform) -> None:
    whole = replayed(platform, SURFACE).pages
    parts = [replayed(platform, SURFACE, part=part, n_parts=3) for part in range(3)]
    joined = Pages.joined([part.pages for part in parts])
    for name in Pages.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    drawn = replayed(platform, SURFACE, share=0.5).pages.request_id
    assert set(drawn) < set(whole.request_id)
    assert 0.4 < len(drawn) / len(whole) < 0.6


def test_a_window_takes_its_pages_alone_and_a_release_its_own(platform: ClosedPlatform) -> None:
    whole = replayed(platform, SURFACE).pages
    middle = int(whole.time_us[len(whole) // 2])
    late = replayed(platform, SURFACE, from_us=middle).pages
    early = replayed(platform, SURFACE, until_us=middle).pages
    assert early.request_id + late.request_id == whole.request_id
    np.testing.assert_array_equal(late.target, whole.take(whole.time_us >= middle).target)
    assert len(replayed(platform, SURFACE, logged_by="r1").pages) == len(whole)
    assert len(replayed(platform, SURFACE, logged_by="r2").pages) == 0


def test_pages_that_cannot_be_asked_again_are_counted_by_reason(tmp_path: Path) -> None:
    platform = ClosedPlatform(tmp_path, 6, 60)
    platform.told(200)
    serving = platform.serving(SURFACE)
    record = platform.page(serving, 0, "good").record
    wrong = {
        "a cheap page": {"degraded": ["cheap"]},
        "own candidates": {"trace": {"fetched": {"given": 4}}},
        "another session": {"draw_key": record.draw_key + 1},
        "an old record": {"draw_key": record.draw_key + 1, "seed": None},
        "repeats": {"is_repeat": [True] * 4},
        "elsewhere": {"surface": "attic"},
        "no draw": {"propensity": [0.0] * 4},
    }
    for name, fields in wrong.items():
        changed = msgspec.structs.replace(record, request_id=name, user_id="u000003", **fields)
        platform.log.append([], [changed])
    found = replayed(platform, SURFACE)
    assert found.pages.request_id == ("good",)
    assert found.left_out == {
        "made without a source, a filter, the state or the ranker": 1,
        "the caller's own candidates (/v1/rank)": 1,
        "its session was served another page while it was drawn": 1,
        "logged before seeds were": 1,
        "a page of repeats: nothing was drawn": 1,
        "a surface that the settings don't have": 1,
        "no propensity": 1,
    }


def test_what_was_uploaded_after_a_page_was_not_there_to_be_shown(tmp_path: Path) -> None:
    platform = ClosedPlatform(tmp_path, 6, 60)
    platform.told(200)
    latest = int(np.argmax(platform.view.uploaded_us))
    platform.time_us = int(platform.view.uploaded_us[latest]) - 60_000_000
    serving = platform.serving(SURFACE)
    pipeline = serving.pipeline
    filters = (*pipeline.filters, AlreadyUploaded(platform.view))
    platform.page(replace(serving, pipeline=replace(pipeline, filters=filters)), 0, "before")
    pages = replayed(platform, SURFACE).pages
    assert np.abs(pages.target / pages.logged - 1).max() < 1e-9


def test_feedback_that_came_after_the_page_is_not_known_to_it_whatever_time_it_names(
    tmp_path: Path,
) -> None:
    platform = ClosedPlatform(tmp_path, 6, 60)
    platform.told(200)
    serving = platform.serving(SURFACE)
    first = platform.page(serving, 1, "first").record
    before_us = first.time_us - 1_000_000
    late = [
        Event(event_id=f"late{i}", kind="impression", user_id=first.user_id, time_us=before_us,
              video_id=video_id)
        for i, video_id in enumerate(platform.world.video_ids[:50])
    ]  # fmt: skip
    platform.hear(late)
    pages = replayed(platform, SURFACE).pages
    assert np.abs(pages.target / pages.logged - 1).max() < 1e-9

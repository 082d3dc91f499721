"""Feedback joins its slot, by request or by viewer and video, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from upnext.core.clock import HOUR_US
from upnext.core.event import Event
from upnext.evaluate.off_policy.logged_pages import REWARDS
from upnext.evaluate.off_policy.page_rewards import page_rewards
from upnext.features.config import FeaturesConfig

from .closed_platform import ClosedPlatform, home
from .test_logged_pages import replayed

SURFACE = home(3)
WEIGHTS = {"home": {"relevant": 1.0, "like": 0.5, "watch_s": 2.0}}


def test_every_reward_of_a_slot_is_what_its_feedback_says(tmp_path: Path) -> None:
    platform = ClosedPlatform(tmp_path, 6, 60)
    platform.told(200)
    serving = platform.serving(SURFACE)
    first = platform.page(serving, 0, "first", size=3).record
    second = platform.page(serving, 1, "second", size=3).record

    def heard(
        name: str, kind: str, record, slot: int, *, after_h: float = 0.01, **more: object
    ) -> None:
        given = {
            "event_id": name, "kind": kind, "user_id": record.user_id, "request_id": record.request_id,
            "video_id": record.video_id[slot], "time_us": record.time_us + int(after_h * HOUR_US),
        }  # fmt: skip
        platform.hear([Event(**{**given, **more})])

    heard("i0", "impression", first, 0)
    heard("c0", "click", first, 0)
    heard("w0", "watch", first, 0, watch_s=0.25)
    heard("l1", "like", first, 1)
    heard("x2", "like", first, 2, user_id="somebody")  # another viewer's, in this request's name
    heard("i4", "impression", second, 0, request_id=None)
    heard("c4", "click", second, 0, request_id=None)
    heard("i5", "impression", second, 1, request_id=None, after_h=30)  # too late to be this page's
    heard("c5", "click", second, 1, request_id=None, after_h=30)
    pages = replayed(platform, SURFACE).pages
    found = page_rewards(pages, platform.log, FeaturesConfig(), WEIGHTS)
    click, relevant, watch_s, like, value = (found[..., m] for m in range(len(REWARDS)))
    assert click.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert like.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert relevant.tolist() == [[0, 1, 0], [0, 0, 0]]  # liked; a quarter of a second is not half
    assert watch_s[0].tolist() == [0.25, 0, 0]
    # log(1.25) / log(601) = 0.034873; twice that
    assert value[0].tolist() == pytest.approx([0.069746, 1.5, 0], abs=1e-5)
    before = page_rewards(pages, platform.log, FeaturesConfig(), WEIGHTS, before_us=first.time_us)
    assert not before.any()

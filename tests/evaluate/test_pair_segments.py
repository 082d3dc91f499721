"""The groups of pairs that lists are judged on apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import Flag
from upnext.evaluate.pair_segments import pair_segments
from upnext.evaluate.segments import taste_segments, value_segments
from upnext.evaluate.split import time_split

from .worlds import showings_of

HIT = Flag.IMPRESSION | Flag.LIKE


@dataclass
class Videos:
    """Four videos."""

    n_items: int = 4
    duration_s: np.ndarray = field(
        default_factory=lambda: np.array([5, np.nan, 50, 500], np.float32)
    )
    uploaded_us: np.ndarray = field(default_factory=lambda: np.array([0, 10, 10, 150]))
    language: np.ndarray = field(default_factory=lambda: np.array([0, 1, -1, 0], np.int32))

    def value_of(self, kind: str, code: int) -> str:
        return {"language": ("en", "de")}[kind][code]


def test_pairs_fall_into_the_groups_of_their_viewer_and_video() -> None:
    rows = [(0, 0, 50, HIT), (0, 1, 120, HIT), (0, 2, 130, HIT), (1, 0, 140, HIT), (1, 3, 160, HIT)]
    split = time_split(showings_of(rows, 2), 100)
    assert split.truth.item_id.tolist() == [1, 2, 0, 3]
    masks = pair_segments(split, Videos(), ["SE", None])
    got = {name: mask.tolist() for name, mask in masks.items()}
    assert got["viewer=new"] == [False, False, True, True]
    assert got["viewer=known"] == [True, True, False, False]
    assert got["video=never_shown"] == [True, True, False, True]
    assert got["video=shown"] == [False, False, True, False]
    assert got["video=uploaded_after"] == [False, False, False, True]
    assert got["country=SE"] == [True, True, False, False]
    assert got["country=unknown"] == [False, False, True, True]
    assert got["language=en"] == [False, False, True, True]
    assert got["language=de"] == [True, False, False, False]
    assert got["language=unknown"] == [False, True, False, False]
    assert got["duration=unknown"] == [True, False, False, False]
    for group in ("viewer=", "country=", "language=", "duration", "popularity"):
        parts = [mask for name, mask in masks.items() if name.startswith(group)]
        assert (np.sum(parts, axis=0) == 1).all(), group  # every pair once


def test_the_largest_words_stand_apart_and_the_rest_together() -> None:
    masks = value_segments("country", np.array(["b", "a", "c", "a", "b", ""]), 2)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "country=a": 2, "country=b": 2, "country=other": 1, "country=unknown": 1,
    }  # fmt: skip
    assert value_segments("country", np.array(["", ""]), 2) == {}


def test_new_videos_are_those_of_the_last_day_and_those_that_nobody_met() -> None:
    """0: old; 1: old but first shown an hour ago; 2: uploaded after; 3: never shown; 4: uploaded an hour ago, shown since."""
    ask, hour = 10 * DAY_US, DAY_US // 24
    past = [(1, 0, 2 * DAY_US, HIT), (1, 1, ask - hour, HIT), (1, 4, ask - hour // 2, HIT)]
    late = [(0, item, ask + hour, HIT) for item in range(5)]
    split = time_split(showings_of([*past, *late], 2), ask)
    uploaded = np.array([0, 0, ask + 1, 0, ask - hour])
    many = Videos(5, np.ones(5, np.float32), uploaded, np.zeros(5, np.int32))
    masks = pair_segments(split, many, [None, None])
    assert split.truth.item_id.tolist() == [0, 1, 2, 3, 4]
    assert masks["video=new"].tolist() == [False, True, True, True, True]
    old = Videos(5, np.ones(5, np.float32), np.zeros(5, np.int64), np.zeros(5, np.int32))
    history = [(1, item, 0, HIT) for item in range(5)]  # a stored history has no times
    split = time_split(showings_of([*history, *late], 2), ask)
    assert "video=new" not in pair_segments(split, old, [None, None])


def test_niche_viewers_are_those_whose_earlier_videos_were_shown_least() -> None:
    """Videos 0 to 4 are shown to both, 5 to 9 to the second viewer alone; the third saw too little to tell."""
    first = [(user, item, 10, HIT) for user in (0, 1) for item in range(5)]
    second = [(1, item, 20, HIT) for item in range(5, 10)]
    late = [(user, 10, 150, HIT) for user in (0, 1, 2)]
    split = time_split(showings_of([*first, *second, (2, 0, 30, HIT), *late], 3), 100)
    many = Videos(11, np.ones(11, np.float32), np.zeros(11, np.int64), np.zeros(11, np.int32))
    masks = pair_segments(split, many, [None] * 3)
    assert masks["taste=niche"].tolist() == [False, True, False]
    assert masks["taste=mainstream"].tolist() == [True, False, False]
    assert taste_segments(np.full(4, np.nan)) == {}

"""A cap's counts against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.policy.cap import count_in_run

CODES = np.array([-1, 0, 0, 1, 1, 1, 2])


def counted(placed: list[int], window: int) -> list[int]:
    """What each candidate carries after `placed`, slot by slot."""
    n_in_run, rows = np.zeros(7, np.int32), np.array(placed, np.int64)
    for n_placed in range(1, len(rows) + 1):
        count_in_run(CODES, n_in_run, rows[:n_placed], window)
    return n_in_run.tolist()


@given(placed=st.lists(st.integers(0, 6), max_size=20), window=st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_a_candidate_carries_its_codes_videos_in_the_run_that_the_next_slot_ends(
    placed: list[int], window: int
) -> None:
    run = placed if window == 0 else placed[len(placed) - min(len(placed), window - 1) :]
    codes = CODES[run]
    assert counted(placed, window) == [int((codes == c).sum()) if c >= 0 else 0 for c in CODES]


@pytest.mark.parametrize("window", [0, 4])
def test_a_code_that_nobody_has_placed_counts_nothing(window: int) -> None:
    assert counted([], window) == [0] * 7


def test_unknown_codes_are_never_counted() -> None:
    assert counted([0, 0, 0], 0) == [0] * 7


def test_a_video_leaves_the_run_window_slots_later() -> None:
    # rows 1, 3, 4: codes 0, 1, 1. The fourth slot ends a run of three, so the video of code 0 is out of it
    assert counted([1, 3, 4], 3) == [0, 0, 0, 2, 2, 2, 0]
    assert counted([1, 3, 4], 0) == [0, 1, 1, 2, 2, 2, 0]
    assert counted([1, 3, 4], 1) == [0] * 7  # a run of one slot has nothing before it

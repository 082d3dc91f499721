"""Splits: who may know what, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.evaluate.split import instant_us, leave_last_out, time_split

from .worlds import showings_of

HIT, MISS = Flag.IMPRESSION | Flag.WATCHED_HALF, Flag.IMPRESSION

# user, item, time, flags; time 0 is a stored history
ROWS = [
    (0, 7, 0, HIT),
    (0, 1, 100, HIT),
    (0, 2, 200, HIT),  # from the instant on: relevant and new
    (0, 2, 210, HIT),  # the same pair again counts once
    (0, 1, 220, HIT),  # shown before
    (0, 7, 230, HIT),  # shown in the history
    (0, 3, 240, MISS),
    (1, 5, 50, MISS),
    (1, 5, 250, HIT),  # shown before, though not relevant then
    (2, 6, 199, HIT),
    (2, 8, 201, MISS),
    (3, 9, 300, Flag.LIKE),  # a new viewer
]


def test_an_instant_needs_an_offset_and_says_so() -> None:
    assert instant_us("1970-01-01T08:00+08:00") == 0
    assert instant_us("1970-01-01T00:00:01.000001Z") == 1_000_001
    assert instant_us("2022-05-04T00:00+08:00") == 1_651_593_600_000_000
    with pytest.raises(InvalidInput, match="offset"):
        instant_us("2022-05-04T00:00")
    with pytest.raises(InvalidInput, match="ISO"):
        instant_us("yesterday")


def test_the_time_split_judges_new_relevant_pairs_of_viewers_who_have_some() -> None:
    split = time_split(showings_of(ROWS, 4), 200)
    assert split.user.tolist() == [0, 3]
    assert split.user_ids() == ["user0", "user3"]
    assert (split.truth.counts().tolist(), split.truth.item_id.tolist()) == ([1, 1], [2, 9])
    assert (split.seen.counts().tolist(), split.seen.item_id.tolist()) == ([2, 0], [1, 7])
    assert (split.train.time_us < 200).all()
    assert len(split.train) == 4


def test_with_nothing_excluded_seen_videos_may_be_found_again() -> None:
    split = time_split(showings_of(ROWS, 4), 200, exclude_seen=False)
    assert split.user.tolist() == [0, 1, 3]
    assert split.truth.item_id.tolist() == [1, 2, 7, 5, 9]


def test_the_end_of_the_window_is_outside_it() -> None:
    split = time_split(showings_of(ROWS, 4), 200, end_us=300)
    assert split.user.tolist() == [0]


def test_leave_last_out_takes_the_last_relevant_showing_in_stable_order() -> None:
    rows = [
        (0, 1, 10, HIT),
        (0, 2, 20, HIT),
        (0, 3, 20, HIT),
        (0, 4, 30, MISS),
        (1, 5, 10, HIT),
        (1, 6, 11, MISS),
    ]
    world = showings_of(rows, 2)
    split = leave_last_out(world)
    assert (split.user.tolist(), split.truth.item_id.tolist()) == ([0], [3])
    assert split.train.item_id.tolist() == [
        1,
        2,
        5,
        6,
    ]  # viewer 1 has one relevant video and is not judged
    assert split.seen.item_id.tolist() == [1, 2]
    earlier = leave_last_out(world, n_back=1)
    assert (earlier.user.tolist(), earlier.truth.item_id.tolist()) == ([0], [2])
    assert earlier.train.item_id.tolist() == [1, 5, 6]
    assert leave_last_out(world, n_back=2).user.tolist() == []
    every = leave_last_out(world, flag=0)
    assert every.truth.item_id.tolist() == [4, 6]
    validation = leave_last_out(world, flag=0, n_back=1)
    assert validation.truth.item_id.tolist() == [3]


def test_checksums_tell_splits_apart_and_do_not_depend_on_the_order_of_viewers() -> None:
    world = showings_of(ROWS, 4)
    one = time_split(world, 200).checksum()
    assert one == time_split(showings_of(ROWS, 4), 200).checksum()
    assert one != time_split(world, 201).checksum() or time_split(world, 201).user.tolist() == [
        0,
        3,
    ]
    assert one != time_split(world, 200, exclude_seen=False).checksum()


@given(st.integers(0, 300), st.integers(0, 100))
def test_no_training_row_is_at_or_after_the_instant_and_no_truth_was_seen(
    time_us: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(0, 4, 30))
    rows = sorted(
        (int(u), int(rng.integers(0, 9)), int(rng.integers(0, 300)), int(rng.choice([HIT, MISS])))
        for u in user
    )
    rows.sort(key=lambda row: (row[0], row[2]))
    split = time_split(showings_of(rows, 4), time_us)
    assert (split.train.time_us < time_us).all()
    assert not split.seen.contains(split.truth.users(), split.truth.item_id).any()
    expected = {
        (u, i) for u, i, t, f in rows
        if t >= time_us and f & Flag.RELEVANT and not any((u, i) == (v, j) and s < time_us for v, j, s, _ in rows)
    }  # fmt: skip
    found = zip(split.user[split.truth.users()].tolist(), split.truth.item_id.tolist(), strict=True)
    assert set(found) == expected

"""Sets of videos per viewer: pairs in, pairs out, places found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput
from upnext.evaluate.user_items import UserItems

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=40)


def of(pairs: list[tuple[int, int]], n_users: int = 5) -> UserItems:
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    return UserItems.of_pairs(columns[:, 0], columns[:, 1], n_users)


def pairs_of(sets: UserItems) -> set[tuple[int, int]]:
    return set(zip(sets.users().tolist(), sets.item_id.tolist(), strict=True))


@given(PAIRS, PAIRS)
def test_sets_behave_as_python_sets_do(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    a, b = of(left), of(right)
    assert pairs_of(a) == set(left)
    assert len(a) == len(set(left))
    assert pairs_of(a.without(b)) == set(left) - set(right)
    asked = np.array([(u, i) for u in range(5) for i in range(9)], np.int64)
    held = a.contains(asked[:, 0], asked[:, 1])
    assert held.tolist() == [tuple(pair) in set(left) for pair in asked.tolist()]


@given(PAIRS, st.permutations(range(5)))
def test_taking_rows_renames_the_viewers_and_keeps_their_videos(
    pairs: list[tuple[int, int]], rows: list[int]
) -> None:
    taken = of(pairs).take(np.array(rows[:3], np.int64))
    assert pairs_of(taken) == {
        (n, i) for n, row in enumerate(rows[:3]) for u, i in pairs if u == row
    }


def test_a_video_listed_twice_counts_at_its_first_place_and_an_unlisted_one_at_the_end() -> None:
    sets = of([(0, 7), (0, 2), (1, 3)], n_users=2)
    ranked = np.array([[5, 7, 7, -1], [1, 2, -1, -1]])
    assert sets.places(ranked).tolist() == [4, 1, 4]  # (0, 2), (0, 7), (1, 3)


def test_lists_of_another_number_of_viewers_and_negative_ids_are_refused() -> None:
    with pytest.raises(InvalidInput, match="ranked"):
        of([(0, 1)]).places(np.zeros((3, 2), np.int64))
    with pytest.raises(InvalidInput, match="item_id"):
        of([(0, -1)])
    with pytest.raises(InvalidInput, match="user"):
        of([(5, 1)])


def test_the_checksum_is_that_of_the_sorted_named_pairs() -> None:
    one = of([(1, 0), (0, 2)], 2).checksum(["ann", "bob"], ["x", "y", "z"])
    swapped = of([(0, 0), (1, 2)], 2).checksum(["bob", "ann"], ["x", "y", "z"])
    assert one == swapped
    # printf 'ann\tz\nbob\tx\n' | sha256sum
    assert one == "673f29c5f8457ec7fc5bf630866e02185a6c356b18808f0e71a7a66dfc7eb5d0"
    assert of([(0, 0)], 2).checksum() != of([(0, 1)], 2).checksum()

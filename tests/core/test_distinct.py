"""Ids in order of first appearance: the same as numpy.unique says, whatever shares a slot of the hash table."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.distinct import distinct
from upnext.core.types import Candidates


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(-3, 40) | st.integers(-(2**63), 2**63 - 1), max_size=200))
def test_every_id_is_found_where_it_first_stands(listed: list[int]) -> None:
    ids = np.array(listed, np.int64)
    first, number = distinct(ids)
    assert ids[first].tolist() == list(dict.fromkeys(listed))
    assert ids[first][number].tolist() == listed


def test_thousands_of_ids_that_share_slots_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    for ids in (rng.integers(0, 9_000, 10_000) * 97, np.arange(5_000) << 40):
        first, number = distinct(ids)
        unique, wanted = np.unique(ids, return_index=True)
        assert np.sort(first).tolist() == np.sort(wanted).tolist()
        assert len(first) == len(unique)
        assert (ids[first][number] == ids).all()


def test_a_union_keeps_the_order_of_first_appearance_and_every_score() -> None:
    a = Candidates.of_source("a", np.array([7, 3, 7, 9]), np.array([4, 3, 2, 1], np.float32))
    b = Candidates.of_source("b", np.array([5, 3]), np.array([8, 6], np.float32))
    both = Candidates.union([a, Candidates(np.zeros(0, np.int64)), b])
    assert both.item_id.tolist() == [7, 3, 9, 5]
    assert both.columns["source:a"][:3].tolist() == [4, 3, 1]
    assert np.isnan(both.columns["source:a"][3])
    assert both.columns["source:b"][[1, 3]].tolist() == [6, 8]
    assert np.isnan(both.columns["source:b"][[0, 2]]).all()
    kept = both.take(np.array([False, True, True, False]))
    assert kept.item_id.tolist() == [3, 9]
    assert kept.columns["source:a"].tolist() == [3, 1]

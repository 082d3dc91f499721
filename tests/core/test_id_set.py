"""Membership through a sieve: the same as numpy.isin, also for ids that share a flag."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.id_set import IdSet
from upnext.core.types import Query, Request, User

ids = st.lists(st.integers(-4, 40) | st.integers(0, 3).map(lambda i: i << 14), max_size=60)


@settings(deadline=None)  # the first call compiles
@given(ids, ids)
def test_the_set_has_its_members_and_no_others(members: list[int], asked: list[int]) -> None:
    found = IdSet(np.sort(np.array(members, np.int64))).has(np.array(asked, np.int64))
    assert found.tolist() == [i in members for i in asked]


def test_a_query_leaves_out_what_was_seen_and_what_was_served() -> None:
    user = User("u", seen=np.array([2, 9]))
    request = Request("r", "u", "home", 5, 1)
    asked = np.arange(12)
    assert np.flatnonzero(Query(request, user).left_out.has(asked)).tolist() == [2, 9]
    query = Query(request, user, served=np.array([11, 3, 9]))
    assert query.left_out.ids.tolist() == [2, 3, 9, 9, 11]
    assert np.flatnonzero(query.left_out.has(asked)).tolist() == [2, 3, 9, 11]

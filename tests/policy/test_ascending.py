"""The order of ids against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.policy.ascending import ascending


@given(ids=st.lists(st.integers(0, 2**62), max_size=60))
@settings(max_examples=200, deadline=None)
def test_rows_come_in_order_of_their_ids_equal_ones_as_they_came(ids: list[int]) -> None:
    item_id = np.array(ids, np.int64)
    np.testing.assert_array_equal(ascending(item_id), np.argsort(item_id, kind="stable"))


@pytest.mark.parametrize("greatest", [1, 255, 256, 65_536, 10_000_000])
def test_every_byte_that_an_id_has_counts(greatest: int) -> None:
    item_id = np.array([greatest, 0, greatest - 1, greatest // 2], np.int64)
    np.testing.assert_array_equal(ascending(item_id), np.argsort(item_id, kind="stable"))

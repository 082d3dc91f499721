"""A cap against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.policy.cap import Cap

CODES = np.array([-1, 0, 0, 1, 1, 1, 2])


@given(
    placed=st.lists(st.integers(0, 6), max_size=20),
    cap=st.integers(1, 3),
    window=st.integers(0, 5),
)
@settings(max_examples=200, deadline=None)
def test_what_is_forbidden_would_be_one_too_many_in_its_run(
    placed: list[int], cap: int, window: int
) -> None:
    made, before = Cap(CODES, cap, window), np.zeros(7, np.bool_)
    for n in range(1, len(placed) + 1):
        changed = made.place(placed[n - 1])
        earlier = CODES[placed[:n]] if window == 0 else CODES[placed[:n]][n - min(n, window - 1) :]
        full = [code >= 0 and (earlier == code).sum() >= cap for code in CODES]
        found = made.forbidden()
        now = np.zeros(7, np.bool_) if found is None else found.copy()
        np.testing.assert_array_equal(now, full)
        assert changed == (not np.array_equal(now, before))
        before = now


@pytest.mark.parametrize("window", [0, 4])
def test_a_code_that_nobody_has_placed_is_allowed(window: int) -> None:
    assert Cap(CODES, 1, window).forbidden() is None

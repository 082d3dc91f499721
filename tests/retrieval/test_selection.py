"""The best of many values in one pass."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upnext.retrieval.selection import best_rows, best_rows_by_group

VALUES = st.lists(st.integers(-2, 6), max_size=60)


def sorted_rows(values: list[int], rows: range | list[int], size: int) -> list[int]:
    return sorted((r for r in rows if values[r] > 0), key=lambda r: (-values[r], r))[:size]


@given(VALUES, st.integers(0, 70))
def test_the_best_come_first_and_the_lower_row_of_equals(values: list[int], size: int) -> None:
    found = best_rows(np.array(values, np.float64), size)
    assert found.tolist() == sorted_rows(values, range(len(values)), size)


@given(VALUES, st.integers(0, 20), st.randoms(use_true_random=False))
def test_each_group_has_its_own_best_and_strange_groups_none(
    values: list[int], size: int, random: object
) -> None:
    group = [random.randint(-1, 3) for _ in values]  # type: ignore[attr-defined]
    rows, n = best_rows_by_group(np.array(values, np.float64), np.array(group, np.int32), 3, size)
    for code in range(3):
        mine = [row for row, other in enumerate(group) if other == code]
        assert rows[code, : n[code]].tolist() == sorted_rows(values, mine, size)


def test_a_long_column_gives_what_sorting_it_gives() -> None:
    values = np.random.default_rng(1).normal(size=50_000)
    assert best_rows(values, 700).tolist() == np.argsort(-values)[:700].tolist()

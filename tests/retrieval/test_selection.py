"""The best of many values in one pass."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.id_set import IdSet
from upnext.retrieval.selection import best_of, best_rows, best_rows_by_group
from upnext.retrieval.short_list import best_open

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


SPREAD = {
    "wide": lambda rng, n: np.exp(rng.normal(0, 12, n)),  # far more than 16 octaves
    "of both signs": lambda rng, n: rng.normal(size=n),
    "close together": lambda rng, n: 1 + 1e-4 * rng.random(n),
    "few values": lambda rng, n: rng.integers(1, 4, n).astype(np.float64),
    "all below a floor but one": lambda rng, n: np.where(np.arange(n) == n // 2, 1.0, 1e-9),
}


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(SPREAD)), st.integers(0, 900), st.integers(0, 400), st.integers(0, 99),
    st.sampled_from([0.0, 0.02, 0.6, 1.0]),
)  # fmt: skip
def test_whatever_the_spread_of_values_the_best_are_those_of_a_sort(
    spread: str, n: int, size: int, seed: int, left_out: float
) -> None:
    rng = np.random.default_rng(seed)
    ids, values = rng.permutation(2 * n)[:n].astype(np.int32), SPREAD[spread](rng, n)
    order = np.lexsort((ids, -values))
    found, score = best_of(ids, values, size)
    assert found.tolist() == ids[order[:size]].tolist()
    assert score.tolist() == values[order[:size]].tolist()
    if spread != "of both signs":
        gone = ids[rng.random(n) < left_out].astype(np.int64)
        allowed = np.arange(2 * n) % 5 > 0
        order = order[allowed[ids[order]] & ~np.isin(ids[order], gone)][:size]
        found, score = best_open(ids, values, IdSet(gone).table, allowed, size)
        assert found.tolist() == ids[order].tolist()
        assert score.tolist() == values[order].tolist()

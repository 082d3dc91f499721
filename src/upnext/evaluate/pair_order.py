"""How many pairs a prediction puts in the right order, exactly, in O(n log n) and without a loop over rows.

Over all pairs with different truth: a pair in the right order counts 1, a pair with equal predictions 1/2. With a binary truth the share
is AUC, with seconds it is XAUC (Zhan et al. 2022); inside groups, GAUC and GXAUC. Pairs in the wrong order are inversions of the
prediction's rank in truth order. Two ranks differ first in one bit, so inversions are counted bit by bit: among rows whose higher bits
agree, a 1 before a 0 is one inversion, and each level is one cumulative sum. Rows carry weights, a pair the product of its two, so a
bootstrap resample is a row of weights over one sorting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Bool, Float64, Int64
from upnext.evaluate.quotient import quotient


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Weighted pairs per resample and group, float64[b, g] each."""

    right: Float64  # in the right order, ties of prediction at one half
    total: Float64  # with different truth

    def share(self) -> Float64:
        """float64[b, g]: right / total, NaN where a group has no pair."""
        return quotient(self.right, self.total)


class PairOrder:
    """A truth and a prediction sorted once, counted under many weightings."""

    def __init__(self, truth: Array, prediction: Array, group: Int64 | None = None) -> None:
        """truth, prediction [n]; group int64[n] in 0 .. g-1, None: one group. Raises InvalidInput on other lengths or NaN."""
        n_rows = len(truth)
        if len(prediction) != n_rows or (group is not None and len(group) != n_rows):
            raise expected("truth, prediction and group", f"{n_rows} rows each", len(prediction))
        if np.isnan(truth).any() or np.isnan(prediction).any():
            raise expected("truth and prediction", "no NaN", "NaN")
        group = np.zeros(n_rows, np.int64) if group is None else group
        self.n_groups = int(group.max()) + 1 if n_rows else 1
        self._order = np.lexsort(
            (prediction, truth, group)
        )  # tied truths ascend: no inversions among them
        self._group = group[self._order]
        truth = truth[self._order]
        levels, rank = np.unique(prediction[self._order], return_inverse=True)
        self._rank = rank.astype(np.int64)
        self._n_bits = max(1, int(len(levels) - 1).bit_length()) if n_rows else 0
        self._same_truth = _runs(self._group, truth)
        self._same_both = _runs(self._group, truth, self._rank)
        self._by_rank = np.lexsort((self._rank, self._group))
        self._same_rank = _runs(self._group[self._by_rank], self._rank[self._by_rank])

    def count(self, weights: Float64 | None = None) -> PairCounts:
        """PairCounts under weights float64[b, n] (rows as given; None: every row 1, b = 1)."""
        n_rows = len(self._order)
        if not n_rows:
            nothing = np.zeros((1 if weights is None else len(weights), self.n_groups))
            return PairCounts(nothing, nothing)
        weight = np.ones((1, n_rows)) if weights is None else weights[:, self._order]
        every = self._squares(weight, _runs(self._group), self._group)
        total = (every - self._squares(weight, self._same_truth, self._group)) / 2
        of_rank = self._squares(
            weight[:, self._by_rank], self._same_rank, self._group[self._by_rank]
        )
        tied = (of_rank - self._squares(weight, self._same_both, self._group)) / 2
        return PairCounts(total - self._inversions(weight) - tied / 2, total)

    def _inversions(self, weight: Float64) -> Float64:
        found = np.zeros((len(weight), self.n_groups))
        order = np.arange(
            len(self._order)
        )  # rows by group, then by the higher bits of rank, stably
        for bit in reversed(range(self._n_bits)):
            rank, group = self._rank[order], self._group[order]
            is_one = (rank >> bit) & 1 == 1
            ordered = weight[:, order]
            ones = np.cumsum(np.where(is_one, ordered, 0.0), axis=1)
            start = np.flatnonzero(_runs(group, rank >> (bit + 1)))
            before = np.concatenate([np.zeros((len(weight), 1)), ones], axis=1)[:, start]
            size = np.diff(np.append(start, len(order)))
            crossed = np.where(is_one, 0.0, ordered) * (ones - np.repeat(before, size, axis=1))
            found += _sum_runs(crossed, _runs(group), group, self.n_groups)
            order = order[np.lexsort((rank >> bit, group))]
        return found

    def _squares(self, weight: Float64, is_start: Bool, group: Int64) -> Float64:
        start = np.flatnonzero(is_start)
        squares = np.square(np.add.reduceat(weight, start, axis=1))
        of = group[start]
        return _sum_runs(squares, _runs(of), of, self.n_groups)


def _runs(*columns: Array) -> Bool:
    """True where a run of rows that are equal in every column begins."""
    is_start = np.zeros(len(columns[0]), np.bool_)
    is_start[:1] = True
    for column in columns:
        is_start[1:] |= column[1:] != column[:-1]
    return is_start


def _sum_runs(values: Float64, is_start: Bool, group: Int64, n_groups: int) -> Float64:
    start = np.flatnonzero(is_start)
    sums = np.zeros((len(values), n_groups))
    sums[:, group[start]] = np.add.reduceat(values, start, axis=1)
    return sums

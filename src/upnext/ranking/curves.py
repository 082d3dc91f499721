"""Quantile curves: a column's value as the share of the training rows below it, with its square and its root (Covington et al. 2016, section 4.1).

A curve is the empirical distribution function on N_POINTS equally far points between the column's 0.5 % and 99.5 % quantiles, with straight lines
between: a look-up and one multiplication for a value. The value, its square and its root are brought to mean 0 and deviation 1 as of a uniform
distribution; a missing value stands at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Float32, Int64

N_POINTS: Final = 64
LEAST_VALUES: Final = 20  # different ones, for a column to have a curve
SAMPLE: Final = 50_000  # rows that tell a curve
EDGE: Final = 0.005
# of u, u * u and sqrt(u), u uniform in [0, 1]: what is taken off, and what divides
MEANS: Final = (1 / 2, 1 / 3, 2 / 3)
DEVIATIONS: Final = (12**-0.5, (4 / 45) ** 0.5, 18**-0.5)


@dataclass(frozen=True)
class Curves:
    """The curves of q columns of one side of the ranker's input."""

    at: Int64  # [q] the columns
    low: Float32  # [q] value of the first point
    per_point: Float32  # [q] points per unit of value
    share: Float32  # [q, N_POINTS] rising from about 0 to about 1

    @staticmethod
    def of(rows: Float32) -> Curves:
        """Those of the columns of float32[m, f] with many values; missing ones are left out."""
        step = max(1, len(rows) // SAMPLE)
        at, low, per_point, share = [], [], [], []
        for column in range(rows.shape[1]):
            values = rows[::step, column]
            values = np.sort(values[~np.isnan(values)]).astype(np.float64)
            if len(values) < LEAST_VALUES or _n_different(values) < LEAST_VALUES:
                continue
            first, last = np.quantile(values, [EDGE, 1 - EDGE])
            if not first < last:
                continue
            points = np.linspace(first, last, N_POINTS)
            below = np.searchsorted(values, points, side="left")
            not_above = np.searchsorted(values, points, side="right")
            at.append(column)
            low.append(first)
            per_point.append((N_POINTS - 1) / (last - first))
            share.append((below + not_above) / (2 * len(values)))  # ties half
        return Curves(
            np.array(at, np.int64), np.array(low, np.float32), np.array(per_point, np.float32),
            np.array(share, np.float32).reshape(len(at), N_POINTS),
        )  # fmt: skip

    @staticmethod
    def none() -> Curves:
        """No column has one."""
        return Curves.of(np.zeros((0, 0), np.float32))

    def __len__(self) -> int:
        return len(self.at)


def _n_different(values: Float32) -> int:
    return 1 + int(np.count_nonzero(np.diff(values))) if len(values) else 0

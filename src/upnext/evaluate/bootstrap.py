"""Intervals by resampling viewers: the 95 % of what the figure would be with other viewers of the same kind.

A resample draws u viewers with replacement, so it is a weight matrix of counts, and the mean of every metric in every resample is one
matrix product (Efron 1979, percentile interval). Viewers are resampled, never rows, because a viewer's rows depend on each other. The
draws depend on the seed and on u alone: two figures of the same viewers share them, which is what makes differences paired.
A viewer whose value is NaN has none and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Estimate, Float64, Int64
from upnext.evaluate.quotient import quotient

Key = TypeVar("Key", bound=Hashable)

N_RESAMPLES = 1000
NOT_IDENTIFIABLE = "not identifiable"
_CELLS = 1 << 20  # weights held at once: 8 MiB of float64, good for a matrix product
_CELLS_OF_ROWS = (
    1 << 17
)  # for a statistic that spreads them over rows: its arrays stay in the cache


def resample(
    n_users: int, *, n_resamples: int = N_RESAMPLES, seed: int = 0, cells: int | None = None
) -> Iterator[Float64]:
    """Blocks float64[b, n_users] of resampling counts, n_resamples rows in all; every row sums to n_users.

    cells: how many counts a block may hold; it never changes what is drawn."""
    rng = rng_for("bootstrap", seed, n_users)
    step = max(1, (cells or _CELLS) // max(1, n_users))
    for start in range(0, n_resamples if n_users else 0, step):
        n_rows = min(step, n_resamples - start)
        drawn = rng.integers(0, n_users, size=(n_rows, n_users))
        drawn += np.arange(n_rows)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=n_rows * n_users)
        yield counts.reshape(n_rows, n_users).astype(np.float64)


def estimate_of(point: float, draws: Array, n_effective: float, *, level: float = 0.95) -> Estimate:
    """The percentile interval of draws float[b] about a point; NaN draws are left out, and the point always lies inside.

    Without a finite point or any draw the verdict is "not identifiable"."""
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(point) or not len(draws):
        return Estimate(float("nan"), float("nan"), float("nan"), n_effective, NOT_IDENTIFIABLE)
    low, high = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2))
    return Estimate(float(point), float(min(low, point)), float(max(high, point)), n_effective)


def bootstrap(
    statistic: Callable[[Float64], Array],
    n_users: int,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The interval of any statistic of weighted viewers: it takes counts float64[b, n_users] and gives float[b].

    The point is the statistic with every count 1."""
    if not n_users:
        return estimate_of(float("nan"), np.zeros(0), 0)
    point = float(statistic(np.ones((1, n_users)))[0])
    blocks = resample(n_users, n_resamples=n_resamples, seed=seed, cells=_CELLS_OF_ROWS)
    parts = [statistic(block) for block in blocks]
    return estimate_of(point, np.concatenate(parts), n_users, level=level)


def interval(per_user: Float64, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of per_user float64[u] with its 95 % interval; n_effective is the number of viewers with a value."""
    values = per_user[np.isfinite(per_user)]
    return ratio(values, np.ones(len(values)), n_resamples=n_resamples, seed=seed)


def intervals(
    per_user: Mapping[Key, Float64], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> dict[Key, Estimate]:
    """`interval` of many columns over the same u viewers, from one set of draws (NaN left out column by column)."""
    if not per_user:
        return {}
    values = np.stack(list(per_user.values()), axis=1)
    has_value = np.isfinite(values)
    both = np.concatenate([np.where(has_value, values, 0.0), has_value], axis=1)
    n_users, n_metrics = values.shape
    drawn = [w @ both for w in resample(n_users, n_resamples=n_resamples, seed=seed)]
    draws = quotient(*np.split(np.concatenate(drawn or [np.zeros((0, 2 * n_metrics))]), 2, axis=1))
    points = quotient(*np.split(both.sum(0, keepdims=True), 2, axis=1))[0]
    return {
        name: estimate_of(points[j], draws[:, j], int(has_value[:, j].sum()))
        for j, name in enumerate(per_user)
    }


def paired_difference(
    a: Float64, b: Float64, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean of a - b over the viewers that have both, with its interval: a is better where it excludes zero.

    Raises InvalidInput when a and b are of different viewers."""
    _same_length(a, b)
    return interval(a - b, n_resamples=n_resamples, seed=seed)


def ratio(
    numerator: Float64, denominator: Float64, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Estimate:
    """sum(numerator) / sum(denominator) over u viewers with its interval: means of rows, calibration, weighted means.

    n_effective is u. Raises InvalidInput on different lengths."""
    _same_length(numerator, denominator)
    return bootstrap(
        lambda w: quotient(w @ numerator, w @ denominator),
        len(numerator),
        n_resamples=n_resamples,
        seed=seed,
    )


def relative_difference(
    a: Float64, b: Float64, *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Estimate:
    """sum(a) / sum(b) - 1 over the viewers that have both: how much better a is than b, as a share of b.

    Where b sums to zero the share does not exist: "not identifiable". Raises InvalidInput on different lengths."""
    _same_length(a, b)
    has_both = np.isfinite(a) & np.isfinite(b)
    a, b = a[has_both], b[has_both]
    return bootstrap(
        lambda w: quotient(w @ a, w @ b) - 1.0, len(a), n_resamples=n_resamples, seed=seed
    )


def is_better(difference: Estimate, *, higher_is_better: bool = True) -> bool:
    """Whether the paired interval excludes zero on the good side: what the word "better" means everywhere."""
    return difference.low > 0 if higher_is_better else difference.high < 0


def user_rows(user: Array) -> tuple[Int64, int]:
    """(rows int64[n] in 0 .. u-1, u) of any user keys [n]."""
    keys, rows = np.unique(user, return_inverse=True)
    return rows.astype(np.int64), len(keys)


def _same_length(a: Float64, b: Float64) -> None:
    if len(a) != len(b):
        raise expected("paired values", f"{len(a)} viewers on both sides", len(b))

"""How well predicted seconds match and order watch time.

MAE alone rewards predicting the median, so it is always read beside the mean ratio sum(prediction) / sum(truth), RMSE and XAUC. XAUC is
the share of pairs with different truth in the right order (ties one half), exact over all pairs. GXAUC is XAUC inside each viewer,
weighted by impressions, over viewers with two different watch times. XAUC within duration takes pairs of one duration decile only, so
that a model that only knows that long videos are watched longer earns one half.
"""

from __future__ import annotations

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Bool, Estimate, Float64, Int64
from upnext.evaluate.binary import Grouped, grouped_order, mass_bins, n_viewers
from upnext.evaluate.bootstrap import bootstrap
from upnext.evaluate.pair_order import PairOrder
from upnext.evaluate.quotient import quotient


def rmse(truth: Array, prediction: Array) -> float:
    """Root of the mean squared error, in the unit of truth; NaN without rows."""
    return float(np.sqrt(_mean(np.square(_error(truth, prediction)))))


def mae(truth: Array, prediction: Array) -> float:
    """Mean absolute error, in the unit of truth; NaN without rows."""
    return _mean(np.abs(_error(truth, prediction)))


def mean_ratio(truth: Array, prediction: Array) -> float:
    """sum(prediction) / sum(truth): 1 keeps the total; NaN when truth sums to zero."""
    _error(truth, prediction)
    total = float(np.sum(truth, dtype=np.float64))
    return float(np.sum(prediction, dtype=np.float64) / total) if total else float("nan")


def xauc(truth: Array, prediction: Array) -> float:
    """The share of pairs with different truth that the prediction orders rightly, ties one half; NaN without such a pair."""
    return float(PairOrder(truth, prediction).count().share()[0, 0])


def xauc_interval(
    truth: Array, prediction: Array, user: Int64, *, n_resamples: int = 200, seed: int = 0
) -> Estimate:
    """XAUC with its interval; viewers are resampled with all their rows. user int64[n] in 0 .. u-1."""
    order = PairOrder(truth, prediction)
    return bootstrap(
        lambda counts: order.count(counts[:, user]).share()[:, 0],
        n_viewers(user),
        n_resamples=n_resamples,
        seed=seed,
    )


def gxauc(truth: Array, prediction: Array, user: Int64) -> Grouped:
    """XAUC inside each viewer, weighted by rows, over viewers with two different truths; user int64[n] in 0 .. u-1."""
    return grouped_order(truth, prediction, user)


def xauc_within_duration(
    truth: Array, prediction: Array, duration_s: Array, n_bins: int = 10
) -> float:
    """XAUC over the pairs of one duration decile, all deciles together."""
    pairs = PairOrder(truth, prediction, mass_bins(duration_s, n_bins)).count()
    total = float(pairs.total.sum())
    return float(pairs.right.sum() / total) if total else float("nan")


def weighted_user_losses(
    watch_s: Array, is_watched: Bool, prediction: Array, page: Int64, user: Int64
) -> Float64:
    """float64[u]: each viewer's mispredicted watch time over all watch time, of YouTube 2016 (section 4.2); NaN without any.

    For every pair of one page, a watched and an unwatched video, the watched one's watch time is mispredicted when its
    prediction is below the unwatched one's; a tie is half mispredicted. page int64[n] 0 .. pages-1, each of one viewer.
    Denominator: the watch time of the watched one over the same pairs."""
    weight = np.where(is_watched, np.asarray(watch_s, np.float64), 0.0)
    order = np.lexsort((prediction, page))
    page, user, weight = page[order], user[order], weight[order]
    unwatched = np.where(np.asarray(is_watched)[order], 0.0, 1.0)
    above, of_page = _unwatched_above(page, np.asarray(prediction)[order], unwatched)
    n_users = n_viewers(user)
    wrong = np.bincount(user, weight * above, minlength=n_users)
    every = np.bincount(user, weight * of_page, minlength=n_users)
    return quotient(wrong, every)


def _unwatched_above(page: Int64, prediction: Array, unwatched: Float64) -> tuple[Float64, Float64]:
    """(how many unwatched videos of the page stand above each row, ties one half; how many the page has), float64[n]."""
    ends = np.concatenate([page[1:] != page[:-1], np.ones(min(1, len(page)), np.bool_)])
    tie_ends = ends.copy()
    tie_ends[:-1] |= prediction[1:] != prediction[:-1]
    total = np.concatenate([[0.0], np.cumsum(unwatched)])
    page_end, page_start = _bounds(ends)
    tie_end, tie_start = _bounds(tie_ends)
    tied = total[tie_end] - total[tie_start]
    return total[page_end] - total[tie_end] + tied / 2, total[page_end] - total[page_start]


def _bounds(is_last: Bool) -> tuple[Int64, Int64]:
    end = np.flatnonzero(is_last) + 1
    start = np.concatenate([[0], end[:-1]]) if len(end) else end
    return np.repeat(end, end - start), np.repeat(start, end - start)


def _error(truth: Array, prediction: Array) -> Float64:
    if len(truth) != len(prediction):
        raise expected("prediction", f"{len(truth)} rows", len(prediction))
    return np.asarray(prediction, np.float64) - truth


def _mean(values: Float64) -> float:
    return float(values.mean()) if len(values) else float("nan")

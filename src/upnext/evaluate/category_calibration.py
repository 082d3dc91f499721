"""Whether a list serves a viewer's interests in the proportions in which the viewer has them: Steck 2018, "Calibrated Recommendations".

p(g) is the share of category g among the videos that the viewer found relevant before the window, q(g) its share among the list's first k.
C_KL = sum over g of p(g) log(p(g) / q~(g)) with q~ = (1 - alpha) q + alpha p and alpha = .01 (equations 6 and 7), in nats: 0 when the list has the
viewer's own mix, at most log(1 / alpha) = 4.6. Lower is better. Every video counts once here; the paper weighs by recency and rank.
A video without a category counts on neither side.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Array, Float64, Int64
from upnext.evaluate.quotient import quotient
from upnext.evaluate.user_items import UserItems

ALPHA = 0.01
_CELLS = 1 << 22


def miscalibration(ranked: Int64, k: int, liked: UserItems, category: Array) -> Float64:
    """float64[u]: C_KL of each viewer's list; NaN where the list or the viewer's past has no known category.

    ranked int64[u, K], -1 pads; liked: of the same u viewers; category int[n_items], -1 unknown."""
    category = np.asarray(category, np.int64)
    n_categories = int(category.max(initial=-1)) + 1
    total = np.full(len(ranked), np.nan)
    for start in range(0, len(ranked), step := max(1, _CELLS // max(1, n_categories))):
        rows = np.arange(start, min(start + step, len(ranked)))
        listed, past = ranked[rows, :k], liked.take(rows)
        row, column = np.nonzero(listed >= 0)
        p = _shares(past.users(), category[past.item_id], len(rows), n_categories)
        q = _shares(row, category[listed[row, column]], len(rows), n_categories)
        smooth = (1 - ALPHA) * q + ALPHA * p
        is_term = p > 0
        terms = np.zeros_like(p)
        terms[is_term] = p[is_term] * np.log(p[is_term] / smooth[is_term])
        is_known = np.isfinite(p).all(1) & np.isfinite(q).all(1) & (n_categories > 0)
        total[rows] = np.where(is_known, terms.sum(1), np.nan)
    return total


def _shares(row: Int64, code: Int64, n_rows: int, n_categories: int) -> Float64:
    """float64[n_rows, n_categories]: each sums to 1, NaN without a known category."""
    is_known = code >= 0
    cell = row[is_known] * n_categories + code[is_known]
    counts = np.bincount(cell, minlength=n_rows * n_categories).reshape(n_rows, n_categories)
    return quotient(counts, counts.sum(1, keepdims=True))

"""Lists that know nothing: uniform draws without replacement of what a viewer has not seen, the floor under every figure.

What a random list has of diversity, novelty or calibration is what the catalogue has; a figure means something beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Int64
from upnext.evaluate.user_items import UserItems

_CELLS = 1 << 22


def random_lists(
    is_listable: Bool, seen: UserItems | None, k: int, seed: int = 0
) -> Callable[[Int64], Int64]:
    """Viewer rows 0 .. u-1 -> int64[u, k] of videos with is_listable bool[n_items] that the viewer has not seen; -1 pads.

    A list depends on the seed, the rows asked for and what they have seen. Raises InvalidInput when nothing is listable."""
    items = np.flatnonzero(is_listable).astype(np.int64)
    if not len(items):
        raise expected("random lists", "at least one listable video", 0)

    def produce(rows: Int64) -> Int64:
        ranked = np.full((len(rows), k), -1, np.int64)
        deepest = k + (0 if seen is None else int(seen.counts().max(initial=0)))
        width = len(items) if len(items) <= 4 * deepest else 2 * deepest
        rng = rng_for("random-lists", seed)
        for start in range(0, len(rows), step := max(1, _CELLS // width)):
            part = rows[start : start + step]
            drawn = _drawn(rng, items, len(part), width)
            is_good = np.ones(drawn.shape, np.bool_)
            if width < len(items):
                is_good = _is_first(drawn)
            if seen is not None:
                row = np.repeat(np.arange(len(part)), width)
                is_good &= ~seen.take(part).contains(row, drawn.ravel()).reshape(drawn.shape)
            slot = np.cumsum(is_good, axis=1) - 1
            row, column = np.nonzero(is_good & (slot < k))
            ranked[start + row, slot[row, column]] = drawn[row, column]
        return ranked

    return produce


def _drawn(rng: np.random.Generator, items: Int64, n_rows: int, width: int) -> Int64:
    """int64[n_rows, width]: a permutation of all items a row, or draws with replacement where that is fewer."""
    if width == len(items):
        return rng.permuted(np.broadcast_to(items, (n_rows, width)), axis=1)
    return items[rng.integers(0, len(items), (n_rows, width))]


def _is_first(drawn: Int64) -> Bool:
    """bool of the same shape: no equal stands before in the row."""
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, 1)
    is_new = np.ones(drawn.shape, np.bool_)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_first = np.empty(drawn.shape, np.bool_)
    np.put_along_axis(is_first, order, is_new, 1)
    return is_first

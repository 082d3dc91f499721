"""The order of a request's ids, found by counting: sorted by one byte after the other, the last one first.

A radix sort (Knuth, The Art of Computer Programming, volume 3, section 5.2.5): each pass keeps the order of the one before where bytes are
equal. Ids are dense, so there are three bytes to look at for a million videos, and no comparison whose outcome a processor must guess.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Int64

_BITS: Final = 8
_ALL_BITS: Final = 64


@compiled
def ascending(item_id: Int64) -> Int64:
    """int64[n]: the rows of item_id int64[n], at least 0, in ascending order."""
    order, other = np.arange(len(item_id)), np.empty(len(item_id), np.int64)
    greatest = np.int64(0)
    for item in item_id:
        greatest = max(greatest, item)
    shift = 0
    while shift < _ALL_BITS and greatest >> shift > 0:
        _sort_by_byte(item_id, shift, order, other)
        order, other = other, order
        shift += _BITS
    return order


@compiled
def _sort_by_byte(item_id: Int64, shift: int, order: Int64, sorted_order: Int64) -> None:
    """Sets sorted_order to `order` sorted by one byte of the ids."""
    last = (1 << _BITS) - 1
    start = np.zeros((1 << _BITS) + 1, np.int64)  # of each byte's rows
    for item in item_id:
        start[((item >> shift) & last) + 1] += 1
    for byte in range(last):
        start[byte + 1] += start[byte]
    for row in order:
        byte = (item_id[row] >> shift) & last
        sorted_order[start[byte]] = row
        start[byte] += 1

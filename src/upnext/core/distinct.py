"""The different ids of an array in order of first appearance, in a few passes over a small hash table: numpy.unique sorts, which costs
two to six times as much on the sizes of one request.

Every id writes its position into a slot of the table, the first one last. Who reads a stranger's position back shares a slot with it; those few
go through another table. Multiplicative hashing: Knuth, The Art of Computer Programming, volume 3, section 6.4.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_Int64 = npt.NDArray[np.int64]
_KEYS: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)  # odd, bits well mixed
_SPARE: Final = 8  # slots per id


def distinct(ids: _Int64) -> tuple[_Int64, _Int64]:
    """(first int64[m] ascending, number int64[n]) of ids int64[n]: where each different id stands first, and which of them each is.

    So `ids[first][number] == ids`."""
    first = _first_places(ids, 0)
    is_first = first == np.arange(len(ids))
    number = is_first.cumsum()
    number -= 1
    return np.flatnonzero(is_first), number.take(first)


def has_repeats(ids: _Int64) -> bool:
    """Whether an id stands more than once in ids int64[n]."""
    ascending = np.sort(ids)
    return bool((ascending[1:] == ascending[:-1]).any())


def _first_places(ids: _Int64, attempt: int) -> _Int64:
    """int64[n]: the position of the first appearance of each id."""
    n = len(ids)
    if attempt == len(_KEYS):
        _, place, number = np.unique(ids, return_index=True, return_inverse=True)
        return np.asarray(place[number], np.int64)
    n_bits = max(1, (_SPARE * n).bit_length())
    slot = np.ascontiguousarray(ids, np.int64).view(np.uint64) * np.uint64(_KEYS[attempt])
    slot >>= np.uint64(64 - n_bits)
    slot = slot.view(np.int64)
    table = np.empty(1 << n_bits, np.int64)
    table[slot[::-1]] = np.arange(n - 1, -1, -1)  # of several writers the last one stays
    first: _Int64 = table.take(slot)
    strangers = np.flatnonzero(ids.take(first) != ids)
    if len(strangers):
        first[strangers] = strangers.take(_first_places(ids.take(strangers), attempt + 1))
    return first

"""Which event_ids bulk segments hold: sorted digests in memory-mapped files, 20 bytes an id, found by bisection.

A segment's file is uint64 hi[n] ascending, uint64 lo[n], uint32 row[n]: the two halves of each digest and its row in the segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.errors import Unavailable
from upnext.core.types import Int64

UInt64 = npt.NDArray[np.uint64]
_BYTES_PER_ID: Final = 20


@dataclass(frozen=True, slots=True)
class _Ids:
    """The ids of one segment."""

    hi: UInt64
    lo: UInt64
    row: npt.NDArray[np.uint32]
    first_seq: int


class ImportedIds:
    """The ids of all imported segments."""

    def __init__(self) -> None:
        self._segments: list[_Ids] = []

    def add(self, file: Path, first_seq: int) -> None:
        """Maps one segment's ids. Raises Unavailable when the file is missing or cut short."""
        try:
            raw = np.memmap(file, np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise Unavailable(f"event log {file}: {error}") from error
        n, rest = divmod(len(raw), _BYTES_PER_ID)
        if rest:
            raise Unavailable(
                f"event log {file}: expected {_BYTES_PER_ID} bytes an id, got {len(raw)}"
            )
        hi, lo = raw[: 8 * n].view(np.uint64), raw[8 * n : 16 * n].view(np.uint64)
        self._segments.append(_Ids(hi, lo, raw[16 * n :].view(np.uint32), first_seq))

    def find(self, digests: Sequence[bytes]) -> Int64:
        """int64[m]: the log_seq of each digest, 0 where no segment has it."""
        found = np.zeros(len(digests), np.int64)
        if not self._segments or not digests:
            return found
        hi, lo = _halves(digests)
        for ids in self._segments:
            left = np.searchsorted(ids.hi, hi)
            for m in np.flatnonzero(ids.hi[np.minimum(left, len(ids.hi) - 1)] == hi).tolist():
                found[m] = found[m] or _match(ids, int(left[m]), hi[m], lo[m])
        return found


def write_ids(file: Path, digests: Sequence[bytes]) -> None:
    """Writes the ids of a segment whose row i has digests[i]; the caller makes it durable."""
    hi, lo = _halves(digests)
    order = np.lexsort((lo, hi))
    with file.open("wb") as out:
        out.write(hi[order].tobytes())
        out.write(lo[order].tobytes())
        out.write(order.astype(np.uint32).tobytes())


def _halves(digests: Sequence[bytes]) -> tuple[UInt64, UInt64]:
    pairs = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def _match(ids: _Ids, at: int, hi: np.uint64, lo: np.uint64) -> int:
    while at < len(ids.hi) and ids.hi[at] == hi:  # two digests of a segment may share a half
        if ids.lo[at] == lo:
            return ids.first_seq + int(ids.row[at])
        at += 1
    return 0

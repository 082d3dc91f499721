"""Sealed parts of the log: Parquet files that never change, and the sorted ids of what was imported into them.

Ids of bulk imports are kept as 16-byte hashes, two uint64 columns sorted by the first: ten million ids are 160 MB on disk, mapped and
searched, never loaded.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from upnext.core.columns import EVENTS
from upnext.core.types import Bool

Hashes = npt.NDArray[np.uint64]  # [n, 2]


def hash_of(event_id: str) -> bytes:
    """16 bytes that stand for an id."""
    return hashlib.blake2b(event_id.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def hashes_of(event_ids: Sequence[str]) -> Hashes:
    """uint64[n, 2]: high and low half of each id's hash."""
    data = b"".join(hash_of(event_id) for event_id in event_ids)
    return np.frombuffer(data, ">u8").reshape(-1, 2).astype(np.uint64)


def sorted_hashes(hashes: Hashes) -> Hashes:
    """The rows in order of the high half, then the low."""
    return hashes[np.lexsort((hashes[:, 1], hashes[:, 0]))]


class ImportedIds:
    """The ids of sealed segments that no SQLite row remembers."""

    def __init__(self) -> None:
        self._parts: list[Hashes] = []

    def add(self, path: Path) -> None:
        """Takes a file of sorted hashes, memory-mapped."""
        self._parts.append(np.load(path, mmap_mode="r"))

    def contains(self, hashes: Hashes) -> Bool:
        """bool[n]: which are known."""
        found = np.zeros(len(hashes), np.bool_)
        for part in self._parts:
            if not len(part) or not len(hashes):
                continue
            high = part[:, 0]
            at = np.searchsorted(high, hashes[:, 0])
            end = np.searchsorted(high, hashes[:, 0], side="right")
            for row in np.flatnonzero(at < end):
                found[row] |= bool((part[at[row] : end[row], 1] == hashes[row, 1]).any())
        return found


def write_durable(path: Path, write: Any) -> None:
    """Calls write(temporary path), then makes the file appear under `path` whole and durable."""
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_segment(path: Path, table: pa.Table) -> None:
    """A Parquet file of core.columns.EVENTS."""
    write_durable(
        path, lambda temporary: pq.write_table(table.select(EVENTS.names), temporary, compression="zstd")
    )


def write_hashes(path: Path, hashes: Hashes) -> None:
    """A file of sorted hashes."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, sorted_hashes(hashes))

    write_durable(path, write)

"""Events in order of time, whatever the order of the files, in bounded memory.

State and log read events in the order in which they happened; a ratings file is often sorted by user. Rows are spread over spill
files by time, at bounds that an earlier pass sampled, and each file is sorted alone: an external bucket sort.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from upnext.core.types import Int64
from upnext.intake.files import BATCH_ROWS

BUCKET_ROWS: Final = 500_000
_EVERY: Final = 64  # one time in so many is sampled


class TimeSample:
    """What one pass over the events learns about their times."""

    def __init__(self) -> None:
        self.n_rows = 0
        self.is_sorted = True
        self._last_us = -(1 << 62)
        self._times: list[Int64] = []

    def add(self, time_us: Int64) -> None:
        """The times of the next events, int64[n]."""
        if not len(time_us):
            return
        is_up = bool((np.diff(time_us) >= 0).all()) and int(time_us[0]) >= self._last_us
        self.is_sorted &= is_up
        self._last_us = int(time_us[-1])
        self._times.append(time_us[self.n_rows % _EVERY :: _EVERY].copy())
        self.n_rows += len(time_us)

    def bounds(self) -> Int64:
        """int64[b]: instants that cut the events into b + 1 buckets of about BUCKET_ROWS; empty when one is enough."""
        n_buckets = -(-self.n_rows // BUCKET_ROWS)
        if self.is_sorted or n_buckets < 2:
            return np.zeros(0, np.int64)
        times = np.sort(np.concatenate(self._times))
        places = np.arange(1, n_buckets) * len(times) // n_buckets
        return np.unique(times[places])


def in_time_order(frames: Iterable[pl.DataFrame], sample: TimeSample) -> Iterator[pl.DataFrame]:
    """The rows of `frames` (with time_us) by time, equal times as they came, at most BATCH_ROWS at once."""
    if sample.is_sorted:
        yield from frames
        return
    bounds = sample.bounds()
    if not len(bounds):
        yield from _sorted_slices(list(frames))
        return
    with tempfile.TemporaryDirectory(prefix="upnext-import-") as folder:
        n_files = _spill(frames, bounds, Path(folder))
        for bucket in range(len(bounds) + 1):
            paths = [Path(folder) / f"{bucket}-{i}.arrow" for i in range(n_files)]
            yield from _sorted_slices([pl.read_ipc(p) for p in paths if p.exists()])


def _spill(frames: Iterable[pl.DataFrame], bounds: Int64, folder: Path) -> int:
    """Writes every bucket's rows in the order they came; the number of rounds."""
    held: list[pl.DataFrame] = []
    n_held = n_rounds = 0
    for frame in frames:
        held.append(frame)
        n_held += frame.height
        if n_held >= BUCKET_ROWS:
            _write_round(held, bounds, folder, n_rounds)
            held, n_held, n_rounds = [], 0, n_rounds + 1
    _write_round(held, bounds, folder, n_rounds)
    return n_rounds + 1


def _write_round(held: list[pl.DataFrame], bounds: Int64, folder: Path, n_round: int) -> None:
    if not held:
        return
    rows = pl.concat(held, how="diagonal_relaxed")
    bucket = np.searchsorted(bounds, rows.get_column("time_us").to_numpy(), side="right")
    for number in np.unique(bucket).tolist():
        part = rows.filter(pl.Series(bucket == number))
        part.write_ipc(folder / f"{number}-{n_round}.arrow", compression="lz4")


def _sorted_slices(frames: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    if not frames:
        return
    rows = pl.concat(frames, how="diagonal_relaxed").sort("time_us", maintain_order=True)
    for start in range(0, rows.height, BATCH_ROWS):
        yield rows.slice(start, BATCH_ROWS)

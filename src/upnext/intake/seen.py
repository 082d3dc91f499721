"""Which rows came before: 64-bit hashes in sorted runs, merged like a log-structured tree.

Eight bytes a row, so ten million rows cost 80 MB; two different rows share a hash with probability n^2 / 2^65, about 3e-6 there.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from upnext.core.types import Bool

Hashes = npt.NDArray[np.uint64]


def hashes_of(frame: pl.DataFrame) -> Hashes:
    """uint64[n]: one hash per row, the same for equal rows within this process; no list columns."""
    return frame.select(pl.all().cast(pl.String)).hash_rows(seed=11).to_numpy()


class SeenRows:
    """The hashes so far."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []  # each sorted; sizes fall by at least half

    def first(self, hashes: Hashes) -> Bool:
        """bool[n]: rows whose hash comes here for the first time; remembers them."""
        unique, place = np.unique(hashes, return_index=True)
        is_new = np.ones(len(unique), np.bool_)
        for run in self._runs:
            spot = np.minimum(np.searchsorted(run, unique), len(run) - 1)
            is_new &= run[spot] != unique
        mask = np.zeros(len(hashes), np.bool_)
        mask[place[is_new]] = True
        self._add(unique[is_new])
        return mask

    def _add(self, run: Hashes) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")  # two sorted halves: a merge
        self._runs.append(run)

"""How often a viewer met a word (category, creator, language, tag, video) and how often it was relevant then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Array, Bool, Float32, Int64

PRIOR_ROWS: Final = 2.0  # showings that the viewer's overall rate counts for
_DENSE_BELOW: Final = 2_048  # codes this small index a table instead of being searched


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by code, over a viewer's history. `shown` and `relevant` begin with a 0 for codes never met and for missing ones."""

    codes: Int64 | None  # [m - 1] ascending, unique; None: code c stands in place c + 1
    shown: Float32  # [m]
    relevant: Float32  # [m]

    @staticmethod
    def of(codes: Array, relevant: Bool) -> Tally:
        """Of h showings: codes [h], negative ones don't count."""
        highest = int(codes.max(initial=-1))
        found: Int64 | None = None
        size, places = highest + 2, codes + 1
        if highest >= _DENSE_BELOW:
            unique, places = np.unique(codes, return_inverse=True)
            places += 1
            found, size = unique.astype(np.int64, copy=False), len(unique) + 1
        shown = np.bincount(places, minlength=size).astype(np.float32)
        met = np.bincount(places, relevant, size).astype(np.float32)
        shown[0] = met[0] = 0.0
        if found is not None and found[0] < 0:  # the missing code, in place 1
            shown[1] = met[1] = 0.0
        return Tally(found, shown, met)

    def places(self, codes: Array) -> Int64:
        """int64, shaped like `codes`: where a code's counts stand; 0 for codes never met."""
        if self.codes is None:
            return np.where(codes < len(self.shown) - 1, codes + 1, 0)
        places = self.codes.searchsorted(codes)
        places[places == len(self.codes)] = 0
        return np.where(self.codes.take(places) == codes, places + 1, 0)


@dataclass(frozen=True, slots=True)
class Tallies:
    """Several tallies as one: the places of each begin where those of the one before end."""

    parts: Sequence[Tally]
    shown: Float32  # [m]
    relevant: Float32  # [m]

    @staticmethod
    def of(parts: Sequence[Tally]) -> Tallies:
        """All parts side by side."""
        shown = np.concatenate([part.shown for part in parts])
        return Tallies(parts, shown, np.concatenate([part.relevant for part in parts]))

    def places(self, codes: Sequence[Array]) -> Int64:
        """int64[p, n]: the places of each part's codes [n]."""
        places = np.empty((len(codes), len(codes[0])), np.int64)
        start = 0
        for row, part, mine in zip(places, self.parts, codes):
            np.add(part.places(mine), start, out=row)
            start += len(part.shown)
        return places


def lift(shown: Float32, relevant: Float32, base: float) -> Float32:
    """float32[m]: the smoothed rate of relevance above `base`, the viewer's own; 0 for what was never met."""
    rate = (relevant + PRIOR_ROWS * base) / (shown + PRIOR_ROWS) - base
    return rate.astype(np.float32, copy=False)

"""How often a viewer met a word (category, creator, language, tag, video) and how often it was relevant then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Array, Bool, Float32, Int64

PRIOR_ROWS: Final = 2.0  # showings that the viewer's overall rate counts for


_DENSE_BELOW: Final = 32_768  # codes this small index a table instead of being searched


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by code, over a viewer's history. `shown` and `relevant` end with a 0 for codes never met."""

    codes: Int64 | None  # [m] ascending, unique; None: code c stands in place c
    shown: Float32  # [m + 1]
    relevant: Float32  # [m + 1]

    @staticmethod
    def of(codes: Array, relevant: Bool) -> Tally:
        """Of h showings: codes [h], negative ones don't count."""
        known = codes >= 0
        if not known.all():
            codes, relevant = codes[known], relevant[known]
        highest = int(codes.max(initial=0))
        found: Int64 | None = None
        size, places = highest + 2, codes
        if highest >= _DENSE_BELOW:
            unique, places = np.unique(codes, return_inverse=True)
            found, size = unique.astype(np.int64), len(unique) + 1
        return Tally(
            found,
            np.bincount(places, minlength=size).astype(np.float32),
            np.bincount(places[relevant], minlength=size).astype(np.float32),
        )

    def places(self, codes: Array) -> Int64:
        """int64, shaped like `codes`: where a code's counts stand; the last place for codes never met."""
        last = len(self.shown) - 1
        if self.codes is None:
            return np.where((codes >= 0) & (codes < last), codes, last).astype(np.int64)
        places = np.searchsorted(self.codes, codes)
        met = self.codes[np.minimum(places, last - 1)] == codes
        return np.where(met, places, last).astype(np.int64)

    def lift(self, places: Int64, base: float) -> Float32:
        """The smoothed rate of relevance above `base`, the viewer's own; 0 for what was never met."""
        shown, relevant = self.shown, self.relevant
        rate = (relevant + PRIOR_ROWS * base) / (shown + PRIOR_ROWS) - base
        return rate[places].astype(np.float32)

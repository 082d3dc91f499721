"""How often a viewer met a word (category, creator, language, tag, video) and how often it was relevant then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.types import Array, Bool, Float32, Int64

PRIOR_ROWS = 2.0  # showings that the viewer's overall rate counts for


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by code, over a viewer's history."""

    codes: Int64  # [m] ascending, unique, none negative
    shown: Float32  # [m + 1], 0 at the end: for codes never met
    relevant: Float32  # [m + 1]
    last_us: Int64  # [m + 1] time of the latest showing

    @staticmethod
    def of(codes: Array, relevant: Bool, time_us: Int64) -> Tally:
        """Of h showings in order of time: codes [h], negative ones don't count."""
        known = codes >= 0
        if not known.all():
            codes, relevant, time_us = codes[known], relevant[known], time_us[known]
        found, inverse = np.unique(codes, return_inverse=True)
        size = len(found) + 1
        last_us = np.zeros(size, np.int64)
        last_us[inverse] = time_us  # the last of equal codes stays
        return Tally(
            found.astype(np.int64),
            np.bincount(inverse, minlength=size).astype(np.float32),
            np.bincount(inverse, relevant, minlength=size).astype(np.float32),
            last_us,
        )

    def places(self, codes: Array) -> Int64:
        """int64, shaped like `codes`: where a code's counts stand; the last place for codes never met."""
        if not len(self.codes):
            return np.zeros(codes.shape, np.int64)
        places = np.searchsorted(self.codes, codes)
        met = self.codes[np.minimum(places, len(self.codes) - 1)] == codes
        return np.where(met, places, len(self.codes))

    def lift(self, places: Int64, base: float) -> Float32:
        """The smoothed rate of relevance above `base`, the viewer's own; 0 for what was never met."""
        shown, relevant = self.shown, self.relevant
        rate = (relevant + PRIOR_ROWS * base) / (shown + PRIOR_ROWS) - base
        return rate[places].astype(np.float32)

"""The groups of (viewer, relevant video) pairs that every list of `upnext evaluate` is judged on apart.

Cold viewers and cold videos are groups like the others: their pairs stay in the whole, and are looked at apart as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import Array, Bool, Float32, Float64, Int64
from upnext.evaluate.segments import (
    decile_segments,
    taste_segments,
    value_segments,
    viewer_segments,
)
from upnext.evaluate.split import Split
from upnext.evaluate.window import showings_before

LEAST_SEEN = 5  # videos from which a taste can be told
N_WORDS = 5  # countries and languages apart; the rest is "other"


class VideoFacts(Protocol):
    """What is known of the videos (CatalogView does)."""

    @property
    def n_items(self) -> int: ...
    @property
    def duration_s(self) -> Float32: ...
    @property
    def uploaded_us(self) -> Int64: ...
    @property
    def language(self) -> Array: ...
    def value_of(self, kind: str, code: int) -> str: ...


def pair_segments(
    split: Split, videos: VideoFacts, countries: Sequence[str | None]
) -> dict[str, Bool]:
    """{name: bool[p]} over the pairs of the split's truth; countries: of the u cases' requests.

    Viewers new or known by their seen videos, niche and mainstream ones by how popular those were, the largest countries, duration deciles, deciles of the video's showings in
    training, the largest languages, and videos without a showing there, uploaded after the list was asked for, or new: uploaded within the day
    before it or later, or first shown then if ever."""
    case, item_id = split.truth.users(), split.truth.item_id
    n_shown = showings_before(split, videos.n_items)
    shown = n_shown[item_id]
    uploaded_us = videos.uploaded_us[item_id]
    said = np.array([country or "" for country in countries], np.str_)[case]
    codes = videos.language[item_id]
    names = {
        code: videos.value_of("language", code) for code in np.unique(codes).tolist() if code >= 0
    }
    languages = np.array(
        [names.get(code, "") for code in range(-1, max(names, default=-1) + 1)], np.str_
    )
    cold = {
        "video=never_shown": shown == 0,
        "video=shown": shown > 0,
        "video=uploaded_after": uploaded_us >= split.asked_us[case],
        "video=new": np.maximum(uploaded_us, _first_shown_us(split, videos.n_items)[item_id])
        >= split.asked_us[case] - DAY_US,
    }
    return {
        **viewer_segments(split.seen.counts()[case]),
        **taste_segments(_mean_popularity(split, n_shown)[case]),
        **{name: mask for name, mask in cold.items() if mask.any()},
        **value_segments("country", said, N_WORDS),
        **value_segments("language", languages[codes + 1], N_WORDS),
        **decile_segments("duration", videos.duration_s[item_id]),
        **decile_segments("popularity", shown),
    }


def _first_shown_us(split: Split, n_items: int) -> Int64:
    """int64[n_items]: when each video was first shown in training; the largest number for one that was not."""
    first = np.full(n_items, np.iinfo(np.int64).max)
    np.minimum.at(first, split.train.item_id, split.train.time_us)
    return first


def _mean_popularity(split: Split, n_shown: Int64) -> Float64:
    """float64[u]: the mean log of 1 + showings of what each case's viewer saw before; NaN for those who saw too little to tell."""
    seen = split.seen
    total = np.bincount(seen.users(), np.log1p(n_shown[seen.item_id]), seen.n_users)
    counts = seen.counts()
    return np.where(counts >= LEAST_SEEN, total / np.maximum(counts, 1), np.nan)

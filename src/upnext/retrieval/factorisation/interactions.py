"""From showings to pairs: each video that a viewer was shown stands once, with a signed confidence.

A pair's confidence is that of the strongest thing which happened at any of its showings (dislike, like, relevant, skip, shown), halved with the age
of its latest one. The same compiled code reads a training's viewers and the viewer of a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.compiled import compiled
from upnext.core.types import Array, Flag, Float32, Int64, UInt16
from upnext.features.showings import Showings
from upnext.retrieval.factorisation.config import ConfidenceConfig

_DISLIKED = Flag.DISLIKE | Flag.NOT_INTERESTED
_LIKED, _RELEVANT, _SKIPPED = Flag.LIKE, Flag.RELEVANT, Flag.SKIPPED


class Meaning(NamedTuple):
    """A ConfidenceConfig as compiled code reads it."""

    confidence: Float32  # [5]: shown, skipped, relevant, liked, disliked
    per_us: float  # halvings per microsecond
    untimed_us: int  # when showings without a time count as made

    @staticmethod
    def of(config: ConfidenceConfig, untimed_us: int) -> Meaning:
        """The meaning of these settings."""
        c = config
        table = np.array([c.shown, c.skipped, c.relevant, c.liked, c.disliked], np.float32)
        half_life_d = c.half_life_d
        return Meaning(
            table, 0.0 if half_life_d is None else 1 / (half_life_d * DAY_US), untimed_us
        )


@dataclass(frozen=True)
class Interactions:
    """p distinct pairs, by viewer, then by video."""

    start: Int64  # [u + 1]: the pairs of viewer j are start[j] to start[j + 1]
    item_id: Int64  # [p] ascending inside a viewer
    confidence: Float32  # [p]; never 0

    @property
    def user(self) -> Int64:
        """int64[p]: the viewer of each pair."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start)).astype(np.int64)


def untimed_of(showings: Showings) -> int:
    """The instant, in microseconds, at which rows without a time count as shown: a day before the oldest that has one."""
    timed = showings.time_us[showings.time_us > 0]
    return int(timed.min()) - DAY_US if len(timed) else 0


def newest_of(showings: Showings) -> int:
    """The latest instant of any showing, in microseconds; 0 for none."""
    return int(showings.time_us.max(initial=0))


def interactions_of(showings: Showings, meaning: Meaning) -> Interactions:
    """The pairs of all viewers, as of the newest showing; pairs of confidence 0 are left out."""
    starts = showings.starts()
    item_id, confidence = np.empty(len(showings), np.int64), np.empty(len(showings), np.float32)
    length = _all_pairs(
        starts, showings.item_id, showings.flags, showings.time_us, newest_of(showings),
        meaning, item_id, confidence,
    )  # fmt: skip
    end = np.concatenate([[0], np.cumsum(length)])
    kept = int(end[-1])
    return Interactions(end.astype(np.int64), item_id[:kept].copy(), confidence[:kept].copy())


@compiled
def _all_pairs(
    starts: Int64, item_id: Int64, flags: UInt16, time_us: Int64, now_us: int, meaning: Meaning,
    to_item: Int64, to_confidence: Float32,
) -> Array:  # fmt: skip
    """Pairs of each viewer, one after the other -> how many of each."""
    length, at = np.zeros(len(starts) - 1, np.int64), 0
    for user in range(len(starts) - 1):
        rows = slice(starts[user], starts[user + 1])
        items, confidence = pairs_of(item_id[rows], flags[rows], time_us[rows], now_us, meaning)
        for place in range(len(items)):
            to_item[at], to_confidence[at] = items[place], confidence[place]
            at += 1
        length[user] = len(items)
    return length


@compiled
def pairs_of(
    item_id: Int64, flags: UInt16, time_us: Int64, now_us: int, meaning: Meaning
) -> tuple[Int64, Float32]:
    """(videos int64[p] ascending, confidence float32[p]) of one viewer's showings in any order."""
    order = np.argsort(item_id, kind="mergesort")
    items, confidence = np.empty(len(order), np.int64), np.empty(len(order), np.float32)
    n_pairs, place = 0, 0
    while place < len(order):
        item, seen, latest = item_id[order[place]], 0, meaning.untimed_us
        while place < len(order) and item_id[order[place]] == item:
            seen |= flags[order[place]]
            latest = max(latest, time_us[order[place]])
            place += 1
        age_us = max(0, now_us - latest)
        value = meaning.confidence[_strongest(seen)] * np.exp2(-age_us * meaning.per_us)
        if value != 0:
            items[n_pairs], confidence[n_pairs] = item, value
            n_pairs += 1
    return items[:n_pairs], confidence[:n_pairs]


@compiled
def _strongest(flags: int) -> int:
    """The place in Meaning.confidence."""
    if flags & _DISLIKED:
        return 4
    if flags & _LIKED:
        return 3
    if flags & _RELEVANT:
        return 2
    return 1 if flags & _SKIPPED else 0

"""The viewer's past with each candidate: how often they met its category, creator, language and tags, and the video itself, and how
often it was relevant then.

The codes of the viewer's few hundred showings are counted in a small hash table; every candidate then looks its own up there.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.compiled import compiled
from upnext.core.open_addressing import first_place, n_places_for, next_place
from upnext.core.types import Array, Bool, Float32, Int64
from upnext.features.reading import ItemColumns, Reading, taken_rows, words_of

PRIOR_ROWS: Final = np.float32(2.0)  # showings that the viewer's overall rate counts for
_LOG_SCALE: Final = np.float32(0.1)  # keeps logs of counts and hours near one
_FREE: Final = -1


class AffinityBlock:
    """The viewer's past with the video's category, creator, language and tags, and with the video itself."""

    names = (
        *(f"{kind}_{what}" for kind in ("category", "creator", "language")
          for what in ("log_shown", "log_relevant", "lift")),
        "tags_log_shown", "tags_lift_mean", "tags_lift_max",
        "video_log_shown", "video_relevant", "video_log_h_since", "video_shown",
        "has_current", "current_same_category", "current_same_creator", "current_same_language",
        "current_shared_tags",
    )  # fmt: skip

    def __init__(self, view: ItemColumns) -> None:
        self._view = view

    def fill(self, items: Float32, at: int, reading: Reading) -> None:
        """Writes float32[n, 21] from column `at` on."""
        tags, history, item_id = self._view.tags, reading.history, reading.item_id
        if len(history):
            base, met = np.float32(reading.base_rate), words_of(history.item_id, self._view)
            _fill_words(items, at, reading.words, met, reading.relevant, base)
            _fill_tags(items, at + 9, item_id, history.item_id, tags, reading.relevant, base)
            past = history.item_id, history.time_us, reading.relevant
            _fill_video(items, at + 12, item_id, *past, reading.time_us)
        if reading.current >= 0:
            current = words_of(np.array([reading.current]), self._view)
            _fill_current(items, at + 16, item_id, reading.words, tags, current, reading.current)


@compiled
def _fill_words(
    items: Float32, at: int, words: Int64, met: Int64, relevant: Bool, base: np.float32
) -> None:
    """Writes nine columns: for each kind of word log of times shown, log of times relevant, lift. words [3, n], met [3, h]."""
    for kind in range(len(words)):
        codes = _table_of(met[kind])
        shown, hits = _tally(codes, met[kind], relevant)
        known = np.zeros((len(codes), 3), np.float32)  # zeros for what was never met
        for place in range(len(codes)):
            if codes[place] != _FREE:
                known[place, 0] = _log(shown[place])
                known[place, 1] = _log(hits[place])
                known[place, 2] = _lift(shown[place], hits[place], base)
        for i in range(len(items)):
            place = _place_of(codes, words[kind, i])
            for j in range(3):
                items[i, at + 3 * kind + j] = known[place, j]


@compiled
def _fill_tags(
    items: Float32,
    at: int,
    item_id: Int64,
    met_id: Int64,
    tags: Array,
    relevant: Bool,
    base: np.float32,
) -> None:
    """Writes three columns: log of times that the video's tags were shown, mean and highest lift of them (a missing tag has none)."""
    met = taken_rows(tags, met_id)
    present = np.flatnonzero(met.ravel() >= 0)
    met_tags, hit = met.ravel()[present], relevant[present // tags.shape[1]]
    codes = _table_of(met_tags)
    shown, hits = _tally(codes, met_tags, hit)
    own = taken_rows(tags, item_id)
    for i in range(len(own)):
        n_own, n_shown, total, highest = 0, np.float32(0), np.float32(0), np.float32(-np.inf)
        for code in own[i]:
            lift = np.float32(0)
            if code >= 0:
                place = _place_of(codes, code)
                lift = _lift(shown[place], hits[place], base)
                n_shown += shown[place]
                n_own += 1
            total += lift
            highest = max(highest, lift)
        items[i, at] = _log(n_shown)
        items[i, at + 1] = total / max(n_own, 1)
        items[i, at + 2] = highest


@compiled
def _fill_video(
    items: Float32,
    at: int,
    item_id: Int64,
    met_id: Int64,
    time_us: Int64,
    relevant: Bool,
    now_us: int,
) -> None:
    """Writes four columns for what the viewer was shown before: log of times, whether relevant, log of hours since, 1."""
    codes = _table_of(met_id)
    shown, hits = _tally(codes, met_id, relevant)
    last_us = np.zeros(len(codes), np.int64)
    for i in range(len(met_id)):  # in order of time: the last of equal ids stays
        last_us[_place_of(codes, met_id[i])] = time_us[i]
    for i in range(len(item_id)):
        place = _place_of(codes, item_id[i])
        if codes[place] == _FREE:
            continue
        items[i, at] = _log(shown[place])
        items[i, at + 1] = hits[place] > 0
        if last_us[place] > 0:
            items[i, at + 2] = 0.1 * math.log1p(max(now_us - last_us[place], 0) / HOUR_US)
        items[i, at + 3] = 1


@compiled
def _fill_current(
    items: Float32,
    at: int,
    item_id: Int64,
    words: Int64,
    tags: Array,
    current: Int64,
    current_id: int,
) -> None:
    """Writes five columns: 1, whether category, creator and language are those of the video being watched, how many tags are."""
    watched = tags[current_id]
    for i in range(len(item_id)):
        items[i, at] = 1
        for kind in range(len(words)):
            code = words[kind, i]
            items[i, at + 1 + kind] = code >= 0 and code == current[kind, 0]
        for code in tags[item_id[i]]:
            items[i, at + 4] += code >= 0 and (watched == code).any()


@compiled
def _table_of(codes: Int64) -> Int64:
    """int64[p]: a hash table of the codes int64[h], each different one once; negative ones, which stand for missing, are left out."""
    table = np.full(n_places_for(len(codes)), _FREE, np.int64)
    for code in codes:
        if code >= 0:
            table[_place_of(table, code)] = code
    return table


@compiled
def _place_of(table: Int64, code: int) -> int:
    """Where the code stands in the table; a free place if it does not."""
    place = first_place(code, len(table))
    while table[place] != code and table[place] != _FREE:
        place = next_place(place, len(table))
    return place


@compiled
def _tally(table: Int64, codes: Int64, relevant: Bool) -> tuple[Float32, Float32]:
    """(float32[p], float32[p]): how often the code of each place was shown, and how often it was relevant; 0 for free places."""
    shown, hits = np.zeros(len(table), np.float32), np.zeros(len(table), np.float32)
    for i in range(len(codes)):
        if codes[i] >= 0:
            place = _place_of(table, codes[i])
            shown[place] += 1
            hits[place] += relevant[i]
    return shown, hits


@compiled
def _lift(shown: np.float32, hits: np.float32, base: np.float32) -> np.float32:
    """The smoothed rate of relevance above `base`, the viewer's own; 0 for what was never met."""
    return (hits + PRIOR_ROWS * base) / (shown + PRIOR_ROWS) - base


@compiled
def _log(count: np.float32) -> np.float32:
    return np.float32(math.log1p(count)) * _LOG_SCALE

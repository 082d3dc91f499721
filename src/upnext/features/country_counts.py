"""What viewers of each country found relevant, by video, decaying with half-lives of 6 hours, 1 day and 7 days.

Only the videos that matter in a country have a count there: each has 32 shards of at most 128 videos, by item_id, and where a shard is full a
newcomer takes the place of the video with the least count of the week (Metwally et al. 2005, without handing the count on: a newcomer starts
with its own). A country is what the event says, two letters. A count is kept as of its own last event and decayed one event at a time in the
order of the log, so that a rebuild gives the same bytes as live updates did.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.types import Array, Float64, Int64

SHARDS: Final = 32
MOST: Final = 128  # videos of a shard
_HALF_LIVES_US: Final = (6 * HOUR_US, DAY_US, 7 * DAY_US)
_WEEK: Final = 3  # where the week's count stands in an entry
_WIDTH: Final = 5  # item_id, time_us, the three counts


class CountryColumns(NamedTuple):
    """m videos of one country as of an instant."""

    item_id: Int64  # [m] ascending
    lately: Float64  # [m] half-life 6 hours
    day: Float64  # [m]
    week: Float64  # [m]


_Shard = dict[int, list[float]]  # item_id -> its time and the three counts


class CountryCounts:
    """Counts by country and video. The state's writer adds; a reader takes shards over from the store."""

    def __init__(self) -> None:
        self._shards: dict[str, dict[int, _Shard]] = {}
        self._read: dict[tuple[str, int], Array] = {}  # what a reader took over, as stored
        self._versions: dict[str, Array] = {}  # uint32[SHARDS], changes taken by each
        self._changed: set[tuple[str, int]] = set()
        self.names: list[str] = []  # countries in order of first appearance

    def add(self, country: str, item_id: int, amount: float, time_us: int) -> None:
        """Adds `amount` of relevance, stamped with its time. What is no two letters, or has no time, is not counted."""
        country = country.upper()
        if time_us <= 0 or not (len(country) == 2 and country.isascii() and country.isalpha()):
            return
        number = item_id % SHARDS
        shard = self._open(country, number)
        entry = shard.get(item_id)
        if entry is None:
            if amount <= 0:
                return
            if len(shard) == MOST:
                del shard[_least(shard)]
            entry = shard[item_id] = [float(time_us), 0.0, 0.0, 0.0]
        _add_to(entry, amount, time_us)
        self._versions[country][number] += 1
        self._changed.add((country, number))

    def _open(self, country: str, number: int) -> _Shard:
        """A shard to write in, taken over from what was read where it was."""
        if country not in self._versions:
            self.names.append(country)
            self._versions[country] = np.zeros(SHARDS, np.uint32)
        shards = self._shards.setdefault(country, {})
        if number not in shards:
            rows = self._read.pop((country, number), np.zeros((0, _WIDTH)))
            shards[number] = {int(row[0]): row[1:].tolist() for row in rows}
        return shards[number]

    def columns(self, country: str, time_us: int) -> CountryColumns:
        """The counts of one country as of `time_us`; of one without counts, no videos."""
        rows = np.concatenate([np.zeros((0, _WIDTH)), *self._rows_of(country)])
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        passed = np.maximum(time_us - rows[:, 1], 0) / np.array(_HALF_LIVES_US)[:, None]
        counts = rows[:, 2:].T * np.exp2(-passed)
        return CountryColumns(rows[:, 0].astype(np.int64), *counts)

    def _rows_of(self, country: str) -> Iterator[Array]:
        for number in range(SHARDS):
            shard = self._shards.get(country, {}).get(number)
            rows = self._read.get((country, number)) if shard is None else _rows(shard)
            if rows is not None:
                yield rows

    def versions(self, country: str) -> bytes:
        """uint32[SHARDS] as bytes: how many changes each shard has taken."""
        return self._versions[country].tobytes()

    def take_changed(self) -> Iterator[tuple[str, int, bytes]]:
        """(country, shard, its bytes) of each changed since the last call, in order."""
        changed, self._changed = sorted(self._changed), set()
        for country, number in changed:
            yield country, number, _rows(self._shards[country][number]).tobytes()

    def stale(self, country: str, versions: bytes) -> list[int]:
        """The shards of a country whose stored version differs from what is here."""
        mine = self._versions.get(country, np.zeros(SHARDS, np.uint32))
        return np.flatnonzero(np.frombuffer(versions, np.uint32) != mine).tolist()

    def load(self, country: str, number: int, data: bytes, version: int) -> None:
        """Replaces a shard by what take_changed gave."""
        if country not in self._versions:
            self._versions[country] = np.zeros(SHARDS, np.uint32)
            self.names.append(country)
        self._shards.get(country, {}).pop(number, None)
        self._read[country, number] = np.frombuffer(data, np.float64).reshape(-1, _WIDTH)
        self._versions[country][number] = version


def _add_to(entry: list[float], amount: float, time_us: int) -> None:
    """Brings an entry to the later of its time and this one, and adds."""
    at_us = max(entry[0], time_us)
    for i, half_life_us in enumerate(_HALF_LIVES_US, start=1):
        kept = entry[i] * math.exp2((entry[0] - at_us) / half_life_us)
        entry[i] = max(kept + amount * math.exp2((time_us - at_us) / half_life_us), 0.0)
    entry[0] = float(at_us)


def _least(shard: _Shard) -> int:
    """The video of the least count of the week at any one instant; of equal ones the smallest id."""

    def value(item_id: int) -> tuple[float, int]:  # the logarithm of the count, but for the instant
        entry = shard[item_id]
        if entry[_WEEK] <= 0:
            return -math.inf, item_id
        return math.log2(entry[_WEEK]) + entry[0] / _HALF_LIVES_US[_WEEK - 1], item_id

    return min(shard, key=value)


def _rows(shard: _Shard) -> Array:
    """float64[m, 5] by item_id."""
    rows = [[float(item_id), *entry] for item_id, entry in sorted(shard.items())]
    return np.array(rows).reshape(-1, _WIDTH)

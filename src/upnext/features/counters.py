"""Counts per video, total and decaying with half-lives of 6 hours, 1 day and 7 days.

A decaying count is the sum of amount * 2^(t / half_life) over its events, read as that sum times 2^(-now / half_life). To stay in
range, the videos of a block of 64 share an origin, a whole number of weeks: every half-life divides a week, so moving the origin
multiplies by an exact power of two, and a sum does not depend on how its events were batched or when it was stored. The factor
2^fraction comes from math.exp2 for one event at a time, because vector code may differ in the last bit with the vector's length.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final, Literal

import numpy as np

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.compiled import compiled
from upnext.core.types import Float64, Int64
from upnext.features.country_counts import CountryCounts

CounterName = Literal[
    "impressions", "clicks", "watches", "watch_s", "relevant", "likes", "dislikes", "shares",
    "skips", "completions",
]  # fmt: skip
COUNTERS: Final[tuple[str, ...]] = (
    "impressions", "clicks", "watches", "watch_s", "relevant", "likes", "dislikes", "shares",
    "skips", "completions",
)  # fmt: skip
TRENDING: Final[tuple[str, ...]] = ("impressions", "relevant")  # also with the half-life of 6 hours
COUNTER_NAMES: Final[tuple[str, ...]] = (
    *(f"{name}_{window}" for window in ("total", "1d", "7d") for name in COUNTERS),
    *(f"{name}_6h" for name in TRENDING),
)
BLOCK: Final = 64
PAGE: Final = 1024  # blocks whose versions are stored together

_WEEK_US: Final = 7 * DAY_US
_HALF_LIVES_US: Final = (DAY_US, _WEEK_US, 6 * HOUR_US)
_PER_WEEK: Final = (7, 1, 28)  # half-lives in a week
_HALVINGS: Final = np.array([0, *_PER_WEEK])  # a week in half-lives, per window
_N: Final = len(COUNTER_NAMES)
_C: Final = len(COUNTERS)
_COLUMNS_OF: Final[dict[str, tuple[int, ...]]] = {
    name: (i, i + _C, i + 2 * _C) + ((3 * _C + TRENDING.index(name),) if name in TRENDING else ())
    for i, name in enumerate(COUNTERS)
}
_N_WINDOWS: Final = 4
_WINDOW: Final = np.repeat([0, 1, 2, 3], [_C, _C, _C, len(TRENDING)])  # 0: total, never decays
_LEAST, _MOST = -1075, 1000
_POWERS: Final = np.ldexp(1.0, np.arange(_LEAST, _MOST + 1))  # 2^least is 0
_NO_ORIGIN: Final = -1
_MOVE_AFTER_WEEKS: Final = 16  # 2^(28 * 17) is far from the largest float64
_FLUSH_AFTER: Final = 200_000
_HEADER: Final = struct.Struct("<qQ")


class CounterTable:
    """float64[n_items, c], c = len(COUNTER_NAMES), growing as videos come."""

    def __init__(self, n_items: int = 0) -> None:
        n_blocks = max(1, -(-n_items // BLOCK))
        self._values = np.zeros((n_blocks * BLOCK, _N))
        self._origin = np.full(n_blocks, _NO_ORIGIN, np.int64)  # [n_blocks] weeks
        self._version = np.zeros(n_blocks, np.uint32)  # [n_blocks] deltas taken so far
        self._cells: list[int] = []  # waiting: cell in the flat table, and what to add there
        self._amounts: list[float] = []
        self._origins: dict[int, int] = {}
        self._weights_at = (-1, -1)
        self._weights = (1.0, 0.0, 0.0, 0.0)
        self._changed: set[int] = set()
        self._lines: dict[int, Float64] = {}  # columns asked for as a whole, contiguous
        self._stale: set[int] = set()  # blocks that the lines lack
        self.n_stored_pages = 0  # pages that a store has of this table
        self.countries = CountryCounts()

    @property
    def n_blocks(self) -> int:
        """Blocks that the table has room for."""
        return len(self._origin)

    def add(
        self, item_id: int, column: str, amount: float, time_us: int, country: str | None = None
    ) -> None:
        """Adds `amount`, stamped with its time (0: unknown, it counts in the totals only); relevance also in its country."""
        if country and column == "relevant":
            self.countries.add(country, item_id, amount, time_us)
        block = item_id // BLOCK
        origin = self._origins.get(block)
        if origin is None:
            origin = self._open(block)
        week = time_us // _WEEK_US
        if time_us > 0 and (origin == _NO_ORIGIN or week - origin >= _MOVE_AFTER_WEEKS):
            self._move(block, week)
            origin = week
        self._changed.add(block)
        self._stale.add(block)
        columns = _COLUMNS_OF[column]
        start = item_id * _N
        self._cells.append(start + columns[0])
        self._amounts.append(amount)
        if time_us > 0:
            if self._weights_at != (time_us, origin):
                self._weights = tuple(
                    _power_of_two(time_us, half_life_us, origin * per_week)
                    for half_life_us, per_week in zip(_HALF_LIVES_US, _PER_WEEK)
                )  # type: ignore[assignment]
                self._weights_at = (time_us, origin)
            for column_at, weight in zip(columns[1:], self._weights):
                self._cells.append(start + column_at)
                self._amounts.append(amount * weight)
        self._version[block] += 1
        if len(self._cells) > _FLUSH_AFTER:
            self._flush()

    def read(self, item_id: Int64, time_us: int, columns: Int64 | None = None) -> Float64:
        """float64[n, c]: the counts of n videos as of `time_us`; zeros for ids never counted.

        columns int64[m], places in COUNTER_NAMES: only these, float64[n, m]."""
        self._flush()
        values = self._values  # taken before the origins, which grow first: every row has one
        return _read(values, self._origin, item_id, columns, time_us)

    def column(self, name: str, time_us: int) -> Float64:
        """float64[m], m at least every counted id + 1: one of COUNTER_NAMES for all videos as of `time_us`."""
        self._flush()
        at = COUNTER_NAMES.index(name)
        return _as_of(self._line(at), self._origin, _WINDOW[at], time_us)

    def _line(self, at: int) -> Float64:
        """One column of the table, kept contiguous: a stride through a million rows costs thirty times as much."""
        stale = np.array(sorted(self._stale), np.int64)
        self._stale = set()
        blocks = self._values.reshape(-1, BLOCK, _N)
        for known, line in self._lines.items():
            if len(line) == len(self._values):
                line.reshape(-1, BLOCK)[stale] = blocks[stale, :, known]
        line = self._lines.get(at, np.zeros(0))
        if len(line) != len(self._values):
            self._lines = {k: v for k, v in self._lines.items() if len(v) == len(self._values)}
            line = self._lines[at] = self._values[:, at].copy()
        return line

    def take_changed(self) -> Iterator[tuple[int, bytes]]:
        """Each block changed since the last call, ascending, with its bytes."""
        self._flush()
        changed, self._changed = sorted(self._changed), set()
        for block in changed:
            yield block, self._block_bytes(block)

    def versions(self, page: int) -> bytes:
        """uint32[PAGE] as bytes: how many deltas each block of the page has taken."""
        versions = np.zeros(PAGE, np.uint32)
        mine = self._version[page * PAGE : (page + 1) * PAGE]
        versions[: len(mine)] = mine
        return versions.tobytes()

    def stale(self, page: int, versions: bytes) -> Int64:
        """The blocks of a page whose stored version differs from this table's, int64[m]."""
        stored = np.frombuffer(versions, np.uint32)
        if stored.any():
            self._grow(page * PAGE + int(np.flatnonzero(stored)[-1]) + 1)
        mine = self._version[page * PAGE : (page + 1) * PAGE]
        return np.flatnonzero(stored[: len(mine)] != mine).astype(np.int64) + page * PAGE

    def load_block(self, block: int, data: bytes, version: int) -> None:
        """Replaces a block by what take_changed gave."""
        self._flush()
        self._grow(block + 1)
        origin, mask = _HEADER.unpack_from(data)
        rows = self._values[block * BLOCK : (block + 1) * BLOCK]
        there = (np.uint64(mask) >> np.arange(BLOCK, dtype=np.uint64)) & np.uint64(1)
        rows[there == 0] = 0.0
        rows[there == 1] = np.frombuffer(data, np.float64, offset=_HEADER.size).reshape(-1, _N)
        self._origin[block] = origin
        self._origins[block] = origin
        self._version[block] = version
        self._stale.add(block)

    def _block_bytes(self, block: int) -> bytes:
        rows = self._values[block * BLOCK : (block + 1) * BLOCK]
        there = rows.any(axis=1)
        mask = int((there.astype(np.uint64) << np.arange(BLOCK, dtype=np.uint64)).sum())
        return _HEADER.pack(int(self._origin[block]), mask) + rows[there].tobytes()

    def _flush(self) -> None:
        if self._cells:
            # np.add.at adds one after the other in this order, so a sum depends on the order of events alone
            cells, amounts = np.array(self._cells, np.int64), np.array(self._amounts)
            self._cells, self._amounts = [], []
            np.add.at(self._values.reshape(-1), cells, amounts)

    def _open(self, block: int) -> int:
        self._grow(block + 1)
        origin = int(self._origin[block])
        self._origins[block] = origin
        return origin

    def _move(self, block: int, week: int) -> None:
        """Moves the block's origin to `week`: exact, except for what is too old to count."""
        self._flush()
        origin = int(self._origin[block])
        if origin != _NO_ORIGIN:
            rows = self._values[block * BLOCK : (block + 1) * BLOCK]
            shifts = np.array([0, *(-(week - origin) * n for n in _PER_WEEK)])
            rows[:] = np.ldexp(rows, shifts[_WINDOW])
        self._origin[block] = week
        self._origins[block] = week
        self._stale.add(block)

    def _grow(self, n_blocks: int) -> None:
        have = len(self._origin)
        if n_blocks <= have:
            return
        self._flush()
        size = max(n_blocks, have + have // 2)
        values = np.zeros((size * BLOCK, _N))
        values[: have * BLOCK] = self._values
        self._origin = np.concatenate([self._origin, np.full(size - have, _NO_ORIGIN, np.int64)])
        self._version = np.concatenate([self._version, np.zeros(size - have, np.uint32)])
        self._values = values  # last: who holds the new table finds the new origins


def _power_of_two(time_us: int, half_life_us: int, origin: int) -> float:
    """2^(time / half_life - origin), exact in its whole part."""
    whole, rest = divmod(time_us, half_life_us)
    return math.ldexp(math.exp2(rest / half_life_us), whole - origin)


@compiled
def _read(
    values: Float64, origin: Int64, item_id: Int64, columns: Int64 | None, time_us: int
) -> Float64:
    """float64[n, m]: the counts of n videos. All rows are fetched first: cache misses that wait for no arithmetic overlap."""
    counts, weeks_of = _sums(values, origin, item_id, columns)
    window = _WINDOW if columns is None else _WINDOW[columns]
    passed = _passed(time_us)
    factor, factor_of = np.ones(len(window)), np.ones(_N_WINDOWS)
    weeks = _NO_ORIGIN
    for i in range(len(item_id)):
        if weeks_of[i] != weeks and weeks_of[i] != _NO_ORIGIN:  # without, only totals are there
            weeks = weeks_of[i]
            for w in range(_N_WINDOWS):
                factor_of[w] = _factor(weeks, w, passed)
            for j in range(len(window)):
                factor[j] = factor_of[window[j]]
        row = counts[i]
        for j in range(len(row)):
            row[j] = max(row[j] * factor[j], 0.0)
    return counts


@compiled
def _sums(
    values: Float64, origin: Int64, item_id: Int64, columns: Int64 | None
) -> tuple[Float64, Int64]:
    """(float64[n, m], int64[n]): the rows of n videos as they stand in the table, or some columns, and their origins; zeros beyond it."""
    n_columns = values.shape[1] if columns is None else len(columns)
    sums, weeks = np.empty((len(item_id), n_columns)), np.full(len(item_id), _NO_ORIGIN)
    for i in range(len(item_id)):
        if 0 <= item_id[i] < len(values):
            weeks[i] = origin[item_id[i] // BLOCK]
    for i in range(len(item_id)):
        row = sums[i]
        if not 0 <= item_id[i] < len(values):
            row[:] = 0.0
            continue
        known = values[item_id[i]]
        if columns is None:
            for j in range(n_columns):  # not _N: what is unrolled is not vectorised
                row[j] = known[j]
        else:
            for j in range(n_columns):
                row[j] = known[columns[j]]
    return sums, weeks


@compiled
def _as_of(sums: Float64, origin: Int64, window: int, time_us: int) -> Float64:
    """float64[m]: the counts of one window from sums float64[m] whose blocks have these origins."""
    passed = _passed(time_us)
    counts = np.empty(len(sums))
    for block in range(len(sums) // BLOCK):  # the origins may have grown meanwhile
        factor = _factor(origin[block], window, passed)
        for i in range(block * BLOCK, (block + 1) * BLOCK):
            counts[i] = max(sums[i] * factor, 0.0)
    return counts


@compiled
def _factor(weeks: int, window: int, passed: tuple[Float64, Int64]) -> float:
    """What turns sums with this origin into counts, 2^(origin - time / half_life): 0 where that is too small to matter, bounded above."""
    part, whole = passed
    power = weeks * _HALVINGS[window] - whole[window]
    factor: float = part[window] * _POWERS[min(max(power, _LEAST), _MOST) - _LEAST]
    return factor


@compiled
def _passed(time_us: int) -> tuple[Float64, Int64]:
    """(float64[4], int64[4]): a time per window in half-lives, as 2^-part and the whole ones; the totals know no time."""
    part, whole = np.ones(_N_WINDOWS), np.zeros(_N_WINDOWS, np.int64)
    for i, half_life_us in enumerate(_HALF_LIVES_US):
        whole[1 + i] = time_us // half_life_us
        part[1 + i] = np.exp2(-(time_us % half_life_us) / half_life_us)
    return part, whole

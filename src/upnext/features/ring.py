"""A viewer's latest showings in order of time, and which of them an event belongs to.

DESIGN.md section 3: feedback joins its slot by request_id and video_id; without a request_id it joins the same viewer's latest
showing of the video within 24 hours. A view_id, where both sides have one, decides first. Ids are kept as 32-bit CRCs: they are
only compared between showings of one video by one viewer.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.types import Flag, Float32, History, Int64, UInt16

JOIN_WITHIN_US = DAY_US
_CODES = "qqfHIIq"  # item, time, watch, flags, view, request, opened_by


def crc_of(text: str | None) -> int:
    """The 32-bit key of an id, never 0; 0 for none."""
    return (zlib.crc32(text.encode()) or 1) if text else 0


@dataclass(frozen=True, slots=True)
class Rows:
    """Showings as they left a ring, m aligned columns in order of time."""

    item_id: Int64  # [m]
    time_us: Int64  # [m]
    watch_s: Float32  # [m]
    flags: UInt16  # [m] bits of Flag
    opened_by: Int64  # [m] the mark of the event that opened the row


class Ring:
    """At most `capacity` showings, oldest first, equal times in order of arrival.

    With `keep_all`, rows that fall out are kept aside and each row remembers the `mark` given at its opening: the offline readers
    (labels, showings) get every showing by exactly the rules that the online state follows.
    """

    __slots__ = ("_columns", "_dropped", "_n_of", "capacity", "flags", "item", "keep_all", "mark",
                 "opened_by", "request", "time", "view", "watch")  # fmt: skip

    def __init__(self, capacity: int, *, keep_all: bool = False) -> None:
        self.capacity = capacity
        self.keep_all = keep_all
        self.mark = 0
        self._set(tuple(array(code) for code in _CODES))
        self._dropped: list[tuple[int, int, float, int, int]] = []

    def _set(self, columns: tuple[array[Any], ...]) -> None:
        self._columns = columns
        self.item, self.time, self.watch, self.flags, self.view, self.request, self.opened_by = (
            columns
        )
        self._n_of: dict[int, int] | None = None

    def __len__(self) -> int:
        return len(self.item)

    def find(self, item_id: int, time_us: int, view: int, request: int, *, is_watch: bool) -> int:
        """The row that feedback belongs to: the same view or request, else the latest within 24 hours; -1: none."""
        n_left = self._counts().get(item_id, 0)
        item, times, views, requests = self.item, self.time, self.view, self.request
        latest = -1
        i = len(item)
        while n_left:
            i -= 1
            if item[i] != item_id:
                continue
            n_left -= 1
            if (view and views[i] == view) or (request and requests[i] == request):
                return i
            if latest >= 0 or not 0 < times[i] <= time_us <= times[i] + JOIN_WITHIN_US:
                continue
            other_request = request and requests[i]
            other_view = is_watch and view and views[i]
            if not other_request and not other_view:
                latest = i
        return latest

    def find_unshown(self, item_id: int, time_us: int, view: int, request: int) -> int:
        """The row that an impression completes because its feedback came first, or repeats; -1: none."""
        n_left = self._counts().get(item_id, 0)
        item = self.item
        i = len(item)
        while n_left:
            i -= 1
            if item[i] != item_id:
                continue
            n_left -= 1
            if (view and self.view[i] == view) or (request and self.request[i] == request):
                return i
            is_shown = self.flags[i] & Flag.IMPRESSION
            is_after = time_us <= self.time[i] <= time_us + JOIN_WITHIN_US
            if not is_shown and is_after and not (request and self.request[i]):
                return i
        return -1

    def open(self, item_id: int, time_us: int, view: int, request: int) -> int:
        """The position of a new, empty row; `trim` after filling it."""
        counts = self._counts()  # before the row is there, or it would count twice
        counts[item_id] = counts.get(item_id, 0) + 1
        i = len(self.item)
        row = (item_id, time_us, 0.0, 0, view, request, self.mark)
        if i and time_us < self.time[-1]:
            i = bisect_right(self.time, time_us)
            for column, value in zip(self._columns, row):
                column.insert(i, value)
        else:
            for column, value in zip(self._columns, row):
                column.append(value)
        return i

    def retime(self, i: int, time_us: int) -> int:
        """Moves row i to another time -> its new position."""
        row = [column.pop(i) for column in self._columns]
        row[1] = time_us
        row[6] = self.mark
        j = bisect_right(self.time, time_us)
        for column, value in zip(self._columns, row):
            column.insert(j, value)
        return j

    def trim(self) -> None:
        """Drops the oldest rows beyond the capacity."""
        counts = self._counts()
        while len(self.item) > self.capacity:
            item, time_us, watch, flags, _, _, opened_by = (
                column.pop(0) for column in self._columns
            )
            counts[int(item)] -= 1
            if not counts[int(item)]:
                del counts[int(item)]
            if self.keep_all:
                self._dropped.append((int(item), int(time_us), watch, int(flags), int(opened_by)))

    def _counts(self) -> dict[int, int]:
        if self._n_of is None:
            counts: dict[int, int] = {}
            for item_id in self.item:
                counts[item_id] = counts.get(item_id, 0) + 1
            self._n_of = counts
        return self._n_of

    def history(self) -> History:
        """The rows as columns, copied."""
        return History(
            np.frombuffer(self.item.tobytes(), np.int64),
            np.frombuffer(self.time.tobytes(), np.int64),
            np.frombuffer(self.watch.tobytes(), np.float32),
            np.frombuffer(self.flags.tobytes(), np.uint16),
        )

    def all_rows(self) -> Rows:
        """Every row ever held (of a ring that keeps all), in order of time, ties as they stood."""
        kept = list(zip(self.item, self.time, self.watch, self.flags, self.opened_by))
        rows = self._dropped + kept
        item, times, watch, flags, opened_by = zip(*rows) if rows else ((), (), (), (), ())
        order = np.argsort(np.array(times, np.int64), kind="stable")
        return Rows(
            np.array(item, np.int64)[order],
            np.array(times, np.int64)[order],
            np.array(watch, np.float32)[order],
            np.array(flags, np.uint16)[order],
            np.array(opened_by, np.int64)[order],
        )

    def to_bytes(self) -> bytes:
        """The rows, column after column, without the marks."""
        return b"".join(column.tobytes() for column in self._columns[:6])

    @classmethod
    def from_bytes(cls, data: bytes, capacity: int) -> Ring:
        """The inverse of to_bytes."""
        ring = cls(capacity)
        n_rows = len(data) // ROW_BYTES
        columns = []
        start = 0
        for code in _CODES[:6]:
            column: array[Any] = array(code)
            stop = start + n_rows * column.itemsize
            column.frombytes(data[start:stop])
            columns.append(column)
            start = stop
        ring._set((*columns, array("q", bytes(8 * n_rows))))
        return ring


ROW_BYTES = sum(array(code).itemsize for code in _CODES[:6])


def history_of(data: bytes) -> History:
    """The columns of Ring.to_bytes as read-only views, without a copy."""
    n_rows = len(data) // ROW_BYTES
    return History(
        np.frombuffer(data, np.int64, n_rows, 0),
        np.frombuffer(data, np.int64, n_rows, 8 * n_rows),
        np.frombuffer(data, np.float32, n_rows, 16 * n_rows),
        np.frombuffer(data, np.uint16, n_rows, 20 * n_rows),
    )

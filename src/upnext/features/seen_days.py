"""The videos a viewer has seen, day by day, each day in the order of seeing."""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np

from upnext.core.types import Int64


class SeenDays:
    """Days of item_ids; a video seen again moves behind the others of its day."""

    __slots__ = ("_days",)

    def __init__(self) -> None:
        self._days: dict[int, dict[int, None]] = {}

    def __contains__(self, day: int) -> bool:
        return day in self._days

    def load(self, day: int, data: bytes | None) -> None:
        """Takes a day as `day_bytes` gave it; None: nothing yet."""
        self._days[day] = dict.fromkeys(np.frombuffer(data or b"", np.int64).tolist())

    def add(self, day: int, item_ids: Iterable[int]) -> None:
        """Puts the videos behind all others of the day."""
        seen = self._days.setdefault(day, {})
        for item_id in item_ids:
            seen.pop(item_id, None)
            seen[item_id] = None

    def keep_only(self, days: Container[int]) -> None:
        """Drops every other day."""
        if any(day not in days for day in self._days):
            self._days = {day: seen for day, seen in self._days.items() if day in days}

    def day_bytes(self, day: int) -> bytes:
        """int64[m] of one day as bytes."""
        return np.fromiter(self._days[day], np.int64, len(self._days[day])).tobytes()

    def order(self) -> Int64:
        """int64[m]: all videos, day after day; one seen on two days is there twice."""
        days = [self._days[day] for day in sorted(self._days)]
        size = sum(len(day) for day in days)
        return np.fromiter((item_id for day in days for item_id in day), np.int64, size)

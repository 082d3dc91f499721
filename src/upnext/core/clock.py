"""Where time comes from: UTC microseconds, passed in, so that a test can hold it still."""

from __future__ import annotations

import time
from typing import Protocol

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 3_600 * SECOND_US
DAY_US = 24 * HOUR_US


class Clock(Protocol):
    """Tells the current UTC time."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z."""
        return time.time_ns() // 1000


class ManualClock:
    """A clock that moves only when told: for tests, replays and simulations."""

    def __init__(self, time_us: int) -> None:
        self._time_us = time_us

    def now_us(self) -> int:
        """The time it was last set to."""
        return self._time_us

    def set(self, time_us: int) -> None:
        """Moves to `time_us`."""
        self._time_us = time_us

    def advance(self, duration_s: float) -> None:
        """Moves forward by `duration_s` seconds."""
        self._time_us += int(duration_s * SECOND_US)

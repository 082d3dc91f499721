"""The time of a system that is simulated over HTTP: what the latest request said, alike in every process.

With `serve.clock = "simulated"` a request moves the system's time forward by the header `simulated-time-us`, so that days of a made-up
platform pass in minutes. The time stands in eight bytes of a file in the run folder, which every process maps; it never goes
back, and a restarted system goes on where it was. With any other setting the header is refused: a real log's times are the
server's own.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers

from upnext.core.clock import Clock, SystemClock
from upnext.core.errors import InvalidInput
from upnext.settings.settings import Settings

HEADER: Final = "simulated-time-us"
_SIZE: Final = 8
_LAST_US: Final = 1 << 62


class SimulatedClock:
    """A clock in a file; any number of processes read and move it."""

    def __init__(self, path: Path) -> None:
        """Opens `path`; it is made, at 1970, where it is absent."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.fstat(self._file).st_size < _SIZE:
            os.ftruncate(self._file, _SIZE)
        self._time_us = memoryview(mmap.mmap(self._file, _SIZE)).cast("q")

    def now_us(self) -> int:
        """The latest time that any process was told, UTC microseconds."""
        return self._time_us[0]

    def move_to(self, time_us: int) -> None:
        """Moves forward to `time_us`; an earlier time changes nothing."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._time_us[0] = max(time_us, self._time_us[0])
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def clock_of(settings: Settings) -> Clock:
    """The clock that the settings name."""
    if settings.serve.clock == "simulated":
        return SimulatedClock(settings.run_path / "clock")
    return SystemClock()


def hear_time(headers: Headers, clock: Clock) -> None:
    """Moves a simulated clock to the time that a request tells, if it tells one.

    Raises InvalidInput for what is no time, and on a system that keeps its own."""
    said = headers.get(HEADER)
    if said is None:
        return
    if not isinstance(clock, SimulatedClock):
        raise InvalidInput(
            f'header {HEADER}: this system keeps its own time; serve.clock = "simulated" takes it from requests'
        )
    if not said.isdecimal() or not 0 < int(said) < _LAST_US:
        raise InvalidInput(
            f"header {HEADER}: expected microseconds since 1970, above 0, got {said!r:.80}"
        )
    clock.move_to(int(said))

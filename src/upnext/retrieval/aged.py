"""What a source makes of the catalogue now and then: one value, made as of an instant, made anew when it has aged.

The value is replaced by one assignment. A request that reads it once has all parts of the same making, while another thread makes the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from upnext.core.clock import SECOND_US

_T = TypeVar("_T")


class Aged(Generic[_T]):
    """A value with an age."""

    def __init__(self, make: Callable[[int], _T], age_s: float) -> None:
        """`make(time_us)`: the value as of an instant; one younger than `age_s` seconds stands."""
        self._make = make
        self._age_us = age_s * SECOND_US
        self._made: tuple[int, _T] | None = None

    def refresh(self, time_us: int) -> None:
        """Makes the value as of time_us, unless what stands was made less than its age before or after."""
        made = self._made
        if made is None or abs(time_us - made[0]) >= self._age_us:
            self._made = time_us, self._make(time_us)

    def at(self, time_us: int) -> _T:
        """What stands; where nothing was made yet, it is made as of time_us."""
        made = self._made
        if made is None:
            made = self._made = time_us, self._make(time_us)
        return made[1]

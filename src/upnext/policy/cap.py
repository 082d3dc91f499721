"""A cap: at most so many videos of one code (a creator, a category) in any run of slots."""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.types import Bool, Int64

_NOBODY: Final = -1


class Cap:
    """What one cap forbids for the next slot, kept up slot by slot. Negative codes are unknown and never capped."""

    def __init__(self, codes: Int64, cap: int, window: int) -> None:
        """`codes` int64[n] of the candidates; `window`: slots of the run, 0: the whole page."""
        self._codes = codes
        self._cap = cap
        self._window = window
        self._placed: list[int] = []  # codes, slot by slot
        self._counts: dict[int, int] = {}  # over the last window - 1 slots: the next one ends a run
        self._full: set[int] = set()
        self._forbidden = np.zeros(len(codes), np.bool_)

    def forbidden(self) -> Bool | None:
        """bool[n]: the candidates whose code is full; None where no code is."""
        return self._forbidden if self._full else None

    def place(self, row: int) -> bool:
        """Counts candidate `row` in the next slot -> whether what is forbidden changed."""
        came, left = int(self._codes[row]), _NOBODY
        self._placed.append(came)
        self._counts[came] = self._counts.get(came, 0) + 1
        if 0 < self._window <= len(self._placed):
            left = self._placed[-self._window]
            self._counts[left] -= 1
        is_freed = left in self._full and self._counts[left] < self._cap
        is_filled = came >= 0 and came not in self._full and self._counts[came] >= self._cap
        if is_freed:
            self._full.remove(left)
            self._forbidden = np.isin(self._codes, list(self._full))
        if is_filled:
            self._full.add(came)
            self._forbidden |= self._codes == came
        return is_freed or is_filled

"""A cap: at most so many videos of one code (a creator, a category) in any run of slots.

Each candidate carries how many videos of its own code stand in the run that the next slot ends; it is full where that many are
allowed. Negative codes are unknown and never counted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.types import Int64

Int32 = npt.NDArray[np.int32]


@compiled
def count_in_run(codes: Int64, n_in_run: Int32, placed: Int64, window: int) -> None:
    """Brings n_in_run int32[n] up to the last of `placed`, rows in order of slots, which was counted up to the one before.

    `codes` int64[n] of the candidates; `window`: slots of the run, 0: the whole page."""
    _add(codes, n_in_run, codes[placed[-1]], 1)
    if 0 < window <= len(placed):  # the next slot's run no longer reaches that far back
        _add(codes, n_in_run, codes[placed[-window]], -1)


@compiled
def _add(codes: Int64, n_in_run: Int32, code: int, change: int) -> None:
    if code < 0:
        return
    for i in range(len(codes)):
        if codes[i] == code:
            n_in_run[i] += change

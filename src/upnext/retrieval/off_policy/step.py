"""What one showing of a history tells the state beside its video: what the viewer did, and how long they watched. No torch here."""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.types import Array, Flag, Float32, UInt16

_BITS: Final = (
    Flag.CLICK, Flag.WATCHED_HALF, Flag.COMPLETED, Flag.LIKE, Flag.DISLIKE, Flag.SHARE,
    Flag.COMMENT, Flag.FOLLOW, Flag.NOT_INTERESTED, Flag.SKIPPED, Flag.LONG_VIEW, Flag.WATCHED,
)  # fmt: skip
MONTH_H: Final = 720.0
N_STEP: Final = len(_BITS) + 1


def step_columns(flags: UInt16, watch_s: Float32) -> Float32:
    """float32[..., N_STEP] of showings by their flags and seconds, in any shape."""
    columns = np.zeros((*flags.shape, N_STEP), np.float32)
    for place, bit in enumerate(_BITS):
        columns[..., place] = (flags & np.uint16(bit)) != 0
    columns[..., -1] = np.log1p(np.maximum(np.nan_to_num(watch_s), 0)) / 5
    return columns


def idle_column(time_us: Array, last_us: Array) -> Float32:
    """float32[...]: the log of the hours since the last showing, a month at most; 0 where either time is not known."""
    known = (np.asarray(last_us) > 0) & (np.asarray(time_us) > 0)
    hours = np.clip((np.asarray(time_us) - np.asarray(last_us)) / HOUR_US, 0, MONTH_H)
    return np.where(known, np.log1p(hours) / 5, 0).astype(np.float32)

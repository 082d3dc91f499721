"""What one step of a viewer's history says besides its video, as rows of numbers; training and serving read the same code.

Step 0 of every sequence is the start, which stands for all that is not known; steps 1 to h are showings, oldest first.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.types import Array, Flag, Float32, Int64, UInt16

_BITS: Final = np.array(
    [
        Flag.CLICK,
        Flag.WATCHED_HALF,
        Flag.COMPLETED,
        Flag.LIKE,
        Flag.DISLIKE | Flag.NOT_INTERESTED,
        Flag.SHARE | Flag.COMMENT,
        Flag.FOLLOW,
        Flag.SKIPPED,
        Flag.LONG_VIEW,
        Flag.WATCHED,
    ],
    np.uint16,
)
_SHARES: Final = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 0.95, 1.5], np.float32)
N_FEEDBACK: Final = len(_BITS) + len(_SHARES) + 1
N_CLOCK: Final = 5
N_GAPS: Final = 64  # the last one: not known
LEAST_STEPS: Final = 2  # of the exported graph; padding stands at the right, where nothing reads it
SECOND_US: Final = 1_000_000


def feedback_rows(flags: UInt16, watch_s: Float32, duration_s: Float32) -> Float32:
    """float32[h, N_FEEDBACK] of zeros and ones: what was done, and the bucket of the share watched where it is known."""
    rows = np.zeros((len(flags), N_FEEDBACK), np.float32)
    rows[:, : len(_BITS)] = (flags[:, None] & _BITS) != 0
    known = np.flatnonzero(((flags & np.uint16(Flag.WATCHED)) != 0) & (duration_s > 0))
    share = watch_s[known] / duration_s[known]
    rows[known, len(_BITS) + np.searchsorted(_SHARES, share)] = 1
    return rows


def clock_rows(time_us: Int64) -> Float32:
    """float32[h, N_CLOCK]: the hour of the day (UTC) as two waves, and whether a time is known; zeros without."""
    is_timed = time_us > 0
    angle = (time_us % (24 * HOUR_US)) / (24 * HOUR_US) * 2 * np.pi
    waves = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
    rows = np.stack([*waves, np.ones(len(time_us))], 1) * is_timed[:, None]
    return rows.astype(np.float32)


def gap_buckets(time_us: Int64, asked_us: Int64) -> Array:
    """int64[..., h, h]: of asking step i and read step j, the bucket of |asked_us[i] - time_us[j]| (HSTU: floor(ln s / .301)).

    time_us and asked_us int64[..., h]; 0 is not known, and has the last bucket."""
    gap_s = np.abs(asked_us[..., :, None] - time_us[..., None, :]) / SECOND_US
    bucket = np.minimum(np.log(np.maximum(1, gap_s)) / 0.301, N_GAPS - 2).astype(np.int64)
    is_known = (asked_us[..., :, None] > 0) & (time_us[..., None, :] > 0)
    return np.where(is_known, bucket, N_GAPS - 1)

"""A viewer's past in one row: how much, how well, how lately (design A's history, averaged; design B's user side)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US, MINUTE_US
from upnext.core.compiled import compiled
from upnext.core.types import Flag, Float32, Int64, UInt16
from upnext.features.reading import ItemColumns, Reading

SESSION_GAP_US: Final = 30 * MINUTE_US
N_RECENT: Final = 10
_RATES: Final = (
    ("relevant", Flag.RELEVANT), ("click", Flag.CLICK), ("like", Flag.LIKE),
    ("skip", Flag.SKIPPED), ("completed", Flag.COMPLETED), ("watched", Flag.WATCHED),
)  # fmt: skip
_BITS: Final = np.array([flag for _, flag in _RATES], np.uint16)
_WATCHED: Final = np.uint16(Flag.WATCHED)
SUMMARY_NAMES: Final = (
    "log_n_impressions", "log_n_relevant", "relevance_rate", "is_new", "log_h_since_last",
    "never_came", "log_session_rows", "log_session_min", "log_n_searches", "log_n_followed",
    "log_n_interests", "log_n_muted", "mean_watch_share", "log_mean_watch_s",
    *(f"history_{name}" for name, _ in _RATES), *(f"recent_{name}" for name, _ in _RATES),
)  # fmt: skip


def fill_summary(out: Float32, reading: Reading, view: ItemColumns) -> None:
    """Writes float32[len(SUMMARY_NAMES)]; `out` holds zeros."""
    user, history = reading.query.user, reading.history
    since_us = reading.time_us - user.last_time_us if user.last_time_us > 0 else 0
    out[:12] = (
        math.log1p(user.n_impressions) / 10,
        math.log1p(max(user.n_relevant, 0)) / 10,
        (user.n_relevant + 1.0) / (user.n_impressions + 4.0),
        len(user.history) == 0,
        math.log1p(max(since_us, 0) / HOUR_US) / 10,
        user.last_time_us == 0,
        0.0,  # this and the next: see _fill_session
        0.0,
        math.log1p(len(user.searches)) / 4,
        math.log1p(len(user.followed)) / 4,
        math.log1p(len(user.interests)) / 4,
        math.log1p(len(user.muted_creators) + len(user.muted_topics)) / 4,
    )
    if len(history):
        rows = history.time_us, history.flags, history.watch_s, history.item_id
        _fill_history(out, *rows, view.duration_s, reading.time_us)


@compiled
def _fill_history(
    out: Float32,
    time_us: Int64,
    flags: UInt16,
    watch_s: Float32,
    item_id: Int64,
    duration_s: Float32,
    now_us: int,
) -> None:
    """Writes the columns that h > 0 showings give: the visit that is going on, how they were watched, how often what was done."""
    _fill_session(out[6:8], time_us, now_us)
    _fill_watching(out[12:14], flags, watch_s, item_id, duration_s)
    n, n_rates = len(flags), len(_BITS)
    n_recent = min(N_RECENT, n)
    for j in range(n_rates):
        n_did = n_did_recently = 0
        for i in range(n):
            did = (flags[i] & _BITS[j]) != 0
            n_did += did
            n_did_recently += did and i >= n - n_recent
        out[14 + j] = n_did / n
        out[14 + n_rates + j] = n_did_recently / n_recent


@compiled
def _fill_session(out: Float32, time_us: Int64, now_us: int) -> None:
    """Rows and minutes of the visit that is going on: showings with less than half an hour between them."""
    start = len(time_us)
    next_us = now_us
    while start > 0 and next_us - time_us[start - 1] <= SESSION_GAP_US:
        start -= 1
        next_us = time_us[start]
    if start < len(time_us):
        out[0] = math.log1p(len(time_us) - start) / 5
        out[1] = math.log1p(max(now_us - time_us[start], 0) / MINUTE_US) / 5


@compiled
def _fill_watching(
    out: Float32, flags: UInt16, watch_s: Float32, item_id: Int64, duration_s: Float32
) -> None:
    """Mean share of the duration, at most 1, where that is known, and log of the mean watch time, of showings that were watched."""
    n_watched = n_known = 0
    total_s = shares = 0.0
    for i in range(len(flags)):
        if (flags[i] & _WATCHED) == 0:
            continue
        n_watched += 1
        total_s += watch_s[i]
        length_s = duration_s[item_id[i]]
        if length_s > 0:  # not NaN
            n_known += 1
            shares += min(watch_s[i] / length_s, 1.0)
    if n_known:
        out[0] = shares / n_known
    if n_watched:
        out[1] = math.log1p(total_s / n_watched) / 10

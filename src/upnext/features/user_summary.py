"""A viewer's past in one row: how much, how well, how lately (design A's history, averaged; design B's user side)."""

from __future__ import annotations

from math import log1p
from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US, MINUTE_US
from upnext.core.types import Flag, Float32
from upnext.features.reading import ItemColumns, Reading

SESSION_GAP_US: Final = 30 * MINUTE_US
N_RECENT: Final = 10
_RATES: Final = (
    ("relevant", Flag.RELEVANT), ("click", Flag.CLICK), ("like", Flag.LIKE),
    ("skip", Flag.SKIPPED), ("completed", Flag.COMPLETED), ("watched", Flag.WATCHED),
)  # fmt: skip
_BITS: Final = np.array([flag for _, flag in _RATES], np.uint16)
_WATCHED: Final = [flag for _, flag in _RATES].index(Flag.WATCHED)
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
    out[:6] = (
        log1p(user.n_impressions) / 10,
        log1p(max(user.n_relevant, 0)) / 10,
        (user.n_relevant + 1.0) / (user.n_impressions + 4.0),
        len(user.history) == 0,
        log1p(max(since_us, 0) / HOUR_US) / 10,
        user.last_time_us == 0,
    )
    out[8:12] = (
        log1p(len(user.searches)) / 4,
        log1p(len(user.followed)) / 4,
        log1p(len(user.interests)) / 4,
        log1p(len(user.muted_creators) + len(user.muted_topics)) / 4,
    )
    if len(history):
        _fill_session(out[6:8], reading)
        _fill_history(out[12:], reading, view)


def _fill_session(out: Float32, reading: Reading) -> None:
    """Rows and minutes of the visit that is going on: showings with less than half an hour between them."""
    times = reading.history.time_us
    last_us = int(times[-1])
    if reading.time_us - last_us > SESSION_GAP_US:
        return
    rests = np.flatnonzero(times[1:] - times[:-1] > SESSION_GAP_US)
    start = int(rests[-1]) + 1 if len(rests) else 0
    out[0] = log1p(len(times) - start) / 5
    out[1] = log1p(max(reading.time_us - int(times[start]), 0) / MINUTE_US) / 5


def _fill_history(out: Float32, reading: Reading, view: ItemColumns) -> None:
    history = reading.history
    did = (history.flags[:, None] & _BITS) != 0  # [h, 6]
    n_rates = len(_RATES)
    n_recent = min(N_RECENT, len(history))
    out[2 : 2 + n_rates] = np.count_nonzero(did, axis=0) / len(history)
    out[2 + n_rates : 2 + 2 * n_rates] = np.count_nonzero(did[-n_recent:], axis=0) / n_recent
    watched = np.flatnonzero(did[:, _WATCHED])
    if not len(watched):
        return
    watch_s = history.watch_s.take(watched)
    duration_s = view.duration_s.take(history.item_id.take(watched))
    known = np.flatnonzero(duration_s > 0)
    if len(known):
        share = watch_s.take(known) / duration_s.take(known)
        out[0] = np.minimum(share, 1.0).mean()
    out[1] = log1p(float(watch_s.mean())) / 10

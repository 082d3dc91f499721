"""A viewer's past in one row: how much, how well, how lately (design A's history, averaged; design B's user side)."""

from __future__ import annotations

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
SUMMARY_NAMES: Final = (
    "log_n_impressions", "log_n_relevant", "relevance_rate", "is_new", "log_h_since_last",
    "never_came", "log_session_rows", "log_session_min", "log_n_searches", "log_n_followed",
    "log_n_interests", "log_n_muted", "mean_watch_share", "log_mean_watch_s",
    *(f"history_{name}" for name, _ in _RATES), *(f"recent_{name}" for name, _ in _RATES),
)  # fmt: skip


def fill_summary(out: Float32, reading: Reading, view: ItemColumns) -> None:
    """Writes float32[len(SUMMARY_NAMES)]; `out` holds zeros."""
    user, history = reading.query.user, reading.history
    out[0] = np.log1p(user.n_impressions) / 10
    out[1] = np.log1p(max(user.n_relevant, 0)) / 10
    out[2] = (user.n_relevant + 1.0) / (user.n_impressions + 4.0)
    out[3] = len(user.history) == 0
    if user.last_time_us > 0:
        out[4] = np.log1p(max(reading.time_us - user.last_time_us, 0) / HOUR_US) / 10
    out[5] = user.last_time_us == 0
    out[8] = np.log1p(len(user.searches)) / 4
    out[9] = np.log1p(len(user.followed)) / 4
    out[10] = np.log1p(len(user.interests)) / 4
    out[11] = np.log1p(len(user.muted_creators) + len(user.muted_topics)) / 4
    if len(history):
        _fill_session(out[6:8], reading)
        _fill_history(out[12:], reading, view)


def _fill_session(out: Float32, reading: Reading) -> None:
    """Rows and minutes of the visit that is going on: showings with less than half an hour between them."""
    times = reading.history.time_us
    gaps = np.diff(times, append=max(reading.time_us, int(times[-1])))
    rests = np.flatnonzero(gaps > SESSION_GAP_US)
    start = int(rests[-1]) + 1 if len(rests) else 0
    if start < len(times):
        out[0] = np.log1p(len(times) - start) / 5
        out[1] = np.log1p(max(reading.time_us - int(times[start]), 0) / MINUTE_US) / 5


def _fill_history(out: Float32, reading: Reading, view: ItemColumns) -> None:
    history = reading.history
    watched = (history.flags & Flag.WATCHED) != 0
    if watched.any():
        watch_s = history.watch_s[watched]
        duration_s = view.duration_s[history.item_id[watched]]
        known = duration_s > 0
        if known.any():
            out[0] = np.minimum(watch_s[known] / duration_s[known], 1.0).mean()
        out[1] = np.log1p(watch_s.mean()) / 10
    bits = np.array([flag for _, flag in _RATES], np.uint16)
    did = (history.flags[:, None] & bits) != 0  # [h, 6]
    n_rates = len(_RATES)
    out[2 : 2 + n_rates] = did.mean(axis=0)
    out[2 + n_rates : 2 + 2 * n_rates] = did[-N_RECENT:].mean(axis=0)

"""Item columns from the counters: what all viewers did with the video (Covington et al. 2016, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Float32, Float64, Int64
from upnext.features.counters import COUNTER_NAMES, CounterTable
from upnext.features.reading import Reading

_LOG_SCALE: Final = 0.1  # keeps logs of counts and seconds near one
_STRENGTH: Final = 20.0  # showings that a rate over a longer window counts for
_WATCH_S, _WATCHES = 50.0, 5.0  # a mean watch time begins at ten seconds


class CounterBlock:
    """What all viewers did with the video: counts, smoothed rates, trend.

    A rate over a shorter window is smoothed by the rate over the next longer one, and that over all time by a fixed rate."""

    _COUNTED = (
        "impressions_total", "impressions_7d", "impressions_1d", "impressions_6h",
        "relevant_total", "relevant_7d", "relevant_1d", "relevant_6h", "clicks_7d", "likes_total",
        "shares_total",
    )  # fmt: skip
    _RATES = ("clicks", "relevant", "likes", "dislikes", "shares", "skips", "completions")
    _PRIOR = np.array([0.3, 0.3, 0.02, 0.002, 0.005, 0.3, 0.2])
    names = (
        *(f"log_{name}" for name in _COUNTED),
        *(f"rate_{name}_total" for name in _RATES),
        *(f"rate_{name}_7d" for name in _RATES),
        *(f"rate_{name}_1d" for name in _RATES),
        "log_watch_s_total", "log_watch_s_7d", "trend_impressions_6h", "trend_relevant_6h",
        "trend_relevant_1d",
    )  # fmt: skip

    # name, window, longer window, and what share of the longer one the shorter is
    _TRENDS = (
        ("impressions", "6h", "1d", 6.0 / 24.0), ("relevant", "6h", "1d", 6.0 / 24.0),
        ("relevant", "1d", "7d", 24.0 / 168.0),
    )  # fmt: skip

    def __init__(self, counters: CounterTable) -> None:
        self._counters = counters
        self._rated = np.stack(
            [
                _places([f"{name}_{window}" for name in (*self._RATES, "impressions", "watches")])
                for window in ("total", "7d", "1d")
            ]
        )  # [3, 9]
        self._counted = _places(self._COUNTED)
        self._watched = _places(["watch_s_total", "watches_total", "watch_s_7d", "watches_7d"])
        trends = [(f"{name}_{short}", f"{name}_{long}") for name, short, long, _ in self._TRENDS]
        self._trends = _places([name for pair in trends for name in pair])
        self._shares = np.array([share for *_, share in self._TRENDS])
        logs = [i for i, name in enumerate(self.names) if not name.startswith("rate_")]
        self._log_columns = np.array(logs, np.int64)

    def fill(self, items: Float32, at: int, reading: Reading) -> None:
        """Writes float32[n, 37] from column `at` on."""
        counts = self._counters.read(reading.item_id, reading.time_us)
        _fill_rates(items, at + len(self._counted), counts, self._rated, self._PRIOR)
        logs = _shifted(counts, self._counted, self._watched, self._trends, self._shares)
        np.log1p(logs, out=logs)  # numpy takes several at once, a compiled loop one by one
        _fill_logs(items, at, logs, self._log_columns)


@compiled
def _fill_rates(items: Float32, at: int, counts: Float64, rated: Int64, prior: Float64) -> None:
    """Writes rates window by window, longest first. rated int64[windows, rates + 2]: columns of what is rated, and of showings and watches."""
    n_windows, n_rates = len(rated), len(prior)
    rates = np.empty(n_rates)
    for i in range(len(counts)):
        count = counts[i]
        rates[:] = prior
        for window in range(n_windows):
            places = rated[window]
            out = items[i, at + window * n_rates : at + (window + 1) * n_rates]
            exposed = max(count[places[n_rates]], count[places[n_rates + 1]])
            weight = 1.0 / (exposed + _STRENGTH)
            for j in range(n_rates):
                rates[j] = (count[places[j]] + _STRENGTH * rates[j]) * weight
                out[j] = rates[j]


@compiled
def _shifted(
    counts: Float64, counted: Int64, watched: Int64, trends: Int64, shares: Float64
) -> Float64:
    """float64[n, logs]: what is logged, less one, so that the logs are log1p: counts, mean watch times, trends.

    watched: pairs of seconds and watches; trends: pairs of a window's count and the longer one's, of which `shares` falls to the window."""
    n_counted, n_watched, n_trends = len(counted), len(watched) // 2, len(trends) // 2
    logs = np.empty((len(counts), n_counted + n_watched + n_trends))
    for i in range(len(counts)):
        for j in range(n_counted):
            logs[i, j] = counts[i, counted[j]]
        for j in range(n_watched):
            watch_s, watches = counts[i, watched[2 * j]], counts[i, watched[2 * j + 1]]
            logs[i, n_counted + j] = (watch_s + _WATCH_S) / (watches + _WATCHES)
        for j in range(n_trends):
            lately = counts[i, trends[2 * j]] + 1.0
            before = counts[i, trends[2 * j + 1]] * shares[j] + 1.0
            logs[i, n_counted + n_watched + j] = (lately - before) / before
    return logs


@compiled
def _fill_logs(items: Float32, at: int, logs: Float64, columns: Int64) -> None:
    """Writes the logs, scaled, into the columns at + columns."""
    for i in range(len(logs)):
        for j in range(len(columns)):
            items[i, at + columns[j]] = logs[i, j] * _LOG_SCALE


def _places(names: Sequence[str]) -> Int64:
    """Where counters stand in COUNTER_NAMES."""
    return np.array([COUNTER_NAMES.index(name) for name in names], np.int64)

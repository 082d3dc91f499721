"""Item columns from the catalogue, the viewer's history and the counters (design A's video features, design B's churn features).

Covington et al. 2016, section 4.1: the most telling features describe the viewer's past with the video itself and with similar
ones, how often it was shown to them without effect, and which source proposed it with what score.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.sorted_ids import among
from upnext.core.types import Float32, Float64, Int64
from upnext.features.affinity import Tallies, Tally, lift
from upnext.features.counters import COUNTER_NAMES, CounterTable
from upnext.features.reading import ItemColumns, Reading

_EARTH_KM: Final = 6371.0
_LOG_SCALE: Final = 0.1  # keeps logs of counts, hours and seconds near one


def _log(values: Float64 | Float32 | Int64) -> Float32:
    return (np.log1p(values) * _LOG_SCALE).astype(np.float32)


class CatalogBlock:
    """What the catalogue says of the video, and how that meets the viewer."""

    names = (
        "log_duration", "duration_missing", "log_age_h", "is_day_old", "is_week_old", "age_missing",
        "is_premium", "has_age_limit", "language_match", "language_known", "has_location",
        "near_viewer", "distance_known", "followed", "interest",
    )  # fmt: skip

    def __init__(self, view: ItemColumns) -> None:
        self._view = view

    def fill(self, out: Float32, reading: Reading) -> None:
        """float32[n, 15]."""
        view, item_id = self._view, reading.item_id
        request, user = reading.query.request, reading.query.user
        duration_s = view.duration_s.take(item_id)
        missing = np.isnan(duration_s)
        out[:, 0] = _log(np.where(missing, 0, duration_s))
        out[:, 1] = missing
        uploaded_us = view.uploaded_us.take(item_id)
        age_h = np.maximum(reading.time_us - uploaded_us, 0) / HOUR_US
        dated = uploaded_us > 0
        out[:, 2] = _log(age_h) * dated
        out[:, 3] = dated & (age_h < 24)
        out[:, 4] = dated & (age_h < 24 * 7)
        out[:, 5] = ~dated
        out[:, 6] = view.is_premium.take(item_id)
        out[:, 7] = view.min_age.take(item_id) > 0
        language = reading.language
        spoken = view.code("language", request.language or user.profile.language)
        if spoken >= 0:
            out[:, 8] = language == spoken
            out[:, 9] = language >= 0
        latitude = view.latitude.take(item_id)
        located = ~np.isnan(latitude)
        out[:, 10] = located
        if request.latitude is not None and request.longitude is not None and located.any():
            where = np.flatnonzero(located)
            km = distance_km(
                request.latitude, request.longitude, latitude[where], view.longitude[item_id[where]]
            )
            out[where, 11] = np.exp(-km / 100)
            out[where, 12] = 1
        if len(user.followed):
            out[:, 13] = among(reading.creator, user.followed) & (reading.creator >= 0)
        if user.interests:
            out[:, 14] = self._interest(reading)

    def _interest(self, reading: Reading) -> Float32:
        """float32[n]: the weights of "more" and "less" that meet the video's category, tags and creator."""
        view, item_id = self._view, reading.item_id
        weight = np.zeros(len(item_id), np.float32)
        category, tags = reading.category, view.tags[item_id]
        for topic, amount in sorted(reading.query.user.interests.items()):
            kind, _, creator_id = topic.partition(":")
            if kind == "creator" and creator_id:
                weight += amount * (reading.creator == view.code("creator", creator_id))
                continue
            in_category = (category == view.code("category", topic)) & (category >= 0)
            has_tag = ((tags == view.code("tag", topic)) & (tags >= 0)).any(axis=1)
            weight += amount * (in_category | has_tag)
        return weight


def distance_km(
    latitude: float, longitude: float, latitudes: Float32, longitudes: Float32
) -> Float64:
    """float64[m]: great-circle distances in km from one place to m places, degrees (haversine)."""
    here, there = np.radians(latitude), np.radians(latitudes.astype(np.float64))
    across = np.radians(longitudes.astype(np.float64) - longitude)
    chord = np.sin((there - here) / 2) ** 2 + np.cos(here) * np.cos(there) * np.sin(across / 2) ** 2
    distance: Float64 = 2 * _EARTH_KM * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))
    return distance


class AffinityBlock:
    """The viewer's past with the video's category, creator, language and tags, and with the video itself."""

    names = (
        *(f"{kind}_{what}" for kind in ("category", "creator", "language")
          for what in ("log_shown", "log_relevant", "lift")),
        "tags_log_shown", "tags_lift_mean", "tags_lift_max",
        "video_log_shown", "video_relevant", "video_log_h_since", "video_shown",
        "has_current", "current_same_category", "current_same_creator", "current_same_language",
        "current_shared_tags",
    )  # fmt: skip

    def __init__(self, view: ItemColumns) -> None:
        self._view = view

    def fill(self, out: Float32, reading: Reading) -> None:
        """float32[n, 21]."""
        if len(reading.history):
            self._words(out.T[:9], reading)
            self._tags(out.T[9:12], reading)
            self._video(out[:, 12:16], reading)
        if reading.current >= 0:
            self._current(out[:, 16:21], reading)

    def _words(self, out: Float32, reading: Reading) -> None:
        """Writes float32[9, n]."""
        view, met = self._view, reading.history.item_id
        tallies = Tallies.of(
            [
                Tally.of(column.take(met), reading.relevant)
                for column in (view.category, view.creator, view.language)
            ]
        )
        shown, relevant = tallies.shown, tallies.relevant
        known = np.stack([_log(shown), _log(relevant), lift(shown, relevant, reading.base_rate)])
        places = tallies.places((reading.category, reading.creator, reading.language))
        by_kind = out.reshape(3, 3, -1)  # [kind, what, n]
        by_kind[:] = known.take(places, axis=1).transpose(1, 0, 2)

    def _tags(self, out: Float32, reading: Reading) -> None:
        """Writes float32[3, n]."""
        tags = self._view.tags
        mine, theirs = (
            tags.take(reading.history.item_id, axis=0),
            tags.take(reading.item_id, axis=0),
        )
        n_tags = mine.shape[1]
        has = theirs.T >= 0  # [n_tags, n]
        used = np.flatnonzero(has.any(axis=1))  # most videos have few tags: the rest adds nothing
        if not len(used):
            return
        tally = Tally.of(mine.ravel(), np.repeat(reading.relevant, n_tags))
        places = tally.places(theirs.T[used])
        lifts = lift(tally.shown, tally.relevant, reading.base_rate).take(places)
        out[0] = _log(tally.shown.take(places).sum(axis=0))
        out[1] = lifts.sum(axis=0) / np.maximum(has[used].sum(axis=0), 1)
        out[2] = lifts.max(axis=0)
        if len(used) < n_tags:  # a missing tag has no lift
            np.maximum(out[2], 0, out=out[2])

    def _video(self, out: Float32, reading: Reading) -> None:
        history, item_id = reading.history, reading.item_id
        if not among(item_id, np.sort(history.item_id)).any():
            return  # as ever when the seen are filtered out
        met, inverse = np.unique(history.item_id, return_inverse=True)
        last_us = np.zeros(len(met), np.int64)
        last_us[inverse] = history.time_us  # in order of time: the last of equal places stays
        places = np.minimum(np.searchsorted(met, item_id), len(met) - 1)
        rows = np.flatnonzero(met[places] == item_id)
        places = places[rows]
        out[rows, 0] = _log(np.bincount(inverse))[places]
        out[rows, 1] = np.bincount(inverse[reading.relevant], minlength=len(met))[places] > 0
        since_us = np.maximum(reading.time_us - last_us, 0)
        out[rows, 2] = (_log(since_us / HOUR_US) * (last_us > 0))[places]
        out[rows, 3] = 1

    def _current(self, out: Float32, reading: Reading) -> None:
        view, item_id, current = self._view, reading.item_id, reading.current
        out[:, 0] = 1
        pairs = (
            (view.category, reading.category), (view.creator, reading.creator),
            (view.language, reading.language),
        )  # fmt: skip
        for i, (column, mine) in enumerate(pairs, start=1):
            out[:, i] = (mine == column[current]) & (column[current] >= 0)
        watched = view.tags[current]
        out[:, 4] = np.isin(view.tags[item_id], watched[watched >= 0]).sum(axis=1)


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
    _STRENGTH = 20.0
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
        self._counted = _places(self._COUNTED)
        self._rated = [
            (_places([f"{name}_{window}" for name in self._RATES]),
             _places([f"impressions_{window}", f"watches_{window}"]))
            for window in ("total", "7d", "1d")
        ]  # fmt: skip
        self._watched_s = _places(["watch_s_total", "watch_s_7d"])
        self._watches = _places(["watches_total", "watches_7d"])
        self._lately = _places([f"{name}_{short}" for name, short, _, _ in self._TRENDS])
        self._before = _places([f"{name}_{long}" for name, _, long, _ in self._TRENDS])
        self._shares = np.array([[share] for *_, share in self._TRENDS])

    def fill(self, out: Float32, reading: Reading) -> None:
        """float32[n, 37]."""
        counts = self._counters.read(reading.item_id, reading.time_us).T  # [c, n]
        columns = out.T
        stop = len(self._COUNTED)
        columns[:stop] = _log(counts[self._counted])
        rates: Float64 | Float32 = self._PRIOR[:, None]
        for rated, shown in self._rated:
            exposed = np.maximum(counts[shown[0]], counts[shown[1]])
            exposed += self._STRENGTH
            rates = (counts[rated] + self._STRENGTH * rates) / exposed
            start, stop = stop, stop + len(rated)
            columns[start:stop] = rates
        watch_s = (counts[self._watched_s] + 50.0) / (counts[self._watches] + 5.0)
        columns[stop : stop + 2] = _log(watch_s)
        lately = counts[self._lately] + 1.0
        before = counts[self._before] * self._shares + 1.0
        columns[stop + 2 :] = np.log(lately / before) * _LOG_SCALE


def _places(names: Sequence[str]) -> Int64:
    """Where counters stand in COUNTER_NAMES."""
    return np.array([COUNTER_NAMES.index(name) for name in names], np.int64)


class SourceBlock:
    """Which sources proposed the video, with what score and at which place."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = tuple(sources)
        self.names = (
            *(f"{what}:{name}" for name in self._sources for what in ("source", "has", "place")),
            "n_sources",
        )

    def fill(self, out: Float32, reading: Reading) -> None:
        """float32[n, 3 * sources + 1]: score (0 where absent), 1 where proposed, 1 / place in the source's list."""
        scores = reading.candidates.columns
        columns = out.T
        n_sources = columns[-1]
        for i, name in enumerate(self._sources):
            score = scores.get(f"source:{name}")
            if score is None:
                continue
            has = score == score  # not NaN
            proposed = np.flatnonzero(has)
            mine = score.take(proposed)
            columns[3 * i, proposed] = mine
            columns[3 * i + 1] = has
            best_first = proposed.take(np.argsort(-mine, kind="stable"))
            columns[3 * i + 2, best_first] = _one_over(len(proposed))
            n_sources += has


@lru_cache(maxsize=4096)
def _one_over(n: int) -> Float64:
    """float64[n]: 1, 1/2, 1/3, ..."""
    parts = 1.0 / np.arange(1, n + 1)
    parts.setflags(write=False)
    return parts

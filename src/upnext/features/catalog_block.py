"""Item columns from the catalogue: how long, how old, for whom, in whose language, where, and whether its creator or topics were chosen by
the viewer."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.compiled import compiled
from upnext.core.types import Array, Bool, Float32, Float64, Int64
from upnext.features.reading import CATEGORY, CREATOR, LANGUAGE, ItemColumns, Reading, taken

_EARTH_KM: Final = 6371.0
_LOG_SCALE: Final = 0.1  # keeps logs of hours and seconds near one
_NONE: Final = -2  # the code of what a topic can't be; -1 is that of a word the catalogue lacks


class CatalogBlock:
    """What the catalogue says of the video, and how that meets the viewer."""

    names = (
        "log_duration", "duration_missing", "log_age_h", "is_day_old", "is_week_old", "age_missing",
        "is_premium", "has_age_limit", "language_match", "language_known", "has_location",
        "near_viewer", "distance_known", "followed", "interest",
    )  # fmt: skip

    def __init__(self, view: ItemColumns) -> None:
        self._view = view

    def fill(self, items: Float32, at: int, reading: Reading) -> None:
        """Writes float32[n, 15] from column `at` on."""
        view, item_id = self._view, reading.item_id
        request, user = reading.query.request, reading.query.user
        _fill_age(items, at, item_id, view.duration_s, view.uploaded_us, reading.time_us)
        spoken = view.code("language", request.language or user.profile.language)
        words, latitude = reading.words, view.latitude
        _fill_facts(items, at + 6, item_id, view.is_premium, view.min_age, words, spoken, latitude)
        if request.latitude is not None and request.longitude is not None:
            here = request.latitude, request.longitude
            _fill_nearness(items, at + 11, item_id, latitude, view.longitude, *here)
        if len(user.followed):
            _fill_followed(items, at + 13, words, user.followed)
        if user.interests:
            _fill_interest(
                items, at + 14, item_id, reading.words, view.tags, *self._topics(reading)
            )

    def _topics(self, reading: Reading) -> tuple[Int64, Float64]:
        """(int64[3, p], float64[p]): category, tag and creator that each topic of "more" and "less" may be, _NONE where it can't be one; its weight."""
        topics = sorted(reading.query.user.interests.items())
        codes = np.full((3, len(topics)), _NONE, np.int64)
        for j, (topic, _) in enumerate(topics):
            kind, _, creator_id = topic.partition(":")
            if kind == "creator" and creator_id:
                codes[2, j] = self._view.code("creator", creator_id)
            else:
                codes[0, j] = self._view.code("category", topic)
                codes[1, j] = self._view.code("tag", topic)
        return codes, np.array([weight for _, weight in topics], np.float64)


@compiled
def _fill_age(
    items: Float32, at: int, item_id: Int64, duration_s: Float32, uploaded_us: Int64, now_us: int
) -> None:
    """Writes six columns: log of the duration, whether it is missing, log of the age, under a day, under a week, age missing."""
    length_s, came_us = taken(duration_s, item_id), taken(uploaded_us, item_id)
    for i in range(len(item_id)):
        if np.isnan(length_s[i]):
            items[i, at + 1] = 1
        else:
            items[i, at] = math.log1p(length_s[i]) * _LOG_SCALE
        if came_us[i] <= 0:
            items[i, at + 5] = 1
            continue
        age_h = max(now_us - came_us[i], 0) / HOUR_US
        items[i, at + 2] = math.log1p(age_h) * _LOG_SCALE
        items[i, at + 3] = age_h < 24
        items[i, at + 4] = age_h < 24 * 7


@compiled
def _fill_facts(
    items: Float32,
    at: int,
    item_id: Int64,
    is_premium: Bool,
    min_age: Array,
    words: Int64,
    spoken: int,
    latitude: Float32,
) -> None:
    """Writes five columns: premium, has an age limit, in the viewer's language (code `spoken`), in a known one while theirs is known,
    has a place."""
    premium, least_age, place = (
        taken(is_premium, item_id), taken(min_age, item_id), taken(latitude, item_id),
    )  # fmt: skip
    for i in range(len(item_id)):
        language = words[LANGUAGE, i]
        items[i, at] = premium[i]
        items[i, at + 1] = least_age[i] > 0
        items[i, at + 2] = spoken >= 0 and language == spoken
        items[i, at + 3] = spoken >= 0 and language >= 0
        items[i, at + 4] = not np.isnan(place[i])


@compiled
def _fill_nearness(
    items: Float32,
    at: int,
    item_id: Int64,
    latitude: Float32,
    longitude: Float32,
    here_latitude: float,
    here_longitude: float,
) -> None:
    """Writes two columns where the video has a place: exp(-km / 100) from the viewer, 1."""
    km = distance_km(
        here_latitude, here_longitude, taken(latitude, item_id), taken(longitude, item_id)
    )
    for i in range(len(item_id)):
        if not np.isnan(km[i]):
            items[i, at] = math.exp(-km[i] / 100)
            items[i, at + 1] = 1


@compiled
def distance_km(
    latitude: float, longitude: float, latitudes: Float32, longitudes: Float32
) -> Float64:
    """float64[m]: great-circle distances in km from one place to m places, degrees (haversine); NaN from an unknown one."""
    distance = np.empty(len(latitudes))
    here = math.radians(latitude)
    for i in range(len(latitudes)):
        there = math.radians(np.float64(latitudes[i]))
        across = math.radians(np.float64(longitudes[i]) - longitude)
        chord = (
            math.sin((there - here) / 2) ** 2
            + math.cos(here) * math.cos(there) * math.sin(across / 2) ** 2
        )
        distance[i] = 2 * _EARTH_KM * math.asin(math.sqrt(min(chord, 1.0)))
    return distance


@compiled
def _fill_followed(items: Float32, at: int, words: Int64, followed: Int64) -> None:
    """Writes one column: whether the creator is among those followed, sorted codes."""
    for i in range(len(items)):
        creator = words[CREATOR, i]
        place = np.searchsorted(followed, creator)
        items[i, at] = creator >= 0 and place < len(followed) and followed[place] == creator


@compiled
def _fill_interest(
    items: Float32,
    at: int,
    item_id: Int64,
    words: Int64,
    tags: Array,
    topics: Int64,
    weight: Float64,
) -> None:
    """Writes one column: the weights of the topics that meet the video's category, tags or creator."""
    for i in range(len(item_id)):
        own = tags[item_id[i]]
        for j in range(len(weight)):
            category, tag, creator = topics[0, j], topics[1, j], topics[2, j]
            is_met = creator >= 0 and creator == words[CREATOR, i]
            is_met |= category >= 0 and category == words[CATEGORY, i]
            if is_met or (tag >= 0 and (own == tag).any()):
                items[i, at] += weight[j]

"""Local: what is popular near the viewer; without a place, what is popular in the viewer's language.

The globe is cut into cells of equal degrees. A request reads the popular videos of the cells around the viewer, wider while it finds
too few; the score is log(1 + decayed count) * 2^(-distance / half_distance).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import NO_ITEMS, Array, Bool, Candidates, Float64, Int64, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.config import LocalConfig
from upnext.retrieval.selection import best_of
from upnext.retrieval.short_list import (
    Allowed,
    Counts,
    ShortList,
    Videos,
    all_allowed,
    by_group,
    counted,
    is_open,
    language_of,
    list_of,
    mask_of,
    walk,
)

EARTH_KM = 6371.0


class _Places(NamedTuple):
    """Videos with a place, by cell, the most popular of each first."""

    item_id: Int64  # [m]
    cell: Int64  # [m] ascending
    weight: Float64  # [m]
    by_language: dict[int, ShortList]  # whatever their place


class Local:
    """A Source by place. `refresh` sorts the cells; `fetch` reads those around the viewer."""

    name = "local"

    def __init__(
        self,
        videos: Videos,
        counts: Counts,
        config: LocalConfig | None = None,
        allowed: Allowed = all_allowed,
    ) -> None:
        self._videos, self._counts, self._allowed = videos, counts, allowed
        self._config = config or LocalConfig()
        self._places = Aged(self._made, self._config.refresh_s)

    def refresh(self, time_us: int) -> None:
        """Sorts anew as of time_us, unless the last time is closer than the set age."""
        self._places.refresh(time_us)

    def _made(self, time_us: int) -> _Places:
        config, n = self._config, self._videos.n_items
        values = np.log1p(counted(self._counts, config.counter, time_us, n))
        latitude, longitude = self._videos.latitude[:n], self._videos.longitude[:n]
        ids = np.flatnonzero(np.isfinite(latitude) & np.isfinite(longitude))
        cell = self._cell_of(latitude[ids], longitude[ids])
        order = np.lexsort((ids, -values[ids], cell))
        item_id = ids[order].astype(np.int64)
        # a video that nobody has watched yet may still be near: a small weight, not none
        weight = values[item_id] + 0.1
        by_language = by_group(values, self._videos.language[:n], config.size)
        return _Places(item_id, cell[order], weight, by_language)

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed."""
        places = self._places.at(query.request.time_us)
        latitude, longitude = query.request.latitude, query.request.longitude
        if latitude is None or longitude is None:
            own = list_of(places.by_language, language_of(query, self._videos))
            return walk([own], query, k, self._allowed(query), self.name)
        ids, score = self._near(places, query, latitude, longitude, k)
        return Candidates.of_unique(self.name, ids, score.astype(np.float32))

    def _near(
        self, places: _Places, query: Query, latitude: float, longitude: float, k: int
    ) -> tuple[Int64, Float64]:
        """(ids int64[m], scores float64[m]) of the best k unseen, allowed videos of the smallest ring that has k, else of the widest."""
        allowed = mask_of(self._allowed(query), self._videos.n_items)
        n_columns = self._n_columns()
        row = int(np.floor((latitude + 90) / self._config.cell_degrees))
        column = int(np.floor((longitude + 180) / self._config.cell_degrees)) % n_columns
        per_cell, left_out = self._config.per_cell, query.left_out.table
        found = NO_ITEMS
        for ring in self._config.rings:
            firsts, lasts = _cells_around(row, column, ring, n_columns)
            found = _open_around(
                places.cell, places.item_id, firsts, lasts, per_cell, left_out, allowed
            )
            if len(found) >= k:
                break
        ids = places.item_id.take(found)
        away_km = distance_km(
            latitude, longitude, self._videos.latitude.take(ids), self._videos.longitude.take(ids)
        )
        score = _scores(places.weight, found, away_km, self._config.half_distance_km)
        return best_of(ids, score, k)

    def _cell_of(self, latitude: Array, longitude: Array) -> Int64:
        degrees = self._config.cell_degrees
        row = np.floor((np.asarray(latitude, np.float64) + 90) / degrees).astype(np.int64)
        column = np.floor((np.asarray(longitude, np.float64) + 180) / degrees).astype(np.int64)
        return np.asarray(row * self._n_columns() + column % self._n_columns(), np.int64)

    def _n_columns(self) -> int:
        return max(1, round(360 / self._config.cell_degrees))


@compiled
def _cells_around(row: int, column: int, ring: int, n_columns: int) -> tuple[Int64, Int64]:
    """(first int64[m], last int64[m]) of the ranges of cells within `ring` cells of one, round the date line; beyond the poles there are none."""
    width = min(2 * ring + 1, n_columns)
    left = (column - ring) % n_columns if width < n_columns else 0
    over = max(left + width - n_columns, 0)  # cells on the other side of the date line
    firsts, lasts = np.empty(2 * (2 * ring + 1), np.int64), np.empty(2 * (2 * ring + 1), np.int64)
    n_ranges = 0
    for r in range(max(row - ring, 0), row + ring + 1):
        firsts[n_ranges] = r * n_columns + left
        lasts[n_ranges] = r * n_columns + left + width - over - 1
        n_ranges += 1
        if over:
            firsts[n_ranges], lasts[n_ranges] = r * n_columns, r * n_columns + over - 1
            n_ranges += 1
    return firsts[:n_ranges], lasts[:n_ranges]


@compiled
def _open_around(
    cell: Int64, item_id: Int64, firsts: Int64, lasts: Int64, per_cell: int, left_out: Int64,
    allowed: Bool,
) -> Int64:  # fmt: skip
    """int64[m]: places in item_id of the first `per_cell` videos of each cell of some ranges, those that may be proposed."""
    n_cells = (lasts - firsts + 1).sum()
    found = np.empty(min(n_cells * per_cell, len(cell)), np.int64)
    n_found = 0
    for i in range(len(firsts)):
        place = np.searchsorted(cell, firsts[i])
        while place < len(cell) and cell[place] <= lasts[i]:
            own, end = cell[place], place + per_cell
            while place < len(cell) and cell[place] == own and place < end:
                if is_open(item_id[place], left_out, allowed):
                    found[n_found] = place
                    n_found += 1
                place += 1
            if place == end:
                place = np.searchsorted(cell, own, side="right")
    return found[:n_found]


@compiled
def _scores(weight: Float64, place: Int64, away_km: Float64, half_distance_km: float) -> Float64:
    """float64[m]: the weights at some places, halved by distance."""
    score = np.empty(len(place))
    for i in range(len(place)):
        score[i] = weight[place[i]] * 2.0 ** (-away_km[i] / half_distance_km)
    return score


@compiled
def distance_km(latitude: float, longitude: float, latitudes: Array, longitudes: Array) -> Float64:
    """float64[n]: great-circle distances from one point, by the haversine formula."""
    away_km = np.empty(len(latitudes))
    a = np.radians(latitude)
    for i in range(len(latitudes)):
        b = np.radians(np.float64(latitudes[i]))
        half_long = (np.radians(np.float64(longitudes[i])) - np.radians(longitude)) / 2
        chord = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(half_long) ** 2
        away_km[i] = 2 * EARTH_KM * np.arcsin(np.sqrt(min(max(chord, 0.0), 1.0)))
    return away_km

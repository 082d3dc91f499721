"""Local: what is popular near the viewer; without a place, what is popular in the viewer's language.

The globe is cut into cells of equal degrees. A request reads the popular videos of the cells around the viewer, wider while it finds
too few; the score is log(1 + decayed count) * 2^(-distance / half_distance).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from upnext.core.types import NO_ITEMS, Array, Candidates, Float32, Float64, Int64, Query
from upnext.retrieval.aged import Aged
from upnext.retrieval.config import LocalConfig
from upnext.retrieval.short_list import (
    Allowed,
    Counts,
    ShortList,
    Videos,
    all_allowed,
    by_group,
    counted,
    first_open,
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
    weight: Float32  # [m]
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
        weight = (values[item_id] + 0.1).astype(np.float32)
        by_language = by_group(values, self._videos.language[:n], config.size)
        return _Places(item_id, cell[order], weight, by_language)

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first, unseen and allowed."""
        places = self._places.at(query.request.time_us)
        latitude, longitude = query.request.latitude, query.request.longitude
        if latitude is None or longitude is None:
            own = list_of(places.by_language, language_of(query, self._videos))
            return walk([own], query, k, self._allowed(query), self.name)
        ids, weight = self._near(places, query, latitude, longitude, k)
        away_km = distance_km(
            latitude, longitude, self._videos.latitude[ids], self._videos.longitude[ids]
        )
        score = weight * np.exp2(-away_km / self._config.half_distance_km)
        order = np.lexsort((ids, -score))[:k]
        return Candidates.of_unique(self.name, ids[order], score[order].astype(np.float32))

    def _near(
        self, places: _Places, query: Query, latitude: float, longitude: float, k: int
    ) -> tuple[Int64, Float32]:
        """(ids int64[m], weights float32[m]) of the unseen, allowed videos of the smallest ring that has k, else of the widest."""
        allowed = mask_of(self._allowed(query), self._videos.n_items)
        ids, weight = NO_ITEMS, np.zeros(0, np.float32)
        for ring in self._config.rings:
            place = self._around(places.cell, latitude, longitude, ring)
            ids = places.item_id.take(place)
            rows = first_open(ids, query.left_out.table, allowed, len(ids))
            ids, weight = ids.take(rows), places.weight.take(place.take(rows))
            if len(ids) >= k:
                break
        return ids, weight

    def _cell_of(self, latitude: Array, longitude: Array) -> Int64:
        degrees = self._config.cell_degrees
        row = np.floor((np.asarray(latitude, np.float64) + 90) / degrees).astype(np.int64)
        column = np.floor((np.asarray(longitude, np.float64) + 180) / degrees).astype(np.int64)
        return np.asarray(row * self._n_columns() + column % self._n_columns(), np.int64)

    def _n_columns(self) -> int:
        return max(1, round(360 / self._config.cell_degrees))

    def _around(self, cell: Int64, latitude: float, longitude: float, ring: int) -> Int64:
        """Places in item_id of the cells within `ring` cells of the viewer's, the most popular of each."""
        n_columns = self._n_columns()
        row, column = divmod(int(self._cell_of(np.array(latitude), np.array(longitude))), n_columns)
        step = np.arange(-ring, ring + 1)
        cells = ((row + step)[:, None] * n_columns + (column + step)[None, :] % n_columns).ravel()
        cells = np.unique(cells[cells >= 0])
        start = np.searchsorted(cell, cells)
        count = np.minimum(
            np.searchsorted(cell, cells, side="right") - start, self._config.per_cell
        )
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.asarray(np.repeat(start, count) + offset, np.int64)


def distance_km(latitude: float, longitude: float, latitudes: Array, longitudes: Array) -> Float64:
    """float64[n]: great-circle distances from one point, by the haversine formula."""
    a, b = np.radians(latitude), np.radians(np.asarray(latitudes, np.float64))
    half_long = (np.radians(np.asarray(longitudes, np.float64)) - np.radians(longitude)) / 2
    chord = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(half_long) ** 2
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(chord, 0, 1))))

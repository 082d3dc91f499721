"""Hides videos that the viewer is too young for."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from upnext.core.types import Bool, Candidates, Query
from upnext.filters.catalog_columns import CatalogColumns, in_limits
from upnext.filters.config import FiltersConfig


class Age:
    """A Filter; safety. A viewer of unknown age counts as `unknown_age_sees` years old."""

    name: Final = "age"
    is_safety: Final = True

    def __init__(self, view: CatalogColumns, config: FiltersConfig) -> None:
        self._view = view
        self._unknown = config.unknown_age_sees

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where the video's min_age is at most the viewer's age."""
        return in_limits(candidates.item_id, self._view.min_age, -math.inf, self.age_of(query))

    def allowed_mask(self, query: Query) -> Bool:
        """bool[n_items]: the same for the whole catalogue."""
        return np.asarray(self._view.min_age <= self.age_of(query))

    def age_of(self, query: Query) -> int:
        """The age that the viewer is taken to have, years."""
        age = query.user.profile.age
        return self._unknown if age is None else age

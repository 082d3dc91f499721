"""Which videos of the whole catalogue may be shown to a kind of viewer: what an index or a ladder searches in.

The static safety filters depend on the viewer's country and age alone, so their masks are kept per (country, age class) until the
catalogue changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.types import Bool, Query
from upnext.filters.age import Age
from upnext.filters.catalog_columns import CatalogColumns
from upnext.filters.config import FiltersConfig
from upnext.filters.country import Country
from upnext.filters.moderation import Moderation
from upnext.filters.status import Status

_N_KEPT: Final = 64


class StaticFilter(Protocol):
    """A filter that needs nothing of the viewer but country and age."""

    def allowed_mask(self, query: Query) -> Bool: ...


@dataclass
class _AgeClasses:
    """Between two changes of the catalogue; a request that still fills an old one does no harm."""

    limits: npt.NDArray[Any] | None = None  # the catalogue's age limits, ascending
    known: dict[int, int] = field(default_factory=dict)  # age -> class


class Allowed:
    """The masks of all static safety filters together, kept until `clear`."""

    def __init__(self, view: CatalogColumns, config: FiltersConfig) -> None:
        self._age = Age(view, config)
        self._filters: Sequence[StaticFilter] = (
            Status(view), Country(view), self._age, Moderation(view, config),
        )  # fmt: skip
        self._view = view
        self._kept: dict[tuple[str | None, int], Bool] = {}
        self._classes = _AgeClasses()
        self._n_changes = 0

    def mask(self, query: Query) -> Bool:
        """bool[n_items], read only: True where every static safety filter lets the video pass."""
        n_changes = self._n_changes
        country = query.request.country or query.user.profile.country
        key = (country, self._age_class(query))
        found = self._kept.get(key)
        if found is not None:
            return found
        masks = [one.allowed_mask(query) for one in self._filters]
        size = min(len(mask) for mask in masks)  # the catalogue may grow meanwhile
        allowed = masks[0][:size].copy()
        for mask in masks[1:]:
            allowed &= mask[:size]
        allowed.setflags(write=False)
        if len(self._kept) >= _N_KEPT:
            self._kept = {}
        if n_changes == self._n_changes:  # else another thread changed the catalogue meanwhile
            self._kept[key] = allowed
        return allowed

    def _age_class(self, query: Query) -> int:
        """How many of the catalogue's age limits the viewer has reached: viewers of one class may see the same."""
        age, classes = self._age.age_of(query), self._classes
        found = classes.known.get(age)
        if found is None:
            if classes.limits is None:
                classes.limits = np.unique(self._view.min_age)
            found = classes.known[age] = int(np.searchsorted(classes.limits, age, side="right"))
        return found

    def clear(self) -> None:
        """Forgets the masks: to be called after the catalogue has changed."""
        self._n_changes += 1
        self._classes = _AgeClasses()
        self._kept = {}

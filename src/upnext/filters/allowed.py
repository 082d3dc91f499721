"""Which videos of the whole catalogue may be shown to a kind of viewer: what an index or a ladder searches in.

The static filters depend on the viewer's country, age and corpus (own_corpus.py) alone, so their masks are kept per (country, age class,
corpus) until the catalogue or the corpora change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.protocols import Filter
from upnext.core.types import Bool, Candidates, Corpus, Int64, Query
from upnext.filters.age import Age
from upnext.filters.catalog_columns import CatalogColumns
from upnext.filters.config import FiltersConfig
from upnext.filters.country import Country
from upnext.filters.moderation import Moderation
from upnext.filters.own_corpus import OwnCorpus
from upnext.filters.status import Status

_N_KEPT: Final = 64


class StaticFilter(Protocol):
    """A filter that needs nothing of the viewer but country, age and corpus."""

    def allowed_mask(self, query: Query) -> Bool: ...


@dataclass
class _AgeClasses:
    """Between two changes of the catalogue; a request that still fills an old one does no harm."""

    limits: npt.NDArray[Any] | None = None  # the catalogue's age limits, ascending
    known: dict[int, int] = field(default_factory=dict)  # age -> class


class Allowed:
    """The masks of all static filters together, kept until `clear`."""

    def __init__(self, view: CatalogColumns, config: FiltersConfig, own_corpus: OwnCorpus) -> None:
        self._age = Age(view, config)
        self._filters: Sequence[StaticFilter] = (
            Status(view), Country(view), self._age, Moderation(view, config), own_corpus,
        )  # fmt: skip
        self._view = view
        self._kept: dict[tuple[str | None, int, Corpus | None], Bool] = {}
        self._classes = _AgeClasses()
        self._n_changes = 0
        self._last: tuple[Query, Candidates, bool] | None = None

    def mask(self, query: Query) -> Bool:
        """bool[n_items], read only: True where every static filter lets the video pass."""
        n_changes = self._n_changes
        country = query.request.country or query.user.profile.country
        key = (country, self._age_class(query), query.corpus)
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

    def passes(self, query: Query, candidates: Candidates) -> bool:
        """Whether every candidate is in the viewer's mask; the answer is remembered for the next filter that asks."""
        last = self._last
        if last is not None and last[0] is query and last[1] is candidates:
            return last[2]
        found = bool(_all_within(candidates.item_id, self.mask(query)))
        self._last = (query, candidates, found)
        return found

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
        """Forgets the masks: to be called after the catalogue or the corpora have changed."""
        self._n_changes += 1
        self._last = None
        self._classes = _AgeClasses()
        self._kept = {}


class Screened:
    """A Filter: a static filter that is asked only where the mask of all of them hides one of the candidates.

    Sources propose under that mask, so nearly always one look at each video takes the place of five."""

    def __init__(self, inner: Filter, allowed: Allowed) -> None:
        self._inner, self._allowed = inner, allowed
        self.name: Final = inner.name
        self.is_safety: Final = inner.is_safety

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: what the filter says."""
        if self._allowed.passes(query, candidates):
            return np.ones(len(candidates), np.bool_)
        return self._inner.keep(query, candidates)


@compiled
def _all_within(item_id: Int64, allowed: Bool) -> bool:
    """Whether a mask lets all ids pass; one beyond either end does not."""
    n_within = 0
    for one in item_id:
        n_within += 0 <= one < len(allowed) and allowed[one]
    return n_within == len(item_id)

"""Shows a viewer the creators of the own arm alone, while an experiment puts viewers and creators into arms together.

User-corpus co-diversion (Su et al., Long-Term Value of Exploration, WSDM 2024): each arm is a small platform of its own, and so is everybody
in no arm. A video without a creator, and one whose creator is in no arm, is for viewers of no arm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.types import Bool, Candidates, Corpus, Int64, Query
from upnext.filters.catalog_columns import CatalogColumns

OUTSIDE: Final = -1  # the row of units in no arm
_UNKNOWN: Final = -2  # a creator that came a moment ago: nobody's yet


@dataclass(frozen=True, slots=True)
class Split:
    """The arms of viewers and creators together."""

    experiment: str
    arms: tuple[str, ...]
    rows_of: Callable[[Sequence[str]], Int64]  # creator ids -> rows in `arms`, OUTSIDE for no arm

    def corpus(self, arms: Mapping[str, str]) -> Corpus:
        """What a viewer in these arms {experiment: arm} may see."""
        arm = arms.get(self.experiment)
        return Corpus(self.experiment, OUTSIDE if arm is None else self.arms.index(arm))


@dataclass(frozen=True, slots=True)
class _Creators:
    split: Split
    row: npt.NDArray[np.int16]  # [n_creators + 1] by code; the last is that of no creator, code -1


class OwnCorpus:
    """A Filter over the arm of every creator, made when an experiment begins and extended as creators come."""

    name: Final = "own_corpus"
    is_safety: Final = False

    def __init__(self, view: CatalogColumns) -> None:
        self._view = view
        self._creators: _Creators | None = None  # swapped as a whole: requests read it at any time

    def follow(self, split: Split | None) -> None:
        """Hides by this split from now on; None: by none. Masks made before are then old."""
        begun = None if split is None else _Creators(split, np.full(1, OUTSIDE, np.int16))
        self._creators = begun if begun is None else self._extended(begun)

    def extend(self) -> bool:
        """Takes in the creators that the catalogue got -> whether there were any, so that masks are old."""
        creators = self._creators
        if creators is None or self._view.n_codes("creator") < len(creators.row):
            return False
        self._creators = self._extended(creators)
        return True

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where the video is of the viewer's arm, or nothing is split; False for an id that the catalogue does not have (yet)."""
        creators, corpus = self._of(query)
        if creators is None or corpus is None:
            return np.ones(len(candidates), np.bool_)
        item_id, creator = candidates.item_id, self._view.creator
        is_known = (item_id >= 0) & (item_id < len(creator))
        keep = np.zeros(len(item_id), np.bool_)
        keep[is_known] = _rows(creators, creator[item_id[is_known]]) == corpus.row
        return keep

    def allowed_mask(self, query: Query) -> Bool:
        """bool[n_items]: the same for the whole catalogue."""
        creators, corpus = self._of(query)
        if creators is None or corpus is None:
            return np.ones(self._view.n_items, np.bool_)
        return np.asarray(_rows(creators, self._view.creator) == corpus.row)

    def _of(self, query: Query) -> tuple[_Creators | None, Corpus | None]:
        """Both, or a None: an experiment that has just ended hides nothing."""
        creators, corpus = self._creators, query.corpus
        if creators is None or corpus is None or creators.split.experiment != corpus.experiment:
            return None, None
        return creators, corpus

    def _extended(self, creators: _Creators) -> _Creators:
        words = self._view.values_from("creator", len(creators.row) - 1)
        if not words:
            return creators
        rows = creators.split.rows_of(words).astype(np.int16)
        row = np.concatenate([creators.row[:-1], rows, creators.row[-1:]])
        return _Creators(creators.split, row)


def _rows(creators: _Creators, code: Int64) -> npt.NDArray[np.int16]:
    """int16[n]: the rows of creators by code; that of a code beyond the table is nobody's."""
    is_known = code < len(creators.row) - 1
    return np.where(is_known, creators.row[np.where(is_known, code, -1)], np.int16(_UNKNOWN))

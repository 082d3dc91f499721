"""What the learned merge is held against: collaborative lists alone, content lists alone, and the two plain ways to join them.

They are made as every list of the table is, request by request, as sources under the product's own filters:

    collaborative only   the first of COLLABORATIVE that the release has, fixed beforehand in the order of what they found on KuaiRand, not the best on
                         this window. Videos whose factors came from their content alone are left out: they are what collaboration can't know.
    content only         the nearest to the mean of what the viewer liked, of all videos (retrieval/content_profile.py): over the vectors of the release's
                         content_profile, or of the leading content components that every release has
    parallel hybrid      both lists by reciprocal rank fusion
    sequential hybrid    the collaborative list, its first hundred in the content's order; as it is for a viewer who liked nothing
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from upnext.catalog.view import CatalogView
from upnext.content.unit import unit_rows
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.protocols import Source
from upnext.core.types import Bool, Candidates, Int64, Query
from upnext.evaluate.hybrids import parallel, sequential
from upnext.features.vector_table import VectorTable
from upnext.pipeline.assemble import Assembled
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.trained import Scorer
from upnext.retrieval.config import ContentProfileConfig, IndexConfig
from upnext.retrieval.content_profile import ContentProfile
from upnext.retrieval.factorisation.factorisation_generator import FactorisationGenerator
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.nearest import Embeds, Nearest
from upnext.retrieval.short_list import Allowed

COLLABORATIVE: Final = ("factorisation", "user_knn", "item_to_item")
COLLABORATIVE_ONLY: Final = "collaborative only"
CONTENT_ONLY: Final = "content only"
PARALLEL: Final = "parallel hybrid"
SEQUENTIAL: Final = "sequential hybrid"
HYBRIDS: Final = (COLLABORATIVE_ONLY, CONTENT_ONLY, PARALLEL, SEQUENTIAL)
N_ORDERED: Final = 100  # places of the sequential hybrid that content orders
ROWS: Final = 2_048  # viewers joined at a time
_LEAST_LENGTH: Final = 1e-3  # of a content vector less the catalogue's mean: below it is rounding


@dataclass(frozen=True)
class HybridRows:
    """The rows that a release can make, as sources, and why it can't make the others."""

    sources: Mapping[str, Source]  # all rows but the parallel one, which is made of two lists
    made_of: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)  # {row: why}

    def lists(self, made: Mapping[str, Int64]) -> dict[str, Int64]:
        """{row: int64[u, K]} of what the sources made, the parallel one joined of two of them."""
        rows = dict(made)
        if {COLLABORATIVE_ONLY, CONTENT_ONLY} <= set(made):
            first, second = made[COLLABORATIVE_ONLY], made[CONTENT_ONLY]
            rows[PARALLEL] = np.concatenate(
                [
                    parallel(first[start : start + ROWS], second[start : start + ROWS])
                    for start in range(0, max(1, len(first)), ROWS)
                ]
            )
        return {name: rows[name] for name in HYBRIDS if name in rows}


class Sequential:
    """A Source: what another proposes, its first N_ORDERED in the order of their scores for the viewer."""

    name = SEQUENTIAL

    def __init__(self, first: Source, embeds: Embeds, scorer: Scorer) -> None:
        self._first, self._embeds, self._scorer = first, embeds, scorer

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k, best first; the score is less the place. As the other lists them for a viewer without a query vector."""
        item_id = self._first.fetch(query, k).item_id
        if len(item_id) and len(self._embeds.vectors(query)):
            head = item_id[None, :N_ORDERED]
            ordered = sequential(head, self._scorer.scores(query, head[0])[None])[0]
            item_id = np.concatenate([ordered, item_id[N_ORDERED:]])
        return Candidates.of_unique(self.name, item_id, -np.arange(len(item_id), dtype=np.float32))


class _Learned:
    """The videos that a viewer may see and whose factors viewers taught."""

    def __init__(self, allowed: Allowed, is_learned: Bool) -> None:
        self._allowed, self._is_learned = allowed, is_learned
        self._last: tuple[Bool, Bool] | None = None

    def __call__(self, query: Query) -> Bool:
        """bool[n_items]; the same array while the mask of what is allowed is the same."""
        mask = self._allowed(query)
        assert mask is not None
        if self._last is None or self._last[0] is not mask:
            self._last = mask, mask & self._is_learned[: len(mask)]
        return self._last[1]


def hybrid_rows(assembled: Assembled, view: CatalogView) -> HybridRows:
    """The rows of the release that is assembled."""
    release = assembled.release
    if release is None:
        return HybridRows({}, missing=dict.fromkeys(HYBRIDS, "there is no release"))
    name, source = _collaborative(assembled, release, view)
    sources: dict[str, Source] = {COLLABORATIVE_ONLY: source}
    made_of = {COLLABORATIVE_ONLY: name}
    content = _content(release, view)
    if content is None:
        why = "no video's content differs from another's"
        return HybridRows(sources, made_of, dict.fromkeys(HYBRIDS[1:], why))
    said, embeds, vectors = content
    is_active = view.status == VIDEO_STATUSES.index("active")
    ids = np.flatnonzero(is_active & vectors.rows(np.arange(view.n_items)).any(axis=1))
    exact = IndexConfig(flat_below=len(ids) + 1)
    index = InvertedIndex.build(vectors.rows(ids), ids, exact)
    sources[CONTENT_ONLY] = Nearest(CONTENT_ONLY, embeds, index, assembled.allowed.mask)
    sources[SEQUENTIAL] = Sequential(source, embeds, Scorer(embeds, vectors))
    return HybridRows(sources, made_of | {CONTENT_ONLY: said})


def _collaborative(
    assembled: Assembled, release: ReleaseParts, view: CatalogView
) -> tuple[str, Source]:
    name = next(name for name in COLLABORATIVE if name in assembled.sources)
    trained = release.generators.get(name)
    if trained is None or not isinstance(trained.generator, FactorisationGenerator):
        return name, assembled.sources[name]
    is_learned = trained.generator.is_learned(np.arange(view.n_items))
    allowed = _Learned(assembled.allowed.mask, is_learned)
    return name, Nearest(COLLABORATIVE_ONLY, trained.generator, trained.index, allowed)


def _content(release: ReleaseParts, view: CatalogView) -> tuple[str, Embeds, VectorTable] | None:
    """(what it is made of, who embeds viewers, the videos' vectors of length 1); None where all videos are alike."""
    rows = release.static.rows(np.arange(view.n_items))
    length = np.linalg.norm(rows, axis=1)
    if not (length > _LEAST_LENGTH).any():
        return None
    trained = release.generators.get("content_profile")
    if trained is not None:
        return "content_profile", trained.generator, trained.vectors
    vectors = VectorTable(unit_rows(np.where(length[:, None] > _LEAST_LENGTH, rows, 0)))
    return "content components", ContentProfile(ContentProfileConfig(), vectors), vectors

"""A Pipeline out of settings, stores and a release: the one place where every part is put in.

Without a release (before the first training) the sources that need none serve, ranked by smoothed popularity: something useful from
the first event on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.protocols import Filter, Hydrator, Source
from upnext.core.types import Int64
from upnext.features.context import Vocabulary
from upnext.features.counters import CounterTable
from upnext.features.plan import FeaturePlan
from upnext.filters.age import Age
from upnext.filters.allowed import Allowed, Screened
from upnext.filters.config import FiltersConfig
from upnext.filters.country import Country
from upnext.filters.excluded import Excluded
from upnext.filters.moderation import Moderation
from upnext.filters.muted import Muted
from upnext.filters.own_corpus import OwnCorpus
from upnext.filters.seen import Seen
from upnext.filters.status import Status
from upnext.pipeline.blend import DEFAULT_MIXING, Blend
from upnext.pipeline.config import PipelineConfig, SurfaceConfig
from upnext.pipeline.fetch import Quota
from upnext.pipeline.http_source import HttpSource
from upnext.pipeline.recommend import Pipeline, Rival, Surface
from upnext.pipeline.release_parts import OncePerQuery, ReleaseParts
from upnext.pipeline.trained import Borrowing, Remembered, Scorer, Trained
from upnext.pipeline.world import CatalogWorld
from upnext.policy.plackett_luce import PlackettLucePolicy
from upnext.ranking.popularity_ranker import PopularityRanker
from upnext.retrieval.config import RetrievalConfig
from upnext.retrieval.followed import Followed
from upnext.retrieval.fresh import Fresh
from upnext.retrieval.item_to_item import ItemToItem
from upnext.retrieval.local import Local
from upnext.retrieval.material import VideoCodes
from upnext.retrieval.nearest import Nearest
from upnext.retrieval.popular import Popular
from upnext.retrieval.relevant import Relevant
from upnext.retrieval.search_history import SearchHistory
from upnext.retrieval.trending import Trending
from upnext.retrieval.user_knn import UserKnn

NO_RELEASE = "none"
INTERESTS = "interests"
ACTIVE = VIDEO_STATUSES.index("active")
BRING_ROWS = 4096


@dataclass(frozen=True)
class Parts:
    """What a pipeline is made of besides a release."""

    view: CatalogView
    counters: CounterTable
    hydrator: Hydrator
    surfaces: Mapping[str, SurfaceConfig]
    pipeline: PipelineConfig
    filters: FiltersConfig
    retrieval: RetrievalConfig
    own_corpus: OwnCorpus = field(init=False, repr=False, compare=False)  # one for all releases

    def __post_init__(self) -> None:
        object.__setattr__(self, "own_corpus", OwnCorpus(self.view))


@dataclass(frozen=True)
class Assembled:
    """A pipeline with the parts that its owner keeps up to date."""

    pipeline: Pipeline
    sources: Mapping[str, Source]
    allowed: Allowed
    release: ReleaseParts | None

    def refresh_lists(self, time_us: int) -> None:
        """Makes the popularity-like sources' lists anew where they are old."""
        for source in self.sources.values():
            refresh = getattr(source, "refresh", None)
            if refresh is not None:
                refresh(time_us)

    def surface(
        self,
        name: str,
        config: SurfaceConfig,
        parts: Parts,
        rival: tuple[tuple[str, str], SurfaceConfig] | None = None,
    ) -> Surface:
        """A surface of this pipeline under other settings, its sources shared; with a rival (names of both, its settings), interleaved."""
        surface = _surface(name, config, self.sources, parts, self.release)
        if config != parts.surfaces[name]:  # whatever differs makes other slates likely
            version = f"{surface.policy_version}-{_digest(config.model_dump_json())}"
            surface = replace(surface, policy_version=version)
        return surface if rival is None else self._interleaved(surface, *rival, parts)

    def _interleaved(
        self, surface: Surface, teams: tuple[str, str], config: SurfaceConfig, parts: Parts
    ) -> Surface:
        own, others = (_policy(one, parts, self.release) for one in (surface.config, config))
        settings = {
            name: {"policy": one.policy.model_dump(), "weights": one.weights}
            for name, one in zip(teams, (surface.config, config))
        }
        said = json.dumps({"team_draft": settings})
        rival = Rival(teams, config.weights, others, own)
        return replace(
            surface, rival=rival, policy_version=f"team-draft-{_digest(said)}", policy_settings=said
        )


def assemble(parts: Parts, release: ReleaseParts | None, release_id: str = NO_RELEASE) -> Assembled:
    """The pipeline of a release, or of none."""
    allowed = Allowed(parts.view, parts.filters, parts.own_corpus)
    tower = OncePerQuery(release.tower) if release is not None else None
    generators = generators_of(parts.retrieval, release)
    embeds = {name: Remembered(one.generator, parts.view) for name, one in generators.items()}
    near: dict[str, Source] = {
        name: Nearest(name, embeds[name], one.index, allowed.mask)
        for name, one in generators.items()
    }
    sources = _sources(parts, release, tower, near, allowed)
    ranker = release.ranker if release is not None else None
    scores = feature_scores(parts.surfaces, generators, ranker)
    plan = FeaturePlan(
        parts.view,
        parts.counters,
        release.static if release is not None else None,
        vocabulary=release.vocabulary if release is not None else Vocabulary(),
        sources=feature_sources(parts.surfaces, ranker),
        scores=scores,
    )
    blend = Blend(parts.counters, DEFAULT_MIXING)
    if release is not None:
        scorers = {
            name: Scorer(embeds[name], one.vectors)
            for name, one in generators.items()
            if name in scores
        }
        blend = Blend(parts.counters, release.mixing, tower, release.vectors, scorers)
    cheap = PopularityRanker()
    pipeline = Pipeline(
        release_id=release_id,
        hydrator=parts.hydrator,
        surfaces={
            name: _surface(name, config, sources, parts, release)
            for name, config in parts.surfaces.items()
        },
        filters=_filters(parts, allowed),
        blend=blend,
        features=plan,
        ranker=ranker if ranker is not None else cheap,
        cheap_ranker=cheap,
        world=CatalogWorld(parts.view, parts.counters),
        surface_map=parts.pipeline.surface_map,
        candidate_log_share=parts.pipeline.candidate_log_share,
        seed=parts.pipeline.seed,
    )
    return Assembled(pipeline, sources, allowed, release)


def bring_later(release: ReleaseParts, view: CatalogView) -> None:
    """Takes in what the catalogue got since the release was made."""
    bring(release, view, view.changed_since(release.change_seq))


def bring(release: ReleaseParts, view: CatalogView, item_id: Int64) -> None:
    """Takes in new and changed videos; those that are active become retrievable."""
    for start in range(0, len(item_id), BRING_ROWS):
        ids = item_id[start : start + BRING_ROWS]
        is_active = np.asarray(view.status[ids] == ACTIVE)
        release.bring(ids, view.videos(ids), VideoCodes.of(view, ids), is_active)


class Columned(Protocol):
    """What reads item columns by name (ranking.onnx_ranker.OnnxRanker)."""

    @property
    def item_names(self) -> tuple[str, ...]: ...


def feature_sources(
    surfaces: Mapping[str, SurfaceConfig], ranker: Columned | None
) -> tuple[str, ...]:
    """The sources that have feature columns: those that the ranker was trained with, whatever surfaces ask for since; without one, those of any
    surface, in a fixed order."""
    if ranker is not None:
        return tuple(name[7:] for name in ranker.item_names if name.startswith("source:"))
    return tuple(sorted({name for surface in surfaces.values() for name in surface.sources}))


def feature_scores(
    surfaces: Mapping[str, SurfaceConfig], generators: Iterable[str], ranker: Columned | None
) -> tuple[str, ...]:
    """The scores that merge and ranker read of every candidate: those that the ranker was trained with; without one, the merge's and those of all
    generators, several interests only where a surface asks for them."""
    if ranker is not None:
        return tuple(name[6:] for name in ranker.item_names if name.startswith("score:"))
    is_asked = any(surface.sources.get(INTERESTS, 0) > 0 for surface in surfaces.values())
    return ("tower", "blend", *(name for name in generators if name != INTERESTS or is_asked))


def generators_of(
    config: RetrievalConfig, release: ReleaseParts | None
) -> Mapping[str, Trained | Borrowing]:
    """{source: what embeds viewers, beside the two-tower network}; several interests where the generator is there in whose space they lie."""
    if release is None:
        return {}
    base = config.interests.vectors_of
    found: dict[str, Trained | Borrowing] = dict(release.generators)
    if base == "two_tower":
        found[INTERESTS] = Borrowing.interests(config.interests, release.vectors, release.index)
    elif base in release.generators:
        one = release.generators[base]
        found[INTERESTS] = Borrowing.interests(config.interests, one.vectors, one.index)
    return found


def _sources(
    parts: Parts,
    release: ReleaseParts | None,
    tower: OncePerQuery | None,
    near: Mapping[str, Source],
    allowed: Allowed,
) -> dict[str, Source]:
    view, counters, config = parts.view, parts.counters, parts.retrieval
    found: dict[str, Source] = {
        "popular": Popular(view, counters, config.popular, allowed.mask),
        "trending": Trending(view, counters, config.trending, allowed.mask),
        "local": Local(view, counters, config.local, allowed.mask),
        "fresh": Fresh(view, counters, config.fresh, allowed.mask),
        "followed": Followed(view, config.followed, allowed.mask),
    }
    if release is not None and tower is not None:
        found["relevant"] = Relevant(tower, release.index, allowed.mask)
        found["item_to_item"] = ItemToItem(
            view, release.neighbours, config.item_to_item, allowed.mask
        )
        if release.words is not None:
            found["search_history"] = SearchHistory(
                view, release.words, config.search_history, allowed.mask
            )
        if release.viewers is not None:
            found["user_knn"] = UserKnn(view, release.viewers, config.user_knn, allowed.mask)
    found |= near
    for name, remote in parts.pipeline.http_sources.items():
        found[name] = HttpSource(name, remote, view.item_ids)
    return found


def _filters(parts: Parts, allowed: Allowed) -> tuple[Filter, ...]:
    view = parts.view
    static = (
        Status(view),
        Country(view),
        Age(view, parts.filters),
        Moderation(view, parts.filters),
        parts.own_corpus,
    )
    return (
        *(Screened(one, allowed) for one in static),
        Excluded(view),
        Muted(view),
        Seen(),
    )


def _surface(
    name: str,
    config: SurfaceConfig,
    sources: Mapping[str, Source],
    parts: Parts,
    release: ReleaseParts | None,
) -> Surface:
    policy = _policy(config, parts, release)
    asked = {source for source, k in config.sources.items() if k > 0}
    quotas = tuple(
        Quota(sources[source], k)
        for source, k in config.sources.items()
        if source in asked & set(sources)
    )
    policy_settings = config.policy.model_dump_json()
    version = f"plackett-luce-{_digest(policy_settings)}"
    missing = () if release is None else tuple(sorted(asked - set(sources)))
    return Surface(name, config, quotas, policy, version, policy_settings, missing)


def _policy(
    config: SurfaceConfig, parts: Parts, release: ReleaseParts | None
) -> PlackettLucePolicy:
    view = parts.view

    def creators(item_id: Int64) -> Int64:
        return view.creator[item_id]

    def categories(item_id: Int64) -> Int64:
        return view.category[item_id].astype("int64")

    return PlackettLucePolicy(
        config.policy,
        creators=creators,
        categories=categories,
        vectors=release.vectors.rows if release is not None else None,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]

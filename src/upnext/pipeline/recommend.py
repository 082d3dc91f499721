"""One request, top to bottom.

    query       = hydrate(request)
    candidates  = fetch_all(sources, query)
    candidates  = apply filters (masks)
    candidates  = best_blended(candidates)          # the merge: as many as the ranker takes
    features    = features.read(query, candidates)
    predictions = ranker.predict(features)
    value       = value_of(query, predictions)
    slate       = policy.arrange(query, candidates, value)

No HTTP and no writes: the record that comes back is what serve logs, learn replays and evaluate reads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from upnext.core.errors import expected
from upnext.core.protocols import FeatureReader, Filter, Hydrator, Policy, Ranker
from upnext.core.randomness import key_of
from upnext.core.types import (
    Candidates,
    Corpus,
    Features,
    Float32,
    Predictions,
    Query,
    Request,
    Slate,
    Trace,
)
from upnext.events.slate import SlateRecord
from upnext.pipeline.blend import Blend, best_blended
from upnext.pipeline.config import SurfaceConfig
from upnext.pipeline.fetch import Quota, fetch_all
from upnext.pipeline.ladder import Rungs, votes
from upnext.pipeline.record import record_of
from upnext.pipeline.world import World
from upnext.policy.plackett_luce import PlackettLucePolicy
from upnext.ranking.value import value_of

DEEPER = 4


@dataclass(frozen=True, slots=True)
class Scored:
    """Candidates with what the ranker and the value model say of them, aligned."""

    candidates: Candidates
    features: Features
    predictions: Predictions
    value: Float32


@dataclass(frozen=True, slots=True)
class Answer:
    """A slate with everything that led to it."""

    query: Query
    slate: Slate
    scored: Scored
    record: SlateRecord
    trace: Trace


@dataclass(frozen=True, slots=True)
class Rival:
    """The second ranking of an interleaving, of the same candidates: how it values and draws."""

    teams: tuple[str, str]  # how slates log the surface's own ranking and this one
    weights: Mapping[str, float]
    policy: PlackettLucePolicy
    own: PlackettLucePolicy  # the surface's


@dataclass(frozen=True, slots=True)
class Surface:
    """One surface assembled: its sources, policy and settings."""

    name: str  # in the settings; the merge may have weights of its own for it
    config: SurfaceConfig
    quotas: tuple[Quota, ...]
    policy: Policy
    policy_version: str
    policy_settings: str  # as JSON, for the log of slates
    missing: tuple[str, ...] = ()  # sources that the settings ask for and the release does not have
    arms: Mapping[str, str] = field(default_factory=dict)  # {experiment: arm} of its viewers
    corpus: Corpus | None = None  # what its viewers may see, while creators are in arms too
    rival: Rival | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything that answers a request of one release; immutable, so a request pins one release."""

    release_id: str
    hydrator: Hydrator
    surfaces: Mapping[str, Surface]
    filters: tuple[Filter, ...]
    blend: Blend
    features: FeatureReader
    ranker: Ranker
    cheap_ranker: Ranker
    world: World
    candidate_log_share: float = 0.0
    surface_map: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    def surface(self, name: str) -> Surface:
        """The surface of that name; InvalidInput lists the known ones."""
        found = self.surfaces.get(name)
        if found is None:
            raise expected("surface", f"one of {', '.join(sorted(self.surfaces))}", name)
        return found

    def recommend(self, request: Request, *, cheap: bool = False, share: bool = False) -> Answer:
        """The page that `request` asks for.

        `cheap` skips the personal sources and the ranker, flagged; `share` lets idle cores take a part of the ranking."""
        trace, timer = Trace(), Timer()
        surface = self.surface(request.surface)
        query = self._query(request, surface)
        trace.degraded.extend(query.degraded)
        trace.degraded.extend(f"source:{name}" for name in surface.missing)
        if cheap:
            trace.degraded.append("cheap")
        trace.stage_ms["hydrate"] = timer.lap()
        candidates = self._candidates(query, surface, trace, timer, cheap=cheap)
        scored = self._score(query, surface, candidates, trace, timer, cheap=cheap, share=share)
        slate = _arranged(query, surface, scored)
        if not len(slate):
            slate, scored = self._repeat(query, surface, trace, timer)
        trace.shown = len(slate)
        trace.stage_ms["arrange"] = timer.lap()
        record = record_of(self, query, surface, scored, slate, trace)
        trace.stage_ms["record"] = timer.lap()
        return Answer(query, slate, scored, record, trace)

    def rank(self, request: Request, item_ids: Sequence[int]) -> Answer:
        """The caller's own candidates, filtered, scored and arranged as a page of `request.size`."""
        trace, timer = Trace(), Timer()
        surface = self.surface(request.surface)
        query = self._query(request, surface)
        trace.degraded.extend(query.degraded)
        ids = np.asarray(item_ids, np.int64)
        given = Candidates.of_source("given", ids, np.linspace(1, 0, len(ids), dtype=np.float32))
        trace.fetched["given"] = trace.n_unique = len(given)
        kept = given.take(votes(self.filters, query, given, trace.removed, trace))
        scored = self._score(query, surface, kept, trace, timer)
        slate = _arranged(query, surface, scored)
        trace.shown = len(slate)
        record = record_of(self, query, surface, scored, slate, trace)
        return Answer(query, slate, scored, record, trace)

    def logged_surface(self, name: str) -> Surface:
        """The surface that stands for a name of the platform's logs: mapped in the settings, else home, else any."""
        name = self.surface_map.get(name, name)
        found = self.surfaces.get(name) or self.surfaces.get("home")
        return found if found is not None else next(iter(self.surfaces.values()))

    def retrieved(self, query: Query) -> Candidates:
        """What the sources of the query's surface propose and the filters keep, merged columns on, not yet cut."""
        surface = self.logged_surface(query.request.surface)
        trace = Trace()
        fetched = fetch_all(surface.quotas, query, trace)
        kept = fetched.take(votes(self.filters, query, fetched, None, trace))
        return self.blend.scored(query, kept, surface.name)

    def score(self, query: Query, candidates: Candidates) -> Scored:
        """Features, predictions and value of the candidates of a hydrated query, cut to what the ranker takes."""
        surface = self.logged_surface(query.request.surface)
        return self._score(query, surface, candidates, Trace(), Timer())

    def _query(self, request: Request, surface: Surface) -> Query:
        query = self.hydrator.hydrate(request)
        if not surface.arms and surface.corpus is None:
            return query
        return query.with_arms(surface.arms, surface.corpus)

    def valued(self, query: Query) -> tuple[Scored, Trace]:
        """All that `recommend` does up to the value, for a query that is hydrated already; the trace tells how far down the ladder."""
        trace, timer = Trace(), Timer()
        surface = self.surface(query.request.surface)
        candidates = self._candidates(query, surface, trace, timer, cheap=False)
        return self._score(query, surface, candidates, trace, timer), trace

    def _candidates(
        self, query: Query, surface: Surface, trace: Trace, timer: Timer, *, cheap: bool
    ) -> Candidates:
        quotas = surface.quotas
        if cheap or "state" in query.degraded:
            quotas = tuple(q for q in quotas if q.source.name in ("popular", "trending"))
        wanted = query.request.size
        kept = self._filtered(quotas, query, trace, timer, deeper=1)
        if len(kept) < wanted:
            trace.degraded.append("ladder:deeper")
            kept = self._filtered(quotas, query, trace, timer, deeper=DEEPER)
        if len(kept) < wanted:
            rung = Rungs(self.world).unseen(self.filters, query, wanted, trace)
            trace.n_unique += len(rung) - int(np.isin(rung.item_id, kept.item_id).sum())
            kept = Candidates.union([kept, rung])
        return kept

    def _filtered(
        self, quotas: Sequence[Quota], query: Query, trace: Trace, timer: Timer, *, deeper: int
    ) -> Candidates:
        fetched = fetch_all(quotas, query, trace, deeper=deeper)
        trace.n_unique, trace.removed = len(fetched), {}
        trace.stage_ms["fetch"] = trace.stage_ms.get("fetch", 0.0) + timer.lap()
        kept = fetched.take(votes(self.filters, query, fetched, trace.removed, trace))
        trace.stage_ms["filter"] = trace.stage_ms.get("filter", 0.0) + timer.lap()
        return kept

    def _score(
        self,
        query: Query,
        surface: Surface,
        candidates: Candidates,
        trace: Trace,
        timer: Timer,
        *,
        cheap: bool = False,
        share: bool = False,
    ) -> Scored:
        candidates = self.blend.scored(query, candidates, surface.name, with_tower=not cheap)
        n_ranked = max(surface.config.n_ranked, query.request.size)  # a page is never cut short
        candidates = best_blended(candidates, n_ranked)
        trace.stage_ms["merge"] = timer.lap()
        features = self.features.read(query, candidates)
        trace.stage_ms["features"] = timer.lap()
        ranker = self.cheap_ranker if cheap else self.ranker
        predictions = ranker.predict(features, share=share)
        value = value_of(query, predictions, surface.config.weights)
        trace.stage_ms["rank"] = timer.lap()
        return Scored(candidates, features, predictions, value)

    def _repeat(
        self, query: Query, surface: Surface, trace: Trace, timer: Timer
    ) -> tuple[Slate, Scored]:
        """The last rung: least recently seen first, each slot certain."""
        ids = Rungs(self.world).repeats(self.filters, query, query.request.size, trace)
        candidates = Candidates.of_source("repeat", ids, np.zeros(len(ids), np.float32))
        trace.fetched["repeat"] = len(ids)
        trace.n_unique += len(ids)
        scored = self._score(query, surface, candidates, trace, timer)
        k = len(scored.candidates)
        slate = Slate(
            item_id=scored.candidates.item_id,
            value=scored.value,
            propensity=np.ones(k),
            n_eligible=np.ones(k, np.int64),
            reason=("repeat",) * k,
            draw_key=key_of("repeat", query.request.request_id),
            is_repeat=np.ones(k, np.bool_),
        )
        return slate, scored


def _arranged(query: Query, surface: Surface, scored: Scored) -> Slate:
    rival = surface.rival
    if rival is None:
        return surface.policy.arrange(query, scored.candidates, scored.value)
    values = scored.value, value_of(query, scored.predictions, rival.weights)
    return rival.own.draft(rival.policy, query, scored.candidates, values)


class Timer:
    """Milliseconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Milliseconds since the timer was made or last asked."""
        now = time.perf_counter()
        elapsed_ms, self._last = (now - self._last) * 1e3, now
        return elapsed_ms

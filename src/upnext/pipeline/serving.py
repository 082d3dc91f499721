"""A running pipeline that follows the stores: the catalogue, the counters, the current release, the experiments.

One process has one. Requests read `.answering`, a single reference, so a request pins one release and one variant; a new release is loaded
and warmed beside the old one and swapped in by one assignment, with the variants of all arms. A damaged one is refused with the file's name and the old one stays; a process that
starts on a damaged one takes the latest that was current before and is whole.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.clock import Clock
from upnext.core.errors import UpNextError
from upnext.core.types import Candidates, History, Int64, Request, Trace
from upnext.features.live import StateReader
from upnext.features.ring import Ring, history_of
from upnext.pipeline.assemble import (
    NO_RELEASE,
    Assembled,
    Parts,
    assemble,
    bring,
    bring_later,
)
from upnext.pipeline.config import SurfaceConfig
from upnext.pipeline.first_views import FirstViews
from upnext.pipeline.ladder import votes
from upnext.pipeline.recommend import Pipeline
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.variants import NoTrials, Trials, Variants

log = logging.getLogger(__name__)
N_WARM = 8  # videos in the history of the viewer that a new pipeline is warmed with


class Serving:
    """Assembles, follows and swaps. The follow methods may run in background threads."""

    def __init__(
        self,
        parts: Parts,
        releases: ReleaseStore,
        clock: Clock,
        *,
        reader: StateReader | None = None,
        threads: int = 1,
    ) -> None:
        self._parts = parts
        self._releases = releases
        self._clock = clock
        self._reader = reader
        self._threads = threads
        self._lock = threading.Lock()  # of the swap and of what changes the release's tables
        self._refused: str | None = None
        self._trials: Trials = NoTrials()
        self._surfaces = parts.surfaces  # with the weights in force
        self._of_release: dict[str, FirstViews] = {}  # by release_id
        self._of_arms: dict[str, Assembled] = {}  # by release_id: those that arms serve
        self._assembled = self._first()
        self._answering = self._made()

    @property
    def pipeline(self) -> Pipeline:
        """The current release's, what answers viewers of no arm."""
        return self._assembled.pipeline

    @property
    def answering(self) -> Variants:
        """What answers now."""
        return self._answering

    @property
    def view(self) -> CatalogView:
        """The catalogue's view."""
        return self._parts.view

    @property
    def refused(self) -> str | None:
        """The current release while it is damaged and another (or none) answers, else None."""
        return self._refused

    def follow_catalog(self) -> Int64:
        """Takes the catalogue's changes in; new and changed videos become retrievable -> int64[m], which changed."""
        was_empty = not self._parts.view.n_items
        with self._lock:
            changed = self._parts.view.refresh()
            for assembled in self._all() if len(changed) else ():
                assembled.allowed.clear()
                self._bring(assembled, changed)
            if self._parts.own_corpus.extend():
                self._clear()
        if was_empty and len(changed):
            self._warm(self._assembled)
        return changed

    def follow_counters(self) -> None:
        """Reads changed counters, makes the popularity-like lists anew and moves new videos to where their first viewers are."""
        if self._reader is not None:
            self._reader.refresh_counters()
        for assembled in self._all():
            assembled.refresh_lists(self._clock.now_us())
        with self._lock:
            for first_views in self._first_views():
                first_views.follow(self._clock.now_us())

    def _first_views(self) -> list[FirstViews]:
        """Of each release that serves; what is known of the viewers of one that went is forgotten."""
        if self._reader is None:
            return []
        kept: dict[str, FirstViews] = {}
        for one in self._all():
            if one.release is not None:
                name = one.pipeline.release_id
                kept[name] = self._of_release.get(name) or FirstViews(
                    one.release, self._parts.view, self._reader
                )
        self._of_release = kept
        return list(kept.values())

    def follow_trials(
        self, trials: Trials, surfaces: Mapping[str, SurfaceConfig] | None = None
    ) -> None:
        """Swaps in the experiments that run and, with `surfaces`, what everybody else's are; a release that only an arm serves is loaded beside the current one.

        Raises UpNextError where that can't be loaded; the experiments then stay as they were."""
        wanted = {variant.release_id for variant in trials.variants()} - {None}
        have = {one.pipeline.release_id: one for one in self._all()}
        loaded = {one: have.get(one) or self._loaded(one) for one in wanted if one is not None}
        with self._lock:
            for release_id in loaded.keys() - have.keys():
                self._bring_later(loaded[release_id])
            self._parts.own_corpus.follow(trials.split())  # before anyone is told to see a corpus
            self._clear()
            self._trials, self._of_arms = trials, loaded
            self._surfaces = self._surfaces if surfaces is None else surfaces
            made = self._made()
        made.warm(self._clock.now_us())
        self._answering = self._made()  # a release may have come meanwhile

    def follow_release(self) -> bool:
        """Swaps in the current release if it is another -> whether it did.

        Raises UpNextError once for a release that can't be loaded; it is then left alone until another is promoted."""
        current = self._releases.current()
        if current is None or current == self._refused:
            return False
        if current == self.pipeline.release_id:
            self._refused = None
            return False
        try:
            assembled = self._of_arms.get(current) or self._loaded(current)
        except UpNextError:
            self._refused = current
            raise
        with self._lock:
            self._bring_later(assembled)
            self._assembled = assembled
            self._answering = self._made()
        self._refused = None
        log.info("release swapped in", extra={"release_id": current})
        return True

    def _all(self) -> list[Assembled]:
        """The current release and those of arms, each once."""
        others = [one for one in self._of_arms.values() if one is not self._assembled]
        return [self._assembled, *others]

    def _clear(self) -> None:
        """Forgets the masks of what may be shown."""
        for assembled in self._all():
            assembled.allowed.clear()

    def _made(self) -> Variants:
        return Variants(self._assembled, self._of_arms, self._parts, self._trials, self._surfaces)

    def _first(self) -> Assembled:
        for release_id in self._standing():
            try:
                assembled = self._loaded(release_id)
            except UpNextError as error:
                log.error("release refused", extra={"release_id": release_id, "error": str(error)})
                self._refused = self._refused or release_id
                continue
            self._bring_later(assembled)
            if self._refused is not None:
                said = {"release_id": release_id, "refused": self._refused}
                log.error("an earlier release serves", extra=said)
            return assembled
        assembled = assemble(self._parts, None, NO_RELEASE)
        self._warm(assembled)
        return assembled

    def _standing(self) -> list[str]:
        """The current release, then those that were current before it and were not rolled back, each once."""
        try:
            return list(dict.fromkeys(reversed(self._releases.promotions().standing())))
        except UpNextError as error:  # a damaged pointer
            log.error("no release is known", extra={"error": str(error)})
            return []

    def _loaded(self, release_id: str) -> Assembled:
        """A release, verified, assembled and warmed by one request per surface."""
        opened = self._releases.open(release_id)
        release = ReleaseParts.load(opened.path, threads=self._threads)
        assembled = assemble(self._parts, release, release_id)
        self._warm(assembled)
        return assembled

    def _warm(self, assembled: Assembled) -> None:
        """Makes the lists, and asks each surface for a viewer of whom nothing is known and for one with a history, a place and a creator followed.

        What is compiled in the first run of an installation, no viewer waits for."""
        now_us = self._clock.now_us()
        assembled.refresh_lists(now_us)
        pipeline = assembled.pipeline
        history = _history_of_latest(self._parts.view.n_items, now_us)
        for surface in self._parts.surfaces:
            request = Request("warm", "", surface, 1, now_us)
            pipeline.recommend(request)
            query = pipeline.hydrator.hydrate(request)
            user = replace(query.user, history=history, followed=np.zeros(1, np.int64))
            placed = replace(request, latitude=0.0, longitude=0.0)
            query = replace(query, user=user, request=placed)
            pipeline.score(query, pipeline.retrieved(query))
            unknown = Candidates(np.array([-1], np.int64))  # hidden: every filter is asked
            votes(pipeline.filters, query, unknown, None, Trace())

    def _bring_later(self, assembled: Assembled) -> None:
        """What the catalogue got since the release was made."""
        if assembled.release is not None:
            bring_later(assembled.release, self._parts.view)

    def _bring(self, assembled: Assembled, item_id: Int64) -> None:
        if assembled.release is not None:
            bring(assembled.release, self._parts.view, item_id)


def _history_of_latest(n_items: int, now_us: int) -> History:
    """A history of the catalogue's latest few videos, as the state would give it."""
    ring = Ring(N_WARM)
    for item_id in range(max(0, n_items - N_WARM), n_items):
        ring.open(item_id, now_us - 1, 0, 0)
    return history_of(ring.to_bytes())

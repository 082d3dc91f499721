"""Simulated viewers who scroll feeds in process: catalogue, state and pipeline as served, without HTTP, a log or a release.

A page's slate is applied as soon as it is drawn and its viewer's events some pages later, as apps that prefetch do. What may be shown
is checked by an oracle of its own: sets of video numbers, made from the platform's tables and from the events alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from memory_state import MemoryState
from upnext.catalog import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.clock import SECOND_US
from upnext.core.event import Event
from upnext.core.types import Request
from upnext.features.live import StateReader, StateWriter
from upnext.filters.config import FiltersConfig
from upnext.pipeline.assemble import Assembled, Parts, assemble
from upnext.pipeline.config import PipelineConfig, SurfaceConfig
from upnext.pipeline.recommend import Answer
from upnext.retrieval.config import RetrievalConfig
from upnext.simulate.platform import Platform
from upnext.simulate.tables import users_table, videos_table
from upnext.simulate.viewer import Page, ViewerBehaviour
from upnext.simulate.world import World

SURFACES = {
    "home": SurfaceConfig(
        size=6,
        sources={"popular": 16, "fresh": 10, "followed": 8},
        weights={"relevant": 1.0},
        n_ranked=30,
    ),
    "shorts": SurfaceConfig(
        size=5,
        sources={"popular": 12, "trending": 8, "local": 8},
        weights={"relevant": 1.0},
        n_ranked=24,
    ),
}
MAX_HARM = 0.8
FOLLOW_EVERY = 100  # requests between two looks at the counters
UNKNOWN_AGE_SEES = 13


class Oracle:
    """What each viewer may be shown: plain sets of video_ids."""

    def __init__(self, world: World) -> None:
        videos, users = videos_table(world).to_pylist(), users_table(world).to_pylist()
        self.creators: dict[str, set[str]] = {}
        for row in videos:
            self.creators.setdefault(row["creator_id"], set()).add(row["video_id"])
        self.allowed = {user["user_id"]: _allowed(videos, user) for user in users}
        self.seen: dict[str, set[str]] = {user_id: set() for user_id in self.allowed}
        self.unwanted: dict[str, set[str]] = {user_id: set() for user_id in self.allowed}
        self.served: dict[tuple[str, str], set[str]] = {}

    def hear(self, event: Event) -> None:
        """What an event that has reached the state rules out."""
        if event.kind == "impression":
            self.seen[event.user_id].add(event.video_id or "")
        if event.kind == "not_interested":
            self.unwanted[event.user_id].add(event.video_id or "")
        if event.kind == "mute":
            self.unwanted[event.user_id] |= self.creators[event.target_id or ""]

    def check(self, request: Request, answer: Answer) -> bool:
        """Asserts the page's promises -> whether it is a page of repeats; remembers it as served."""
        user_id = request.user_id
        served = self.served.setdefault((user_id, request.session_id), set())
        wanted = self.allowed[user_id] - self.unwanted[user_id] - set(request.exclude)
        fresh = wanted - self.seen[user_id] - served
        shown = answer.record.video_id
        assert len(set(shown)) == len(shown), "a video stands twice in one page"
        repeats = bool(answer.record.is_repeat) and all(answer.record.is_repeat)
        assert any(answer.record.is_repeat) == repeats
        if fresh:
            assert not repeats, "repeats while an unseen allowed video exists"
            assert set(shown) <= fresh, sorted(set(shown) - fresh)
            assert len(shown) == min(request.size, len(fresh)), (len(shown), len(fresh))
        else:
            assert set(shown) <= wanted, sorted(set(shown) - wanted)
            assert bool(shown) == bool(wanted), "an empty page while an allowed video exists"
            assert repeats == bool(shown)
        served |= set(shown)
        return repeats


def _allowed(videos: list[dict], user: dict) -> set[str]:
    age = UNKNOWN_AGE_SEES if user["age"] is None else user["age"]
    return {
        row["video_id"]
        for row in videos
        if user["country"] not in (row["countries_blocked"] or [])
        and row["min_age"] <= age
        and dict(row["moderation"] or []).get("misinformation", 0.0) <= MAX_HARM
    }


@dataclass
class Tally:
    """What a replay saw."""

    n_requests: int = 0
    n_repeat_pages: int = 0
    n_prefetched: int = 0
    n_ladder: int = 0
    n_mutes: int = 0
    n_hidden: int = 0  # viewers for whom something of the catalogue is not allowed
    n_last: int = 0  # pages that had fewer fresh videos than slots


@dataclass
class Scroll:
    """One session under way."""

    viewer: int
    session_id: str
    surface: str
    n_pages: int
    page: int = 0
    waiting: list[tuple[int, list[Event]]] = field(default_factory=list)  # due after a page


class Feeds:
    """A running system of simulated viewers."""

    def __init__(self, folder: Path, n_viewers: int, n_videos: int, seed: int) -> None:
        self.world = World.make(n_viewers, n_videos, seed)
        catalog = Catalog(folder / "catalog.db")
        catalog.put_videos(videos_table(self.world))
        catalog.put_users(users_table(self.world))
        self._durations = catalog.durations(np.arange(n_videos)).tolist()
        catalog.close()
        self.view = CatalogView(folder / "catalog.db")
        self.oracle = Oracle(self.world)
        self.tally = Tally()
        self._item_id = dict(
            zip(self.world.video_ids, self.view.item_ids(self.world.video_ids).tolist())
        )
        store = MemoryState()
        self._writer, self._reader = StateWriter(store), StateReader(store, self.view)
        self._assembled = self._assemble()
        self._behaviour = ViewerBehaviour(Platform(self.world))
        self._rng = np.random.default_rng(seed)
        self._time_us = self.world.end_us
        self._log_seq = 0
        everything = set(self.world.video_ids)
        self.tally.n_hidden = sum(allowed != everything for allowed in self.oracle.allowed.values())

    def _assemble(self) -> Assembled:
        parts = Parts(
            view=self.view,
            counters=self._reader.counters,
            hydrator=self._reader,
            surfaces=SURFACES,
            pipeline=PipelineConfig(candidate_log_share=0.0),
            filters=FiltersConfig(
                unknown_age_sees=UNKNOWN_AGE_SEES, moderation_max={"misinformation": MAX_HARM}
            ),
            retrieval=RetrievalConfig(),
        )
        return assemble(parts, None)

    def run(self, n_requests: int, *, n_at_once: int = 12) -> Tally:
        """Interleaved sessions of many viewers, until that many requests were answered and checked."""
        open_sessions: list[Scroll] = []
        while len(open_sessions) < n_at_once:
            open_sessions.append(self._new_session(open_sessions))
        while self.tally.n_requests < n_requests:
            place = int(self._rng.integers(n_at_once))
            scroll = open_sessions[place]
            self._one_page(scroll)
            if scroll.page == scroll.n_pages:
                self._apply([event for _, events in scroll.waiting for event in events], None)
                open_sessions[place] = self._new_session(open_sessions)
        return self.tally

    def _new_session(self, others: list[Scroll]) -> Scroll:
        """Of a viewer with fewer than three sessions open: state keeps the four served latest."""
        viewer = int(self._rng.integers(self.world.n_viewers))
        while sum(one.viewer == viewer for one in others) >= 3:
            viewer = int(self._rng.integers(self.world.n_viewers))
        surface = ("home", "shorts")[int(self._rng.integers(2))]
        n_pages = 1 + int(self._rng.geometric(0.2))
        return Scroll(viewer, f"s{self._rng.integers(1 << 40)}", surface, n_pages)

    def _one_page(self, scroll: Scroll) -> None:
        tally, rng = self.tally, self._rng
        self._time_us += int(rng.integers(1, 20)) * SECOND_US
        if tally.n_requests % FOLLOW_EVERY == 0:
            self._reader.refresh_counters()
            self._assembled.refresh_lists(self._time_us)
        request = self._request(scroll)
        answer = self._assembled.pipeline.recommend(request)
        repeats = self.oracle.check(request, answer)
        tally.n_requests += 1
        tally.n_repeat_pages += repeats
        tally.n_last += not repeats and len(answer.slate) < request.size
        tally.n_ladder += any(flag.startswith("ladder") for flag in answer.trace.degraded)
        events = self._reactions(scroll, request, answer)
        delay = int(rng.integers(3))  # 1, 2: the next pages are asked before these events come
        tally.n_prefetched += delay > 0
        scroll.waiting.append((scroll.page + delay, events))
        due = [e for page, events in scroll.waiting if page <= scroll.page for e in events]
        scroll.waiting = [one for one in scroll.waiting if one[0] > scroll.page]
        self._apply(due, answer)
        scroll.page += 1

    def _request(self, scroll: Scroll) -> Request:
        user_id = self.world.user_ids[scroll.viewer]
        exclude: tuple[str, ...] = ()
        if self._rng.random() < 0.1:
            rows = self._rng.integers(self.world.n_videos, size=3)
            exclude = tuple(self.world.video_ids[row] for row in rows)
        return Request(
            request_id=f"r{self.tally.n_requests}",
            user_id=user_id,
            surface=scroll.surface,
            size=SURFACES[scroll.surface].size,
            time_us=self._time_us,
            session_id=scroll.session_id,
            page=scroll.page,
            seed=scroll.viewer,
            exclude=exclude,
        )

    def _reactions(self, scroll: Scroll, request: Request, answer: Answer) -> list[Event]:
        page = Page(
            request.request_id,
            request.session_id,
            request.surface,
            request.time_us,
            answer.record.video_id,
        )
        events = self._behaviour.react(scroll.viewer, page, self._rng)
        if events and self._rng.random() < 0.003:
            creator = int(self.world.videos.creator[self._item_id[events[0].video_id or ""]])
            self.tally.n_mutes += 1
            mute = Event(
                event_id=f"{request.request_id}:mute",
                kind="mute",
                user_id=request.user_id,
                time_us=events[-1].time_us,
                target_kind="creator",
                target_id=self.world.creator_id(creator),
            )
            events.append(mute)
        return events

    def _apply(self, events: list[Event], answer: Answer | None) -> None:
        """What intake does: stamps, then one transaction of state."""
        stamped = []
        for event in events:
            self._log_seq += 1
            item_id = None if event.video_id is None else self._item_id[event.video_id]
            event = msgspec.structs.replace(
                event,
                log_seq=self._log_seq,
                received_us=self._time_us,
                time_us=min(event.time_us, self._time_us),
                item_id=item_id,
                duration_s=None if item_id is None else self._durations[item_id],
            )
            self.oracle.hear(event)
            stamped.append(event)
        slates = []
        if answer is not None:
            self._log_seq += 1
            slates = [msgspec.structs.replace(answer.record, log_seq=self._log_seq)]
        self._writer.apply(stamped, slates, self._log_seq)

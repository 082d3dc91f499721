"""A platform whose pages a real recommender makes: viewers come, are answered, watch, leave, and come back or not.

    loop = ClosedLoop(Platform(world, days=30), recommender)
    figures = [loop.run_day(day) for day in range(30)]

Steps happen in order of simulated time. A step of a session sends what its viewer did with the page before, then asks for the
next one; what they do with it is known at once (simulate/platform.py) and sent when they are through, at the time it takes to watch. Steps that
fall into the same `together_s` seconds are taken together at the last one's time: 0 keeps every step apart. A session that goes on past
midnight is finished on the next day. What creators upload in the night is in the catalogue before the first session of the morning.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import pyarrow as pa

from upnext.core.clock import DAY_US, SECOND_US
from upnext.core.event import Event
from upnext.core.randomness import key_of
from upnext.core.types import Bool, Float64, Int64, Request
from upnext.simulate import returning
from upnext.simulate.behaviour import Outcome
from upnext.simulate.day_figures import LoopDay, LoopTally
from upnext.simulate.draws import keys_of
from upnext.simulate.platform import LOOK_S, Platform
from upnext.simulate.tables import users_table, videos_table
from upnext.simulate.truth import SURFACES
from upnext.simulate.viewer import Page, events_of
from upnext.simulate.visits import DEVICES, SHORTS, Pages, Sessions, Shown, pages_of

MOST_TOGETHER: Final = 256  # steps taken at once


class Recommender(Protocol):
    """What a loop drives: a system in this process, or behind a URL."""

    def put(self, videos: pa.Table, users: pa.Table) -> None:
        """Takes whole rows of core.columns.VIDEOS and USERS."""
        ...

    def feed(self, requests: Sequence[Request]) -> list[list[str]]:
        """The video_ids of each request's page, best first."""
        ...

    def send(self, events: Sequence[Event], time_us: int) -> None:
        """Takes what viewers did; `time_us` is when it arrives."""
        ...


@dataclass(slots=True)
class _Visit:
    """A session under way."""

    viewer: int
    number: int
    surface: int
    device: int
    most_pages: int
    page: int = 0  # that is asked for next
    is_over: bool = False
    said: list[Event] = field(default_factory=list)  # what was done with the page before
    watching: str | None = None  # what was started last


class ClosedLoop:
    """Drives one recommender through the days of one platform."""

    def __init__(
        self,
        platform: Platform,
        recommender: Recommender,
        *,
        run: str = "sim",
        together_s: float = 0.0,
    ) -> None:
        """`run` begins every request and session id, so that two runs on one log stay apart."""
        self.platform = platform
        self._recommender = recommender
        self._run = run
        self._together_us = int(together_s * SECOND_US)
        world = platform.world
        self._videos, self._users = videos_table(world), users_table(world)
        self._is_put: Bool = np.zeros(world.n_videos, np.bool_)
        self._steps: list[tuple[int, int, int, _Visit]] = []  # a heap: when, whose
        self._next_us: dict[int, int] = {}  # when each viewer who is here takes their next step
        self._tally = LoopTally(platform)
        self.watch_s_by_viewer: Float64 = np.zeros(world.n_viewers)  # since the loop began

    def run_day(self, day: int) -> LoopDay:
        """Plays a day to its end -> its figures. Days must be played in order. Raises what the recommender raises."""
        platform, end_us = self.platform, self.platform.day_start_us(day) + DAY_US
        self._publish(day)
        self._open(platform.sessions(day))
        while self._steps and self._steps[0][0] < end_us:
            self._take(self._due(end_us))
        platform.end_day(day)
        return self._tally.close(day)

    def finish(self) -> None:
        """Ends the sessions that go on past the last day: what was done is sent, no page is asked for."""
        visits = [(due_us, visit) for due_us, _, _, visit in sorted(self._steps)]
        self._steps.clear()
        self._next_us.clear()
        for due_us, visit in visits:
            if visit.said:
                self._recommender.send(visit.said, due_us)

    def _publish(self, day: int) -> None:
        """Puts the videos that came out since the day before, and on the first day every viewer."""
        rows = self.platform.published(day)
        new = rows[~self._is_put[rows]]
        users = self._users if not self._is_put.any() else self._users.slice(0, 0)
        self._recommender.put(self._videos.take(pa.array(new)), users)
        self._is_put[new] = True

    def _open(self, sessions: Sessions) -> None:
        columns = (
            sessions.viewer,
            sessions.number,
            sessions.surface,
            sessions.device,
            sessions.most_pages,
        )
        for start_us, *values in zip(sessions.start_us.tolist(), *(c.tolist() for c in columns)):
            visit = _Visit(*values)
            heapq.heappush(self._steps, (start_us, visit.viewer, visit.number, visit))

    def _due(self, end_us: int) -> list[tuple[int, _Visit]]:
        """The steps that are taken together, in order of time; a viewer's next session waits until they are through with one."""
        due: list[tuple[int, _Visit]] = []
        first_us = self._steps[0][0]
        until_us = min(first_us + self._together_us, end_us - 1)
        while self._steps and self._steps[0][0] <= until_us and len(due) < MOST_TOGETHER:
            due_us, viewer, number, visit = heapq.heappop(self._steps)
            busy_us = self._next_us.get(viewer)
            if visit.page == 0 and busy_us is not None:
                again_us = max(busy_us, until_us) + 1
                heapq.heappush(self._steps, (again_us, viewer, number, visit))
                continue
            self._next_us[viewer] = due_us
            due.append((due_us, visit))
        return due

    def _take(self, due: Sequence[tuple[int, _Visit]]) -> None:
        """One step of each of these sessions, at the last one's time."""
        if not due:
            return
        now_us = due[-1][0]
        said = [event for _, visit in due for event in visit.said]
        if said:
            self._recommender.send(said, now_us)
        asking = []
        for _, visit in due:
            if visit.is_over:
                del self._next_us[visit.viewer]
            else:
                asking.append(visit)
        if asking:
            self._ask(asking, now_us)

    def _ask(self, visits: Sequence[_Visit], now_us: int) -> None:
        """A page for each session, and what its viewer does with it."""
        platform = self.platform
        pages = _pages(platform, visits, now_us)
        requests = self._requests(visits, pages)
        lists = self._recommender.feed(requests)
        shown, place = _shown(platform, pages, lists)
        done = platform.respond(shown)
        stop, end_us = _after(platform, pages, shown, place, done)
        platform.absorb(shown, done)
        self._tally.add(pages, shown, place, done)
        self.watch_s_by_viewer += np.bincount(shown.viewer, done.watch_s, platform.world.n_viewers)
        first = np.searchsorted(place, np.arange(len(visits) + 1)).tolist()
        for n_th, (visit, request) in enumerate(zip(visits, requests, strict=True)):
            rows = np.arange(first[n_th], first[n_th + 1])
            self._answer(visit, request, lists[n_th], shown.take(rows), done.take(rows))
            visit.page += 1
            visit.is_over = bool(stop[n_th]) or visit.page >= visit.most_pages
            self._next_us[visit.viewer] = end_us[n_th]
            heapq.heappush(self._steps, (end_us[n_th], visit.viewer, visit.number, visit))

    def _answer(
        self, visit: _Visit, request: Request, videos: Sequence[str], shown: Shown, done: Outcome
    ) -> None:
        """Writes down what came of one page."""
        page = Page(
            request.request_id, request.session_id, request.surface, request.time_us, videos
        )
        visit.said = events_of(self.platform.world, page, shown, done)
        started = np.flatnonzero(done.started)
        if len(started):
            visit.watching = videos[started[-1]]

    def _requests(self, visits: Sequence[_Visit], pages: Pages) -> list[Request]:
        requests = []
        user_ids = self.platform.world.user_ids
        for visit, surface, size, visit_id in zip(
            visits,
            pages.surface.tolist(),
            pages.n_slots.tolist(),
            pages.visit.tolist(),
            strict=True,
        ):
            user_id = user_ids[visit.viewer]
            session_id = f"{self._run}-{user_id}-{visit.number}"
            requests.append(
                Request(
                    request_id=f"{self._run}-{user_id}-p{visit_id}",
                    user_id=user_id,
                    surface=SURFACES[surface],
                    size=size,
                    time_us=int(pages.time_us[0]),
                    session_id=session_id,
                    page=visit.page,
                    seed=key_of("session", user_id, session_id),
                    device=DEVICES[visit.device],
                    current_video_id=visit.watching if SURFACES[surface] == "upnext" else None,
                )
            )
        return requests


def _pages(platform: Platform, visits: Sequence[_Visit], now_us: int) -> Pages:
    """The pages that the sessions ask for now."""

    def column(name: str) -> Int64:
        return np.array([getattr(visit, name) for visit in visits], np.int64)

    now = np.full(len(visits), now_us, np.int64)
    sessions = Sessions(
        column("viewer"),
        column("number"),
        now,
        column("surface"),
        column("device"),
        column("most_pages"),
    )
    return pages_of(platform.world, sessions, column("page"), now)


def _shown(platform: Platform, pages: Pages, lists: Sequence[Sequence[str]]) -> tuple[Shown, Int64]:
    """(the showings of these pages, int64[n]: which page each belongs to)."""
    row_of = platform.world.row_of
    sizes = [len(one) for one in lists]
    at = np.repeat(np.arange(len(lists)), sizes)
    slot = np.concatenate([np.arange(size) for size in sizes])
    video = np.array([row_of.get(v, -1) for one in lists for v in one], np.int64)
    shown = Shown(
        viewer=pages.viewer[at],
        video=video,
        surface=pages.surface[at],
        device=pages.device[at],
        slot=slot.astype(np.int64),
        visit=pages.visit[at],
        time_us=pages.time_us[at],
    )
    return shown, at


def _after(
    platform: Platform, pages: Pages, shown: Shown, place: Int64, done: Outcome
) -> tuple[Bool, list[int]]:
    """(bool[p]: which sessions end with this page, empty or too dull; when each viewer is through with it, UTC microseconds)."""
    n = len(pages)
    look_s = np.where(shown.surface == SHORTS, 0.0, LOOK_S)
    busy_s = np.bincount(place, (done.watch_s + look_s) * done.reached, n)
    n_started = np.bincount(place, done.started, n)
    pleasure: Float64 = np.bincount(place, done.pleasure, n) / np.maximum(n_started, 1)
    keys = keys_of(platform.world.seed, pages.viewer, pages.visit)
    is_empty = np.bincount(place, minlength=n) == 0
    stop = returning.stops(platform.world.knobs, pleasure, keys) | is_empty
    end_us = pages.time_us + (busy_s * SECOND_US).astype(np.int64)
    return stop, end_us.tolist()

"""A viewer in a closed loop: gets a slate, answers with the events that an app would send."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.event import Event
from upnext.core.types import Float64
from upnext.simulate.behaviour import N_DRAWS, Outcome, outcome
from upnext.simulate.truth import AUTOPLAY, Rates, examination, rates
from upnext.simulate.world import World

LOOK_S = 1.0  # seconds between two slots that are not watched
LEAVE = 0.03  # P(leave after a slot) on an autoplay surface; later slots are then no impressions
HEARTBEAT_S = 60.0  # longer watches also report halfway, cumulative
FEEDBACK = ("like", "dislike", "share", "comment", "follow", "not_interested")


@dataclass(frozen=True, slots=True)
class Page:
    """One slate as the app received it."""

    request_id: str
    session_id: str
    surface: str
    time_us: int
    video_ids: Sequence[str]
    first_slot: int = 0


class ViewerBehaviour:
    """Answers slates; remembers the rates of viewers met lately, which is what makes it quick."""

    def __init__(self, world: World, *, n_remembered: int = 2_048) -> None:
        self.world = world
        self._everything = np.arange(world.n_videos)
        self._remembered: OrderedDict[tuple[int, bool], Rates] = OrderedDict()
        self._n_remembered = n_remembered

    def react(self, viewer: int, page: Page, rng: np.random.Generator) -> list[Event]:
        """What viewer row `viewer` does with a page, in order of time; a video the world doesn't know is seen and left.

        event_id is request_id, slot and kind, so a page sent twice is the same events. On an autoplay surface the viewer may leave
        midway: later slots then give no event. The events end at most the page's watch time after `time_us`.
        """
        k = len(page.video_ids)
        draws = rng.random((k, N_DRAWS + 1))
        rows = [self.world.row_of.get(v, -1) for v in page.video_ids]
        if page.surface == AUTOPLAY:
            left = np.flatnonzero(draws[:, -1] < LEAVE)
            k = int(left[0]) + 1 if len(left) else k
        done = self._outcome(viewer, rows[:k], page, draws[:k, :-1])
        feedback = _feedback(done)
        shared = {
            "user_id": self.world.user_ids[viewer],
            "session_id": page.session_id,
            "request_id": page.request_id,
            "surface": page.surface,
        }
        events: list[Event] = []
        clock_s = 0.0
        for j in range(k):
            clock_s = _answer(events, page, j, clock_s, shared, done)
            for kind in feedback.get(j, ()):
                events.append(self._said(kind, events[-1], rows[j]))
            clock_s += 0.0 if page.surface == AUTOPLAY else LOOK_S
        return events

    def _outcome(self, viewer: int, rows: list[int], page: Page, draws: Float64) -> Outcome:
        at = np.array(rows, np.int64)
        rate = self._rates(viewer, page.surface).take(at)
        look = examination(page.surface, page.first_slot + np.arange(len(at)))
        return outcome(rate, np.where(at >= 0, look, 0.0), draws)

    def _rates(self, viewer: int, surface: str) -> Rates:
        """The rates of one viewer with every video."""
        key = (viewer, surface == AUTOPLAY)
        found = self._remembered.get(key)
        if found is None:
            who = np.full(self.world.n_videos, viewer, np.int64)
            found = rates(self.world, who, self._everything, surface)
            self._remembered[key] = found
            if len(self._remembered) > self._n_remembered:
                self._remembered.popitem(last=False)
        else:
            self._remembered.move_to_end(key)
        return found

    def _said(self, kind: str, last: Event, row: int) -> Event:
        """Feedback at the moment of the slot's last event."""
        name = f"{last.request_id}:{last.slot}:{kind}"
        said: Any = {"event_id": name, "kind": kind, "view_id": None, "watch_s": None}
        if kind == "follow" and row >= 0:
            creator = int(self.world.videos.creator[row])
            said |= {"target_kind": "creator", "target_id": self.world.creator_id(creator)}
        return msgspec.structs.replace(last, **said)


def _answer(
    events: list[Event], page: Page, j: int, clock_s: float, shared: dict[str, Any], done: Outcome
) -> float:
    """Appends the events of slot j, which begins `clock_s` seconds after the page; the seconds after it."""
    slot = page.first_slot + j
    name = f"{page.request_id}:{slot}"
    about = {**shared, "video_id": page.video_ids[j], "slot": slot}

    def put(kind: Any, at_s: float, label: str = "", **more: Any) -> None:
        time_us = page.time_us + int(at_s * SECOND_US)
        event_id = f"{name}:{label or kind}"
        events.append(Event(event_id=event_id, kind=kind, time_us=time_us, **about, **more))

    put("impression", clock_s)
    if done.started[j]:
        watch_s = float(done.watch_s[j])
        if page.surface != AUTOPLAY:
            put("click", clock_s)
        if watch_s >= HEARTBEAT_S:
            put("watch", clock_s + watch_s / 2, "halfway", view_id=name, watch_s=watch_s / 2)
        clock_s += watch_s
        put("watch", clock_s, view_id=name, watch_s=watch_s)
    return clock_s


def _feedback(done: Outcome) -> dict[int, list[str]]:
    """Slot place -> kinds of feedback given there."""
    given: dict[int, list[str]] = {}
    for kind in FEEDBACK:
        for j in np.flatnonzero(getattr(done, kind)):
            given.setdefault(int(j), []).append(kind)
    return given

"""A viewer in a closed loop: gets a slate, answers with the events that an app would send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.event import Event
from upnext.simulate.behaviour import Outcome
from upnext.simulate.platform import LOOK_S, Platform
from upnext.simulate.truth import AUTOPLAY, SURFACES
from upnext.simulate.visits import Shown
from upnext.simulate.world import World

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
    """Answers slates one page of one viewer at a time, as the platform is now; it absorbs nothing."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform

    def react(self, viewer: int, page: Page, rng: np.random.Generator) -> list[Event]:
        """What viewer row `viewer` does with a page, in order of time; a video the world doesn't know is seen and left.

        event_id is request_id, slot and kind, so a page sent twice is the same events. On an autoplay surface the viewer may leave
        midway: later slots then give no event. The events end at most the page's watch time after `time_us`. `rng` names the visit: the
        reaction to each video is that visit's, whatever else is on the page.
        """
        shown = shown_page(self.platform.world, viewer, page, int(rng.integers(1 << 62)))
        return events_of(self.platform.world, page, shown, self.platform.respond(shown))


def shown_page(world: World, viewer: int, page: Page, visit: int) -> Shown:
    """The slots of a page as rows that a Platform answers, on the viewer's own device; `visit` names the page among its viewer's."""
    k = len(page.video_ids)
    who = np.full(k, viewer, np.int64)
    return Shown(
        viewer=who,
        video=np.array([world.row_of.get(v, -1) for v in page.video_ids], np.int64),
        surface=np.full(k, SURFACES.index(page.surface), np.int64),
        device=world.own_device[who],
        slot=page.first_slot + np.arange(k),
        visit=np.full(k, visit, np.int64),
        time_us=np.full(k, page.time_us, np.int64),
    )


def events_of(world: World, page: Page, shown: Shown, done: Outcome) -> list[Event]:
    """The events that the app sends of one page and what came of it, in order of time."""
    feedback = _feedback(done)
    shared = {
        "user_id": world.user_ids[shown.viewer[0]] if len(shown) else "",
        "session_id": page.session_id,
        "request_id": page.request_id,
        "surface": page.surface,
    }
    events: list[Event] = []
    clock_s = 0.0
    for j in np.flatnonzero(done.reached).tolist():
        clock_s = _answer(events, page, j, clock_s, shared, done)
        for kind in feedback.get(j, ()):
            events.append(_said(world, kind, events[-1], int(shown.video[j])))
        clock_s += 0.0 if page.surface == AUTOPLAY else LOOK_S
    return events


def _said(world: World, kind: str, last: Event, row: int) -> Event:
    """Feedback at the moment of the slot's last event."""
    name = f"{last.request_id}:{last.slot}:{kind}"
    said: Any = {"event_id": name, "kind": kind, "view_id": None, "watch_s": None}
    if kind == "follow" and row >= 0:
        creator = int(world.videos.creator[row])
        said |= {"target_kind": "creator", "target_id": world.creator_id(creator)}
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

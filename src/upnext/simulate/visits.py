"""When viewers come and what they ask for: sessions of a day, and the pages of a round.

Who comes, at what hour, with what device and for how many pages is keyed by (viewer, day, number of the session), never by what came before,
so that two policies meet the same visits as far as satisfaction doesn't change them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from upnext.core.clock import DAY_US, HOUR_US, SECOND_US
from upnext.core.types import Array, Float64, Int64
from upnext.simulate.draws import UInt64, keys_of, normal, poisson, uniform
from upnext.simulate.returning import MOST_SESSIONS
from upnext.simulate.truth import AUTOPLAY, SURFACES
from upnext.simulate.vocabulary import PLACES
from upnext.simulate.world import DEVICE_SHARES, World

PAGE_SLOTS: Final = {"home": 10, "shorts": 10, "upnext": 6}
DEVICES: Final = ("mobile", "desktop", "tv")
MOST_PAGES: Final = 5
SHORTS: Final = SURFACES.index(AUTOPLAY)
_HOME, _UPNEXT = SURFACES.index("home"), SURFACES.index("upnext")
_DEVICE_BELOW: Final = np.cumsum(DEVICE_SHARES)[:-1]
_VISITS_A_SESSION: Final = 16
_SLOTS: Final = np.array([PAGE_SLOTS[s] for s in SURFACES])


@dataclass(frozen=True)
class Sessions:
    """Columns of length s, one row per session of a day, in order of time."""

    viewer: Int64
    number: Int64  # day * 64 + which of the viewer's that day; with the viewer it names the session
    start_us: Int64
    surface: Int64  # of its first page, row in SURFACES
    device: Int64  # row in DEVICES
    most_pages: Int64  # that its viewer has time for

    def __len__(self) -> int:
        return len(self.viewer)

    def take(self, rows: Array) -> Sessions:
        """The sessions at positions int64[m]."""
        return Sessions(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Pages:
    """Columns of length p, one row per page asked for."""

    viewer: Int64
    session: Int64  # number of the session
    page: Int64  # in the session, from 0
    visit: Int64  # names the page among its viewer's
    surface: Int64
    device: Int64
    time_us: Int64
    n_slots: Int64

    def __len__(self) -> int:
        return len(self.viewer)


@dataclass(frozen=True)
class Shown:
    """Columns of length n, one row per slot shown; rows of a page stand together, slots ascending."""

    viewer: Int64
    video: Int64  # row of the world; -1: one that the world doesn't know
    surface: Int64  # row in SURFACES
    device: Int64  # row in DEVICES
    slot: Int64  # from 0
    visit: Int64  # names the page among its viewer's
    time_us: Int64  # of the page

    def __len__(self) -> int:
        return len(self.viewer)

    def take(self, rows: Array) -> Shown:
        """The showings at positions int64[m] or a mask bool[n]."""
        return Shown(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def page(self) -> Int64:
        """int64[n]: a number for each page, ascending from 0."""
        viewer, visit = self.viewer, self.visit
        new = np.zeros(len(self), np.bool_)
        new[1:] = (viewer[1:] != viewer[:-1]) | (visit[1:] != visit[:-1])
        return np.asarray(np.cumsum(new), np.int64)


def shown_of(pages: Pages, video: Int64) -> Shown:
    """The showings of slates int64[p, k], -1 where a slate ends."""
    at, slot = np.nonzero(video >= 0)
    return Shown(
        viewer=pages.viewer[at],
        video=video[at, slot],
        surface=pages.surface[at],
        device=pages.device[at],
        slot=slot.astype(np.int64),
        visit=pages.visit[at],
        time_us=pages.time_us[at],
    )


def sessions_of(world: World, seed: int, when: tuple[int, int], mean: Float64) -> Sessions:
    """The sessions of a day (its number, its start_us); `mean` float64[u] is each viewer's expected number of them."""
    day, start_us = when
    viewer = np.arange(world.n_viewers)
    today = keys_of(seed, viewer, np.full(world.n_viewers, day))
    count = poisson(uniform(today, "n_sessions"), mean, MOST_SESSIONS)
    viewer = np.repeat(viewer, count)
    nth = np.arange(len(viewer)) - np.repeat(np.cumsum(count) - count, count)
    number = day * 64 + nth
    return _at_their_hours(world, keys_of(seed, viewer, number), viewer, number, start_us)


def _at_their_hours(
    world: World, keys: UInt64, viewer: Int64, number: Int64, start_us: int
) -> Sessions:
    knobs, viewers = world.knobs, world.viewers
    offset_h = np.array(utc_offsets_h(start_us))[viewers.place[viewer]]
    hour = (viewers.hour[viewer] + 2.0 * normal(keys, "hour", "hour_angle") - offset_h) % 24
    into_day = ((hour * HOUR_US - start_us % DAY_US) % DAY_US).astype(np.int64)
    is_shorts = uniform(keys, "surface") < knobs.autoplay_share
    sessions = Sessions(
        viewer=viewer,
        number=number,
        start_us=start_us + into_day,
        surface=np.where(is_shorts, SHORTS, _HOME),
        device=_devices(world, viewer, keys),
        most_pages=1 + poisson(uniform(keys, "n_pages"), np.full(len(viewer), knobs.pages_mean), 4),
    )
    return sessions.take(np.lexsort((number, viewer, sessions.start_us)))


def _devices(world: World, viewer: Int64, keys: Array) -> Int64:
    """int64[s]: a viewer's own device in four sessions of five."""
    u = uniform(keys, "device")
    other = np.searchsorted(_DEVICE_BELOW, u / 0.2, "right")
    return np.where(u < 0.2, other, world.own_device[viewer]).astype(np.int64)


@cache
def utc_offsets_h(time_us: int) -> tuple[float, ...]:
    """Hours that the wall clock of each of PLACES is ahead of UTC."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(time_us / SECOND_US, UTC)
    offsets = [moment.astimezone(ZoneInfo(p.time_zone)).utcoffset() for p in PLACES]
    return tuple(o.total_seconds() / 3_600 if o else 0.0 for o in offsets)


def pages_of(world: World, sessions: Sessions, page: Int64, time_us: Int64) -> Pages:
    """The page number int64[s] of each session, asked for at `time_us` int64[s]: a home session goes on with home and up-next pages."""
    visit = sessions.number * _VISITS_A_SESSION + page
    keys = keys_of(world.seed, sessions.viewer, visit)
    further = (page > 0) & (uniform(keys, "next_surface") < world.knobs.upnext_share)
    surface = np.where(further & (sessions.surface != SHORTS), _UPNEXT, sessions.surface)
    return Pages(
        viewer=sessions.viewer,
        session=sessions.number,
        page=page,
        visit=visit,
        surface=surface,
        device=sessions.device,
        time_us=time_us,
        n_slots=_SLOTS[surface],
    )

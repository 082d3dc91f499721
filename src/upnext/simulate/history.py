"""The past of a world as an ordinary events table: what a plain platform showed and what its viewers did.

The old platform's policy mixes reach (what is popular), topic (what the viewer likes) and chance, without propensities, and puts
what it weighs most on top, so that position and appeal are confounded as in real logs. Viewers come in sessions at their hours; a
home session has up-next pages between its home pages; a shorts session goes on until they leave. Everything is an array over
all sessions, pages or showings at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from upnext.core.clock import DAY_US, HOUR_US, SECOND_US
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Bool, Float32, Float64, Int64
from upnext.simulate.behaviour import N_DRAWS, Outcome, outcome
from upnext.simulate.history_events import events_table
from upnext.simulate.tables import users_table, videos_table
from upnext.simulate.truth import SURFACES, examination, rates
from upnext.simulate.viewer import LEAVE, LOOK_S
from upnext.simulate.vocabulary import PLACES
from upnext.simulate.world import World

PAGE_SLOTS: Final = {"home": 10, "shorts": 10, "upnext": 6}
REACH, CHANCE, TOPIC = 0.6, 0.05, 0.35  # shares of the old platform's policy
SEEN_PENALTY = 3.0  # a video shown on an earlier day weighs exp(-3)
_VIEWERS_AT_ONCE = 256
_HOME, _SHORTS, _UPNEXT = (SURFACES.index(s) for s in ("home", "shorts", "upnext"))


@dataclass(frozen=True)
class Pages:
    """Columns of length p, one row per page, in order of session and place in the session."""

    viewer: Int64
    session: Int64  # number of the session, ascending
    day: Int64
    surface: Int64  # row in SURFACES
    start_us: Int64  # of the session


@dataclass(frozen=True)
class Showings:
    """Columns of length m, one row per impression, in order of page and slot."""

    page: Int64
    slot: Int64
    viewer: Int64
    video: Int64
    shown_us: Int64
    done: Outcome


def simulate_history(
    world: World, *, days: int = 14, end_us: int | None = None, with_requests: bool = True
) -> dict[str, pa.Table]:
    """The tables "videos", "users" and "events" (in order of time) of the last `days` days before `end_us`.

    Nothing is shown before its upload. with_requests False leaves request_id and slot null, as a log of a platform that never
    kept them. Equal worlds and arguments give equal tables.
    """
    end_us = world.end_us if end_us is None else end_us
    pages = _pages(world, days, end_us)
    showings = _show(world, pages, days, end_us)
    events = events_table(world, pages, showings, end_us=end_us, with_requests=with_requests)
    return {"videos": videos_table(world), "users": users_table(world), "events": events}


def _pages(world: World, days: int, end_us: int) -> Pages:
    """Every page that viewers ask for."""
    rng = rng_for(world.seed, "sessions")
    viewers = world.viewers
    n_sessions = rng.poisson(viewers.sessions_per_day[:, None], (world.n_viewers, days))
    viewer, day = (
        np.repeat(at, n_sessions.ravel()) for at in np.divmod(np.arange(n_sessions.size), days)
    )
    start_us = end_us - (days - day) * DAY_US
    offset_h = _utc_offset_h(end_us)[viewers.place[viewer]]
    hour = (viewers.hour[viewer] + rng.normal(0, 2.0, len(viewer)) - offset_h) % 24
    into_day = (hour * HOUR_US - start_us % DAY_US) % DAY_US
    order = np.lexsort((into_day, day, viewer))  # a viewer's sessions in order of time
    n_pages = np.minimum(1 + rng.poisson(0.9, len(viewer)), 5)
    is_shorts = rng.random(len(viewer)) < 0.4
    session = np.repeat(np.arange(len(viewer)), n_pages)
    place = np.arange(len(session)) - np.repeat(np.cumsum(n_pages) - n_pages, n_pages)
    further = (place > 0) & (rng.random(len(session)) < 0.4)
    return Pages(
        viewer=viewer[order][session],
        session=session,
        day=day[order][session],
        surface=np.where(is_shorts[session], _SHORTS, np.where(further, _UPNEXT, _HOME)),
        start_us=(start_us + into_day).astype(np.int64)[order][session],
    )


def _utc_offset_h(time_us: int) -> Float64:
    """Hours that the wall clock of each place is ahead of UTC."""
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(time_us / SECOND_US, UTC)
    offsets = [moment.astimezone(ZoneInfo(p.time_zone)).utcoffset() for p in PLACES]
    return np.array([o.total_seconds() / 3_600 if o else 0.0 for o in offsets])


def _show(world: World, pages: Pages, days: int, end_us: int) -> Showings:
    """Fills the pages and lets the viewers answer."""
    slots = np.array([PAGE_SLOTS[s] for s in SURFACES])[pages.surface]
    page = np.repeat(np.arange(len(slots)), slots)
    slot = np.arange(len(page)) - np.repeat(np.cumsum(slots) - slots, slots)
    video = _choose(world, pages.viewer[page], pages.day[page], days, end_us)
    rng = rng_for(world.seed, "answers")
    draws, leaves = rng.random((len(page), N_DRAWS)), rng.random(len(page)) < LEAVE
    autoplay = pages.surface[page] == _SHORTS
    gone = _earlier_in_page(leaves & autoplay, page)
    kept = (video >= 0) & (gone == 0)
    page, slot, video, draws, autoplay = (a[kept] for a in (page, slot, video, draws, autoplay))
    done = _answers(world, pages, page, slot, video, draws)
    busy_s = done.watch_s + np.where(autoplay, 0.0, LOOK_S)
    before_s = np.cumsum(busy_s) - busy_s
    session = pages.session[page]
    first = np.searchsorted(session, session)  # the first showing of the same session
    shown_us = pages.start_us[page] + ((before_s - before_s[first]) * SECOND_US).astype(np.int64)
    return Showings(page, slot, pages.viewer[page], video, shown_us, done)


def _earlier_in_page(mark: Bool, page: Int64) -> Int64:
    """int64[m]: how many marks stand before each row in its page."""
    before: Int64 = np.cumsum(mark) - mark
    return np.asarray(before - before[np.searchsorted(page, page)], np.int64)


def _answers(
    world: World, pages: Pages, page: Int64, slot: Int64, video: Int64, draws: Float64
) -> Outcome:
    """The outcome of every showing."""
    m = len(page)
    columns: dict[str, Array] = {}
    for code, surface in enumerate(SURFACES):
        rows = np.flatnonzero(pages.surface[page] == code)
        rate = rates(world, pages.viewer[page[rows]], video[rows], surface)
        part = outcome(rate, examination(surface, slot[rows]), draws[rows])
        for name in Outcome.__dataclass_fields__:
            values = getattr(part, name)
            columns.setdefault(name, np.zeros(m, values.dtype))[rows] = values
    return Outcome(**columns)


def _choose(world: World, viewer: Int64, day: Int64, days: int, end_us: int) -> Int64:
    """int64[m]: the old platform's video for each slot (rows grouped by viewer, days ascending), -1 where it has no more.

    Per viewer and day a Plackett-Luce draw without repeats (Gumbel top-k), best first."""
    rng = rng_for(world.seed, "old policy")
    video = np.full(len(viewer), -1, np.int64)
    for begin in range(0, world.n_viewers, _VIEWERS_AT_ONCE):
        group = np.arange(begin, min(begin + _VIEWERS_AT_ONCE, world.n_viewers))
        weight = _log_weight(world, group)
        shown = np.zeros(weight.shape, np.float32)
        for today in range(days):
            start_us = end_us - (days - today) * DAY_US
            rows = np.flatnonzero((viewer >= begin) & (viewer <= group[-1]) & (day == today))
            if len(rows) == 0:
                continue
            rank = np.arange(len(rows)) - np.searchsorted(viewer[rows], viewer[rows])
            key = weight + _freshness(world, start_us) - SEEN_PENALTY * shown
            key -= np.log(rng.standard_exponential(key.shape, np.float32))
            chosen = _best(key, int(rank.max()) + 1)[viewer[rows] - begin, rank]
            video[rows] = chosen
            known = chosen >= 0
            shown[viewer[rows[known]] - begin, chosen[known]] = 1.0
    return video


def _best(key: Float32, k: int) -> Int64:
    """int64[u, k]: the columns of the k largest keys of each row, best first; -1 where the key is -inf or columns run out."""
    n = min(k, key.shape[1])
    top = np.argpartition(-key, n - 1, axis=1)[:, :n]
    value = np.take_along_axis(key, top, axis=1)
    order = np.argsort(-value, axis=1, kind="stable")
    top, value = np.take_along_axis(top, order, axis=1), np.take_along_axis(value, order, axis=1)
    out = np.full((len(key), k), -1, np.int64)
    out[:, :n] = np.where(np.isfinite(value), top, -1)
    return out


def _freshness(world: World, start_us: int) -> Float32:
    """float32[v]: a newer video weighs more; one not yet uploaded nothing."""
    age_d = (start_us - world.videos.uploaded_us) / DAY_US
    fresh = np.log(0.15 + 0.85 * np.exp(-np.maximum(age_d, 0) / 7))
    return np.where(age_d > 0, fresh, -np.inf).astype(np.float32)


def _log_weight(world: World, viewer: Int64) -> Float32:
    """float32[n, v]: log of the mixture of reach, chance and topic; -inf where the video is not allowed."""
    videos, viewers = world.videos, world.viewers
    reach = np.exp(videos.audience + videos.quality)
    known = (viewers.interest[viewer][:, :, None] == videos.topic).any(axis=1)
    spoken = (viewers.language[viewer][:, None] == videos.language) * 0.7 + 0.3
    topical = known * spoken * reach**0.7
    topical /= np.maximum(topical.mean(axis=1, keepdims=True), 1e-9)
    weight = REACH * spoken * reach / reach.mean() + CHANCE + TOPIC * topical
    return np.where(world.allowed(viewer), np.log(weight), -np.inf).astype(np.float32)

"""The past of a world as an ordinary events table: a Platform run under the old plain policy, its showings kept.

The old platform's policy mixes reach (what is popular), topic (what the viewer likes) and chance, without propensities, and puts
what it weighs most on top, so that position and appeal are confounded as in real logs (simulate/policies.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import pyarrow as pa

from upnext.core.clock import SECOND_US
from upnext.core.types import Int64
from upnext.simulate.behaviour import Outcome
from upnext.simulate.history_events import events_table
from upnext.simulate.loop import Round, Visits, play_day
from upnext.simulate.platform import LOOK_S, Platform
from upnext.simulate.policies import OldPlatform
from upnext.simulate.tables import users_table, videos_table
from upnext.simulate.visits import SHORTS, Pages, Shown, shown_of
from upnext.simulate.world import World

_Columns = TypeVar("_Columns", Pages, Shown, Outcome)


@dataclass(frozen=True)
class PastPages:
    """Columns of length p, one row per page, in order of viewer and visit."""

    viewer: Int64
    session: Int64  # number of the session, ascending from 0
    surface: Int64  # row in SURFACES
    device: Int64  # row in DEVICES
    time_us: Int64


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
    world: World, *, days: int = 14, with_requests: bool = True
) -> dict[str, pa.Table]:
    """The tables "videos", "users" and "events" (in order of time) that the old platform left in the last `days` days before the world's end.

    Nothing is shown before its upload. with_requests False leaves request_id and slot null, as a log of a platform that never
    kept them. Equal worlds and arguments give equal tables.
    """
    platform = Platform(world, days=days)
    rounds = [one for day in range(days) for one in play_day(platform, OldPlatform(), day)]
    return history_of(platform, rounds, with_requests=with_requests)


def history_of(
    platform: Platform, rounds: Sequence[Round], *, with_requests: bool = True
) -> dict[str, pa.Table]:
    """The same tables of a platform and the rounds that were played on it."""
    world = platform.world
    pages, showings = past_of([_nothing(platform), *rounds])
    events = events_table(world, pages, showings, with_requests=with_requests)
    videos = videos_table(world)
    return {"videos": videos, "users": users_table(world), "events": events}


def past_of(rounds: Sequence[Round]) -> tuple[PastPages, Showings]:
    """The rounds' pages and impressions, page by page; at least one round."""
    pages = _joined(Pages, [one.pages for one in rounds])
    order = np.lexsort((pages.visit, pages.viewer))
    pages = Pages(*(getattr(pages, name)[order] for name in Pages.__dataclass_fields__))
    new = (np.diff(pages.viewer, prepend=-1) != 0) | (np.diff(pages.session, prepend=-1) != 0)
    past = PastPages(
        viewer=pages.viewer,
        session=np.cumsum(new) - 1,
        surface=pages.surface,
        device=pages.device,
        time_us=pages.time_us,
    )
    shown = _joined(Shown, [one.shown for one in rounds])
    done = _joined(Outcome, [one.done for one in rounds])
    order = np.lexsort((shown.slot, shown.visit, shown.viewer))
    order = order[done.reached[order]]
    shown, done = shown.take(order), done.take(order)
    page = _page_numbers(pages, shown)
    busy_s = done.watch_s + np.where(shown.surface == SHORTS, 0.0, LOOK_S)
    before_s = np.cumsum(busy_s) - busy_s
    within_s = before_s - before_s[np.searchsorted(page, page)]
    shown_us = shown.time_us + (within_s * SECOND_US).astype(np.int64)
    return past, Showings(page, shown.slot, shown.viewer, shown.video, shown_us, done)


def _page_numbers(pages: Pages, shown: Shown) -> Int64:
    """int64[m]: the row of each showing's page; both are in order of (viewer, visit)."""
    most = int(pages.visit.max(initial=0)) + 1
    name, of = pages.viewer * most + pages.visit, shown.viewer * most + shown.visit
    return np.asarray(np.searchsorted(name, of), np.int64)


def _nothing(platform: Platform) -> Round:
    """A round in which nobody asks for a page."""
    pages = Visits(platform, platform.sessions(0).take(np.zeros(0, np.int64))).pages()
    shown = shown_of(pages, np.zeros((0, 1), np.int64))
    return Round(pages, shown, np.zeros(0), platform.respond(shown))


def _joined(kind: type[_Columns], parts: Sequence[_Columns]) -> _Columns:
    """The parts' rows one after the other; at least one part."""
    names = [one.name for one in fields(kind)]
    return kind(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

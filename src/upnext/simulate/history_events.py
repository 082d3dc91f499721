"""Showings and what came of them, laid out as rows of the events table, in order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from upnext.core.clock import SECOND_US
from upnext.core.columns import EVENTS_SENT
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Bool, Int64
from upnext.simulate.truth import AUTOPLAY, SURFACES
from upnext.simulate.visits import DEVICES
from upnext.simulate.vocabulary import LANGUAGES, PLACES, topics

if TYPE_CHECKING:
    from upnext.simulate.history import PastPages, Showings
    from upnext.simulate.world import World

KINDS = (
    "impression", "click", "watch", "like", "dislike", "share", "comment", "follow",
    "not_interested", "search",
)  # fmt: skip
_FEEDBACK = KINDS[3:9]
SEARCHES = 0.08  # share of sessions that begin with a search


def events_table(
    world: World, pages: PastPages, showings: Showings, *, with_requests: bool
) -> pa.Table:
    """Every event strictly before the world's end, columns of EVENTS_SENT that have a value here, in order of time."""
    kind, showing, time_us = _happened(pages, showings)
    asked, asked_us, words = _searches(world, pages)
    n_asked = len(asked)
    rows = _Rows(
        kind=np.concatenate([kind, np.full(n_asked, KINDS.index("search"))]),
        page=np.concatenate([showings.page[showing], asked]),
        showing=np.concatenate([showing, np.full(n_asked, -1)]),
        time_us=np.concatenate([time_us, asked_us]),
        query=np.concatenate([np.full(len(kind), -1), words]),
    )
    order = np.argsort(rows.time_us, kind="stable")
    order = order[rows.time_us[order] < world.end_us]
    return _laid_out(world, pages, showings, rows.take(order), with_requests)


@dataclass(frozen=True)
class _Rows:
    """The events to be, m of them."""

    kind: Int64  # row in KINDS
    page: Int64
    showing: Int64  # -1: a search
    time_us: Int64
    query: Int64  # topic * 8 + place in its words; -1: no search

    def take(self, rows: Int64) -> _Rows:
        return _Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def _happened(pages: PastPages, showings: Showings) -> tuple[Int64, Int64, Int64]:
    """(kind, showing, time_us) of every event that belongs to a showing."""
    done = showings.done
    every = np.arange(len(showings.video))
    autoplay = pages.surface[showings.page] == SURFACES.index(AUTOPLAY)
    after_us = showings.shown_us + (done.watch_s * SECOND_US).astype(np.int64)
    parts: list[tuple[str, Bool, Int64]] = [
        ("impression", np.ones(len(every), np.bool_), showings.shown_us),
        ("click", done.started & ~autoplay, showings.shown_us),
        ("watch", done.started, after_us),
    ]
    parts += [(name, getattr(done, name), after_us) for name in _FEEDBACK]
    kinds = [np.full(int(mask.sum()), KINDS.index(name)) for name, mask, _ in parts]
    return (
        np.concatenate(kinds),
        np.concatenate([every[mask] for _, mask, _ in parts]),
        np.concatenate([time_us[mask] for _, mask, time_us in parts]),
    )


def _searches(world: World, pages: PastPages) -> tuple[Int64, Int64, Int64]:
    """(page, time_us, query) of the searches with which some sessions begin."""
    rng = rng_for(world.seed, "searches")
    first = np.flatnonzero(np.diff(pages.session, prepend=-1))
    page = first[rng.random(len(first)) < SEARCHES]
    viewer = pages.viewer[page]
    held = (world.viewers.interest[viewer] >= 0).sum(axis=1)
    interest = world.viewers.interest[viewer, (rng.random(len(page)) * held).astype(np.int64)]
    return (
        page,
        pages.time_us[page] - 5 * SECOND_US,
        interest * 8 + rng.integers(3, size=len(page)),
    )


def _laid_out(
    world: World, pages: PastPages, showings: Showings, rows: _Rows, with_requests: bool
) -> pa.Table:
    m = len(rows.kind)
    kind, page, showing = rows.kind, rows.page, rows.showing
    seen = showing >= 0
    at = np.where(seen, showing, 0)
    viewer, session = pages.viewer[page], pages.session[page]
    video = showings.video[at]
    device = pages.device[page]
    is_watch, is_follow = kind == KINDS.index("watch"), kind == KINDS.index("follow")
    names = _names(world, rows.query, viewer)
    requests = seen & with_requests
    creators = np.array([world.creator_id(c) for c in range(world.n_creators)])
    latitude, longitude = (
        np.array([getattr(p, n) for p in PLACES]) for n in ("latitude", "longitude")
    )
    place = world.viewers.place[viewer]
    is_mobile = device == 0
    columns: dict[str, pa.Array] = {
        "event_id": pa.array([f"{world.seed}-{i:08d}" for i in range(m)]),
        "time_us": pa.array(rows.time_us),
        "kind": _take(KINDS, kind),
        "user_id": _take(world.user_ids, viewer),
        "session_id": pa.array([f"s{world.seed}-{s}" for s in session]),
        "request_id": _optional([f"r{world.seed}-{p}" for p in page], requests),
        "video_id": _take(world.video_ids, video, seen),
        "target_kind": _take(("creator",), np.zeros(m, np.int64), is_follow),
        "target_id": _take(creators.tolist(), world.videos.creator[video], is_follow),
        "view_id": _optional([f"w{world.seed}-{s}" for s in showing], is_watch),
        "surface": _take((*SURFACES, "search"), np.where(seen, pages.surface[page], len(SURFACES))),
        "slot": pa.array(showings.slot[at], mask=~requests),
        "watch_s": pa.array(np.round(showings.done.watch_s[at], 2), mask=~is_watch),
        "query": _optional(names, ~seen),
        "device": _take(DEVICES, device),
        "country": _take([p.country for p in PLACES], place),
        "latitude": pa.array(latitude[place], mask=~is_mobile),
        "longitude": pa.array(longitude[place], mask=~is_mobile),
    }
    fields = [EVENTS_SENT.field(name) for name in columns]
    arrays = [columns[f.name].cast(f.type) for f in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _names(world: World, query: Int64, viewer: Int64) -> list[str]:
    """What is typed: a word of a topic in the viewer's language; "" where query is -1."""
    language = world.viewers.language[viewer]
    return [
        topics()[q // 8].words[LANGUAGES[code]][q % 8] if q >= 0 else ""
        for q, code in zip(query.tolist(), language.tolist(), strict=True)
    ]


def _take(words: tuple[str, ...] | list[str], rows: Int64, known: Bool | None = None) -> pa.Array:
    index = pa.array(rows, mask=None if known is None else ~known)
    return pa.array(list(words), pa.string()).take(index)


def _optional(words: list[str], known: Array) -> pa.Array:
    return pa.array(words, pa.string(), mask=~known)

"""The log lived again in order of time: every past request with its viewer exactly as known then.

Before a request's own instant everything earlier has been applied to the same UserStates and CounterTable that serve live, and
nothing at or after it has: no feature can look ahead, because the future has not happened yet. A request is known by its slate
(then its time is the slate's), else its impressions are put together by request_id, else those of a viewer and surface that follow each
other closely make pages: a page is chosen before its first video is watched, so that is all that its features may know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from upnext.core.clock import SECOND_US
from upnext.core.event import Event
from upnext.core.types import NO_ITEMS, Flag, Float32, Int64, Profile, Query, Request, UInt16
from upnext.features.config import FeaturesConfig
from upnext.features.counters import CounterTable
from upnext.features.event_rows import ReadLog, history_rows
from upnext.features.feedback_join import join_feedback
from upnext.features.labels import has_long_view, labels_from
from upnext.features.live import Profiles
from upnext.features.past_events import events_by_time, stream
from upnext.features.seen_days import SeenDays
from upnext.features.slate_context import CONTEXT, one_a_request
from upnext.features.user_state import DEFAULT_CONFIG, UNTIMED_DAY, UserState


@dataclass(frozen=True, slots=True)
class Replayed:
    """One request of the past: the query as it stood strictly before it, what was shown, and what came of that."""

    query: Query
    item_id: Int64  # [k] unique, in the order shown
    labels: dict[str, Float32]  # {label: float32[k]}, NaN: not known
    event: Int64  # [k] rows in the events by time (`events_by_time`), the impressions
    slot: Int64  # [k] -1 where the log does not say
    soon: Int64 = field(
        default_factory=lambda: NO_ITEMS
    )  # what the viewer found relevant soon after, shown then or here


class PastState:
    """All viewers and counters while the log goes by: what the live state would hold, in memory."""

    def __init__(
        self, view: Profiles, counters: CounterTable, config: FeaturesConfig = DEFAULT_CONFIG
    ) -> None:
        self.counters = counters
        self._view = view
        self._config = config
        self._states: dict[str, tuple[UserState, SeenDays]] = {}

    def _of(self, user_id: str) -> tuple[UserState, SeenDays]:
        found = self._states.get(user_id)
        if found is None:
            found = self._states[user_id] = (UserState(self._config), SeenDays())
        return found

    def start(self, log: ReadLog) -> None:
        """Begins with the stored histories."""
        for user_id, rows in history_rows(log.histories()):
            state, seen = self._of(user_id)
            for delta in state.start_from(rows.item_id, rows.is_like, rows.is_relevant):
                self.counters.add(*delta)
            seen.add(UNTIMED_DAY, rows.item_id)

    def apply(self, event: Event) -> None:
        """One event, as the live writer applies it."""
        state, seen = self._of(event.user_id)
        for delta in state.apply(event):
            self.counters.add(*delta, event.country)
        if state.newly_seen is not None:
            seen.add(state.newly_seen.day, (state.newly_seen.item_id,))
            seen.keep_only(state.days)

    def query(self, request: Request) -> Query:
        """The request with its viewer as of now."""
        state, seen = self._of(request.user_id)
        profile = self._view.profile(request.user_id) or Profile()
        return Query(request, state.user(request.user_id, profile, seen.order(), self._view))


def replay(
    log: ReadLog,
    view: Profiles,
    counters: CounterTable,
    *,
    after_us: int = 0,
    before_us: int | None = None,
    slates: pl.DataFrame | None = None,
    soon_us: int = 0,
    config: FeaturesConfig = DEFAULT_CONFIG,
) -> Iterator[Replayed]:
    """The requests with after_us <= time < before_us, in order of time; earlier events only move the state.

    `counters`: an empty table, kept up as the log goes by; a FeaturePlan built over it reads each request's features as they
    were, if it is asked before the next request is drawn. Labels hold all feedback before `before_us`, and none after it.
    `slates`: columns of core.columns.SLATES (slate_context.slate_contexts has those that count), whose times and contexts the
    requests take. `soon` of a request holds what its viewer was shown in the next `soon_us` and found relevant (0: none)."""
    events = events_by_time(log, before_us)
    past = PastState(view, counters, config)
    past.start(log)
    if not len(events):
        return
    contexts = None if slates is None else one_a_request(slates)
    shown = _shown(events, contexts, after_us, config)
    labels = labels_from(shown.flags, shown.watch_s, has_long_view=has_long_view(events))
    coming = stream(events)
    upcoming = next(coming, None)
    starts = shown.starts.tolist()
    soon = _soon(shown, soon_us)
    for request, start, stop, relevant in zip(
        _past_requests(events, shown, contexts), starts[:-1], starts[1:], soon
    ):
        while upcoming is not None and upcoming.time_us < request.time_us:
            past.apply(upcoming)
            upcoming = next(coming, None)
        yield Replayed(
            past.query(request),
            shown.item_id[start:stop],
            {name: column[start:stop] for name, column in labels.items()},
            shown.event[start:stop],
            shown.slot[start:stop],
            relevant,
        )
    while upcoming is not None:
        past.apply(upcoming)
        upcoming = next(coming, None)


@dataclass(frozen=True, slots=True)
class _Shown:
    """The impressions to yield, m rows, request after request in order of time."""

    item_id: Int64  # [m]
    event: Int64  # [m]
    slot: Int64  # [m]
    flags: UInt16  # [m]
    watch_s: Float32  # [m]
    request_us: Int64  # [m] of the row's request
    time_us: Int64  # [m] of the impression
    user: Int64  # [m] viewers by number
    slate: Int64  # [m] the row of its request in the contexts; -1: no slate is logged
    starts: Int64  # [r + 1] rows of request i: starts[i] to starts[i + 1]


def _shown(
    events: pl.DataFrame, contexts: pl.DataFrame | None, after_us: int, config: FeaturesConfig
) -> _Shown:
    joined = join_feedback(events, None, config)
    is_shown = (joined.flags & Flag.IMPRESSION) != 0
    rows = pl.DataFrame(
        {
            "event": joined.event[is_shown],
            "item_id": joined.item_id[is_shown],
            "flags": joined.flags[is_shown],
            "watch_s": joined.watch_s[is_shown],
        }
    ).sort("event")
    context = events.select(
        "user_id",
        "time_us",
        "request_id",
        "surface",
        "slot",
    )[rows.get_column("event")]
    context = context.with_columns(pl.col(pl.Categorical).cast(pl.String))
    context = context.with_columns(place=pl.col("surface").fill_null(""))
    rows = _requests(pl.concat([rows, context], how="horizontal"), contexts, config)
    rows = rows.filter(pl.col("request_us") >= after_us)
    rows = rows.unique(["request", "item_id"], keep="first", maintain_order=True)
    first = rows.get_column("request").rle_id().to_numpy()
    starts = np.searchsorted(first, np.arange(len(rows) and int(first[-1]) + 1))
    return _Shown(
        rows.get_column("item_id").to_numpy(),
        rows.get_column("event").to_numpy(),
        rows.get_column("slot").fill_null(-1).cast(pl.Int64).to_numpy(),
        rows.get_column("flags").to_numpy(),
        rows.get_column("watch_s").to_numpy(),
        rows.get_column("request_us").to_numpy(),
        rows.get_column("time_us").to_numpy(),
        rows.get_column("user_id").rank("dense").to_numpy().astype(np.int64),
        rows.get_column("slate").fill_null(-1).cast(pl.Int64).to_numpy(),
        np.append(starts, len(rows)).astype(np.int64),
    )


def _soon(shown: _Shown, soon_us: int) -> Iterator[Int64]:
    """Per request, the unique videos that its viewer was shown from its time on, for soon_us, and found relevant."""
    first = shown.starts[:-1]
    if soon_us <= 0 or not len(first):
        yield from (NO_ITEMS for _ in first)
        return
    begin_us = int(min(shown.time_us.min(), shown.request_us.min()))

    def at(user: Int64, time_us: Int64) -> Int64:  # viewer by viewer, second by second
        return (user << 32) + (time_us - begin_us) // SECOND_US

    found = np.flatnonzero((shown.flags & Flag.RELEVANT) != 0)
    when = at(shown.user[found], shown.time_us[found])
    order = np.argsort(when, kind="stable")
    found, when = found[order], when[order]
    asked = at(shown.user[first], shown.request_us[first])
    last = at(shown.user[first], shown.request_us[first] + soon_us)
    starts, stops = np.searchsorted(when, asked), np.searchsorted(when, last, side="right")
    for start, stop in zip(starts.tolist(), stops.tolist()):
        yield np.unique(shown.item_id[found[start:stop]]) if stop > start else NO_ITEMS


def _requests(
    rows: pl.DataFrame, contexts: pl.DataFrame | None, config: FeaturesConfig
) -> pl.DataFrame:
    """Adds `request` (a number per request), `request_us` (its time) and `slate` (its row in the contexts, null without); sorted by
    that time, requests kept together."""
    viewer = ["user_id", "place"]
    rest_us = pl.col("time_us").diff().over(viewer)
    is_new = rest_us.is_null() | (rest_us > config.page_gap_s * SECOND_US)
    rows = rows.with_columns(visit=is_new.cast(pl.Int64).cum_sum().over(viewer))
    turn = pl.int_range(pl.len()).over([*viewer, "visit"])
    rows = rows.with_columns(page=turn // config.page_slots)
    again = pl.int_range(pl.len()).over(
        [*viewer, "visit", "page", "item_id"]
    )  # no video twice on a page
    rows = rows.with_columns(again=again)
    named = pl.col("request_id").is_not_null()
    key = pl.struct(
        "user_id",
        pl.col("request_id"),
        pl.when(named).then(pl.lit("")).otherwise(pl.col("place")).alias("place"),
        pl.when(named).then(0).otherwise(pl.col("visit")).alias("visit"),
        pl.when(named).then(0).otherwise(pl.col("page")).alias("page"),
        pl.when(named).then(0).otherwise(pl.col("again")).alias("again"),
    )
    rows = rows.with_columns(request=key.rank("dense"))
    if contexts is not None:
        times = contexts.select("request_id", slate_us="time_us", asker="user_id")
        times = times.with_row_index("slate")
        rows = rows.join(times, on="request_id", how="left", maintain_order="left")
        is_anothers = (pl.col("asker") != pl.col("user_id")).fill_null(value=False)
        rows = rows.with_columns(pl.when(~is_anothers).then(pl.col("slate", "slate_us"))).drop(
            "asker"
        )
    else:
        rows = rows.with_columns(slate_us=pl.lit(None, pl.Int64), slate=pl.lit(None, pl.Int64))
    # An impression stamped before its slate (a skewed clock) must not be visible to its own request.
    first_us = pl.min_horizontal(pl.col("slate_us"), pl.col("time_us").min()).over("request")
    return rows.with_columns(request_us=first_us).sort("request_us", "request", "event")


def _past_requests(
    events: pl.DataFrame, shown: _Shown, contexts: pl.DataFrame | None
) -> Iterator[Request]:
    """Each request with the context of its slate; where none is logged, with what its first impression says of it."""
    names = ("request_id", "user_id", "session_id", "surface")
    said = ("device", "country", "latitude", "longitude")
    first = shown.starts[:-1]
    sizes = np.diff(shown.starts).tolist()
    rows = events.select(names + said)[shown.event[first]].iter_rows()
    times = shown.request_us[first].tolist()
    for row, size, time_us, told in zip(rows, sizes, times, _told(contexts, shown.slate[first])):
        request_id, user_id, session_id, surface = row[: len(names)]
        yield Request(
            request_id=request_id or "",
            user_id=user_id,
            surface=surface or "",
            size=size,
            time_us=time_us,
            session_id=session_id or "",
            **(told or dict(zip(said, row[len(names) :]))),
        )


def _told(contexts: pl.DataFrame | None, slate: Int64) -> Iterator[dict[str, Any] | None]:
    """CONTEXT of each slate of int64[r]; None without a slate, or where it is from before contexts were kept."""
    for place in slate.tolist():
        told = contexts.row(place, named=True) if contexts is not None and place >= 0 else {}
        is_known = told.get("logged_in") is not None
        yield {name: told[name] for name in CONTEXT} if is_known else None

"""Every showing of the log in one set of aligned arrays: what retrieval learns from.

A showing is one (viewer, video, view) with everything the viewer did there. Rows are grouped by user, oldest first; rows of the
stored histories (order known, times not) come before the user's timed rows and have time_us 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from upnext.core.types import Array, Float32, Int64, Profile, UInt16
from upnext.features.config import FeaturesConfig
from upnext.features.context import Moment
from upnext.features.event_rows import ReadLog
from upnext.features.feedback_join import Joined, join_feedback
from upnext.features.moments import WORDS, Moments, numbered
from upnext.features.past_events import events_by_time
from upnext.features.search_tokens import tokens_of
from upnext.features.slate_context import one_a_request
from upnext.features.user_state import DEFAULT_CONFIG


class Profiled(Protocol):
    """What says who a viewer is (CatalogView does)."""

    def profile(self, user_id: str) -> Profile | None: ...


@dataclass(frozen=True)
class Showings:
    """m showings of u users."""

    user: Int64  # [m] row in user_ids, ascending
    item_id: Int64  # [m]
    time_us: Int64  # [m] ascending inside a user; 0: a history row
    flags: UInt16  # [m] bits of core.types.Flag
    watch_s: Float32  # [m]
    moment: Array  # int64[m] row in `moments`; -1 for history rows
    user_ids: tuple[str, ...]  # [u]
    moments: Sequence[Moment]  # the contexts in which something was shown
    searches: dict[int, tuple[Int64, Int64]]  # user row -> (time_us[s] ascending, token hash[s])
    propensity: Float32 | None = (
        None  # [m] P(the slot held this video), NaN where not logged; None: nowhere
    )

    def __len__(self) -> int:
        return len(self.item_id)

    def before(self, time_us: int) -> Showings:
        """The showings strictly before an instant (history rows stay); later searches are dropped too."""
        keep = self.time_us < time_us
        searches = {
            u: (t[t < time_us], tokens[t < time_us]) for u, (t, tokens) in self.searches.items()
        }
        return Showings(
            self.user[keep],
            self.item_id[keep],
            self.time_us[keep],
            self.flags[keep],
            self.watch_s[keep],
            self.moment[keep],
            self.user_ids,
            self.moments,
            searches,
            None if self.propensity is None else self.propensity[keep],
        )

    def starts(self) -> Int64:
        """int64[u + 1]: the rows of user i are starts[i] to starts[i + 1]."""
        return np.searchsorted(self.user, np.arange(len(self.user_ids) + 1)).astype(np.int64)


def showings_of(
    log: ReadLog,
    view: Profiled,
    config: FeaturesConfig = DEFAULT_CONFIG,
    *,
    before_us: int | None = None,
    slates: pl.DataFrame | None = None,
) -> Showings:
    """Every showing of the log and of the stored histories; with `before_us`, as known strictly before that instant.

    `slates`: columns of core.columns.SLATES; a moment whose impression names one of them has that slate's context, and a showing
    the propensity of its slot where the columns item_id and propensity are among them (slate_context.slate_slots).
    Events count in order of time (ties in order of the log), so feedback that was logged late still joins its showing."""
    events = events_by_time(log, before_us)
    joined = join_feedback(events, log.histories(), config)
    moment, moments = _moments(joined, events, view, slates)
    return Showings(
        joined.user,
        joined.item_id,
        joined.time_us,
        joined.flags,
        joined.watch_s,
        moment,
        joined.user_ids,
        moments,
        _searches(joined, events),
        _propensities(joined, events, slates),
    )


def _moments(
    joined: Joined, events: pl.DataFrame, view: Profiled, slates: pl.DataFrame | None
) -> tuple[Int64, Sequence[Moment]]:
    """(int64[m] row in the moments, the moments): one per viewer and instant."""
    moment = np.full(len(joined.user), -1, np.int64)
    timed = np.flatnonzero(joined.event >= 0)
    if not len(timed):
        return moment, ()
    user, time_us = joined.user[timed], joined.time_us[timed]  # sorted: by viewer, then time
    is_new = np.append(True, (np.diff(user) != 0) | (np.diff(time_us) != 0))
    moment[timed] = np.cumsum(is_new) - 1
    rows = timed[is_new]
    users, place = np.unique(joined.user[rows], return_inverse=True)
    profiles = [view.profile(joined.user_ids[user]) or Profile() for user in users.tolist()]
    said = events.select("user_id", "surface", "device", "country", "request_id")
    said = said[joined.event[rows]]
    words, contexts = numbered(_told(said, slates))
    return moment, Moments(place.astype(np.int32), joined.time_us[rows], words, profiles, contexts)


def _told(said: pl.DataFrame, slates: pl.DataFrame | None) -> pl.DataFrame:
    """WORDS of each row: its slate's where one is logged with its context, else what the impression says."""
    if slates is None:
        rest = [pl.lit(None, pl.String).alias(name) for name in ("language", "time_zone")]
        return said.with_columns(*rest, logged_in=pl.lit(None, pl.Boolean)).select(WORDS)
    said = said.with_columns(pl.col(pl.Categorical).cast(pl.String))
    slates = one_a_request(slates)
    joined = said.join(slates, on="request_id", how="left", suffix="_told", maintain_order="left")
    is_anothers = (pl.col("user_id") != pl.col("user_id_told")).fill_null(value=False)
    is_known = pl.col("logged_in").is_not_null() & ~is_anothers
    told = {
        name: pl.when(is_known).then(f"{name}_told").otherwise(name)
        for name in ("device", "country")
    }
    return joined.with_columns(**told).select(WORDS)


def _propensities(
    joined: Joined, events: pl.DataFrame, slates: pl.DataFrame | None
) -> Float32 | None:
    """float32[m]: the propensity of the slot that each showing was, as it was logged; None where slates say nothing of slots."""
    keys = ["request_id", "user_id", "item_id"]
    if slates is None or not {*keys, "propensity"} <= set(slates.columns):
        return None
    said = events.select("request_id", "user_id").with_columns(pl.all().cast(pl.String))
    timed = joined.event >= 0
    shown = said[joined.event[timed]].with_columns(item_id=pl.Series(joined.item_id[timed]))
    slots = slates.select(*keys, "propensity").unique(keys, keep="first", maintain_order=True)
    found = shown.join(slots, on=keys, how="left", maintain_order="left")
    propensity = np.full(len(joined.item_id), np.nan, np.float32)
    propensity[timed] = found.get_column("propensity").fill_null(np.nan).to_numpy()
    return propensity


def _searches(joined: Joined, events: pl.DataFrame) -> dict[int, tuple[Int64, Int64]]:
    place = {user_id: i for i, user_id in enumerate(joined.user_ids)}
    found: dict[int, list[tuple[int, int]]] = {}
    searches = events.filter(pl.col("kind") == "search").select("user_id", "time_us", "query")
    for user_id, time_us, query in searches.iter_rows():
        if user_id in place:
            found.setdefault(place[user_id], []).extend((time_us, t) for t in tokens_of(query))
    return {
        user: (np.array([t for t, _ in rows], np.int64), np.array([k for _, k in rows], np.int64))
        for user, rows in found.items()
        if rows
    }

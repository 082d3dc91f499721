"""What became of every slot: the join of feedback to what was served, as docs/report.md pins it.

An event with a request_id belongs to the slot of that viewer, request and video. One without takes the request_id that another event of
its view names; else it belongs to the showing of the viewer's latest impression of that video in the 24 hours before it (of a view: before the
view's first event). An impression without a request_id belongs to the viewer's latest slot of that video on its surface in the 24 hours
before it. What joins no slot opens a showing of its own, of the release "none": an imported log, a page that could not be logged, a video
played from a search. An undone event never happened, and an event_id counts once.

The same rules as the online state's where ids are given; here they are joins over columns, not a walk through each viewer's events.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from upnext.core.clock import DAY_US
from upnext.evaluate.slot_log import NO_RELEASE, SLOTS, LogPart
from upnext.features.user_state import COMPLETED_SHARE, FLAG_OF_KIND

JOIN_WITHIN_US: Final = DAY_US
UNDOABLE: Final = tuple(FLAG_OF_KIND)  # an impression or a watch stays: what was shown was shown
_MARKS: Final = {
    "is_seen": ("impression",),
    "is_clicked": ("click",),
    "is_watched": ("watch",),
    "is_liked": ("like",),
    "is_disliked": ("dislike",),
    "is_shared": ("share",),
    "is_followed": ("follow",),
    "is_not_interested": ("not_interested", "report"),
}
OUTCOMES: Final = (*_MARKS, "is_completed", "is_relevant")
_OF_VIDEO: Final = ["user_id", "item_id"]
_OF_REQUEST: Final = ["user_id", "request", "item_id"]


def slot_outcomes(part: LogPart) -> pl.DataFrame:
    """One row per showing: every slot served, then what was shown or watched without one.

    Columns: those of slot_log.SLOTS (outside slots `slot` is what events say, `propensity` and `n_eligible` are null), `is_served`, OUTCOMES (bool), `watch_s`,
    `duration_s` (null: not known) and `n_events`. time_us is the request's; without a slot the first impression's, else the first event's."""
    slots = part.slots.unique(_OF_REQUEST, keep="first", maintain_order=True)
    slots = slots.with_row_index("showing").with_columns(pl.col("showing").cast(pl.Int64))
    events = _named(standing(part.events))
    numbers = _Numbers(slots, events.with_row_index("row"))
    events = events.with_columns(showing=numbers.of_every_row())
    done = _done(events)
    served = slots.with_columns(is_served=True).join(done, on="showing", how="left", suffix="_told")
    own = done.filter(pl.col("showing") >= len(slots)).with_columns(
        is_served=False,
        is_repeat=False,
        is_degraded=False,
        release_id=pl.lit(NO_RELEASE, pl.Categorical),
        arms=pl.lit("", pl.Categorical),
    )
    rows = pl.concat([served, own], how="diagonal")
    flags = [pl.col(name).fill_null(value=False) for name in OUTCOMES]
    sums = [pl.col("watch_s").fill_null(0.0), pl.col("n_events").fill_null(0)]
    kept = [*SLOTS.names(), "is_served", *OUTCOMES, "watch_s", "duration_s", "n_events"]
    return rows.with_columns(*flags, *sums).select(kept)


def standing(events: pl.DataFrame) -> pl.DataFrame:
    """The events that count: each event_id once, undone ones and the undos left out; order kept."""
    events = events.unique("event", keep="first", maintain_order=True)
    undone = events.filter(pl.col("kind") == "undo").select("user_id", event="undoes").unique()
    gone = (
        events.filter(pl.col("kind").is_in(UNDOABLE))
        .join(undone, on=["user_id", "event"], how="semi")
        .select("event")
    )
    kept = events.filter(pl.col("kind") != "undo")
    return kept.join(gone, on="event", how="anti", maintain_order="left")


def _named(events: pl.DataFrame) -> pl.DataFrame:
    """The events, those without a request named by another event of their view."""
    view = [*_OF_VIDEO, "view"]
    named = events.filter(pl.col("request").is_not_null() & pl.col("view").is_not_null())
    named = named.unique(view, keep="first", maintain_order=True).select(*view, said="request")
    found = events.join(named, on=view, how="left", maintain_order="left")
    return found.with_columns(request=pl.coalesce("request", "said")).drop("said")


class _Numbers:
    """Which showing each event belongs to; the numbers go on after those of the slots."""

    def __init__(self, slots: pl.DataFrame, events: pl.DataFrame) -> None:
        self._slots, self._events = slots, events
        self._next = len(slots)

    def of_every_row(self) -> pl.Series:
        """int64 per event."""
        about = pl.col("item_id").is_not_null()
        named = pl.col("request").is_not_null()
        shown = pl.col("kind") == "impression"
        by_request = self._by_request(self._events.filter(about & named))
        impressions = self._unnamed_impressions(self._events.filter(about & ~named & shown))
        anchors = pl.concat([by_request.filter(shown), impressions])
        feedback = self._feedback(self._events.filter(about & ~named & ~shown), anchors)
        rest = self._own(self._events.filter(~about), ["row"])
        parts = [
            part.select("row", "showing") for part in (by_request, impressions, feedback, rest)
        ]
        return pl.concat(parts).sort("row").get_column("showing")

    def _by_request(self, events: pl.DataFrame) -> pl.DataFrame:
        known = self._slots.select(*_OF_REQUEST, "showing")
        found = events.join(known, on=_OF_REQUEST, how="left", maintain_order="left")
        return self._rest_own(found, _OF_REQUEST)

    def _unnamed_impressions(self, events: pl.DataFrame) -> pl.DataFrame:
        keys = [*_OF_VIDEO, "surface"]
        found = _latest(events, self._slots.select(*keys, "time_us", "showing"), keys)
        return self._rest_own(found, ["row"])

    def _feedback(self, events: pl.DataFrame, anchors: pl.DataFrame) -> pl.DataFrame:
        """A view's events stay together: all are looked up as of its first."""
        begun = pl.col("time_us").min().over(*_OF_VIDEO, "view")
        events = events.with_columns(
            time_us=pl.when(pl.col("view").is_null()).then("time_us").otherwise(begun)
        )
        found = _latest(events, anchors.select(*_OF_VIDEO, "time_us", "showing"), _OF_VIDEO)
        lost = found.filter(pl.col("showing").is_null()).drop("showing")
        lost = lost.sort("time_us", maintain_order=True)
        is_new = pl.col("time_us").diff().over(_OF_VIDEO).fill_null(JOIN_WITHIN_US + 1) > JOIN_WITHIN_US  # fmt: skip
        lost = lost.with_columns(chain=is_new.cum_sum().over(_OF_VIDEO))
        own = self._own(lost, [*_OF_VIDEO, "chain"]).select(found.columns)
        return pl.concat([found.filter(pl.col("showing").is_not_null()), own])

    def _rest_own(self, found: pl.DataFrame, key: list[str]) -> pl.DataFrame:
        own = self._own(found.filter(pl.col("showing").is_null()).drop("showing"), key)
        return pl.concat([found.filter(pl.col("showing").is_not_null()), own.select(found.columns)])

    def _own(self, events: pl.DataFrame, key: list[str]) -> pl.DataFrame:
        """The events with a new showing per distinct key."""
        keys = events.select(key).unique(maintain_order=True)
        numbers = pl.int_range(self._next, self._next + len(keys), eager=True)
        self._next += len(keys)
        keys = keys.with_columns(showing=numbers)
        return events.join(keys, on=key, how="left", maintain_order="left")


def _latest(events: pl.DataFrame, anchors: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """The events with the `showing` of the latest anchor of their keys at or before them, at most 24 hours old; null: none."""
    return events.sort("time_us", maintain_order=True).join_asof(
        anchors.sort("time_us", maintain_order=True),
        on="time_us",
        by=keys,
        strategy="backward",
        tolerance=JOIN_WITHIN_US,
        check_sortedness=False,
    )


def _done(events: pl.DataFrame) -> pl.DataFrame:
    """One row per showing that has an event, with everything that was done there."""
    is_watch = (pl.col("kind") == "watch") & pl.col("watch_s").is_not_null()
    views = (
        events.filter(is_watch)
        .group_by("showing", "view")
        .agg(pl.col("watch_s").max(), pl.col("duration_s").max())
    )
    length = pl.when(pl.col("duration_s") > 0).then("duration_s")
    watched = views.group_by("showing").agg(
        pl.col("watch_s").sum(),
        is_completed=(pl.col("watch_s") >= COMPLETED_SHARE * length).any(),
        is_half=(pl.col("watch_s") >= length / 2).any(),
    )
    shown = pl.col("kind") == "impression"
    no_length = pl.col("duration_s").fill_null(0) <= 0
    said_long = (pl.col("kind") == "watch") & (pl.col("value") == 1)
    done = events.group_by("showing", maintain_order=True).agg(
        *(pl.col("kind").is_in(kinds).any().alias(name) for name, kinds in _MARKS.items()),
        pl.col("user_id", "request", "item_id").first(),
        pl.col("surface", "slot", "country", "device").drop_nulls().first(),
        pl.coalesce(pl.col("time_us").filter(shown).min(), pl.col("time_us").min()),
        pl.col("duration_s").max(),
        is_long=(said_long & (no_length | pl.col("watch_s").is_null())).any(),
        n_events=pl.len(),
    )
    done = done.join(watched, on="showing", how="left", maintain_order="left")
    half = pl.col("is_half").fill_null(value=False)
    return done.with_columns(is_relevant=pl.col("is_liked") | half | pl.col("is_long"))

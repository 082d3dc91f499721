"""Everything a report counts in the log, in one place: sums per viewer of every grouping, and what videos got.

The log is read part by part; only sums outlive a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np
import polars as pl

from upnext.catalog.view import CatalogView
from upnext.core.protocols import Progress
from upnext.core.types import Float64
from upnext.evaluate.online import (
    Days,
    Span,
    ViewerSums,
    active_days,
    days_of,
    dealt,
    in_span,
    log_ends,
    unit_of,
    viewer_sums,
    with_keys,
)
from upnext.evaluate.report_rows import Items, Viewers, attached
from upnext.evaluate.slot_join import slot_outcomes
from upnext.evaluate.slot_log import NO_RELEASE, ROWS_AT_ONCE, WholeLog, log_parts

CLOCK: Final = ("hour", "weekday", "month", "season")
PEOPLE: Final = ("age", "gender", "country", "language")
VIDEOS: Final = ("popularity", "creator_size", "video_language")
QUESTIONS: Final[tuple[tuple[str, ...], ...]] = (
    ("day",), ("surface",), ("release",), ("arm",), ("surface", "slot"),
    *((key,) for key in (*CLOCK, *PEOPLE, *VIDEOS)),
    ("release", "day"), ("release", "surface"), ("release", "arm"),
    *(("release", key) for key in PEOPLE),
)  # fmt: skip
WEIGHTED: Final = ("weight", "weight_squared", "weighted_click", "clicked", "slots")


@dataclass(frozen=True)
class Counted:
    """What was counted."""

    span: Span
    sums: Mapping[tuple[str, ...], ViewerSums]  # by question
    weighted: pl.DataFrame  # surface, slot, user_id, WEIGHTED: slots with a drawn propensity
    items: Items
    shown: pl.DataFrame  # user_id, item_id, impressions, relevant
    reach: Mapping[str, pl.DataFrame]  # by key of PEOPLE: key, item_id, impressions
    days: pl.DataFrame  # local_day: the viewers' days on which anything was shown
    n_slots: int
    n_events: int
    first_us: int
    last_us: int
    middle_us: int

    def days_of(self) -> tuple[date, date] | None:
        """The first and last day."""
        return days_of((self.first_us, self.last_us), self.span.time_zone)


@dataclass
class _Gathering:
    """The frames of every part so far."""

    sums: dict[tuple[str, ...], list[pl.DataFrame]] = field(default_factory=dict)
    weighted: list[pl.DataFrame] = field(default_factory=list)
    shown: list[pl.DataFrame] = field(default_factory=list)
    reach: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    days: list[pl.DataFrame] = field(default_factory=list)


def counted(
    log: WholeLog,
    view: CatalogView,
    span: Span,
    progress: Progress,
    *,
    releases: Sequence[str] = (),
    rows_at_once: int = ROWS_AT_ONCE,
) -> Counted | None:
    """The sums of a span's showings (of every release; `releases` are also told apart by segment); None where nothing was shown."""
    ends = log_ends(log)
    if ends is None:
        return None
    first_us = max(span.from_us, ends[0])
    last_us = ends[1] if span.until_us is None else min(ends[1], span.until_us - 1)
    middle_us = (first_us + last_us) // 2
    parts = _Parts(log, span, ends, rows_at_once, progress)
    items = _items(parts, view, middle_us)
    viewers = Viewers.of(view)
    found = _Gathering()
    n_shown = 0
    for outcomes, active in parts:
        rows = attached(with_keys(outcomes, span), viewers, items, middle_us)
        rows = rows.with_columns(slot=pl.col("slot").cast(pl.String).str.zfill(2))
        n_shown += len(rows)
        for question in QUESTIONS:
            asked = rows.drop_nulls(question)
            if "release" in question and len(question) > 1:
                asked = asked.filter(pl.col("release").cast(pl.String).is_in(list(releases)))
            sums = viewer_sums(asked, question, active).frame
            found.sums.setdefault(question, []).append(parts.kept(sums, question))
        _add_videos(found, rows, parts.is_one)
    if not n_shown:
        return None
    return Counted(
        span=span,
        sums={q: ViewerSums(q, pl.concat(frames)) for q, frames in found.sums.items()},
        weighted=pl.concat(found.weighted),
        items=items,
        shown=pl.concat(found.shown),
        reach={
            key: pl.concat(frames).group_by(key, "item_id").agg(pl.col("impressions").sum())
            for key, frames in found.reach.items()
        },
        days=pl.concat(found.days).unique(),
        n_slots=parts.n_slots,
        n_events=parts.n_events,
        first_us=first_us,
        last_us=last_us,
        middle_us=middle_us,
    )


class _Parts:
    """The span's showings of every part of the log, again and again; a log of one part is joined once."""

    def __init__(
        self, log: WholeLog, span: Span, ends: tuple[int, int], rows_at_once: int, progress: Progress
    ) -> None:  # fmt: skip
        self._log, self._span, self._rows_at_once = log, span, rows_at_once
        self._days = days_of(ends, span.time_zone)
        self._progress = progress
        self.is_one = log.last_seq() < rows_at_once
        self._only: tuple[pl.DataFrame, Days] | None = None
        self.n_slots = self.n_events = 0

    def __iter__(self) -> Iterator[tuple[pl.DataFrame, Days]]:
        if self._only is not None:
            yield self._only
            return
        self.n_slots = self.n_events = 0
        self._progress.start("slots and events", self._log.last_seq(), "rows")
        for part in log_parts(self._log, rows_at_once=self._rows_at_once):
            self.n_slots += len(part.slots)
            self.n_events += len(part.events)
            self._progress.advance(len(part.slots) + len(part.events))
            one = in_span(slot_outcomes(part), self._span), active_days(part, self._span.time_zone, self._days)  # fmt: skip
            if self.is_one:
                self._only = one
            yield one
        self._progress.done()

    def kept(self, sums: pl.DataFrame, question: Sequence[str]) -> pl.DataFrame:
        return sums if self.is_one else dealt(sums, question)


def _items(parts: _Parts, view: CatalogView, middle_us: int) -> Items:
    relevant, impressions = np.zeros(view.n_items), np.zeros(view.n_items)
    for outcomes, _ in parts:
        early = outcomes.filter(
            (pl.col("time_us") < middle_us) & pl.col("item_id").is_between(0, view.n_items - 1)
        )
        for into, mark in ((relevant, "is_relevant"), (impressions, "is_seen")):
            ids = early.filter(pl.col(mark)).get_column("item_id").to_numpy()
            into += np.bincount(ids, minlength=view.n_items)
    return Items.of(view, relevant, impressions)


def _add_videos(found: _Gathering, rows: pl.DataFrame, is_one: bool) -> None:
    """What videos got; of one part of several, viewers are dealt into units, as their sums are."""
    rows = rows if is_one else rows.with_columns(unit_of("user_id"))
    seen = rows.filter(pl.col("is_seen") & pl.col("item_id").is_not_null())
    shown = seen.group_by("user_id", "item_id").agg(
        impressions=pl.len().cast(pl.Float64), relevant=pl.col("is_relevant").sum().cast(pl.Float64)
    )
    found.shown.append(shown)
    for key in PEOPLE:
        reach = seen.group_by(key, "item_id").agg(impressions=pl.len())
        found.reach.setdefault(key, []).append(reach)
    found.days.append(rows.select("local_day").unique())
    found.weighted.append(_weighted(rows))


def _weighted(rows: pl.DataFrame) -> pl.DataFrame:
    """Slots with their weight towards a uniform draw from what was eligible: (1 / n_eligible) / propensity."""
    drawn = rows.filter(
        pl.col("is_served") & (pl.col("propensity") > 0) & (pl.col("n_eligible") > 0)
    )
    weight = 1.0 / (pl.col("n_eligible") * pl.col("propensity"))
    drawn = drawn.with_columns(weight=weight)
    return drawn.group_by("surface", "slot", "user_id").agg(
        pl.col("weight").sum(),
        weight_squared=pl.col("weight").pow(2).sum(),
        weighted_click=(pl.col("weight") * pl.col("is_clicked")).sum(),
        clicked=pl.col("is_clicked").sum().cast(pl.Float64),
        slots=pl.len().cast(pl.Float64),
    )


def served_releases(counts: Counted) -> dict[str, float]:
    """{release: slots it served}, those that served anything."""
    frame = counts.sums[("release",)].frame.group_by(pl.col("release").cast(pl.String))
    slots = dict(frame.agg(pl.col("slots").sum()).iter_rows())
    return {name: n for name, n in sorted(slots.items()) if n and name != NO_RELEASE}


def ratio_by_viewer(frame: pl.DataFrame, above: str, below: str) -> tuple[Float64, Float64]:
    """(sums float64[u] of `above`, of `below`) per viewer."""
    sums = frame.group_by("user_id").agg(pl.col(above).sum(), pl.col(below).sum()).sort("user_id")
    return sums.get_column(above).to_numpy(), sums.get_column(below).to_numpy()

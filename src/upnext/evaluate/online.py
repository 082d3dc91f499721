"""Online metrics: what viewers did with what was served, per day, surface, release and arm, with intervals over viewers.

Every figure is a ratio of two sums over viewers (docs/report.md names them all), so that one table of sums per viewer gives the figure and,
by resampling viewers, its 95 % interval. With more viewers than `MAX_UNITS` they are dealt by a hash into so many groups, which are resampled in their stead:
as wide an interval, at a cost that no longer grows (the bucketed variance of Deng et al. 2018).

A figure of a day belongs to the day of the request (of a showing without one: of its impression), whenever the feedback came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final
from zoneinfo import available_timezones

import numpy as np
import polars as pl

from upnext.core.errors import expected
from upnext.core.types import Array, Estimate, Float64
from upnext.evaluate.bootstrap import N_RESAMPLES, estimate_of, resample
from upnext.evaluate.figures import figure_json
from upnext.evaluate.quotient import quotient
from upnext.evaluate.slot_join import slot_outcomes
from upnext.evaluate.slot_log import ARM_SEPARATOR, ROWS_AT_ONCE, LogPart, WholeLog, log_parts

KEYS: Final = ("day", "surface", "release", "arm")
RETENTION_D: Final = (1, 7)
MAX_UNITS: Final = 5_000
NO_ARM: Final = "none"

_SERVED, _SEEN = pl.col("is_served"), pl.col("is_seen")
SUMS: Final[Mapping[str, pl.Expr]] = {
    "slots": _SERVED,
    "impressions": _SEEN,
    "slots_clicked": _SERVED & pl.col("is_clicked"),
    "impressions_clicked": _SEEN & pl.col("is_clicked"),
    "completed": pl.col("is_completed"),
    "impressions_completed": _SEEN & pl.col("is_completed"),
    "relevant": pl.col("is_relevant"),
    "impressions_relevant": _SEEN & pl.col("is_relevant"),
    "watch_s": pl.col("watch_s"),
    "likes": pl.col("is_liked"),
    "dislikes": pl.col("is_disliked"),
    "shares": pl.col("is_shared"),
    "follows": pl.col("is_followed"),
    "not_interested": pl.col("is_not_interested"),
    "slots_degraded": _SERVED & pl.col("is_degraded"),
    "slots_repeated": _SERVED & pl.col("is_repeat"),
    "events": pl.col("n_events"),
}
_OF_DAYS: Final = (
    "viewers", "viewer_days",
    *(f"{name}_d{k}" for k in RETENTION_D for name in ("retained", "retainable")),
)  # fmt: skip
COUNTS: Final = (*SUMS, *_OF_DAYS)
RATES: Final[Mapping[str, tuple[str, str]]] = {
    "ctr_served": ("slots_clicked", "slots"),
    "ctr_seen": ("impressions_clicked", "impressions"),
    "completion_rate": ("impressions_completed", "impressions"),
    "relevance_rate": ("impressions_relevant", "impressions"),
    "watch_s_per_impression": ("watch_s", "impressions"),
    "impressions_per_viewer_day": ("impressions", "viewer_days"),
    "completed_per_viewer_day": ("completed", "viewer_days"),
    "watch_s_per_viewer_day": ("watch_s", "viewer_days"),
    "watch_s_per_viewer": ("watch_s", "viewers"),
    "likes_per_viewer_day": ("likes", "viewer_days"),
    "like_rate": ("likes", "impressions"),
    "dislike_rate": ("dislikes", "impressions"),
    "share_rate": ("shares", "impressions"),
    "follow_rate": ("follows", "impressions"),
    "not_interested_rate": ("not_interested", "impressions"),
    "degraded_share": ("slots_degraded", "slots"),
    "repeat_share": ("slots_repeated", "slots"),
    "retention_d1": ("retained_d1", "retainable_d1"),
    "retention_d7": ("retained_d7", "retainable_d7"),
}


@dataclass(frozen=True, slots=True)
class Span:
    """Which showings count: from_us <= time < until_us (None: no end), and whose midnight parts the days."""

    from_us: int = 0
    until_us: int | None = None
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.until_us is not None and self.until_us <= self.from_us:
            raise expected("--until", "an instant after --from", self.until_us)
        if self.time_zone not in available_timezones():
            raise expected("--time-zone", 'an IANA name such as "Europe/Paris"', self.time_zone)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """One group's sums (COUNTS) and rates (RATES) with their intervals."""

    key: Mapping[str, str]  # by key, in the order asked
    counts: Mapping[str, float]
    rates: Mapping[str, Estimate]

    def to_json(self) -> dict[str, object]:
        """{"key", "counts", "rates": {name: a figure}}."""
        rates = {name: figure_json(rate) for name, rate in self.rates.items()}
        return {"key": dict(self.key), "counts": dict(self.counts), "rates": rates}


@dataclass(frozen=True)
class Days:
    """On which days each viewer did anything at all (one row per viewer and day), and the first and last day of the log."""

    active: pl.DataFrame  # user_id, day
    first: date | None
    last: date | None


@dataclass(frozen=True)
class ViewerSums:
    """Sums per group and viewer: the keys, `user_id`, COUNTS."""

    keys: tuple[str, ...]
    frame: pl.DataFrame

    def metrics(self, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> list[GroupMetrics]:
        """One row per group, in order of the keys."""
        if not self.keys:
            return [group_metrics({}, self.frame, n_resamples, seed)] if len(self.frame) else []
        ordered = self.frame.sort(self.keys, maintain_order=True)
        return [
            group_metrics(dict(zip(self.keys, map(str, key))), rows, n_resamples, seed)
            for key, rows in ordered.group_by(self.keys, maintain_order=True)
        ]


@dataclass(frozen=True)
class OnlineReport:
    """The groups of every question that was asked, and what they were counted from."""

    tables: Mapping[tuple[str, ...], Sequence[GroupMetrics]]  # by its keys
    about: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """{"about", "tables": [{"by", "groups"}]}."""
        tables = [
            {"by": list(keys), "groups": [group.to_json() for group in groups]}
            for keys, groups in self.tables.items()
        ]
        return {"about": dict(self.about), "tables": tables}


def online_metrics(
    log: WholeLog,
    questions: Sequence[Sequence[str]],
    span: Span | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    rows_at_once: int = ROWS_AT_ONCE,
) -> OnlineReport:
    """The metrics of each question, a choice of KEYS ("()": over everything), of the showings of the span.

    Feedback counts whenever it came. Raises InvalidInput for an unknown or repeated key, Unavailable."""
    asked = [_checked(question) for question in questions]
    span = span or Span()
    sums: dict[tuple[str, ...], list[pl.DataFrame]] = {keys: [] for keys in asked}
    n_rows = {"n_slots": 0, "n_events": 0}
    days = days_of(log_ends(log), span.time_zone)
    parts = log_parts(log, rows_at_once=rows_at_once)
    is_one_part = log.last_seq() < rows_at_once
    for part in parts:
        n_rows["n_slots"] += len(part.slots)
        n_rows["n_events"] += len(part.events)
        outcomes = with_keys(in_span(slot_outcomes(part), span), span)
        active = active_days(part, span.time_zone, days)
        for keys in asked:
            found = viewer_sums(outcomes, keys, active).frame
            sums[keys].append(found if is_one_part else dealt(found, keys))
    tables = {
        keys: ViewerSums(keys, pl.concat(frames)).metrics(n_resamples=n_resamples, seed=seed)
        for keys, frames in sums.items()
    }
    about = {"from_us": span.from_us, "until_us": span.until_us, "time_zone": span.time_zone}
    known = {"first_day": str(days[0]), "last_day": str(days[1])} if days else {}
    return OnlineReport(tables, {**about, **n_rows, **known})


def log_ends(log: WholeLog) -> tuple[int, int] | None:
    """time_us of the log's earliest and latest event; None for a log without events."""
    ends: list[int] = []
    for table in log.scan():
        times = pl.DataFrame(pl.from_arrow(table.select(["time_us"]))).get_column("time_us")
        ends = [*ends[:1], *ends[-1:], int(times.min()), int(times.max())]  # type: ignore[arg-type]
        ends = [min(ends), max(ends)]
    return (ends[0], ends[1]) if ends else None


def days_of(ends: tuple[int, int] | None, time_zone: str) -> tuple[date, date] | None:
    """The days of two instants."""
    if ends is None:
        return None
    days = pl.DataFrame({"time_us": ends}).select(day_of(time_zone)).to_series().to_list()
    return days[0], days[1]


def day_of(time_zone: str) -> pl.Expr:
    """The date of time_us in a time zone, as `day`."""
    moment = pl.from_epoch("time_us", time_unit="us").dt.replace_time_zone("UTC")
    return moment.dt.convert_time_zone(time_zone).dt.date().alias("day")


def in_span(outcomes: pl.DataFrame, span: Span) -> pl.DataFrame:
    """The showings of the span."""
    until = pl.lit(value=True) if span.until_us is None else pl.col("time_us") < span.until_us
    return outcomes.filter((pl.col("time_us") >= span.from_us) & until)


def with_keys(outcomes: pl.DataFrame, span: Span) -> pl.DataFrame:
    """The showings with `day` (date), `surface` and `release` (words) and `arm` (list of words, one per experiment)."""
    arms = pl.col("arms").cast(pl.String)
    arms = pl.when(arms == "").then(pl.lit(NO_ARM)).otherwise(arms).str.split(ARM_SEPARATOR)
    return outcomes.with_columns(
        day_of(span.time_zone),
        surface=pl.col("surface").fill_null("none"),
        release=pl.col("release_id"),
        arm=arms,
    )


def active_days(part: LogPart, time_zone: str, ends: tuple[date, date] | None) -> Days:
    """The days on which the part's viewers did anything, of a log with these first and last days."""
    found = part.events.select("user_id", day_of(time_zone)).unique()
    return Days(found, ends[0] if ends else None, ends[1] if ends else None)


def viewer_sums(outcomes: pl.DataFrame, keys: Sequence[str], days: Days) -> ViewerSums:
    """COUNTS per group and viewer. `outcomes` has `day` and a column per key; one that is a list counts a showing under each.

    A viewer is active in a group on a day when any event belongs to a showing of the group and the day; a viewer-day is retained
    after k days when the viewer did anything at all on that later day, known only where that day is over: a later one is in the log."""
    for key in keys:
        if outcomes.schema[key] == pl.List:
            outcomes = outcomes.explode(key)
    of_viewer = list(dict.fromkeys([*keys, "user_id"]))
    of_day = list(dict.fromkeys([*of_viewer, "day"]))
    by_day = outcomes.group_by(of_day).agg(expr.sum().alias(name) for name, expr in SUMS.items())
    by_day = by_day.with_columns(viewer_days=(pl.col("events") > 0).cast(pl.Int64))
    for k in RETENTION_D:
        by_day = _retained(by_day, days, k)
    sums = [pl.col(name).sum() for name in COUNTS if name != "viewers"]
    frame = by_day.group_by(of_viewer).agg(*sums)
    frame = frame.with_columns(viewers=(pl.col("viewer_days") > 0).cast(pl.Int64))
    frame = frame.sort("user_id", *keys).select(*of_viewer, *(pl.col(n).cast(pl.Float64) for n in COUNTS))  # fmt: skip
    return ViewerSums(tuple(keys), frame)


def _retained(by_day: pl.DataFrame, days: Days, k: int) -> pl.DataFrame:
    back = days.active.with_columns(day=pl.col("day") - timedelta(days=k))
    back = back.with_columns(came=pl.lit(value=True))
    found = by_day.join(back, on=["user_id", "day"], how="left")
    last_known = days.last - timedelta(days=k) if days.last else date.min
    is_known = (pl.col("day") < last_known) & (pl.col("viewer_days") > 0)
    return found.with_columns(
        (is_known & pl.col("came").fill_null(value=False)).cast(pl.Int64).alias(f"retained_d{k}"),
        is_known.cast(pl.Int64).alias(f"retainable_d{k}"),
    ).drop("came")


def group_metrics(
    key: Mapping[str, str], rows: pl.DataFrame, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> GroupMetrics:
    """The sums and rates of one group's viewers, each a row of `rows` (`user_id`, COUNTS)."""
    counts = {name: float(rows.get_column(name).sum()) for name in COUNTS}
    draws = drawn_rates(_units(rows), n_resamples, seed)
    rates = {}
    for j, (name, (above, below)) in enumerate(RATES.items()):
        figure = counts[above] / counts[below] if counts[below] else math.nan
        rates[name] = estimate_of(figure, draws[:, j], counts["viewers"])
    return GroupMetrics(dict(key), counts, rates)


def drawn_rates(units: Float64, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Float64:
    """float64[b, r]: every rate of RATES in every resample of units float64[u, c] of COUNTS."""
    drawn = [w @ units for w in resample(len(units), n_resamples=n_resamples, seed=seed)]
    sums = np.concatenate(drawn) if drawn else np.zeros((0, units.shape[1]))
    at = {name: j for j, name in enumerate(COUNTS)}
    columns = [quotient(sums[:, at[above]], sums[:, at[below]]) for above, below in RATES.values()]
    return np.stack(columns, axis=1)


def _units(rows: pl.DataFrame) -> Float64:
    """float64[u, c]: what is resampled: viewers, or MAX_UNITS groups of them."""
    if len(rows) > MAX_UNITS:
        rows = dealt(rows, ())
    units: Array = rows.select(COUNTS).to_numpy()
    return np.ascontiguousarray(units, np.float64)


def dealt(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The sums of MAX_UNITS groups of viewers; `user_id` is then the group's number."""
    of_unit = list(dict.fromkeys([*keys, "user_id"]))
    units = rows.with_columns(unit_of("user_id")).group_by(of_unit)
    return units.agg(pl.col(name).sum() for name in COUNTS).sort(of_unit)


def unit_of(column: str) -> pl.Expr:
    """Which of MAX_UNITS groups each viewer is dealt into, in the place of the viewer's id."""
    unit = pl.col(column).cast(pl.String).hash(2) % MAX_UNITS
    return unit.cast(pl.String).cast(pl.Categorical).alias(column)


def _checked(question: Sequence[str]) -> tuple[str, ...]:
    for key in question:
        if key not in KEYS:
            raise expected("metrics: --by", f"some of {', '.join(KEYS)}", key)
    if len(set(question)) < len(question):
        raise expected("metrics: --by", "each key once", ",".join(question))
    return tuple(question)

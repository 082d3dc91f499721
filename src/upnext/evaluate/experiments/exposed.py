"""Who was exposed to which arm, and what they did since: one row per viewer, from slates and events.

A viewer is exposed with the first page that was logged under an arm; before that nothing can differ, so nothing before it counts (but as
what was known of the viewer beforehand). From then on everything counts that they did on any surface until the experiment's end, whatever
the page: an arm that only moves watching from one surface to another should not look better for it. The ratios of clicks are of the
experiment's own surfaces. A viewer who was logged under two arms is counted apart and left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from upnext.core.clock import DAY_US, SECOND_US
from upnext.evaluate.experiments.definition import Experiment
from upnext.evaluate.slot_join import slot_outcomes
from upnext.evaluate.slot_log import ARM_SEPARATOR, LogPart, WholeLog, log_parts

BEFORE_D: Final = 14  # days before the start that tell what a viewer is like
RETAINED_D: Final = (1, 7)
SUMS: Final = (
    "value", "watch_s", "completed", "relevant", "likes", "dislikes", "not_interested", "sessions",
    "slots", "slots_clicked", "impressions", "impressions_clicked",
)  # fmt: skip
_LABELS: Final[Mapping[str, str]] = {  # the ranker's tasks as outcomes of a showing
    "relevant": "is_relevant",
    "relevant_shown": "is_relevant",
    "click": "is_clicked",
    "completed": "is_completed",
    "like": "is_liked",
    "share": "is_shared",
    "follow": "is_followed",
    "dislike": "is_disliked",
}


@dataclass(frozen=True, slots=True)
class Counting:
    """How showings are counted."""

    weights: Mapping[str, float]  # of the value, by task; one without an outcome has no part
    session_gap_s: float  # a longer rest begins a new session
    until_us: int  # nothing at or after it counts


@dataclass(frozen=True)
class Exposed:
    """What the report reads."""

    viewers: pl.DataFrame  # user_id, arm (row), exposed_us, SUMS, before_SUMS, retained_d1, retained_d7 (null: not known yet)
    by_day: pl.DataFrame  # user_id, arm, day (since exposure, from 0), SUMS but sessions
    n_crossed: int  # viewers logged under two arms


def exposed(log: WholeLog, experiment: Experiment, counting: Counting) -> Exposed:
    """The viewers of the whole log. Raises Unavailable."""
    parts = [_of_part(part, experiment, counting) for part in log_parts(log)]
    return Exposed(
        pl.concat([part.viewers for part in parts]).sort("user_id"),
        pl.concat([part.by_day for part in parts]),
        sum(part.n_crossed for part in parts),
    )


def _of_part(part: LogPart, experiment: Experiment, counting: Counting) -> Exposed:
    outcomes = slot_outcomes(part).with_columns(
        pl.col("user_id").cast(pl.String), pl.col("surface").cast(pl.String)
    )
    first = _first(outcomes, experiment)
    is_one = pl.col("n_arms") == 1
    n_crossed = int((first.get_column("n_arms") > 1).sum())
    first = first.filter(is_one).drop("n_arms").filter(pl.col("exposed_us") < counting.until_us)
    rows = _counted(outcomes, experiment, counting).join(first, on="user_id", how="inner")
    since = (pl.col("time_us") >= pl.col("exposed_us")) & (pl.col("time_us") < counting.until_us)
    start_us = experiment.started_us
    before = pl.col("time_us").is_between(start_us - BEFORE_D * DAY_US, start_us, closed="left")
    after = _sums(rows.filter(since), ["user_id"], counting)
    earlier = _sums(rows.filter(before), ["user_id"], counting)
    earlier = earlier.rename({name: f"before_{name}" for name in SUMS})
    viewers = first.join(after, on="user_id", how="left").join(earlier, on="user_id", how="left")
    day = (pl.col("time_us") - pl.col("exposed_us")) // DAY_US
    by_day = _sums(rows.filter(since).with_columns(day=day), ["user_id", "arm", "day"], counting)
    counts = [*SUMS, *(f"before_{name}" for name in SUMS)]
    viewers = viewers.with_columns(pl.col(counts).fill_null(0.0))
    viewers = _with_retention(viewers, part, counting.until_us)
    return Exposed(viewers.sort("user_id"), by_day, n_crossed)


def _first(outcomes: pl.DataFrame, experiment: Experiment) -> pl.DataFrame:
    """user_id, arm (row in the arms), exposed_us, n_arms."""
    said = pl.col("arms").cast(pl.String).str.split(ARM_SEPARATOR)
    arm = pl.lit(None, pl.Int64)
    for row, name in enumerate(experiment.logged_arms):
        tagged = said.list.contains(f"{experiment.name}={name}")
        arm = pl.when(tagged).then(pl.lit(row, pl.Int64)).otherwise(arm)
    tagged_rows = outcomes.filter("is_served").with_columns(arm=arm).drop_nulls("arm")
    return tagged_rows.group_by("user_id").agg(
        pl.col("arm").sort_by("time_us").first(),
        exposed_us=pl.col("time_us").min(),
        n_arms=pl.col("arm").n_unique(),
    )


def _counted(outcomes: pl.DataFrame, experiment: Experiment, counting: Counting) -> pl.DataFrame:
    """The showings with a column per sum, but sessions."""
    own = pl.col("is_served") & pl.col("surface").is_in(experiment.surfaces)
    seen = own & pl.col("is_seen")
    return outcomes.select(
        "user_id", "time_us", "watch_s",
        value=value_of_showing(counting.weights),
        completed="is_completed", relevant="is_relevant", likes="is_liked",
        dislikes="is_disliked", not_interested="is_not_interested",
        slots=own, slots_clicked=own & pl.col("is_clicked"),
        impressions=seen, impressions_clicked=seen & pl.col("is_clicked"),
    )  # fmt: skip


def value_of_showing(weights: Mapping[str, float]) -> pl.Expr:
    """The value of what a viewer did with one showing, on the scale of the ranker's; a task without an outcome (skip) has no part."""
    value = pl.lit(0.0)
    for task, weight in weights.items():
        if task in _LABELS:
            value = value + weight * pl.col(_LABELS[task]).cast(pl.Float64)
    return value


def _sums(rows: pl.DataFrame, by: Sequence[str], counting: Counting) -> pl.DataFrame:
    """Per group the SUMS as float64; a session begins after a rest of more than the gap."""
    gap_us = int(counting.session_gap_s * SECOND_US)
    rest = pl.col("time_us").diff().over(by)
    rows = rows.sort("time_us").with_columns(sessions=rest.is_null() | (rest > gap_us))
    sums = rows.group_by(by).agg(pl.col(name).cast(pl.Float64).sum() for name in SUMS)
    return sums.select(*by, *SUMS)


def _with_retention(viewers: pl.DataFrame, part: LogPart, until_us: int) -> pl.DataFrame:
    """The viewers with retained_dK: 1.0 where they did anything on day K after the exposure, null while that day is not over."""
    acts = part.events.select(pl.col("user_id").cast(pl.String), "time_us")
    acts = acts.filter(pl.col("time_us") < until_us)
    acts = acts.join(viewers.select("user_id", "exposed_us"), on="user_id", how="inner")
    day = (pl.col("time_us") - pl.col("exposed_us")) // DAY_US
    days = acts.select("user_id", day=day).unique()
    for k in RETAINED_D:
        back = days.filter(pl.col("day") == k).select("user_id", came=pl.lit(1.0))
        viewers = viewers.join(back, on="user_id", how="left")
        is_over = pl.col("exposed_us") + (k + 1) * DAY_US <= until_us
        came = pl.when(is_over).then(pl.col("came").fill_null(0.0)).alias(f"retained_d{k}")
        viewers = viewers.with_columns(came).drop("came")
    return viewers

"""What an experiment has shown so far: may be read at any moment, as often as one likes.

First whether it can be believed (sample ratio), then the metrics that decide with intervals that stay valid under peeking and p-values
corrected for how many they are, guardrails, all other metrics, and how the effect went by day since exposure (novelty wears off,
learning grows). Every figure is of viewers since their first exposure (exposed.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from upnext.core.clock import DAY_US
from upnext.core.errors import InvalidInput
from upnext.core.types import Bool, Float64, Int64
from upnext.evaluate.experiments.comparison import (
    Interval,
    Sample,
    always_valid,
    linearised,
    relative,
    welch,
)
from upnext.evaluate.experiments.cuped import adjusted
from upnext.evaluate.experiments.decisions import (
    SRM_ALARM,
    Guard,
    detectable,
    guardrail,
    holm,
    sample_ratio_p,
)
from upnext.evaluate.experiments.definition import Experiment
from upnext.evaluate.experiments.exposed import SUMS, Exposed


@dataclass(frozen=True, slots=True)
class Metric:
    """Per viewer since exposure: a sum, or a ratio of two sums."""

    numerator: str
    denominator: str | None = None
    is_more_better: bool = True


METRICS: Final[Mapping[str, Metric]] = {
    "value": Metric("value"),
    "watch_s": Metric("watch_s"),
    "completed": Metric("completed"),
    "relevant": Metric("relevant"),
    "likes": Metric("likes"),
    "dislikes": Metric("dislikes", is_more_better=False),
    "not_interested": Metric("not_interested", is_more_better=False),
    "sessions": Metric("sessions"),
    "retention_d1": Metric("retained_d1"),
    "retention_d7": Metric("retained_d7"),
    "ctr": Metric("slots_clicked", "slots"),
    "ctr_seen": Metric("impressions_clicked", "impressions"),
}
DEFAULT_METRICS: Final = ("value",)


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one arm against the control's."""

    metric: str
    arm: str
    control_mean: float
    mean: float
    lift: Interval  # relative, always valid
    difference: Interval  # always valid
    adjusted: Interval  # the same after CUPED
    variance_left: float  # share that CUPED leaves
    welch: Interval  # at a horizon fixed beforehand; not for peeking
    detectable: (
        float  # the least relative effect found with 80 % power by as many viewers as there are now
    )
    p_holm: (
        float | None
    )  # of the metrics that decide, corrected for how many tests they are; else None


@dataclass(frozen=True, slots=True)
class GuardFigure:
    """One guardrail of one arm."""

    metric: str
    arm: str
    margin: float
    verdict: Guard
    lift: Interval


@dataclass(frozen=True, slots=True)
class DayFigure:
    """The relative difference on one day since exposure, of viewers whose day is over; Welch's interval."""

    metric: str
    arm: str
    day: int
    n: int
    lift: Interval


@dataclass(frozen=True)
class ExperimentReport:
    """Everything."""

    name: str
    control: str
    started_us: int
    until_us: int
    is_running: bool
    n_exposed: Mapping[str, int]
    n_crossed: int
    sample_ratio_p: float
    figures: tuple[Figure, ...]
    guardrails: tuple[GuardFigure, ...]
    by_day: tuple[DayFigure, ...]

    @property
    def sample_ratio_alarm(self) -> bool:
        """Whether nothing else here can be believed."""
        return self.sample_ratio_p < SRM_ALARM

    def detectable_after(self, figure: Figure, more_days: float) -> float:
        """The least relative effect found with 80 % power after so many days more, if new viewers come as they did; NaN without any."""
        days = (self.until_us - self.started_us) / DAY_US
        if days <= 0:
            return float("nan")
        return figure.detectable * float(np.sqrt(days / (days + more_days)))

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is null."""
        said = {**asdict(self), "sample_ratio_alarm": self.sample_ratio_alarm}
        return {key: plain(value) for key, value in said.items()}


def check_metrics(names: list[str]) -> None:
    """Raises InvalidInput for a metric that the report does not know."""
    for name in names:
        if name not in METRICS:
            raise InvalidInput(f"metric {name!r}: unknown; known: {', '.join(METRICS)}")


def report_of(experiment: Experiment, seen: Exposed, until_us: int) -> ExperimentReport:
    """The report of an A/B experiment's viewers."""
    names = list(experiment.arms)
    viewers = seen.viewers
    arm = viewers.get_column("arm").to_numpy()
    n = np.bincount(arm, minlength=len(names)).tolist()
    decide = experiment.metrics or list(DEFAULT_METRICS)
    figures = [
        _figure(viewers, arm, name, row, names) for name in METRICS for row in range(1, len(names))
    ]
    p = {f"{f.metric}\x1f{f.arm}": f.adjusted.p for f in figures if f.metric in decide}
    corrected = holm(p)
    figures = [
        _with_p(figure, corrected.get(f"{figure.metric}\x1f{figure.arm}")) for figure in figures
    ]
    guards = [
        GuardFigure(f.metric, f.arm, margin, guardrail(f.lift, margin, is_more_better=METRICS[f.metric].is_more_better), f.lift)
        for f in figures
        for metric, margin in experiment.guardrails.items()
        if f.metric == metric
    ]  # fmt: skip
    return ExperimentReport(
        name=experiment.name,
        control=experiment.control,
        started_us=experiment.started_us,
        until_us=until_us,
        is_running=experiment.is_running,
        n_exposed=dict(zip(names, n)),
        n_crossed=seen.n_crossed,
        sample_ratio_p=sample_ratio_p(n, [one.share for one in experiment.arms.values()]),
        figures=tuple(figures),
        guardrails=tuple(guards),
        by_day=tuple(_by_day(seen, decide, names, until_us)),
    )


def _figure(viewers: pl.DataFrame, arm: Int64, name: str, row: int, names: list[str]) -> Figure:
    metric = METRICS[name]
    values, before = _columns(viewers, metric, arm)
    known = np.isfinite(values)
    values, before, arm = values[known], before[known], arm[known]
    control, treated = Sample.of(values[arm == 0]), Sample.of(values[arm == row])
    cuped = adjusted(values, before, arm)
    reduced, control_reduced = (Sample.of(cuped.values[arm == side]) for side in (row, 0))
    smaller = min(control.n, treated.n)
    spread = (control.variance + treated.variance) / 2
    least = detectable(spread, smaller) / abs(control.mean) if control.mean else np.nan
    return Figure(
        name, names[row], control.mean, treated.mean,
        lift=relative(treated, control),
        difference=always_valid(treated, control),
        adjusted=always_valid(reduced, control_reduced),
        variance_left=cuped.variance_left,
        welch=welch(treated, control),
        detectable=float(least),
        p_holm=None,
    )  # fmt: skip


def _columns(viewers: pl.DataFrame, metric: Metric, arm: Int64) -> tuple[Float64, Float64]:
    """(float64[u] since exposure, float64[u] before the start); a ratio is linearised arm by arm, so that each mean is the arm's ratio."""
    numerator = _column(viewers, metric.numerator)
    is_known_before = f"before_{metric.numerator}" in viewers.columns
    before = _column(
        viewers, f"before_{metric.numerator}" if is_known_before else "before_sessions"
    )
    if metric.denominator is None:
        return numerator, before
    denominator = _column(viewers, metric.denominator)
    values = np.full(len(arm), np.nan)
    for row in np.unique(arm):
        own: Bool = arm == row
        values[own] = linearised(numerator[own], denominator[own])
    return values, linearised(before, _column(viewers, f"before_{metric.denominator}"))


def _column(viewers: pl.DataFrame, name: str) -> Float64:
    return viewers.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy()


def _with_p(figure: Figure, p: float | None) -> Figure:
    return replace(figure, p_holm=p)


def _by_day(seen: Exposed, decide: list[str], names: list[str], until_us: int) -> list[DayFigure]:
    found = []
    days = seen.by_day.get_column("day")
    for day in range(int(days.max()) + 1 if len(days) else 0):  # type: ignore[arg-type]
        whole = seen.viewers.filter(pl.col("exposed_us") + (day + 1) * DAY_US <= until_us)
        if not len(whole):
            break
        of_day = seen.by_day.filter(pl.col("day") == day).drop("arm", "day")
        rows = whole.select("user_id", "arm").join(of_day, on="user_id", how="left")
        rows = rows.with_columns(pl.col(SUMS).fill_null(0.0))
        arm = rows.get_column("arm").to_numpy()
        for name in decide:
            metric = METRICS[name]
            if metric.denominator is not None or metric.numerator not in of_day.columns:
                continue
            values = _column(rows, metric.numerator)
            control = Sample.of(values[arm == 0])
            for row in range(1, len(names)):
                found.append(_day(name, names[row], day, Sample.of(values[arm == row]), control))
    return found


def _day(metric: str, arm: str, day: int, treated: Sample, control: Sample) -> DayFigure:
    said = welch(treated, control)
    scale = control.mean if control.n and control.mean else np.nan
    lift = Interval(said.difference / scale, said.low / scale, said.high / scale, said.p)
    return DayFigure(metric, arm, day, treated.n + control.n, lift)


def plain(value: Any) -> Any:
    """The value as JSON has it; what is not finite is None."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

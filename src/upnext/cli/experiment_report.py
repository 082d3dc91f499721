"""`upnext experiment report NAME`: who was exposed, whether the split can be believed, what differs, and how surely."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from upnext.cli.experiment_creators import draw_creators, uploaded_of
from upnext.cli.opened import readers
from upnext.core.clock import DAY_US
from upnext.evaluate.experiments.comparison import Interval
from upnext.evaluate.experiments.creators import creators_report
from upnext.evaluate.experiments.definition import Experiment
from upnext.evaluate.experiments.drafted import (
    CREDITS,
    InterleavingReport,
    interleaving_report,
)
from upnext.evaluate.experiments.exposed import Counting, exposed
from upnext.evaluate.experiments.report import (
    DEFAULT_METRICS,
    METRICS,
    ExperimentReport,
    Figure,
    report_of,
)
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.serve.simulated_clock import clock_of
from upnext.settings.settings import Settings, load

FORECAST_D: Final = (7, 28)
MAX_DAYS: Final = 14  # of the table by day
_GUARDS: Final = {
    "kept": "kept: that much harm is ruled out",
    "broken": "BROKEN: harm beyond the margin",
    "open": "open: that much harm is not ruled out yet",
}


def run(name: str, config: Path | None, as_json: bool, out: Console) -> None:
    """Prints the report of one experiment."""
    settings = load(config)
    experiment = ExperimentStore(settings.experiments_path).read(name)
    until_us = experiment.stopped_us or clock_of(settings).now_us()
    counting = counting_of(settings, experiment, until_us)
    with closing(readers(settings)[1]) as log:
        if experiment.kind == "interleaving":
            _print_interleaving(interleaving_report(log, experiment, counting), as_json, out)
            return
        seen = exposed(log, experiment, counting)
        creators = None
        if experiment.kind == "two-sided":
            creators = creators_report(log, experiment, uploaded_of(settings), until_us)
    report = report_of(experiment, seen, until_us)
    if as_json:
        beside = {} if creators is None else {"creators": creators.to_json()}
        out.file.write(json.dumps(report.to_json() | beside) + "\n")
        return
    _draw_exposures(experiment, report, out)
    decide = experiment.metrics or list(DEFAULT_METRICS)
    figures = sorted(report.figures, key=lambda f: (f.arm, f.metric not in decide))
    out.print(_figures(figures, report))
    for guard in report.guardrails:
        out.print(
            f"guardrail {guard.metric} of {guard.arm}, margin {guard.margin:.1%}: {_GUARDS[guard.verdict]}"
            f" (lift {_percent(guard.lift)})",
            highlight=False,
        )
    if report.by_day:
        out.print(_days(report))
    for line in conclusions(report):
        out.print(line, highlight=False)
    if creators is not None:
        draw_creators(experiment, creators, out)


def _print_interleaving(report: InterleavingReport, as_json: bool, out: Console) -> None:
    if as_json:
        out.file.write(json.dumps(report.to_json()) + "\n")
        return
    first, second = report.teams
    out.print(_state(report.name, report.started_us, report.until_us, report.is_running), highlight=False)  # fmt: skip
    table = Table("credit", "pages", "viewers", f"won by {second}", f"won by {first}", "ties", f"share for {second}", "p",
        title="team draft; every viewer one vote, a tie is half a page; 95 % intervals, valid at any moment")  # fmt: skip
    for name, one in report.preferences.items():
        share = Interval(
            one.share.difference + 0.5, one.share.low + 0.5, one.share.high + 0.5, one.share.p
        )
        shown = f"{share.difference:.1%}" if one.n_pages else "-"
        bounds = f" [{share.low:.1%}, {share.high:.1%}]" if math.isfinite(share.low) else ""
        table.add_row(
            name, f"{one.n_pages:,}", f"{one.n_viewers:,}", f"{one.wins:,}", f"{one.losses:,}",
            f"{one.ties:,}", shown + bounds, f"{one.share.p:.3g}",
        )  # fmt: skip
    out.print(table)
    deciding = report.preferences[CREDITS[0]].share
    if not deciding.is_significant:
        said = "neither is preferred as far as can be told yet"
    else:
        said = f"viewers prefer {second if deciding.difference > 0 else first}"
    out.print(f"by {CREDITS[0]}: {said} (p = {deciding.p:.3g})", highlight=False)


def _state(name: str, started_us: int, until_us: int, is_running: bool) -> str:
    since = datetime.fromtimestamp(started_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
    days = (until_us - started_us) / DAY_US
    return f"{name}: {'runs' if is_running else 'stopped'}, started {since} UTC, {days:.1f} days"


def counting_of(settings: Settings, experiment: Experiment, until_us: int) -> Counting:
    """The value's weights are the base's on the experiment's first surface, for every arm alike."""
    surface = settings.surfaces.get(experiment.surfaces[0])
    weights = surface.weights if surface is not None else {}
    return Counting(weights, settings.features.session_gap_s, until_us)


def conclusions(report: ExperimentReport) -> list[str]:
    """What may be said, in sentences."""
    if report.sample_ratio_alarm:
        return [
            f"sample ratio mismatch (p = {report.sample_ratio_p:.2g}): the arms have not the sizes that chance gives;"
            " nothing above can be believed until the cause is found"
        ]
    said = []
    for figure in report.figures:
        if figure.p_holm is None:
            continue
        if figure.p_holm >= 0.05:
            later = ", ".join(
                f"{report.detectable_after(figure, days):.1%} after {days} days more"
                for days in FORECAST_D
            )
            verdict = "no difference can be told from chance yet"
            if report.is_running and math.isfinite(figure.detectable):
                verdict += f"; least lift found: {figure.detectable:.1%} now, {later} if as many new viewers come"
        else:
            is_up = figure.adjusted.difference > 0
            is_good = is_up == METRICS[figure.metric].is_more_better
            verdict = (
                f"{'higher' if is_up else 'lower'}, which is {'better' if is_good else 'worse'}"
            )
        said.append(
            f"{figure.metric} of {figure.arm} against {report.control}: {verdict} (p = {figure.p_holm:.3g},"
            " valid at any moment, corrected for how many metrics decide)"
        )
    return said


def _draw_exposures(experiment: Experiment, report: ExperimentReport, out: Console) -> None:
    state = _state(report.name, report.started_us, report.until_us, report.is_running)
    out.print(f"{state}, on {', '.join(experiment.surfaces)}", highlight=False)
    shares = {arm: said.share for arm, said in experiment.arms.items()}
    total = max(1, sum(report.n_exposed.values()))
    exposures = ", ".join(
        f"{arm} {n:,} ({n / total:.1%} of them, {shares[arm] / sum(shares.values()):.1%} expected)"
        for arm, n in report.n_exposed.items()
    )
    out.print(f"exposed viewers: {exposures}", highlight=False)
    alarm = "ALARM" if report.sample_ratio_alarm else "as chance gives"
    out.print(f"sample ratio: p = {report.sample_ratio_p:.3g}, {alarm}", highlight=False)
    if report.n_crossed:
        out.print(f"left out, logged under two arms: {report.n_crossed:,}", highlight=False)


def _figures(figures: Iterable[Figure], report: ExperimentReport) -> Table:
    table = Table(
        "metric", "arm", report.control, "arm's", "lift", "with CUPED", "variance left", "p",
        "least lift found", title="per viewer since exposure; 95 % intervals, valid at any moment",
    )  # fmt: skip
    for figure in figures:
        scaled = _over(figure.adjusted, figure.control_mean)
        table.add_row(
            figure.metric + (" *" if figure.p_holm is not None else ""),
            figure.arm,
            _number(figure.control_mean),
            _number(figure.mean),
            _percent(figure.lift),
            _percent(scaled),
            f"{figure.variance_left:.0%}",
            f"{figure.adjusted.p:.3g}",
            f"{figure.detectable:.1%}" if math.isfinite(figure.detectable) else "-",
        )
    table.caption = "* decides; least lift: found with 80 % power by as many viewers as there are"
    return table


def _days(report: ExperimentReport) -> Table:
    table = Table("metric", "arm", "day since exposure", "viewers", "lift of that day",
        title="by day since exposure (novelty, learning); each interval for itself")  # fmt: skip
    for day in report.by_day:
        if day.day < MAX_DAYS:
            table.add_row(day.metric, day.arm, str(day.day), f"{day.n:,}", _percent(day.lift))
    return table


def _over(interval: Interval, scale: float) -> Interval:
    if not scale or not math.isfinite(scale):
        return Interval(math.nan, -math.inf, math.inf, interval.p)
    low, high = sorted((interval.low / scale, interval.high / scale))
    return Interval(interval.difference / scale, low, high, interval.p)


def _percent(interval: Interval) -> str:
    if not math.isfinite(interval.difference):
        return "-"
    if not math.isfinite(interval.low):
        return f"{interval.difference:+.1%} (no interval)"
    return f"{interval.difference:+.1%} [{interval.low:+.1%}, {interval.high:+.1%}]"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"

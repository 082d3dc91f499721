"""`upnext metrics`: what viewers did with what was served, from slates and events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from upnext.cli.opened import readers
from upnext.core.types import Estimate
from upnext.evaluate.figures import figure_text
from upnext.evaluate.online import GroupMetrics, Span, online_metrics
from upnext.evaluate.split import instant_us
from upnext.settings.settings import load

_COLUMNS: Final = (
    "viewers", "slots", "seen", "clicked / slots", "clicked / seen", "completed", "hours watched",
    "s per viewer-day", "likes", "dislikes", "back after 1 day", "after 7",
)  # fmt: skip


def run(
    since: str | None,
    until: str | None,
    by: str,
    time_zone: str,
    config: Path | None,
    as_json: bool,
    consoles: tuple[Console, Console],
) -> None:
    """Prints one row per group, and one over everything; results to the first console, remarks to the second."""
    out, err = consoles
    span = Span(instant_us(since) if since else 0, instant_us(until) if until else None, time_zone)
    keys = tuple(key.strip() for key in by.split(",") if key.strip())
    log = readers(load(config))[1]
    questions = [keys, ()] if keys else [()]
    report = online_metrics(log, questions, span)
    if as_json:
        out.file.write(json.dumps(report.to_json()) + "\n")
        return
    table = Table(*keys, *_COLUMNS, title=_title(span))
    for question in questions:
        for group in report.tables[question]:
            names = [group.key[key] for key in keys] if question else ["all"] * len(keys)
            table.add_row(*names, *_cells(group))
    out.print(table)
    if not report.tables[()]:
        err.print("nothing was shown in this span", highlight=False)
    elif not report.about["n_slots"]:
        err.print("no slate in the log: figures are of impressions, release none", highlight=False)


def _cells(group: GroupMetrics) -> Sequence[str]:
    counts, rates = group.counts, group.rates
    return (
        f"{counts['viewers']:,.0f}", f"{counts['slots']:,.0f}", f"{counts['impressions']:,.0f}",
        _percent(rates["ctr_served"]), _percent(rates["ctr_seen"]), f"{counts['completed']:,.0f}",
        f"{counts['watch_s'] / 3600:,.1f}", figure_text(rates["watch_s_per_viewer_day"], 0),
        f"{counts['likes']:,.0f}", f"{counts['dislikes']:,.0f}",
        _percent(rates["retention_d1"], 0), _percent(rates["retention_d7"], 0),
    )  # fmt: skip


def _percent(figure: Estimate, digits: int = 1) -> str:
    """A share in percent with its interval."""
    mean, low, high = (100 * value for value in (figure.mean, figure.low, figure.high))
    return figure_text(Estimate(mean, low, high, figure.n_effective, figure.verdict), digits)


def _title(span: Span) -> str:
    until = "the log's end" if span.until_us is None else _instant(span.until_us)
    since = "the log's beginning" if not span.from_us else _instant(span.from_us)
    return f"shares in percent; from {since} to {until}; days in {span.time_zone}; 95 % intervals over viewers"


def _instant(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")

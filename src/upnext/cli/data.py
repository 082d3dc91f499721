"""`upnext import` and `upnext validate`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from upnext.catalog.store import Catalog
from upnext.cli.progress import RichProgress
from upnext.core.clock import SystemClock
from upnext.core.errors import InvalidInput
from upnext.events.log import SqliteEventLog
from upnext.intake import (
    Plan,
    Report,
    Stores,
    import_tables,
    kuairand,
    movielens,
    plan_of,
    validate,
)
from upnext.intake.report import Tally
from upnext.settings.settings import load

LAYOUTS = {"kuairand": kuairand.layout, "movielens": movielens.layout}


def run_import(
    source: Path,
    layout: str | None,
    max_bad_share: float,
    config: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Imports and prints what was written, dropped and known."""
    settings = load(config)
    plan = _plan(source, layout)
    settings.folder.mkdir(parents=True, exist_ok=True)
    catalog, log = Catalog(settings.catalog_path), SqliteEventLog(settings.events_path)
    try:
        report = import_tables(
            plan,
            Stores(catalog, log),
            RichProgress(err),
            now_us=SystemClock().now_us(),
            max_bad_share=max_bad_share,
            rejected=settings.folder / "rejected.jsonl",
        )
    finally:
        log.close()
        catalog.close()
    _print(report, as_json, out)


def run_validate(
    source: Path, layout: str | None, as_json: bool, out: Console, err: Console
) -> None:
    """Reads everything, writes nothing, prints what is wrong."""
    _print(
        validate(_plan(source, layout), RichProgress(err), now_us=SystemClock().now_us()),
        as_json,
        out,
    )


def _plan(source: Path, layout: str | None) -> Plan:
    if layout is None:
        return plan_of(source)
    if layout not in LAYOUTS:
        raise InvalidInput(f"--layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    return LAYOUTS[layout](source)


def _print(report: Report, as_json: bool, out: Console) -> None:
    if as_json:
        out.print_json(json.dumps(report.to_json()))
        return
    table = Table(
        "table", "rows", "kept", "new", "known", "bad", "dropped", "duplicates", "from", "to"
    )
    for one in report.tables.values():
        numbers = (one.n_rows, one.n_kept, one.n_new, one.n_known, one.n_bad)
        table.add_row(
            one.table,
            *(f"{n:,}" for n in numbers),
            f"{sum(one.dropped.values()):,}",
            f"{one.n_duplicates:,}",
            _day(one.first_us),
            _day(one.last_us),
        )
    out.print(table)
    for one in report.tables.values():
        if one.kinds:
            kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(one.kinds.items()))
            out.print(f"{one.table}: {kinds}", highlight=False)
        for reason, n in one.dropped.items():
            out.print(f"{one.table}: dropped {n:,}: {reason}", highlight=False)
        for problem, tally in one.bad.items():
            _examples(f"{one.table}.{problem.column}: expected {problem.expected}", tally, out)
        for text, tally in one.warnings.items():
            _examples(f"{one.table}: {text}", tally, out)
        shares = {name: share for name, share in one.null_shares().items() if share > 0}
        if shares:
            said = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            out.print(f"{one.table}: without a value: {said}", highlight=False)


def _examples(text: str, tally: Tally, out: Console) -> None:
    out.print(f"{text}: {tally.count:,} rows", highlight=False)
    for example in tally.examples:
        out.print(f"    {example.file}, row {example.row}: got {example.got}", highlight=False)


def _day(time_us: int | None) -> str:
    if time_us is None:
        return "-"
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")

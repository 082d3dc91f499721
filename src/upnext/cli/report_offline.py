"""Two releases' lists on the same viewers of one window that neither learned from, as a table of a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from upnext.artifacts.manifest import Manifest
from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress
from upnext.core.types import Float64
from upnext.evaluate.bootstrap import interval, paired_difference
from upnext.evaluate.gather import offline_parts
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.offline import PastHydrator, advance, lists_of
from upnext.evaluate.report_document import Cell, Column, Table
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window
from upnext.events.log import SqliteEventLog
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.features.showings import showings_of
from upnext.pipeline.assemble import assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings

MEASURES: Final = ("ndcg@10", "recall@10", "recall@100", "hr@10", "mrr@10")
MAX_USERS: Final = 5_000


@dataclass(frozen=True)
class Bench:
    """A platform's data, and the end of what is looked at."""

    settings: Settings
    view: CatalogView
    log: SqliteEventLog
    releases: ReleaseStore
    until_us: int | None


def offline_table(bench: Bench, before: Manifest, after: Manifest, progress: Progress) -> Table:
    """Figures of both releases' ranked lists and their paired differences, seen videos excluded.

    Raises InvalidInput where nothing relevant was shown after both had learned."""
    from_us = max(int(m.data_window.get("until_us", 0)) for m in (before, after))
    settings, view = bench.settings, bench.view
    showings = showings_of(bench.log, view, settings.features, before_us=bench.until_us)
    window = Window(showings, from_us, bench.until_us, MAX_USERS)
    try:
        split = window.split(exclude_seen=True)
    except InvalidInput as error:
        raise InvalidInput(
            "report: --offline: nothing relevant was shown after both releases had learned"
        ) from error
    counters = CounterTable(view.n_items)
    past = PastState(view, counters, settings.features)
    advance(past, bench.log, from_us, progress)
    figures = []
    for manifest in (before, after):
        folder = bench.releases.open(manifest.release_id, verify=False).path
        figures.append(_figures(bench, folder, window, split, past, counters, progress))
    rows: list[list[Cell]] = []
    for name in MEASURES:
        old, new = figures[0][name], figures[1][name]
        rows.append([name, interval(old), interval(new), paired_difference(new, old)])
    columns = [
        Column("ranked list"), Column(before.release_id, "share"), Column(after.release_id, "share"),
        Column("paired difference", "points"),
    ]  # fmt: skip
    since = datetime.fromtimestamp(from_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
    note = f"{len(split.user):,} viewers, the same for both; their truth is what was relevant to them from {since} on, seen videos excluded"
    return Table("Lists on the same window", columns, rows, [note])


def _figures(
    bench: Bench,
    folder: Path,
    window: Window,
    split: Split,
    past: PastState,
    counters: CounterTable,
    progress: Progress,
) -> dict[str, Float64]:
    made = offline_parts(offline_settings(bench.settings), bench.view, counters)
    assembled = assemble(replace(made, hydrator=PastHydrator(past)), ReleaseParts.load(folder))
    assembled.refresh_lists(window.from_us)
    lists = lists_of(
        assembled, window.requests(split), exclude_seen=True, only_ranked=True, progress=progress
    )
    return measure(Places.of(lists["ranked"], split.truth), list(MEASURES))

"""`upnext evaluate`."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput
from upnext.core.types import Query, Request
from upnext.evaluate.offline import (
    PastHydrator,
    Window,
    advance,
    ranker_report,
    retrieval_report,
)
from upnext.evaluate.report import Report
from upnext.evaluate.split import instant_us
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState, replay
from upnext.features.showings import showings_of
from upnext.pipeline.assemble import Parts, assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.rows import Drawing, gather_rows
from upnext.settings.settings import load

MAX_RANKER_REQUESTS = 60_000


def run(
    since: str | None,
    until: str | None,
    release: str | None,
    users: int,
    config: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Measures a release on the log's showings from an instant on and prints the tables."""
    began = time.monotonic()
    settings, progress = load(config), RichProgress(err)
    view, log, releases = readers(settings)
    release_id = release or releases.current()
    if release_id is None:
        raise InvalidInput("evaluate: no release yet; run `upnext train` first")
    opened = releases.open(release_id)
    window_us = opened.manifest.data_window
    from_us = instant_us(since) if since else int(window_us.get("until_us", 0))
    until_us = instant_us(until) if until else None
    if from_us < int(window_us.get("until_us", 0)):
        err.print("warning: the release learned from events after this instant", style="yellow")
    parts = ReleaseParts.load(opened.path, ranker_threads=2)
    showings = showings_of(log, view, settings.features, before_us=until_us)
    counters = CounterTable(view.n_items)
    past = PastState(view, counters, settings.features)
    advance(past, log, from_us, progress)

    def made(hydrator: PastHydrator | Asked, table: CounterTable) -> Parts:
        return Parts(
            view, table, hydrator, settings.surfaces, settings.pipeline, settings.filters,
            settings.retrieval,
        )  # fmt: skip

    assembled = assemble(made(PastHydrator(past), counters), parts, release_id)
    assembled.refresh_lists(from_us)
    window = Window(showings, from_us, until_us, users)
    retrieval = {
        name: retrieval_report(assembled, window, view, exclude_seen=excluded, progress=progress)
        for name, excluded in (("seen_excluded", True), ("nothing_excluded", False))
    }
    ranker = None
    if parts.ranker is not None:
        table = CounterTable(view.n_items)
        streaming = assemble(made(Asked(), table), parts, release_id)
        n = int((showings.time_us >= from_us).sum())
        drawing = Drawing(min(1.0, MAX_RANKER_REQUESTS / max(1, n)), 0, 0)
        progress.start("replay for the ranker", None, "requests")
        requests = replay(
            log, view, table, after_us=from_us, before_us=until_us, config=settings.features
        )
        gathered = gather_rows(requests, streaming, drawing, progress)
        progress.done()
        about = {"features": "streaming, as served", "share_of_requests": drawing.share}
        ranker = ranker_report(gathered, parts.ranker, progress, about)
    report = Report(
        retrieval,
        ranker,
        {
            "release_id": release_id,
            "from_us": from_us,
            "until_us": until_us,
            "seconds": round(time.monotonic() - began, 1),
        },
    )
    if as_json:
        out.file.write(json.dumps(report.to_json()) + "\n")
        return
    for title, rows in report.to_rows().items():
        _draw(title, rows, out)


class Asked:
    """The replay gives its own queries; nobody asks this hydrator."""

    def hydrate(self, request: Request) -> Query:
        """Never called."""
        raise AssertionError(f"unexpected request {request.request_id!r}")


def _draw(title: str, rows: list[dict[str, str]], out: Console) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    out.print(table)

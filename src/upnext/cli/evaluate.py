"""`upnext evaluate`: independent measurements, two at a time, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from upnext.artifacts.releases import ReleaseStore
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput
from upnext.core.one_thread import children_with_one_thread
from upnext.evaluate.gather import GatherTask, gathered, offline_parts
from upnext.evaluate.offline import (
    PastHydrator,
    Window,
    advance,
    ranker_report,
    retrieval_report,
)
from upnext.evaluate.report import Report
from upnext.evaluate.retrieval_report import RetrievalReport
from upnext.evaluate.split import instant_us
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.features.showings import showings_of
from upnext.pipeline.assemble import assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.rows import Drawing, merged_rows
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings, load

MAX_RANKER_REQUESTS = 60_000
PROCESSES = 2
PARTS = 2  # of the shown rows


@dataclass(frozen=True)
class Task:
    """One measurement: what, of which release, on which window."""

    name: str  # "seen_excluded" or "nothing_excluded"
    settings: Settings
    release: Path  # its folder
    from_us: int
    until_us: int | None
    max_users: int


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
    settings = load(config)
    releases = ReleaseStore(settings.releases_path)
    readers(settings)
    release_id = release or releases.current()
    if release_id is None:
        raise InvalidInput("evaluate: no release yet; run `upnext train` first")
    learned_until_us = int(releases.open(release_id).manifest.data_window.get("until_us", 0))
    from_us = instant_us(since) if since else learned_until_us
    until_us = instant_us(until) if until else None
    if from_us < learned_until_us:
        err.print("warning: the release learned from events after this instant", style="yellow")
    folder = releases.open(release_id, verify=False).path
    names = ("seen_excluded", "nothing_excluded")
    tasks = [Task(name, settings, folder, from_us, until_us, users) for name in names]
    shown = showings_of(
        readers(settings)[1], readers(settings)[0], settings.features, before_us=until_us
    )
    n_requests = int((shown.time_us >= from_us).sum())
    share = min(1.0, MAX_RANKER_REQUESTS / max(1, n_requests))
    window = (from_us, until_us)
    parts = [
        GatherTask(offline_settings(settings), folder, *window, Drawing(share, 0, 0, part, PARTS))
        for part in range(PARTS)
    ]
    spawn = multiprocessing.get_context("spawn")
    with (
        children_with_one_thread(),
        ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool,
    ):
        pending = [pool.submit(measured, task) for task in tasks]
        reading = [pool.submit(gathered, part) for part in parts]
        retrieval = {
            task.name: future.result() for task, future in zip(tasks, pending, strict=True)
        }
        err.print("reading the features of what was shown", highlight=False)
        shown_rows = merged_rows([future.result() for future in reading])
    ranker = ReleaseParts.load(folder, threads=2).ranker
    heads = None
    if ranker is not None and len(shown_rows.ranker):
        about = {"features": "streaming, as served", "share_of_requests": share}
        heads = ranker_report(shown_rows, ranker, RichProgress(err), about)
    report = Report(
        retrieval,
        heads,
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


def measured(task: Task) -> RetrievalReport:
    """The table of lists of one setting."""
    progress = RichProgress(Console(stderr=True, force_terminal=False), prefix=task.name)
    settings = task.settings
    view, log, _ = readers(settings)
    parts = ReleaseParts.load(task.release)
    showings = showings_of(log, view, settings.features, before_us=task.until_us)
    counters = CounterTable(view.n_items)
    past = PastState(view, counters, settings.features)
    advance(past, log, task.from_us, progress)
    made = replace(
        offline_parts(offline_settings(settings), view, counters), hydrator=PastHydrator(past)
    )
    pipeline = assemble(made, parts)
    pipeline.refresh_lists(task.from_us)
    window = Window(showings, task.from_us, task.until_us, task.max_users)
    excluded = task.name == "seen_excluded"
    return retrieval_report(pipeline, window, view, exclude_seen=excluded, progress=progress)


def _draw(title: str, rows: list[dict[str, str]], out: Console) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    out.print(table)

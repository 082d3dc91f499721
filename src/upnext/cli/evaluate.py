"""`upnext evaluate`: three independent measurements, two at a time, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from upnext.artifacts.releases import ReleaseStore
from upnext.cli.opened import readers
from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Hydrator, Progress
from upnext.core.types import Query, Request
from upnext.evaluate.offline import (
    PastHydrator,
    Window,
    advance,
    ranker_report,
    retrieval_report,
)
from upnext.evaluate.ranker_report import RankerReport
from upnext.evaluate.report import Report
from upnext.evaluate.retrieval_report import RetrievalReport
from upnext.evaluate.split import instant_us
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState, replay
from upnext.features.showings import showings_of
from upnext.pipeline.assemble import Assembled, Parts, assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.rows import Drawing, gather_rows
from upnext.settings.settings import Settings, load

MAX_RANKER_REQUESTS = 60_000
PROCESSES = 2


@dataclass(frozen=True)
class Task:
    """One measurement: what, of which release, on which window."""

    name: str  # "seen_excluded", "nothing_excluded" or "ranker"
    settings: Settings
    release_id: str
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
    tasks = [
        Task(name, settings, release_id, from_us, until_us, users)
        for name in ("ranker", "seen_excluded", "nothing_excluded")
    ]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        ranker, *retrieval = pool.map(measured, tasks)
    assert not isinstance(ranker, RetrievalReport)
    report = Report(
        {
            task.name: found
            for task, found in zip(tasks[1:], retrieval, strict=True)
            if isinstance(found, RetrievalReport)
        },
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


def measured(task: Task) -> RetrievalReport | RankerReport | None:
    """The report of one task; None for the ranker of a release without one."""
    progress = RichProgress(Console(stderr=True, force_terminal=False), prefix=task.name)
    settings = task.settings
    view, log, releases = readers(settings)
    parts = ReleaseParts.load(releases.open(task.release_id, verify=False).path)
    showings = showings_of(log, view, settings.features, before_us=task.until_us)
    counters = CounterTable(view.n_items)

    def assembled(hydrator: Hydrator) -> Assembled:
        made = Parts(
            view, counters, hydrator, settings.surfaces, settings.pipeline, settings.filters,
            settings.retrieval,
        )  # fmt: skip
        return assemble(made, parts, task.release_id)

    if task.name == "ranker":
        if parts.ranker is None:
            return None
        n_requests = int((showings.time_us >= task.from_us).sum())
        return _ranker(task, assembled(Asked()), n_requests, progress)
    past = PastState(view, counters, settings.features)
    advance(past, log, task.from_us, progress)
    pipeline = assembled(PastHydrator(past))
    pipeline.refresh_lists(task.from_us)
    window = Window(showings, task.from_us, task.until_us, task.max_users)
    excluded = task.name == "seen_excluded"
    return retrieval_report(pipeline, window, view, exclude_seen=excluded, progress=progress)


def _ranker(
    task: Task, assembled: Assembled, n_requests: int, progress: Progress
) -> RankerReport | None:
    release = assembled.release
    assert release is not None
    view, log, _ = readers(task.settings)
    counters = assembled.pipeline.blend.counters
    share = min(1.0, MAX_RANKER_REQUESTS / max(1, n_requests))
    progress.start("replay for the ranker", None, "requests")
    requests = replay(
        log, view, counters, after_us=task.from_us, before_us=task.until_us,
        config=task.settings.features,
    )  # fmt: skip
    gathered = gather_rows(requests, assembled, Drawing(share, 0, 0), progress)
    progress.done()
    if release.ranker is None or not len(gathered.ranker):
        return None
    about = {"features": "streaming, as served", "share_of_requests": share}
    return ranker_report(gathered, release.ranker, progress, about)


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

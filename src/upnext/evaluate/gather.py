"""Ranker rows gathered by several processes: each replays the whole log and reads the features of its part of the requests.

Moving the state is cheap beside reading features, so two processes take little more than half the time, where there is enough to read; the rows are the
same for any number.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from upnext.catalog.view import CatalogView
from upnext.core.clock import HOUR_US
from upnext.core.one_thread import children_with_one_thread
from upnext.core.protocols import NoProgress
from upnext.core.types import Query, Request
from upnext.events.log import SqliteEventLog
from upnext.events.past_log import LogEnd, PastLog
from upnext.features.config import FeaturesConfig
from upnext.features.counters import CounterTable
from upnext.features.replay import replay
from upnext.features.slate_context import slate_contexts
from upnext.filters.config import FiltersConfig
from upnext.pipeline.assemble import Parts, assemble
from upnext.pipeline.config import PipelineConfig, SurfaceConfig
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.rows import Drawing, GatheredRows, gather_rows
from upnext.retrieval.config import RetrievalConfig

MAX_PROCESSES = 2  # each holds the log and the state
FEW_SHOWINGS = 4_000  # their rows are read in the time that a process takes to start


@dataclass(frozen=True)
class OfflineSettings:
    """What a pipeline outside serving is made of; settings/offline.py takes it from the whole."""

    catalog_path: Path
    events_path: Path
    surfaces: Mapping[str, SurfaceConfig]
    pipeline: PipelineConfig
    filters: FiltersConfig
    retrieval: RetrievalConfig
    features: FeaturesConfig
    n_videos: int | None = None  # of the catalogue, the first so many; None: all
    log_end: LogEnd | None = None  # of the log, up to there; None: all

    def stores(self) -> tuple[CatalogView, SqliteEventLog | PastLog]:
        """The catalogue and the log, opened, as far as they are to be seen."""
        view = CatalogView(self.catalog_path)
        if self.n_videos is not None:
            view.keep_first(self.n_videos)
        log = SqliteEventLog(self.events_path, read_only=True)
        return view, log if self.log_end is None else PastLog(log, self.log_end)


@dataclass(frozen=True)
class GatherTask:
    """A part of the requests of a window, through one release's pipeline."""

    settings: OfflineSettings
    release: Path  # its folder
    from_us: int
    until_us: int | None
    drawing: Drawing


class NoHydrator:
    """For pipelines that are given their queries."""

    def hydrate(self, request: Request) -> Query:
        """Never asked."""
        raise AssertionError(f"a replay gives its own queries, got request {request.request_id!r}")


def offline_parts(settings: OfflineSettings, view: CatalogView, counters: CounterTable) -> Parts:
    """The parts of a pipeline whose queries come from a replay, not from a request."""
    return Parts(
        view, counters, NoHydrator(), settings.surfaces, settings.pipeline, settings.filters,
        settings.retrieval,
    )  # fmt: skip


def gathered(task: GatherTask) -> GatheredRows:
    """The rows of one task, in this process."""
    settings = task.settings
    view, log = settings.stores()
    counters = CounterTable(view.n_items)
    assembled = assemble(offline_parts(settings, view, counters), ReleaseParts.load(task.release))
    requests = replay(
        log, view, counters, after_us=task.from_us, before_us=task.until_us,
        slates=slate_contexts(log), soon_us=int(task.drawing.soon_h * HOUR_US),
        config=settings.features,
    )  # fmt: skip
    return gather_rows(requests, assembled, task.drawing, NoProgress())


def gathered_parts(
    settings: OfflineSettings,
    release: Path,
    window: tuple[int, int | None],
    drawing: Drawing,
    n_showings: int,
) -> list[GatheredRows]:
    """The rows of the window's drawn requests, by as many processes as their about n_showings are worth; one entry for each."""
    n_worth = 1 + n_showings // FEW_SHOWINGS
    n_parts = min(MAX_PROCESSES, os.cpu_count() or 1, n_worth)
    tasks = [
        GatherTask(settings, release, *window, replace(drawing, part=part, n_parts=n_parts))
        for part in range(n_parts)
    ]
    if n_parts == 1:
        return [gathered(tasks[0])]
    spawn = multiprocessing.get_context("spawn")
    with (
        children_with_one_thread(),
        ProcessPoolExecutor(n_parts, mp_context=spawn) as pool,
    ):
        return list(pool.map(gathered, tasks))

"""Logged pages gathered by several processes: each replays the whole log and runs the target's pipeline for its part of the pages.

The pages are the same for any number of processes; of more than `max_pages` a share is drawn by request_id, so that two releases judged on one
window are judged on the same pages.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from upnext.core.one_thread import children_with_one_thread
from upnext.core.randomness import key_of
from upnext.evaluate.gather import MAX_PROCESSES, OfflineSettings, offline_parts
from upnext.evaluate.off_policy.logged_pages import AlreadyUploaded, Pages, Seen
from upnext.events.slate import SlateRecord
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.features.slate_context import SlateScan
from upnext.features.slate_replay import SlatesAndEvents, replay_slates
from upnext.pipeline.assemble import Assembled, assemble, bring_later
from upnext.pipeline.release_parts import ReleaseParts

FEW_PAGES: Final = 2_000  # a process more costs as much as these


@dataclass(frozen=True)
class PageTask:
    """A part of the logged pages of a window, through one release's pipeline."""

    settings: OfflineSettings
    release: Path  # its folder
    from_us: int
    until_us: int | None
    share: float = 1.0  # of the pages
    seed: int = 0
    logged_by: str | None = None  # pages of this release alone; None: of any
    part: int = 0
    n_parts: int = 1


@dataclass(frozen=True)
class Gathered:
    """The pages that can be evaluated, and how many could not for which reason."""

    pages: Pages
    left_out: Counter[str]


def in_window(
    log: SlateScan, from_us: int, until_us: int | None, logged_by: str | None = None
) -> Iterator[SlateRecord]:
    """The slates with from_us <= time < until_us, of one release if it is named."""
    for records in log.scan_slates():
        for record in records:
            is_late = until_us is not None and record.time_us >= until_us
            is_anothers = logged_by is not None and record.release_id != logged_by
            if record.time_us >= from_us and not is_late and not is_anothers:
                yield record


def gathered_part(task: PageTask) -> Gathered:
    """The pages of one task, in this process."""
    settings = task.settings
    view, log = settings.stores()
    past = PastState(view, CounterTable(view.n_items), settings.features)
    release = ReleaseParts.load(task.release)
    bring_later(release, view)
    assembled = assemble(offline_parts(settings, view, past.counters), release)
    return through(assembled, AlreadyUploaded(view), past, log, task)


def through(
    assembled: Assembled,
    uploaded: AlreadyUploaded,
    past: PastState,
    log: SlatesAndEvents,
    task: PageTask,
) -> Gathered:
    """The task's pages through an assembled pipeline over `past`."""
    pipeline = assembled.pipeline
    pipeline = replace(pipeline, filters=(*pipeline.filters, uploaded))
    seen = Seen()
    slates = replay_slates(
        log, past, task.settings.features, after_us=task.from_us, before_us=task.until_us
    )
    for replayed in slates:
        assembled.refresh_lists(replayed.record.time_us)
        if task.logged_by in (None, replayed.record.release_id) and _is_drawn(
            replayed.record.request_id, task
        ):
            seen.add(pipeline, replayed)
    return Gathered(seen.pages(), seen.left_out)


def _is_drawn(request_id: str, task: PageTask) -> bool:
    key = key_of("evaluated-pages", task.seed, request_id)
    return key < task.share * 2.0**64 and key % task.n_parts == task.part


def gathered_pages(task: PageTask, n_pages: int) -> Gathered:
    """The pages of a window in order of time, by as many processes as that many pages are worth."""
    n_parts = min(MAX_PROCESSES, os.cpu_count() or 1, 1 + n_pages // FEW_PAGES)
    if n_parts == 1:
        return gathered_part(task)
    tasks = [replace(task, part=part, n_parts=n_parts) for part in range(n_parts)]
    spawn = multiprocessing.get_context("spawn")
    with (
        children_with_one_thread(),
        ProcessPoolExecutor(n_parts, mp_context=spawn) as pool,
    ):
        parts = list(pool.map(gathered_part, tasks))
    left_out = sum((part.left_out for part in parts), Counter[str]())
    return Gathered(Pages.joined([part.pages for part in parts]), left_out)

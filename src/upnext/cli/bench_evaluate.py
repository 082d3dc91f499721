"""`upnext bench evaluate`: every metric over the full ranking of a large catalogue for many viewers, with time and memory.

The world is made up and its best ranking is known (ranking_world.py), so that the figures can be judged as well as the seconds.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console

from upnext.cli.evaluate_tables import draw
from upnext.cli.progress import RichProgress
from upnext.cli.ranking_world import RankingWorld, made_world
from upnext.core.one_thread import children_with_one_thread
from upnext.core.types import Int64
from upnext.evaluate.full_ranking import full_ranking
from upnext.evaluate.popularity import unseen_of
from upnext.evaluate.random_lists import random_lists
from upnext.evaluate.retrieval_report import (
    LOOKS,
    Cases,
    Catalogue,
    Judging,
    Lists,
    RetrievalReport,
    evaluate_retrieval,
)
from upnext.evaluate.segments import decile_segments

DEPTH = 500
THREADS = 2
MEBIBYTE = 1 << 20


def run(users: int, videos: int, size: int, as_json: bool, out: Console, err: Console) -> None:
    """Measures in a process of its own, so that the peak of memory is this work's, and prints what was found."""
    spawn = multiprocessing.get_context("spawn")
    with children_with_one_thread(), ProcessPoolExecutor(1, mp_context=spawn) as pool:
        report, found = pool.submit(measured, users, videos, size).result()
    if as_json:
        out.file.write(json.dumps({**found, "report": report.to_json()}) + "\n")
        return
    draw(f"{users:,} viewers x {videos:,} videos, full ranking", report.to_rows(), out)
    draw("what the lists look like", report.to_rows(LOOKS), out)
    seconds = {
        "making the world": found["world_s"],
        **{f"ranking, {name}": s for name, s in found["ranking_s"].items()},
        "metrics and intervals": found["metrics_s"],
        "all": found["total_s"],
    }
    told = {
        **{name: f"{s:.1f} s" for name, s in seconds.items()},
        "processor time of all": f"{found['processor_s']:.1f} s",
        "viewers a second": f"{users / found['total_s']:.0f}",
        "peak resident memory": f"{found['peak_rss_mib']:,.0f} MiB",
        "recall@100 of a random list": f"{found['random_recall@100']:.6f} expected",
    }
    draw("time and memory", [{"what": name, "value": value} for name, value in told.items()], out)


@dataclass
class Stopwatch:
    """Seconds by name, of list makers that are called inside a report."""

    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, make: Callable[[Int64], Int64]) -> Callable[[Int64], Int64]:
        """The same maker; its time is kept."""

        def produce(rows: Int64) -> Int64:
            began = time.monotonic()
            lists = make(rows)
            self.seconds[name] = time.monotonic() - began
            return lists

        return produce


def measured(n_users: int, n_items: int, size: int) -> tuple[RetrievalReport, dict[str, Any]]:
    """(the report of the true model, a noisy one, popularity and random lists; seconds and memory)."""
    progress = RichProgress(Console(stderr=True, force_terminal=False))
    first = time.monotonic()
    world = made_world(n_users, n_items, size)
    world_s = time.monotonic() - first
    watch = Stopwatch()
    counts = np.bincount(world.liked.item_id, minlength=n_items)
    cases = Cases(
        world.truth,
        liked=world.liked,
        segments=decile_segments("popularity", counts[world.truth.item_id]),
    )
    catalogue = Catalogue(n_items, world.true.items, world.category, counts)
    judging = Judging(baseline="popular", depth=DEPTH)
    began = time.monotonic()
    lists = _makers(world, counts, watch)
    report = evaluate_retrieval(lists, cases, catalogue, judging, progress=progress)
    ended = time.monotonic()
    ranking_s = sum(watch.seconds.values())
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "users": n_users,
        "videos": n_items,
        "size": size,
        "depth": DEPTH,
        "world_s": world_s,
        "ranking_s": watch.seconds,
        "metrics_s": ended - began - ranking_s,
        "total_s": ended - first,
        "processor_s": time.process_time(),
        "peak_rss_mib": peak_kib * 1024 / MEBIBYTE,
        "random_recall@100": min(1.0, 100 / max(1, n_items - float(world.liked.counts().mean()))),
    }
    return report, found


def _makers(world: RankingWorld, counts: Int64, watch: Stopwatch) -> dict[str, Lists]:
    order = np.lexsort((np.arange(len(counts)), -counts))

    def exact(noise: int | None) -> Callable[[Int64], Int64]:
        def produce(rows: Int64) -> Int64:
            model = world.true if noise is None else world.noisy(noise)
            ranked = full_ranking(model, world.truth, DEPTH, excluded=world.liked, threads=THREADS)
            return ranked(rows)

        return produce

    makers = {
        "true vectors": exact(None),
        "noisy vectors": exact(1),
        "popular": lambda rows: unseen_of(order, world.liked.take(rows), DEPTH),
        "random": random_lists(np.ones(len(counts), np.bool_), world.liked, DEPTH),
    }
    return {name: watch.timed(name, make) for name, make in makers.items()}

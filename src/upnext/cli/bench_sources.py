"""`upnext bench sources`: what each candidate source takes per fetch at a million videos, beside the bound of 0.3 ms for those without a network.

The sources are the real ones under their default settings; catalogue, counters, searches and viewers' histories are made up, in memory, and as
unkind as real ones: popularity follows Zipf, every searched word has as many videos as are kept, every viewer has a full history. Each request asks
all sources in turn, as a page does, so that none finds its own tables still in the nearest caches from the request before.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from upnext.cli.evaluate_tables import draw
from upnext.cli.progress import RichProgress
from upnext.cli.sources_world import SourcesWorld, queries_of, sources_of
from upnext.core.clock import HOUR_US
from upnext.core.protocols import Progress, Source
from upnext.core.types import Query

BOUND_MS = 0.3
WARM = 20  # first requests that are not measured: what is compiled, no request waits for


def run(
    videos: int, history: int, requests: int, k: int, seed: int, as_json: bool,
    out: Console, err: Console,
) -> None:  # fmt: skip
    """Makes the world, asks, prints."""
    with tempfile.TemporaryDirectory(prefix="upnext-bench-") as folder:
        rows = measured(videos, history, requests, k, seed, Path(folder), RichProgress(err))
    found = {
        "videos": videos, "history": history, "requests": requests, "k": k, "seed": seed,
        "bound_ms": BOUND_MS, "sources": rows,
    }  # fmt: skip
    if as_json:
        out.file.write(json.dumps(found) + "\n")
        return
    title = f"{videos:,} videos, {history} showings a viewer, {k} asked for, {requests:,} requests, seed {seed}"
    draw(title, [_shown(row) for row in rows], out)
    over = [row["source"] for row in rows if not row["within_bound"]]
    said = f"over it in the median: {', '.join(over)}" if over else "none is over it"
    out.print(f"bound for sources without a network: {BOUND_MS} ms of the processor; {said}")


def measured(
    videos: int, history: int, requests: int, k: int, seed: int, folder: Path, progress: Progress
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per source: milliseconds of a fetch by the clock and of the processor alone (median and 99th percentile), candidates in the mean,
    whether the processor's median is within the bound, seconds of a refresh. The processor's tenth percentile says what a quieter machine takes: a
    request that other processes left its caches."""
    world = SourcesWorld.made(videos, seed)
    progress.start("synthetic sources", None, "sources")
    sources = sources_of(world, folder, seed, progress)
    progress.done()
    queries = queries_of(world, history, requests + WARM, seed)
    for source in sources.values():
        _refresh_s(source, world.now_us)  # what is compiled, no list waits for
    taken = {name: _Taken([], [], []) for name in sources}
    progress.start("requests", len(queries), "requests")
    for query in queries:
        for name, source in sources.items():
            taken[name].add(source, query, k)
        progress.advance(1)
    progress.done()
    later_us = world.now_us + HOUR_US
    refresh_s = {name: _refresh_s(source, later_us) for name, source in sources.items()}
    return [{"source": name, **taken[name].row(), "refresh_s": refresh_s[name]} for name in sources]


@dataclass(frozen=True)
class _Taken:
    """What each request took of one source."""

    seconds: list[float]
    processor_s: list[float]  # without what other processes took meanwhile
    n_found: list[int]

    def add(self, source: Source, query: Query, k: int) -> None:
        """One fetch."""
        began, processor_began = time.perf_counter(), time.thread_time()
        found = source.fetch(query, k)
        self.processor_s.append(time.thread_time() - processor_began)
        self.seconds.append(time.perf_counter() - began)
        self.n_found.append(len(found))

    def row(self) -> dict[str, float | bool]:
        """Figures of all but the first few."""
        taken = np.array([self.seconds[WARM:], self.processor_s[WARM:]])
        p10, p50, p99 = 1e3 * np.percentile(taken, [10, 50, 99], axis=1)
        return {
            "p50_ms": float(p50[0]),
            "p99_ms": float(p99[0]),
            "processor_p10_ms": float(p10[1]),
            "processor_p50_ms": float(p50[1]),
            "processor_p99_ms": float(p99[1]),
            "within_bound": bool(p50[1] <= BOUND_MS),
            "candidates": float(np.mean(self.n_found[WARM:])),
        }


def _refresh_s(source: Source, time_us: int) -> float | None:
    """Seconds that its lists take to make, off the request path; None where it has none."""
    refresh = getattr(source, "refresh", None)
    if refresh is None:
        return None
    began = time.perf_counter()
    refresh(time_us)
    return time.perf_counter() - began


def _shown(row: dict[str, Any]) -> dict[str, str]:
    refresh_s = row["refresh_s"]
    return {
        "source": row["source"],
        "p50 ms": f"{row['p50_ms']:.3f}",
        "p99 ms": f"{row['p99_ms']:.3f}",
        "processor p10 ms": f"{row['processor_p10_ms']:.3f}",
        "processor p50 ms": f"{row['processor_p50_ms']:.3f}",
        "processor p99 ms": f"{row['processor_p99_ms']:.3f}",
        "candidates": f"{row['candidates']:.0f}",
        "lists made in s": "" if refresh_s is None else f"{refresh_s:.2f}",
        f"against {BOUND_MS} ms": "under" if row["within_bound"] else "over",
    }

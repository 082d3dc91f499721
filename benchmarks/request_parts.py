"""What one home request costs inside a worker, stage by stage, in process: no HTTP, no log.

    upnext bench serve --folder bench      # makes the synthetic platform once, and measures the whole
    python benchmarks/request_parts.py bench

Prints wall and CPU milliseconds of every stage over 300 requests of different viewers, CPU of the two kernels (the index's search, the ranker's
graph) and of everything else in the stages around them, and CPU of each source. CPU of the thread says more than wall time where others compute.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from upnext.core.clock import SystemClock
from upnext.core.types import Request
from upnext.pipeline import recommend
from upnext.pipeline.recommend import Pipeline
from upnext.serve.worker import brain_of
from upnext.settings.settings import load

N_REQUESTS = 300
AROUND_KERNELS = ("hydrate", "fetch", "filter", "merge", "features", "rank")
Times = defaultdict[str, list[float]]  # name -> ms of each request


class CpuTimer(recommend.Timer):
    """Laps of this thread's CPU time."""

    def __init__(self) -> None:
        self._last = time.thread_time()

    def lap(self) -> float:
        """CPU milliseconds since the timer was made or last asked."""
        now = time.thread_time()
        elapsed_ms, self._last = (now - self._last) * 1e3, now
        return elapsed_ms


class Watched:
    """An object with one method watched: what its calls cost goes to the end of a list."""

    def __init__(self, inner: Any, method: str, times: list[float]) -> None:
        self._inner, self._method, self._times = inner, method, times

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._watched(found) if name == self._method else found

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return call(*args, **named)
            finally:
                self._times.append((time.thread_time() - began) * 1e3)

        return timed


def main(folder: Path) -> None:
    """Measures the release under `folder`."""
    pipeline = brain_of(load(folder / "upnext.toml")).pipeline()
    now_us = SystemClock().now_us()

    def asked(i: int) -> Request:
        return Request(f"r{i}", f"u{i % 2000}", "home", 30, now_us + i, session_id=f"s{i}", seed=i)

    report("wall", stages_of(pipeline, asked))
    recommend.Timer = CpuTimer  # type: ignore[misc]
    kernels = watch_kernels(pipeline)
    cpu = stages_of(pipeline, asked)
    report("CPU", cpu)
    report("CPU", kernels)
    around = np.sum([cpu[stage] for stage in AROUND_KERNELS], axis=0)
    around -= np.sum([times[-N_REQUESTS:] for times in kernels.values()], axis=0)
    report("CPU", {"hydrate to rank without the kernels": around.tolist()})
    queries = [pipeline.hydrator.hydrate(asked(i)) for i in range(N_REQUESTS)]
    for quota in pipeline.surface("home").quotas:
        began = time.process_time()
        for query in queries:
            quota.source.fetch(query, quota.k)
        cpu_ms = (time.process_time() - began) / N_REQUESTS * 1e3
        print(f"source {quota.source.name:14s} k {quota.k:4d}   {cpu_ms:6.3f} ms CPU")


def stages_of(pipeline: Pipeline, asked: Callable[[int], Request]) -> Times:
    """Milliseconds of every stage of N_REQUESTS requests."""
    stages: Times = defaultdict(list)
    for i in range(N_REQUESTS):
        for stage, ms in pipeline.recommend(asked(i)).trace.stage_ms.items():
            stages[stage].append(ms)
    return stages


def watch_kernels(pipeline: Pipeline) -> Times:
    """Lists that each call of the index's search and of the ranker's graph adds its CPU milliseconds to."""
    times: Times = defaultdict(list)
    for quota in pipeline.surface("home").quotas:
        if quota.source.name == "relevant":
            index: Any = quota.source
            index = index._index
            index._lists = Watched(index._lists, "search", times["index search"])
    ranker: Any = pipeline.ranker
    ranker._session = Watched(ranker._session, "run", times["ranker's graph"])
    return times


def report(kind: str, times: dict[str, list[float]]) -> None:
    """Prints the percentiles of each, the first fifth left out."""
    for name, each in times.items():
        p50, p99 = np.percentile(each[-N_REQUESTS * 4 // 5 :], (50, 99))
        print(f"{name:35s} {kind:4s} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

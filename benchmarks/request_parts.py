"""What one home request costs inside a worker, stage by stage, in process: no HTTP, no log.

    upnext bench serve --folder bench      # makes the synthetic platform once, and measures the whole
    python benchmarks/request_parts.py bench

Prints CPU milliseconds of each source, and percentiles of every stage over 300 requests of different viewers.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from upnext.core.clock import SystemClock
from upnext.core.types import Request
from upnext.serve.worker import brain_of
from upnext.settings.settings import load

N_REQUESTS = 300


def main(folder: Path) -> None:
    """Measures the release under `folder`."""
    pipeline = brain_of(load(folder / "upnext.toml")).pipeline()
    now_us = SystemClock().now_us()

    def asked(i: int) -> Request:
        return Request(f"r{i}", f"u{i % 2000}", "home", 30, now_us + i, session_id=f"s{i}", seed=i)

    stages: dict[str, list[float]] = {}
    for i in range(N_REQUESTS):
        answer = pipeline.recommend(asked(i))
        for stage, ms in answer.trace.stage_ms.items():
            stages.setdefault(stage, []).append(ms)
    for stage, times in stages.items():
        warm = times[N_REQUESTS // 5 :]
        p50, p99 = np.percentile(warm, (50, 99))
        print(f"{stage:10s} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms")
    queries = [pipeline.hydrator.hydrate(asked(i)) for i in range(N_REQUESTS)]
    for quota in pipeline.surface("home").quotas:
        began = time.process_time()
        for query in queries:
            quota.source.fetch(query, quota.k)
        cpu_ms = (time.process_time() - began) / N_REQUESTS * 1e3
        print(f"source {quota.source.name:14s} k {quota.k:4d}   {cpu_ms:6.3f} ms CPU")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

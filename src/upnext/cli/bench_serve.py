"""`upnext bench serve`: the whole home request under open-loop load, beside its kernels alone in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from upnext.artifacts.releases import ReleaseStore
from upnext.cli.load import LoadPlan, LoadResult
from upnext.cli.progress import RichProgress
from upnext.core.errors import UpNextError
from upnext.core.randomness import rng_for
from upnext.core.types import Features
from upnext.events.log import SqliteEventLog
from upnext.pipeline.release_parts import ReleaseParts
from upnext.ranking.onnx_ranker import OnnxRanker
from upnext.settings.settings import Settings, load
from upnext.settings.template import render

N_VIEWERS, N_SHOWINGS = 2_000, 60
N_KERNEL = 300
READY_S = 180.0


def run(
    videos: int,
    rate: float,
    seconds: float,
    workers: int,
    folder: Path | None,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Builds (or reuses) the synthetic platform, serves it, loads it, prints what was seen."""
    with tempfile.TemporaryDirectory(prefix="upnext-bench-") as temporary:
        root = folder or Path(temporary)
        settings = _prepared(root, videos, err)
        found = _measure(settings, root, rate, seconds, workers, err)
    found = {"videos": videos, "workers": workers, "rate": rate, **found}
    if as_json:
        out.file.write(json.dumps(found) + "\n")
        return
    _draw(found, out)


def _prepared(root: Path, videos: int, err: Console) -> Settings:
    root.mkdir(parents=True, exist_ok=True)
    config = root / "upnext.toml"
    if not config.exists():
        config.write_text(render(), "utf-8")
    settings = load(config)
    if ReleaseStore(settings.releases_path).current() is None:
        from upnext.cli.bench_world import build

        build(settings, videos, N_VIEWERS, N_SHOWINGS, RichProgress(err))
    return settings


def _measure(
    settings: Settings, root: Path, rate: float, seconds: float, workers: int, err: Console
) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "upnext.cli.main", "serve", "--config", str(root / "upnext.toml"),
        "--port", "0", "--workers", str(workers),
    ]  # fmt: skip
    with (root / "serve.log").open("w") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            url = _ready(root / "serve.log", server)
            kernels = kernels_alone(settings)
            before = _last_seq(settings)
            single = _load(url, rate=0, seconds=min(8.0, seconds), n_connections=1)
            open_loop = _load(url, rate=rate, seconds=seconds, n_connections=32)
            closed = _load(url, rate=0, seconds=min(10.0, seconds), n_connections=2 * workers)
            per_worker = _per_worker(url)
        finally:
            server.terminate()
            server.wait(30)
    stages = _stages(settings, before)
    one = _figures(single)
    kernel_ms = kernels["ann_p50_ms"] + kernels["ranker_p50_ms"]
    return {
        "open_loop": _figures(open_loop),
        "one_in_flight": one,
        "closed_loop": _figures(closed) | {"in_flight": 2 * workers},
        "kernels": kernels,
        "beyond_kernels_p50_ms": round(one["p50_ms"] - kernel_ms, 3),
        "requests_per_worker": per_worker,
        "stages": stages,
    }


def _ready(log: Path, server: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and server.poll() is None:
        for line in log.read_text("utf-8").splitlines():
            if "serves on http" in line:
                return line.split("serves on ")[1].split()[0]
        time.sleep(0.1)
    raise UpNextError(f"the server did not start; see {log}: {log.read_text('utf-8')[-2000:]}")


def kernels_alone(settings: Settings) -> dict[str, Any]:
    """The index in one thread, the ranker in as many as serve and in one, in this process, on the sizes of a home request."""
    import faiss

    store = ReleaseStore(settings.releases_path)
    current = store.current()
    assert current is not None
    folder = store.open(current, verify=False).path
    release = ReleaseParts.load(folder, threads=settings.serve.ranker_threads)
    assert release.ranker is not None
    faiss.omp_set_num_threads(1)
    rng = rng_for("bench-kernels")
    home = settings.surfaces["home"]
    asked = rng.integers(0, release.n_items, N_KERNEL)
    allowed = np.ones(release.n_items, np.bool_)
    searched = {"relevant": (release.vectors, release.index)} | {
        name: (one.vectors, one.index) for name, one in release.generators.items()
    }
    ann = np.zeros(N_KERNEL)
    for name, (vectors, index) in searched.items():  # a request asks each
        k = home.sources.get(name, 0)
        for row, query in enumerate(vectors.rows(asked)):
            ann[row] += _ms(lambda q=query, k=k, index=index: index.search(q[None], k, allowed))
    names = release.ranker.user_names, release.ranker.item_names
    items = rng.standard_normal((home.n_ranked, len(names[1])), dtype=np.float32)
    user = rng.standard_normal(len(names[0]), dtype=np.float32)
    features = Features(user, items, *names)
    ranker, alone = release.ranker, OnnxRanker.load(folder / "ranker")
    rank = [_ms(lambda: ranker.predict(features, share=True)) for _ in range(N_KERNEL)]
    in_one = [_ms(lambda: alone.predict(features)) for _ in range(N_KERNEL)]
    return {
        "ann_p50_ms": _at(ann.tolist(), 50), "ann_p99_ms": _at(ann.tolist(), 99),
        "ranker_p50_ms": _at(rank, 50), "ranker_p99_ms": _at(rank, 99),
        "ranker_threads": settings.serve.ranker_threads,
        "ranker_one_thread_p50_ms": _at(in_one, 50),
        "ranker_file": str(ranker.manifest["file"]), "ranked": home.n_ranked,
        "inputs": len(names[0]) + len(names[1]),
    }  # fmt: skip


def _ms(run: Any) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e3


def _load(url: str, *, rate: float, seconds: float, n_connections: int) -> LoadResult:
    """A load in a process of its own: home requests of all viewers in turn, each a session of its own."""
    rng = rng_for("bench-paths", int(rate), n_connections)
    host, port = url.removeprefix("http://").split(":")
    run = f"{time.time_ns():x}"
    viewers = rng.integers(0, N_VIEWERS, 20_000)
    paths = [
        f"/v1/feed/home?user_id=u{u}&session_id=s{run}{i}&n=30&device=phone"
        for i, u in enumerate(viewers.tolist())
    ]
    plan = LoadPlan(
        host=host, port=int(port), paths=paths, rate=rate, seconds=seconds,
        n_connections=n_connections, closed_loop=rate == 0,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "upnext.cli.load"],
        input=msgspec.json.encode(plan),
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=LoadResult)


def _figures(result: LoadResult) -> dict[str, Any]:
    latency = result.latency_ms
    if set(result.statuses) - {"200", "503"} or not latency:
        raise UpNextError(f"bench: expected pages, got statuses {result.statuses}")
    return {
        "n": len(latency),
        "rps": round(len(latency) / result.seconds, 1),
        "p50_ms": _at(latency, 50),
        "p95_ms": _at(latency, 95),
        "p99_ms": _at(latency, 99),
        "max_ms": round(max(latency), 2),
        "statuses": result.statuses,
        "degraded": result.degraded,
        "generator_cpu_share": round(result.generator_cpu_s / max(1e-9, result.seconds), 3),
        "generator_late_ms_p99": round(result.generator_late_ms_p99, 2),
        "answer_bytes_p50": result.bytes_p50,
    }


def _per_worker(url: str) -> dict[str, float]:
    """Heavy requests that each worker answered, from /metrics."""
    text = httpx.get(url + "/metrics").text
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("upnext_worker_answers") and 'worker="' in line:
            worker = line.split('worker="')[1].split('"')[0]
            found[worker] = found.get(worker, 0.0) + float(line.rsplit(" ", 1)[1])
    return found


def _last_seq(settings: Settings) -> int:
    log = SqliteEventLog(settings.events_path, read_only=True)
    seq = log.last_seq()
    log.close()
    return seq


def _stages(settings: Settings, after_seq: int) -> dict[str, dict[str, float]]:
    """{stage: p50, p99 in ms} of the run's slates, as the pipeline timed them."""
    log = SqliteEventLog(settings.events_path, read_only=True)
    times: dict[str, list[float]] = {}
    for records in log.scan_slates(after_seq):
        for record in records:
            for stage, ms in record.trace.get("stage_ms", {}).items():
                times.setdefault(stage, []).append(ms)
    log.close()
    return {stage: {"p50_ms": _at(ms, 50), "p99_ms": _at(ms, 99)} for stage, ms in times.items()}


def _at(values: list[float], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 3) if values else float("nan")


def _draw(found: dict[str, Any], out: Console) -> None:
    table = Table(
        "load", "requests", "rps", "p50 ms", "p95 ms", "p99 ms", "degraded", "generator CPU"
    )
    for name in ("open_loop", "one_in_flight", "closed_loop"):
        one = found[name]
        table.add_row(
            name, str(one["n"]), f"{one['rps']:.1f}", *(f"{one[p]:.2f}" for p in ("p50_ms", "p95_ms", "p99_ms")),
            str(one["degraded"]), f"{one['generator_cpu_share']:.0%}",
        )  # fmt: skip
    out.print(table)
    kernels = found["kernels"]
    out.print(
        f"kernels alone: ANN p50 {kernels['ann_p50_ms']:.2f} ms, ranker p50 {kernels['ranker_p50_ms']:.2f} ms "
        f"in {kernels['ranker_threads']} threads, {kernels['ranker_one_thread_p50_ms']:.2f} in one "
        f"({kernels['ranked']} x {kernels['inputs']}, {kernels['ranker_file']}); "
        f"beyond the kernels at p50: {found['beyond_kernels_p50_ms']:.2f} ms",
        highlight=False,
    )
    stages = Table("stage", "p50 ms", "p99 ms")
    for stage, at in found["stages"].items():
        stages.add_row(stage, f"{at['p50_ms']:.2f}", f"{at['p99_ms']:.2f}")
    out.print(stages)
    out.print(f"requests per worker: {found['requests_per_worker']}", highlight=False)

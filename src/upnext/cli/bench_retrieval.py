"""`upnext bench retrieval`: recall, time and memory of the vector index under filters, beside exact search and FAISS's own inverted lists.

The vectors are made up (vector_world.py). Each stage runs in a process of its own, with one thread, so that its peak of memory is its own; with a
folder what is made stays there, and a run that was stopped goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
from rich.console import Console

from upnext.cli.evaluate_tables import draw
from upnext.cli.progress import RichProgress
from upnext.cli.retrieval_rates import change_rates, filter_costs, floors
from upnext.cli.vector_world import open_world
from upnext.core.errors import expected
from upnext.core.one_thread import children_with_one_thread
from upnext.retrieval.config import IndexConfig
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.list_building import calibrated, fill_lists, nearest_lists, train_lists

COMPRESSED_FROM: Final = 5_000_000  # videos from which int8 is what `auto` means
KINDS: Final = ("auto", "int16", "int8", "int4")
_MIB: Final = 1 << 20


@dataclass(frozen=True)
class Task:
    """What is measured."""

    folder: str
    videos: int
    size: int
    vectors: Literal["int16", "int8", "int4"]
    seed: int

    @property
    def index(self) -> Path:
        """Where the index lies."""
        return Path(self.folder) / f"index-{self.vectors}"


def run(task: Task, keep: Path | None, as_json: bool, out: Console) -> None:
    """Makes the world, builds the index, measures, and prints tables or JSON. Without a folder to keep, a temporary one is used.

    Raises InvalidInput where a kept folder holds another world."""
    with ExitStack() as stack:
        if keep is None:
            folder = Path(tempfile.mkdtemp(prefix="upnext-retrieval-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        else:
            folder = keep
        task = Task(str(folder), task.videos, task.size, task.vectors, task.seed)
        _mark(folder, task)
        found = {"task": {**task.__dict__, "folder": None}}
        stack.enter_context(children_with_one_thread())
        for stage, work in (("build", build), ("search", measured)):
            found[stage] = _alone(work, task)
    if as_json:
        out.file.write(json.dumps(found) + "\n")
    else:
        _tell(found, out)


def kind_of(vectors: str, videos: int) -> Literal["int16", "int8", "int4"]:
    """What `auto` means for so many videos. Raises InvalidInput for a word that is none of KINDS."""
    if vectors not in KINDS:
        raise expected("--vectors", " or ".join(KINDS), vectors)
    if vectors == "auto":
        return "int8" if videos >= COMPRESSED_FROM else "int16"
    return cast(Literal["int16", "int8", "int4"], vectors)


def build(task: Task) -> dict[str, Any]:
    """Seconds of every step and the process's peak of memory; what an earlier run built is not built again."""
    told = task.index / "built.json"
    if told.exists():
        found: dict[str, Any] = json.loads(told.read_text())
        return found
    progress = RichProgress(Console(stderr=True, force_terminal=False))
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began, before = time.monotonic(), time.process_time()
        made = work()
        seconds[name] = time.monotonic() - began
        seconds[f"{name}, processor"] = time.process_time() - before
        return made

    world = timed(
        "world",
        lambda: open_world(Path(task.folder), task.videos, task.size, task.seed, progress),
    )
    config = IndexConfig(vectors=task.vectors, seed=task.seed)
    ids = np.arange(task.videos)
    trained = timed("train", lambda: train_lists(world.vectors, config))
    nearest = timed("assign", lambda: nearest_lists(trained, world.vectors, progress))
    stored = timed("fill", lambda: fill_lists(trained, nearest, world.vectors, ids, task.index))
    stored = timed("calibrate", lambda: calibrated(stored, config))
    InvertedIndex.of_lists(stored).save(task.index)
    files = {path.stem: path.stat().st_size for path in sorted(task.index.glob("*.npy"))}
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        "seconds": seconds,
        "peak_rss_mib": peak_kib * 1024 / _MIB,
        "processor_s": time.process_time(),
        "disk_bytes": files,
        "disk_bytes_per_vector": sum(files.values()) / task.videos,
        "n_lists": len(stored.centroids),
        "depth": stored.depth if stored.codes is not None else 0,
        "effort": [effort.__dict__ for effort in stored.effort],
    }
    told.write_text(json.dumps(found))
    return found


def measured(task: Task) -> dict[str, Any]:
    """What searches cost and find, of an index that is loaded from disk."""
    progress = RichProgress(Console(stderr=True, force_terminal=False))
    world = open_world(Path(task.folder), task.videos, task.size, task.seed, progress)
    viewers = world.viewers(2_000)
    InvertedIndex.load(task.index).search(viewers[:1], 500)  # loads compiled code
    before = _memory()
    began = time.perf_counter()
    index = InvertedIndex.load(task.index)
    start_s = time.perf_counter() - began
    loaded = _memory()
    for query in viewers:
        index.search(query[None], 500)
    read = _memory()
    return {
        "start_s": start_s,
        "after_start": {name: (loaded[name] - before[name]) / task.videos for name in before},
        "after_searches": {name: (read[name] - before[name]) / task.videos for name in before},
        "filters": filter_costs(index, world, progress),
        "floors": floors(task.index, world),
        "changes": change_rates(index, world),
        "processor_s": time.process_time(),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB,
    }


def _memory() -> dict[str, int]:
    """Bytes of this process: resident in all, and those that no other process can share."""
    told = dict(
        line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    )
    return {
        "resident": int(told["Rss"].split()[0]) * 1024,
        "own": int(told["Anonymous"].split()[0]) * 1024,
    }


def _alone(work: Callable[[Task], dict[str, Any]], task: Task) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(work, task).result()


def _mark(folder: Path, task: Task) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "world.json"
    own = {"videos": task.videos, "size": task.size, "seed": task.seed}
    if mark.exists() and json.loads(mark.read_text()) != own:
        raise expected(f"--folder {folder}", f"a world of {own}", mark.read_text())
    mark.write_text(json.dumps(own))


def _tell(found: dict[str, Any], out: Console) -> None:
    task, built, search = found["task"], found["build"], found["search"]
    title = f"{task['videos']:,} videos x {task['size']}, {task['vectors']}, one thread, k = 500"
    draw(title, [_told_filter(row) for row in search["filters"]], out)
    draw("beside it, no filter", [_told_filter(row) for row in search["floors"]], out)
    disk = built["disk_bytes_per_vector"]
    rows = {
        "memory-mapped start": f"{search['start_s'] * 1e3:.1f} ms",
        "disk": f"{disk:.1f} bytes a vector",
        **{
            f"  {name}": f"{size / task['videos']:.2f}"
            for name, size in built["disk_bytes"].items()
        },
        "resident after 2,000 searches": f"{search['after_searches']['resident']:.1f} bytes a vector",
        "of it not shared by processes": f"{search['after_searches']['own']:.2f} bytes a vector",
        "lists": f"{built['n_lists']:,}",
        "re-ranked per result": f"{built['depth']:g}",
        **{f"build: {name}": f"{s:.1f} s" for name, s in built["seconds"].items()},
        "processor, building and measuring": f"{built['processor_s']:,.0f} + {search['processor_s']:,.0f} s",
        "peak of building": f"{built['peak_rss_mib']:,.0f} MiB",
        "peak of measuring": f"{search['peak_rss_mib']:,.0f} MiB",
        **{name: f"{value:,.3g}" for name, value in search["changes"].items()},
    }
    draw("memory, building, changes", [{"what": a, "value": b} for a, b in rows.items()], out)


def _told_filter(row: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else f"{value:,.4g}" for name, value in row.items()
    }

"""What `upnext bench retrieval` measures of an index: searches under filters, changes, and what search costs without the index."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import faiss as _faiss
import numpy as np

from upnext.cli.vector_world import VectorWorld
from upnext.core.id_set import IdSet
from upnext.core.protocols import Progress
from upnext.core.types import Bool, Float32, Float64, Int64
from upnext.retrieval.calibrate import Rows, exact, recall_of
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.products import best

faiss: Any = _faiss  # its stubs leave out what its Python layer adds
K: Final = 500
N_VIEWERS: Final = 100
_REPEATS: Final = 3
_CODES: Final = {
    "index-int16": faiss.ScalarQuantizer.QT_fp16,
    "index-int8": faiss.ScalarQuantizer.QT_8bit,
    "index-int4": faiss.ScalarQuantizer.QT_4bit,
}


def filter_costs(
    index: InvertedIndex, world: VectorWorld, progress: Progress
) -> list[dict[str, Any]]:
    """A row per filter: recall@500 against exact search, milliseconds by the clock and of the processor, lists read."""
    viewers = world.viewers(N_VIEWERS)
    filters: dict[str, Bool | None] = {"all": None}
    for share in (0.5, 0.02, 0.001):
        filters[f"{100 * share:g} % at random"] = world.random_filter(share)
        filters[f"{100 * share:g} %, a language"] = world.in_language(share)
    rows = []
    progress.start("searches under filters", len(filters) + 1, "filters")
    for name, allowed in filters.items():
        if allowed is not None:
            allowed.setflags(write=False)  # the index keeps what it knows of such a filter
        truth = exact(viewers, Rows(world.vectors, 1.0), K, allowed)
        rows.append({"allowed": name, **_costs(index, viewers, truth, allowed, None)})
        if allowed is None:
            seen = [row[row >= 0] for row in truth]
            beyond = exact(viewers, Rows(world.vectors, 1.0), 2 * K)[:, K:]
            told = "all, the 500 nearest seen"
            rows.append({"allowed": told, **_costs(index, viewers, beyond, None, seen)})
            progress.advance(1)
        progress.advance(1)
    progress.done()
    return rows


def change_rates(index: InvertedIndex, world: VectorWorld) -> dict[str, float]:
    """Additions and removals a second of the processor, a search's processor time while so many videos came since the build, and additions a second
    by the clock while another thread searches without a pause."""
    rng = np.random.default_rng(0)
    n = len(world.vectors)
    viewers = world.viewers(N_VIEWERS)
    fresh = world.vectors[np.sort(rng.choice(n, 110_000))] * np.float32(1)
    found: dict[str, float] = {"search, nothing added, p50 ms": _p50(index, viewers)}
    added = 0
    for upto in (1_000, 10_000, 100_000):
        began = time.thread_time()
        _add(index, n, fresh, added, upto)
        found[f"added a second, a hundred at a time, up to {upto:,}"] = (upto - added) / (
            time.thread_time() - began
        )
        added = upto
        found[f"search, {upto:,} added, p50 ms"] = _p50(index, viewers)
    found |= _while_serving(index, viewers, lambda: _add(index, n, fresh, added, len(fresh)))
    for name, ids in (("built", rng.permutation(n)[:2_000]), ("added", n + np.arange(2_000))):
        began = time.thread_time()
        for one in ids:
            index.remove(np.array([one]))
        found[f"removed a second, one at a time, of the {name}"] = len(ids) / (
            time.thread_time() - began
        )
    return found


def _add(index: InvertedIndex, n: int, fresh: Float32, start: int, stop: int) -> None:
    for at in range(start, stop, 100):
        index.add(np.arange(n + at, n + at + 100), fresh[at : at + 100])


def _while_serving(
    index: InvertedIndex, viewers: Float32, change: Callable[[], None]
) -> dict[str, float]:
    """Of 10,000 additions."""
    done = threading.Event()
    taken: list[float] = []

    def serve() -> None:
        while not done.is_set():
            began = time.perf_counter()
            index.search(viewers[len(taken) % len(viewers)][None], K)
            taken.append(1e3 * (time.perf_counter() - began))

    server = threading.Thread(target=serve)
    server.start()
    began = time.perf_counter()
    change()
    seconds = time.perf_counter() - began
    done.set()
    server.join()
    return {
        "added a second by the clock, while another thread searches": 10_000 / seconds,
        "searches a second meanwhile": len(taken) / seconds,
        "search meanwhile, p50 ms by the clock": float(np.median(taken)),
    }


def floors(folder: Path, world: VectorWorld) -> list[dict[str, Any]]:
    """Rows as filter_costs gives: exact search by BLAS, and FAISS's inverted lists with the same centroids and half to four times as many lists as it takes."""
    viewers = world.viewers(N_VIEWERS)
    vectors = Rows(world.vectors, 1.0)
    began = time.thread_time()
    truth = exact(viewers, vectors, K)
    batch = 1e3 * (time.thread_time() - began) / len(viewers)
    alone = _times(lambda q: _exact_alone(q, vectors), viewers[:3], repeats=1).processor
    rows: list[dict[str, Any]] = [
        {"what": "exact, 100 viewers together", "recall@500": 1.0, "processor p50 ms": batch},
        {
            "what": "exact, one at a time",
            "recall@500": 1.0,
            "processor p50 ms": float(np.median(alone)),
        },
    ]
    lists = _plain_lists(folder, world)
    for nprobe in (64, 128, 256):
        lists.nprobe = min(nprobe, lists.nlist)
        found = np.concatenate([lists.search(q[None], K)[1] for q in viewers])
        taken = _times(lambda q: lists.search(q, K), viewers)
        rows.append(
            {
                "what": f"FAISS inverted lists, nprobe {lists.nprobe}",
                "recall@500": float(recall_of(found, truth).mean()),
                **taken.told(),
            }
        )
    return rows


def _costs(
    index: InvertedIndex, viewers: Float32, truth: Int64, allowed: Bool | None,
    seen: list[Int64] | None,
) -> dict[str, Any]:  # fmt: skip
    left_out = {q.tobytes(): IdSet(ids) for q, ids in zip(viewers, seen or [], strict=False)}

    def search(q: Float32) -> Int64:
        return index.search(q, K, allowed, without=left_out.get(q[0].tobytes()))[0]

    recall = recall_of(np.concatenate([search(q[None]) for q in viewers]), truth)
    one = _times(search, viewers)
    three = _times(search, viewers, 3, repeats=1).processor
    return {
        "recall@500": float(recall.mean()),
        "worst viewer": float(recall.min()),
        **one.told(),
        "queries/s": 1e3 / float(one.processor.mean()),
        "processor p50 ms, three vectors": float(np.median(three)),
        "lists read": index.lists_read(viewers, allowed),
    }


@dataclass(frozen=True)
class _Times:
    """Milliseconds of every search, by the clock and of the processor."""

    clock: Float64
    processor: Float64

    def told(self) -> dict[str, float]:
        """The columns of a table."""
        return {
            "p50 ms": float(np.median(self.clock)),
            "p99 ms": float(np.quantile(self.clock, 0.99)),
            "processor p50 ms": float(np.median(self.processor)),
            "processor p99 ms": float(np.quantile(self.processor, 0.99)),
        }


def _times(
    search: Callable[[Float32], Any], viewers: Float32, n_vectors: int = 1, repeats: int = _REPEATS
) -> _Times:
    """Of all viewers several times over."""
    taken = []
    for _ in range(repeats):
        for at in range(0, len(viewers) - n_vectors + 1, n_vectors):
            began, processor_began = time.perf_counter(), time.thread_time()
            search(viewers[at : at + n_vectors])
            processor_s = time.thread_time() - processor_began
            taken.append((time.perf_counter() - began, processor_s))
    return _Times(*(1e3 * np.array(taken).T))


def _p50(index: InvertedIndex, viewers: Float32) -> float:
    return float(np.median(_times(lambda q: index.search(q, K), viewers).processor))


def _exact_alone(query: Float32, rows: Rows) -> Int64:
    scores = np.concatenate([query @ block.T for _, block in rows.blocks()], axis=1)
    return best(np.arange(scores.shape[1])[None], scores, K)[0]


def _plain_lists(folder: Path, world: VectorWorld) -> Any:
    """FAISS's index over the same vectors, with the centroids that the index learned."""
    centroids, starts = np.load(folder / "centroids.npy"), np.load(folder / "starts.npy")
    item_id = np.load(folder / "item_id.npy", mmap_mode="r")
    size = centroids.shape[1]
    quantizer = faiss.IndexFlatIP(size)
    quantizer.add(centroids)
    lists = faiss.IndexIVFScalarQuantizer(
        quantizer, size, len(centroids), _CODES[folder.name], faiss.METRIC_INNER_PRODUCT
    )
    lists.train(np.ascontiguousarray(world.vectors[:100_000]))
    pointer = faiss.swig_ptr
    for at in range(0, len(item_id), 65_536):
        ids = np.ascontiguousarray(item_id[at : at + 65_536])
        block = np.ascontiguousarray(world.vectors[ids])
        place = np.searchsorted(starts, np.arange(at, at + len(ids)), side="right") - 1
        lists.add_core(len(ids), pointer(block), pointer(ids), pointer(place))
    return lists

"""The sequence model as it serves: a viewer's query vector from the latest showings and the moment of the request. No torch.

The item table is memory-mapped copy-on-write, so all workers share the release's pages. Videos that came later stand in a table of this
process, with vectors from their content and codes alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Float32, History, Int64, Query
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.retrieval.graph_session import graph_session
from upnext.retrieval.material import VideoCodes
from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.sequence.steps import LEAST_STEPS, clock_rows, feedback_rows, gap_buckets


class SequenceGenerator:
    """Query vectors of viewers as they are now, and vectors of videos that the release does not know."""

    def __init__(self, folder: Path) -> None:
        """folder: what SequenceLearner.export wrote."""
        meta = json.loads((folder / "generator.json").read_text())
        self.config = SequenceConfig.model_validate(meta["config"])
        self.n_content = int(meta["n_content"])
        self._context = ContextEncoder(Vocabulary.from_json(meta["vocabulary"]))
        self._inputs = _Later(np.asarray(np.load(folder / "item_inputs.npy", mmap_mode="r")))
        self._duration_s = _Later(np.load(folder / "durations.npy")[:, None])
        with np.load(folder / "video_side.npz", allow_pickle=False) as stored:
            self._side = {name: stored[name] for name in stored.files}
        self._size = int(np.load(folder / "item_vectors.npy", mmap_mode="r").shape[1])
        self._graph = graph_session(folder / "sequence.onnx")
        self._asked = {given.name for given in self._graph.get_inputs()}

    @property
    def embedding_size(self) -> int:
        """d, bias and popularity columns included."""
        return self._size

    def vectors(self, query: Query) -> Float32:
        """float32[1, d]: the viewer of a query, from the latest showings of known videos; without any, from the context alone."""
        history = self._history(query)
        n, h = len(history), max(LEAST_STEPS, len(history))
        steps = np.zeros((h, self.config.embedding_size), np.float32)
        steps[:n] = self._inputs.rows(history.item_id)
        duration_s = self._duration_s.rows(history.item_id)[:, 0]
        feedback = feedback_rows(history.flags, history.watch_s, duration_s)
        moment = Moment.of(query.request, query.user.profile)
        given: dict[str, Array] = {
            "steps": steps,
            "feedback": _padded(feedback, h),
            "clock": _padded(clock_rows(history.time_us), h),
            "context": self._context.encode([moment]),
            "last": np.array([n], np.int64),
        }
        if "gaps" in self._asked:
            time_us = np.zeros(h + 1, np.int64)
            time_us[1 : n + 1] = history.time_us
            asked_us = np.append(time_us[1:], 0)
            asked_us[n] = query.request.time_us
            given["gaps"] = gap_buckets(time_us, asked_us)
        wanted = {name: array for name, array in given.items() if name in self._asked}
        found: Float32 = self._graph.run(None, wanted)[0]
        return found

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """(ids int64[m], vectors float32[m, d]): all of the videos, by content and codes; none where a video is its id alone.

        Raises InvalidInput when the content has another size than the one trained with."""
        if not self._side:
            return np.zeros(0, np.int64), np.zeros((0, self._size), np.float32)
        if content.ndim != 2 or content.shape[1] != self.n_content:
            raise expected("content", f"float32[n, {self.n_content}]", content.shape)
        known = self._known(content, codes)
        self._inputs.put(item_id, known)
        self._duration_s.put(item_id, codes.duration_s[:, None])
        rest = np.zeros((len(known), self._size - known.shape[1]), np.float32)
        return item_id, np.concatenate([known, rest], 1)

    def _known(self, content: Float32, codes: VideoCodes) -> Float32:
        """float32[n, d]: what VideoSide gives."""
        side = self._side
        found = np.zeros((len(content), self.config.embedding_size), np.float32)
        if self.config.content:
            middle = content @ side["content.0.weight"].T + side["content.0.bias"]
            found += np.maximum(middle, 0) @ side["content.2.weight"].T + side["content.2.bias"]
        if self.config.codes:
            for i, code in enumerate((codes.category, codes.creator, codes.language)):
                table, row = side[f"tables.{i}.weight"], np.maximum(code, -1) + 1
                found += table[np.where(row < len(table), row, 0)]
        return found

    def _history(self, query: Query) -> History:
        """The latest showings of videos with a vector."""
        history = query.user.history
        is_known = self._inputs.has(history.item_id)
        return (history if is_known.all() else history.where(is_known)).last(self.config.length)


class _Later:
    """Rows of a release's table by item_id, and rows that came later."""

    def __init__(self, base: Float32) -> None:
        self._base = base
        self._rows = np.zeros((0, base.shape[1]), np.float32)  # ids from len(base) on
        self._is_there = np.zeros(0, np.bool_)

    def has(self, item_id: Int64) -> Array:
        """bool[n]: there is a row."""
        later = item_id - len(self._base)
        found: Array = later < 0
        inside = (later >= 0) & (later < len(self._is_there))
        found[inside] = self._is_there[later[inside]]
        return found

    def rows(self, item_id: Int64) -> Float32:
        """float32[n, d] of ids that have a row."""
        later = item_id - len(self._base)
        is_later = later >= 0
        if not is_later.any():
            return self._base[item_id]
        found = np.empty((len(item_id), self._base.shape[1]), np.float32)
        found[~is_later] = self._base[item_id[~is_later]]
        found[is_later] = self._rows[later[is_later]]
        return found

    def put(self, item_id: Int64, rows: Float32) -> None:
        """Sets the rows of those ids that the release does not know."""
        later = item_id - len(self._base)
        new = later >= 0
        if not new.any():
            return
        missing = int(later.max()) + 1 - len(self._rows)
        if missing > 0:
            grown = max(missing, len(self._rows))  # doubles: many small additions stay cheap
            self._rows = np.pad(self._rows, ((0, grown), (0, 0)))
            self._is_there = np.pad(self._is_there, (0, grown))
        self._rows[later[new]] = rows[new]
        self._is_there[later[new]] = True


def _padded(rows: Float32, h: int) -> Float32:
    """float32[h, f]: zeros below."""
    return rows if len(rows) == h else np.pad(rows, ((0, h - len(rows)), (0, 0)))

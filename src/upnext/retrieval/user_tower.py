"""The two-tower network as it serves: a viewer's vector per request, a new video's vectors from its content. No torch.

The item table is memory-mapped copy-on-write: all workers share the release's pages, and a video that came later, or whose content
changed, gets its own row in this process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from upnext.core.errors import expected
from upnext.core.types import Bool, Float32, Int64, Query
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.retrieval.config import TwoTowerConfig
from upnext.retrieval.user_inputs import groups_of, mean_of, members, serving_row, token_rows


class UserTower:
    """Embeds viewers as they are now, and videos that the release does not know."""

    def __init__(self, folder: Path) -> None:
        """folder: what TwoTowerLearner.export wrote."""
        meta = json.loads((folder / "retrieval.json").read_text())
        self.config = TwoTowerConfig.model_validate(meta["config"])
        self.n_content = int(meta["n_content"])
        self._context = ContextEncoder(Vocabulary.from_json(meta["vocabulary"]))
        self._groups = groups_of(self.config)
        self._base = np.asarray(np.load(folder / "item_inputs.npy", mmap_mode="c"))
        self._n_base = len(self._base)
        self._later = np.zeros((0, self._base.shape[1]), np.float32)  # ids from n_base on
        self._has_later = np.zeros(0, bool)
        self._tokens = np.asarray(np.load(folder / "token_vectors.npy", mmap_mode="r"))
        self._user = _session(folder / "user_tower.onnx")
        self._item = _session(folder / "item_tower.onnx")

    @property
    def embedding_size(self) -> int:
        """The size of the vectors that are compared."""
        return self.config.embedding_size

    def vector(self, query: Query) -> Float32:
        """float32[d], L2-normalised: the viewer of a query."""
        found: Float32 = self._user.run(None, {"user": self.row(query)})[0][0]
        return found

    def vectors(self, queries: Sequence[Query]) -> Float32:
        """float32[q, d]: many viewers at once, for batch work."""
        if not queries:
            return np.zeros((0, self.embedding_size), np.float32)
        rows = np.concatenate([self.row(query) for query in queries])
        found: Float32 = self._user.run(None, {"user": rows})[0]
        return found

    def row(self, query: Query) -> Float32:
        """float32[1, f]: what the user tower reads of a query."""
        history = query.user.history.last(self.config.history_rows)
        items = [members(history, group) for group in self._groups]
        counts = [len(part) for part in items]
        pooled = self._means(np.concatenate(items), counts)
        tokens = token_rows(query.user.searches, self.config.search_buckets, self.config.n_searches)
        moment = Moment.of(query.request, query.user.profile)
        context = self._context.encode([moment])[0]
        searched = mean_of(self._tokens, tokens)
        return serving_row(pooled, counts, searched, len(tokens), context)

    def embed_new(self, content: Float32) -> tuple[Float32, Float32]:
        """(input vectors float32[m, d_in], output vectors float32[m, d]) of content float32[m, n_content].

        Raises InvalidInput when the content has another size than the one trained with."""
        if content.ndim != 2 or content.shape[1] != self.n_content:
            raise expected("content", f"float32[m, {self.n_content}]", content.shape)
        if not len(content):
            empty = np.zeros((0, self._base.shape[1]), np.float32)
            return empty, np.zeros((0, self.embedding_size), np.float32)
        rows = np.ascontiguousarray(content, np.float32)
        inputs, vectors = self._item.run(None, {"content": rows})
        return inputs, vectors

    def put(self, item_id: Int64, inputs: Float32) -> None:
        """Sets the input vectors of ids int64[m], old or new, for histories that hold them."""
        is_old = item_id < self._n_base
        self._base[item_id[is_old]] = inputs[is_old]
        later = item_id[~is_old] - self._n_base
        if not len(later):
            return
        missing = int(later.max()) + 1 - len(self._later)
        if missing > 0:
            grown = max(missing, len(self._later))  # doubles: many small additions stay cheap
            self._later = np.pad(self._later, ((0, grown), (0, 0)))
            self._has_later = np.pad(self._has_later, (0, grown))
        self._later[later] = inputs[~is_old]
        self._has_later[later] = True

    def _means(self, items: Int64, counts: Sequence[int]) -> list[Float32]:
        """float32[d_in] of each group: the mean of its known items' input vectors; zeros for none. items: the groups' one after the other."""
        rows = self._base.take(np.minimum(items, self._n_base - 1), axis=0)
        known: Bool | None = None
        if items.max(initial=-1) >= self._n_base:
            known = items < self._n_base
            later = np.flatnonzero(~known)
            place = items[later] - self._n_base
            inside = place < len(self._has_later)
            later, place = later[inside], place[inside]
            later, place = later[self._has_later[place]], place[self._has_later[place]]
            rows[later] = self._later[place]
            known[later] = True
        means, start = [], 0
        for count in counts:
            part = rows[start : start + count]
            if known is not None:
                part = part[known[start : start + count]]
            start += count
            means.append(part.mean(0) if len(part) else np.zeros(part.shape[1], np.float32))
        return means


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

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
        pooled, counts = {}, []
        for group in self._groups:
            items = members(history, group)
            pooled[group.name] = self._mean(items)
            counts.append(len(items))
        tokens = token_rows(query.user.searches, self.config.search_buckets, self.config.n_searches)
        moment = Moment.of(query.request, query.user.profile)
        context = self._context.encode([moment])[0]
        return serving_row(pooled, counts, mean_of(self._tokens, tokens), len(tokens), context)

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

    def _mean(self, items: Int64) -> Float32:
        """float32[d_in]: the mean of the known items' input vectors; zeros for none."""
        if not len(items) or items.max() < self._n_base:
            return mean_of(self._base, items)
        is_later = items >= self._n_base
        later = items[is_later] - self._n_base
        later = later[later < len(self._has_later)]
        known: Bool = self._has_later[later]
        rows = np.concatenate([self._base[items[~is_later]], self._later[later[known]]])
        return mean_of(rows, np.arange(len(rows)))


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

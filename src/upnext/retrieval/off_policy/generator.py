"""The policy as it serves: a viewer's vector per request, a new video's vector from its content. No torch.

The item table is memory-mapped copy-on-write, and a video that came later gets its own row in this process, so that histories that hold it count it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Float32, History, Int64, Query
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.retrieval.graph_session import graph_session
from upnext.retrieval.material import VideoCodes
from upnext.retrieval.off_policy.config import OffPolicyConfig
from upnext.retrieval.off_policy.step import idle_column, step_columns


class OffPolicyGenerator:
    """Embeds viewers as they are now, and videos that the release does not know."""

    def __init__(self, folder: Path) -> None:
        """folder: what OffPolicyLearner.export wrote."""
        meta = json.loads((folder / "generator.json").read_text())
        self.config = OffPolicyConfig.model_validate(meta["config"])
        self.n_content = int(meta["n_content"])
        self._context = ContextEncoder(Vocabulary.from_json(meta["vocabulary"]))
        self._inputs = np.asarray(np.load(folder / "item_inputs.npy", mmap_mode="c"))
        self._later: dict[int, Float32] = {}
        self._state = graph_session(folder / "state.onnx")
        self._item = graph_session(folder / "item_tower.onnx")

    @property
    def embedding_size(self) -> int:
        """The size of the vectors that are compared."""
        return self.config.embedding_size

    def vectors(self, query: Query) -> Float32:
        """float32[1, d], L2-normalised: the viewer of a query, one of whom nothing is known included."""
        history = query.user.history.last(self.config.n_history)
        known = np.fromiter(
            (i < len(self._inputs) or i in self._later for i in history.item_id.tolist()),
            np.bool_, len(history),
        )  # fmt: skip
        history = history.where(known)
        asked = viewer_inputs(query, history, self._input_rows(history.item_id), self._context)
        found: Float32 = self._state.run(None, {name: rows[None] for name, rows in asked.items()})[
            0
        ]
        return found

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """(item_id, vectors float32[n, d]): every video has a vector, of its content.

        Raises InvalidInput when the content has another size than the one trained with."""
        if content.ndim != 2 or content.shape[1] != self.n_content:
            raise expected("content", f"float32[n, {self.n_content}]", content.shape)
        if not len(item_id):
            return item_id, np.zeros((0, self.embedding_size), np.float32)
        rows = np.ascontiguousarray(content, np.float32)
        inputs, vectors = self._item.run(None, {"content": rows})
        for item, row in zip(item_id.tolist(), inputs):
            if item < len(self._inputs):
                self._inputs[item] = row
            else:
                self._later[item] = row
        return item_id, vectors

    def _input_rows(self, item_id: Int64) -> Float32:
        """float32[h, d_in] of known videos."""
        old = item_id < len(self._inputs)
        rows = self._inputs[np.where(old, item_id, 0)]
        for place in np.flatnonzero(~old).tolist():
            rows[place] = self._later[int(item_id[place])]
        return rows


def viewer_inputs(
    query: Query, history: History, rows: Float32, encoder: ContextEncoder
) -> dict[str, Float32]:
    """What state.onnx reads of one viewer, less its axis of viewers: `history` with input vectors float32[h, d_in], and the context."""
    moment = Moment.of(query.request, query.user.profile)
    context = np.zeros(encoder.size + 1, np.float32)
    context[:-1] = encoder.encode([moment])[0]
    if len(history):
        context[-1] = idle_column(np.asarray(moment.time_us), history.time_us[-1:])[0]
    steps = step_columns(history.flags, history.watch_s)
    return {"inputs": _begun(rows), "steps": _begun(steps), "context": context}


def _begun(rows: Float32) -> Float32:
    """float32[h + 1, n]: the rows after one of zeros, which stands for the beginning."""
    return np.pad(rows, ((1, 0), (0, 0)))

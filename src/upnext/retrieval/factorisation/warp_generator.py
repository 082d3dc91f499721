"""WARP as it serves: a viewer is the mean of the input vectors of the own positive videos. No torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Float32, Int64, Query
from upnext.retrieval.factorisation.config import WarpConfig
from upnext.retrieval.factorisation.content_map import with_one
from upnext.retrieval.factorisation.interactions import Meaning, pairs_of
from upnext.retrieval.factorisation.video_rows import VideoRows
from upnext.retrieval.material import VideoCodes

FORMAT = 1


class WarpGenerator:
    """A Generator: one query vector of a viewer whose history holds a known positive video."""

    def __init__(self, folder: Path) -> None:
        """folder: what WarpLearner.export wrote. Raises InvalidInput for files of another format."""
        meta = json.loads((folder / "generator.json").read_text())
        if meta["format"] != FORMAT:
            raise expected(str(folder / "generator.json"), f"format {FORMAT}", meta["format"])
        self.config = WarpConfig.model_validate(meta["config"])
        self._meaning = Meaning.of(self.config.confidence, int(meta["untimed_us"]))
        inputs = np.asarray(np.load(folder / "item_inputs.npy", mmap_mode="r"))
        with np.load(folder / "warp.npz", allow_pickle=False) as stored:
            self._to_inputs, self._to_items = (
                stored["content_to_inputs"],
                stored["content_to_items"],
            )
            self._rows = VideoRows(inputs, stored["is_learned"])

    @property
    def embedding_size(self) -> int:
        """d."""
        return self.config.embedding_size

    def vectors(self, query: Query) -> Float32:
        """float32[1, d], or float32[0, d] of a viewer without a known positive video."""
        history = query.user.history
        item_id, confidence = pairs_of(
            history.item_id, history.flags, history.time_us, query.request.time_us, self._meaning
        )
        inputs, _ = self._rows.take(item_id[confidence > 0])
        if not len(inputs):
            return np.zeros((0, self.embedding_size), np.float32)
        mean: Float32 = inputs.mean(0, keepdims=True)
        return mean

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """Those of the videos that were nobody's positive in training, with vectors from their content.

        Histories that hold them count them from then on. Raises InvalidInput for content of another size."""
        wanted = len(self._to_items) - 1
        if content.ndim != 2 or content.shape != (len(item_id), wanted):
            raise expected("content", f"float32[{len(item_id)}, {wanted}]", content.shape)
        later = ~self._rows.is_learned(item_id)
        rows = with_one(content[later])
        self._rows.put(item_id[later], rows @ self._to_inputs)
        return item_id[later], rows @ self._to_items

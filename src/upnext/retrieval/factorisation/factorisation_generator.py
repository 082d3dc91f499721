"""Matrix factorisation as it serves: a viewer's row solved from their history at request time, whoever they are. No torch, no scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Bool, Float32, Int64, Query
from upnext.retrieval.factorisation.config import FactorisationConfig
from upnext.retrieval.factorisation.content_map import with_one
from upnext.retrieval.factorisation.factorisation_export import FORMAT
from upnext.retrieval.factorisation.fold_in import fold_in
from upnext.retrieval.factorisation.interactions import Meaning, pairs_of
from upnext.retrieval.factorisation.least_squares import Weighting
from upnext.retrieval.factorisation.popularity_column import with_popularity
from upnext.retrieval.factorisation.video_rows import VideoRows
from upnext.retrieval.material import VideoCodes


class FactorisationGenerator:
    """A Generator: one query vector of a viewer whose history holds a known video that pulls."""

    def __init__(self, folder: Path) -> None:
        """folder: what FactorisationLearner.export wrote. Raises InvalidInput for files of another format."""
        meta = json.loads((folder / "generator.json").read_text())
        if meta["format"] != FORMAT:
            raise expected(str(folder / "generator.json"), f"format {FORMAT}", meta["format"])
        self.config = c = FactorisationConfig.model_validate(meta["config"])
        self._meaning = Meaning.of(c.confidence, int(meta["untimed_us"]))
        self._weighting = Weighting.of(c)
        vectors: Float32 = np.asarray(np.load(folder / "item_vectors.npy", mmap_mode="r"))
        with np.load(folder / "factors.npz", allow_pickle=False) as stored:
            self._gram, self._covariance = stored["gram"], stored["covariance"]
            self._content_map = stored["content_map"]
            is_learned = stored["is_learned"]
        self._embedding_size, self._n_items = int(vectors.shape[1]), len(vectors)
        self._rows = VideoRows(vectors[:, : c.embedding_size], is_learned)

    @property
    def embedding_size(self) -> int:
        """d: the factors, and one more where popularity counts."""
        return self._embedding_size

    def is_learned(self, item_id: Int64) -> Bool:
        """bool[m]: whether viewers taught the factors of these; any other video has what its content says, or none."""
        return self._rows.is_learned(item_id)

    def vectors(self, query: Query) -> Float32:
        """float32[1, d], or float32[0, d] of a viewer without a known video whose confidence is above 0."""
        history = query.user.history
        item_id, confidence = pairs_of(
            history.item_id, history.flags, history.time_us, query.request.time_us, self._meaning
        )
        factors, is_known = self._rows.take(item_id)
        confidence = confidence[is_known]
        if not (confidence > 0).any():
            return np.zeros((0, self._embedding_size), np.float32)
        row = fold_in(factors, confidence, self._gram, self._n_items, self._weighting)
        if self.config.popularity_weight:
            row = with_popularity(row, self._covariance)
        return row[None]

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """Those of the videos that nobody was shown in training, with vectors from their content and the popularity of a mean video.

        Histories that hold them are folded in with these from then on. Raises InvalidInput for content of another size."""
        wanted = len(self._content_map) - 1
        if content.ndim != 2 or content.shape != (len(item_id), wanted):
            raise expected("content", f"float32[{len(item_id)}, {wanted}]", content.shape)
        later = ~self._rows.is_learned(item_id)
        factors = with_one(content[later]) @ self._content_map
        self._rows.put(item_id[later], factors)
        vectors = np.zeros((len(factors), self._embedding_size), np.float32)
        vectors[:, : factors.shape[1]] = factors
        return item_id[later], vectors

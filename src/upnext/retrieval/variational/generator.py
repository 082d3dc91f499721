"""The variational embeddings as they serve: a viewer's mean and stdev, query vectors around the mean, later videos by content. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.randomness import rng_for
from upnext.core.types import Float32, Int64, Query
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.features.vector_table import VectorTable
from upnext.retrieval.graph_session import graph_session
from upnext.retrieval.material import VideoCodes
from upnext.retrieval.two_tower.user_tower import pooled_groups
from upnext.retrieval.variational.config import VariationalConfig
from upnext.retrieval.variational.directions import query_vectors, score_variance, video_vectors
from upnext.retrieval.variational.viewer_row import FORMAT, pooled_groups_of, serving_row


@dataclass(frozen=True)
class Viewer:
    """A viewer's diagonal Gaussian at the time of a request."""

    mean: Float32  # [d]
    stdev: Float32  # [d], above 0
    uncertainty: float  # mean of stdev^2 over the prior's: 1 knows nothing of the viewer, 0 all


class VariationalGenerator:
    """Embeds viewers as they are now, and videos that the release does not know."""

    def __init__(self, folder: Path) -> None:
        """folder: what VariationalLearner.export wrote. Raises InvalidInput for a folder of another format."""
        meta = json.loads((folder / "generator.json").read_text())
        if meta.get("format") != FORMAT:
            raise InvalidInput(f"{folder}: expected format {FORMAT}, got {meta.get('format')!r}")
        self.config = VariationalConfig.model_validate(meta["config"])
        self.n_content = int(meta["n_content"])
        self._context = ContextEncoder(Vocabulary.from_json(meta["vocabulary"]))
        groups = pooled_groups_of(self.config)
        self._group_flags = np.array([group.flags for group in groups], np.uint16)
        self._group_sizes = np.array([group.n_last for group in groups], np.int64)
        self._inputs = VectorTable(np.load(folder / "item_inputs.npy", mmap_mode="c"))
        self._mean = VectorTable(np.load(folder / "item_means.npy", mmap_mode="c"))
        self._stdev = VectorTable(np.load(folder / "item_stdevs.npy", mmap_mode="c"))
        self._prior_variance = np.load(folder / "prior_stdev.npy") ** 2
        self._viewer = graph_session(folder / "viewer.onnx")
        self._video = graph_session(folder / "video.onnx")

    @property
    def embedding_size(self) -> int:
        """The size of the vectors that are compared: twice that of means where directions = optimistic."""
        size = self.config.embedding_size
        return 2 * size if self.config.directions == "optimistic" else size

    def vectors(self, query: Query) -> Float32:
        """float32[q, d]: query vectors around the viewer's mean; the same for every asking of one page of a session."""
        return self.vectors_by(self.config, query)

    def vectors_by(self, config: VariationalConfig, query: Query) -> Float32:
        """float32[q, d]: those of other settings of query vectors, for comparison."""
        viewer, request = self.viewer(query), query.request
        rng = rng_for(
            "variational", request.seed, request.user_id, request.session_id, request.page
        )
        return query_vectors(viewer.mean, viewer.stdev, config, rng)

    def viewer(self, query: Query) -> Viewer:
        """Mean, stdev and uncertainty of the viewer of a query."""
        mean, stdev = self._viewer.run(None, {"viewer": self.row(query)})
        share = stdev[0] ** 2 / self._prior_variance
        return Viewer(mean[0], stdev[0], float(share.mean()))

    def videos(self, item_id: Int64) -> tuple[Float32, Float32]:
        """(mean, stdev) float32[n, d]; zeros for a video that has none."""
        return self._mean.rows(item_id), self._stdev.rows(item_id)

    def score_variance(self, viewer: Viewer, item_id: Int64) -> Float32:
        """float32[n]: how much the inner product of viewer and video varies, both unsure; a video without a vector is sure to score 0."""
        mean, stdev = self.videos(item_id)
        return score_variance(viewer.mean, viewer.stdev, mean, stdev)

    def row(self, query: Query) -> Float32:
        """float32[1, f]: what the viewer side reads of a query."""
        history = query.user.history.last(self.config.history_rows)
        rows = self._inputs.rows(history.item_id)
        n = len(rows)
        place = np.where(rows.any(axis=1), np.arange(n), n)  # n: a video that has no vector yet
        none = np.zeros((0, rows.shape[1]), np.float32)
        pooled, counts = pooled_groups(
            place, history.flags, 0, self._group_flags, self._group_sizes,
            rows, none, np.zeros(0, np.bool_),
        )  # fmt: skip
        moment = Moment.of(query.request, query.user.profile)
        return serving_row(pooled, counts, self._context.encode([moment])[0])

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """(item_id, vectors float32[m, d]): what content says of each video, as unsure as the prior; histories that hold them count them.

        Raises InvalidInput when the content has another size than the one trained with."""
        if content.shape != (len(item_id), self.n_content):
            raise expected("content", f"float32[{len(item_id)}, {self.n_content}]", content.shape)
        if not len(item_id):
            return item_id, np.zeros((0, self.embedding_size), np.float32)
        rows = np.ascontiguousarray(content, np.float32)
        inputs, mean, stdev = self._video.run(None, {"content": rows})
        for table, found in ((self._inputs, inputs), (self._mean, mean), (self._stdev, stdev)):
            table.put(item_id, found)
        return item_id, video_vectors(mean, stdev, self.config.directions)

"""A trained candidate generator, in training and as it serves: what all of them have in common.

A learner writes a folder; the generator read from it gives query vectors of a viewer and vectors of videos. One source (nearest.py)
searches any of them through the same index.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from upnext.core.protocols import Progress
from upnext.core.types import Array, Float32, Int64, Query
from upnext.retrieval.material import Material, VideoCodes


class GeneratorLearner(Protocol):
    """A generator in training. It keeps a checkpoint in its folder and goes on from it to the same bits."""

    def learn(
        self,
        material: Material,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        start_from: Mapping[str, Array] | None = None,
    ) -> Mapping[str, float]:
        """Figures of the training. start_from: an earlier snapshot to fine-tune; videos and viewers may have come since."""
        ...

    def snapshot(self) -> Mapping[str, Array]:
        """Every weight by name."""
        ...

    def export(self, folder: Path) -> None:
        """Writes what serving reads: item_vectors.npy float32[n_items, d] and what the generator needs besides."""
        ...


class Generator(Protocol):
    """A generator as it serves."""

    @property
    def embedding_size(self) -> int:
        """d, the size of the vectors that are compared by inner product."""
        ...

    def vectors(self, query: Query) -> Float32:
        """float32[q, d]: the viewer of a query as query vectors; none where it knows nothing of the viewer."""
        ...

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """(ids int64[m], vectors float32[m, d]) of those of the videos which the release does not know that get a vector.

        content float32[n, c] and codes are aligned with item_id int64[n]."""
        ...

"""Content profile: videos like those the viewer liked, from what the videos are alone.

A video's vector is its content less the catalogue's mean, in the leading principal components, of length 1: without the mean every video is
like every other. A viewer is the mean of the videos found relevant lately less those disliked, both halved with every `half_life` showings
since. Nothing is learned from what others watched, so a video that came a minute ago is found like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from upnext.content.reduction import Reduction
from upnext.content.unit import unit_rows
from upnext.core.compiled import compiled
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress
from upnext.core.types import Array, Flag, Float32, Float64, Int64, Query, UInt16
from upnext.features.vector_table import VectorTable
from upnext.retrieval.config import ContentProfileConfig
from upnext.retrieval.material import Material, VideoCodes

_RELEVANT = np.uint16(Flag.RELEVANT)
_DISLIKED = np.uint16(Flag.DISLIKE | Flag.NOT_INTERESTED)


class ContentProfileLearner:
    """A GeneratorLearner: the components are all that there is to learn."""

    def __init__(self, config: ContentProfileConfig, *, folder: Path | None = None) -> None:
        """folder: no checkpoint is needed, it learns in one pass over the catalogue."""
        del folder
        self._config = config
        self._reduction: Reduction | None = None
        self._vectors = np.zeros((0, 0), np.float32)

    def learn(
        self,
        material: Material,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        start_from: Mapping[str, Array] | None = None,
    ) -> Mapping[str, float]:
        """The share of the content's variance that the components hold. start_from: an earlier snapshot, whose components stay."""
        del progress, resume
        content = material.content
        reduction = Reduction.fit(content, self._config.size)
        if start_from is not None:
            reduction = Reduction(start_from["mean"], start_from["basis"])
        rows = reduction.apply(content)
        self._reduction, self._vectors = reduction, unit_rows(rows)
        total = float(((content - reduction.mean) ** 2).sum())
        return {"held_variance": float((rows**2).sum()) / total if total > 0 else 0.0}

    def snapshot(self) -> Mapping[str, Array]:
        """mean float32[c] and basis float32[c, d]. Raises InvalidInput before learn."""
        reduction = self._learned()
        return {"mean": reduction.mean, "basis": reduction.basis}

    def export(self, folder: Path) -> None:
        """Writes item_vectors.npy, components.npz and generator.json. Raises InvalidInput before learn."""
        reduction = self._learned()
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "item_vectors.npy", self._vectors)
        reduction.save(folder / "components.npz")
        config = self._config.model_dump(mode="json")
        (folder / "generator.json").write_text(json.dumps(config, indent=1), "utf-8")

    def _learned(self) -> Reduction:
        if self._reduction is None:
            raise InvalidInput(
                "content profile: expected learn before what it learned is asked for"
            )
        return self._reduction


class ContentProfile:
    """A viewer as the profile of what was liked lately, over videos' content vectors of length 1."""

    def __init__(self, config: ContentProfileConfig, videos: VectorTable) -> None:
        self._config, self._videos = config, videos
        back = np.arange(config.n_rows - 1, -1, -1)
        self._decay: Float64 = np.exp2(-back / config.half_life)  # of the latest n_rows

    def vectors(self, query: Query) -> Float32:
        """float32[1, d] of length 1; float32[0, d] for a viewer who found nothing relevant lately, or whose likes and dislikes cancel out."""
        history, config = query.user.history, self._config
        weight = _weights(history.flags[-config.n_rows :], self._decay, config.dislike_weight)
        if not (weight > 0).any():
            return np.zeros((0, self._videos.size), np.float32)
        rows = self._videos.rows(history.item_id[-config.n_rows :])
        profile = unit_rows((weight @ rows)[None])
        return profile if profile.any() else profile[:0]


class ContentProfileGenerator:
    """A Generator over what ContentProfileLearner exported."""

    def __init__(self, folder: Path) -> None:
        said = json.loads((folder / "generator.json").read_text("utf-8"))
        self._reduction = Reduction.load(folder / "components.npz")
        self._vectors = VectorTable(np.load(folder / "item_vectors.npy", mmap_mode="c"))
        self._profile = ContentProfile(ContentProfileConfig.model_validate(said), self._vectors)

    @property
    def embedding_size(self) -> int:
        """d."""
        return self._vectors.size

    def vectors(self, query: Query) -> Float32:
        """The viewer's profile, float32[1, d] or float32[0, d]."""
        return self._profile.vectors(query)

    def bring(self, item_id: Int64, content: Float32, codes: VideoCodes) -> tuple[Int64, Float32]:
        """(ids int64[m], vectors float32[m, d]): every one of the videos, for its content is known."""
        del codes
        vectors = unit_rows(self._reduction.apply(content))
        self._vectors.put(item_id, vectors)
        return item_id, vectors


@compiled
def _weights(flags: UInt16, decay: Float64, dislike_weight: float) -> Float32:
    """float32[h] of the latest h showings: what was relevant adds, what was disliked takes off."""
    weight = np.zeros(len(flags), np.float32)
    first = len(decay) - len(flags)
    for i in range(len(flags)):
        if flags[i] & _RELEVANT:
            weight[i] += decay[first + i]
        if flags[i] & _DISLIKED:
            weight[i] -= dislike_weight * decay[first + i]
    return weight

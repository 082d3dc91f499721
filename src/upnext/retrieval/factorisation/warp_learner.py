"""WARP in training (warp.py has the method): input vectors that make up viewers, and item vectors that are compared with them.

Checkpointed each epoch; orders and draws depend on seed and epoch alone, and one thread takes the steps in turn, so that a resumed training
ends with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.randomness import key_of, rng_for
from upnext.core.types import Array, Int64
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.factorisation.config import WarpConfig
from upnext.retrieval.factorisation.content_map import content_map, with_one
from upnext.retrieval.factorisation.interactions import (
    Interactions,
    Meaning,
    interactions_of,
    untimed_of,
)
from upnext.retrieval.factorisation.warp import first_sums, harmonic, warp_epoch
from upnext.retrieval.material import Material

CHECKPOINT: Final = "warp.npz"
FORMAT: Final = 1


class WarpLearner:
    """A GeneratorLearner: WARP in training, and its export."""

    def __init__(self, config: WarpConfig, *, folder: Path | None = None) -> None:
        """folder: where a checkpoint is kept and a resumed training starts from; None keeps none."""
        self.config = config
        self._folder = folder
        self._material: Material | None = None
        self._n_viewers: Array = np.zeros(0, np.int64)
        self._state: dict[str, Array] = {}

    def learn(
        self,
        material: Material,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        start_from: Mapping[str, Array] | None = None,
        stop_after: int | None = None,
    ) -> Mapping[str, float]:
        """{"loss", "outranked", "n_pairs", "epochs"}: of the last pass, the mean loss of a positive and the share that a negative outranked.

        start_from with material.since_us: only viewers who were shown something since learn, from all their positives.
        stop_after ends after that many epochs (of a training that is to be resumed). Raises InvalidInput for no viewer with two positives, or for
        a checkpoint or a snapshot of other data or another config."""
        progress = progress or NoProgress()
        positives = self._positives(material)
        n_pairs = len(positives.item_id)
        active = _active(material)
        if np.diff(positives.start).max(initial=0) < 2:
            raise expected("WARP", "a viewer with at least 2 positive videos", n_pairs)
        self._material = material
        self._n_viewers = np.bincount(positives.item_id, minlength=material.n_items)
        self._state = self._started(material.n_items, start_from)
        digest = self._digest(positives, active, start_from)
        n_epochs = self.config.epochs
        done = self._restore(digest) if resume else 0
        n_learned = max(1, int(np.diff(positives.start)[active].sum()))
        progress.start("WARP", (n_epochs - done) * n_learned, "positives")
        outranked, loss = 0, float("nan")
        for epoch in range(done, min(n_epochs, stop_after or n_epochs)):
            outranked, loss = self._epoch(positives, active, epoch)
            self._save(digest, epoch + 1)
            progress.advance(n_learned, loss=loss / n_learned)
        progress.done()
        return {
            "loss": loss / n_learned, "outranked": outranked / n_learned, "n_pairs": n_learned,
            "epochs": n_epochs,
        }  # fmt: skip

    def _positives(self, material: Material) -> Interactions:
        pairs = interactions_of(
            material.showings, Meaning.of(self.config.confidence, untimed_of(material.showings))
        )
        kept = pairs.confidence > 0
        before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        weight = pairs.confidence[kept]
        weight = weight / weight.mean() if len(weight) else weight
        return Interactions(before[pairs.start], pairs.item_id[kept], weight.astype(np.float32))

    def _started(self, n_items: int, start_from: Mapping[str, Array] | None) -> dict[str, Array]:
        """Vectors before the first epoch: drawn, and as they were where there is an earlier training."""
        rng, size = rng_for("warp", self.config.seed), self.config.embedding_size
        state: dict[str, Array] = {
            name: (rng.standard_normal((n_items, size)) / np.sqrt(size)).astype(np.float32)
            for name in ("inputs", "items")
        }
        state["sums"] = first_sums(n_items)
        if start_from is None:
            return state
        n_earlier = len(start_from["items"])
        if start_from["items"].shape[1] != size or n_earlier > n_items:
            raise expected(
                "earlier vectors", f"at most {n_items} videos x {size}", start_from["items"].shape
            )
        state["inputs"][:n_earlier], state["items"][:n_earlier] = (
            start_from["inputs"],
            start_from["items"],
        )
        state["sums"][:, :n_earlier] = start_from["sums"]
        return state

    def _epoch(self, positives: Interactions, active: Int64, epoch: int) -> tuple[int, float]:
        """(positives outranked, sum of losses) of the viewers active int64[a]."""
        c, state = self.config, self._state
        order = rng_for("warp", c.seed, epoch).permutation(active)
        outranked, loss = warp_epoch(
            order, positives.start, positives.item_id, positives.confidence,
            state["inputs"], state["items"], state["sums"], harmonic(len(state["items"])),
            c.margin, c.max_draws, c.max_norm, c.learning_rate,
            np.array([key_of("warp", c.seed, epoch)], np.uint64),
        )  # fmt: skip
        return int(outranked), float(loss)

    def _digest(
        self, positives: Interactions, active: Int64, start_from: Mapping[str, Array] | None
    ) -> str:
        config = np.frombuffer(self.config.model_dump_json().encode(), np.uint8)
        return checksum_of({
            "start": positives.start, "item": positives.item_id, "weight": positives.confidence,
            "config": config, "n_items": np.array([len(self._n_viewers)]), "active": active,
            **{f"from:{name}": array for name, array in (start_from or {}).items()},
        })  # fmt: skip

    def _save(self, digest: str, epochs: int) -> None:
        if self._folder is not None:
            meta = {"format": FORMAT, "digest": digest, "epochs": epochs}
            write_checkpoint(self._folder / CHECKPOINT, self._state, meta)

    def _restore(self, digest: str) -> int:
        """Epochs done by the folder's checkpoint; 0 without one."""
        path = None if self._folder is None else self._folder / CHECKPOINT
        if path is None or not path.exists():
            return 0
        arrays, meta = read_checkpoint(path)
        if meta["digest"] != digest or meta["format"] != FORMAT:
            raise InvalidInput(
                f"{path}: is of other data or another config; delete it to start anew"
            )
        self._state = arrays
        return int(str(meta["epochs"]))

    def snapshot(self) -> Mapping[str, Array]:
        """inputs and items float32[n_items, d], and the sums of squares float32[2, n_items] that scale their steps."""
        self._trained()
        return {name: array.copy() for name, array in self._state.items()}

    def export(self, folder: Path) -> None:
        """Writes item_vectors.npy and item_inputs.npy float32[n_items, d], warp.npz (content maps of both, is_learned) and generator.json.

        The vectors of a video that is nobody's positive are what its content says."""
        material = self._trained()
        folder.mkdir(parents=True, exist_ok=True)
        is_learned, content = self._n_viewers > 0, material.content
        maps = {
            name: content_map(content, self._state[name], self._n_viewers)
            for name in ("inputs", "items")
        }
        items = self._state["items"].copy()
        items[~is_learned] = with_one(content[~is_learned]) @ maps["items"]
        np.save(folder / "item_vectors.npy", items)
        np.save(folder / "item_inputs.npy", self._state["inputs"])
        np.savez(
            folder / "warp.npz", content_to_inputs=maps["inputs"], content_to_items=maps["items"],
            is_learned=is_learned,
        )  # fmt: skip
        meta = {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "untimed_us": untimed_of(material.showings),
            "checksum": checksum_of(self.snapshot()),
        }
        (folder / "generator.json").write_text(json.dumps(meta, indent=1))

    def _trained(self) -> Material:
        if self._material is None:
            raise InvalidInput("WARP: learn before you export")
        return self._material


def _active(material: Material) -> Int64:
    """int64[a]: the rows of viewers who were shown something at or after since_us; all of them where that is 0."""
    showings = material.showings
    if not material.since_us:
        return np.arange(len(showings.user_ids))
    return np.unique(showings.user[showings.time_us >= material.since_us])

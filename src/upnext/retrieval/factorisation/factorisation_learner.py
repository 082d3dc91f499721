"""Matrix factorisation in training: viewers' and videos' factors, solved in turn (METHODS A; Hu, Koren, Volinsky 2008; Rendle et al. 2022).

Checkpointed each epoch; first factors and draws depend on seed and epoch alone, so a resumed training ends with the same bits. An earlier
training is continued from its factors: viewers are known again by their ids, videos by item_id, whoever is new starts at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.randomness import key_of, rng_for
from upnext.core.types import Array, Float32, Int64
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.factorisation.config import FactorisationConfig
from upnext.retrieval.factorisation.factorisation_export import Learned, export_factors
from upnext.retrieval.factorisation.interactions import (
    Interactions,
    Meaning,
    interactions_of,
    untimed_of,
)
from upnext.retrieval.factorisation.least_squares import Side, Weighting, loss_of, sides_of
from upnext.retrieval.factorisation.sgd import first_sums, sgd_epoch
from upnext.retrieval.factorisation.solvers import solve_by_blocks, solve_by_cg
from upnext.retrieval.material import Material

CHECKPOINT: Final = "factorisation.npz"
FORMAT: Final = 1


class FactorisationLearner:
    """A GeneratorLearner: factors in training, and their export."""

    def __init__(self, config: FactorisationConfig, *, folder: Path | None = None) -> None:
        """folder: where a checkpoint is kept and a resumed training starts from; None keeps none."""
        self.config = config
        self._folder = folder
        self._learned_from: tuple[Material, Interactions] | None = None
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
        """{"loss", "n_pairs", "epochs"} after config.epochs; a fine-tuning's loss is NaN, it would cost more than the learning.

        With material.since_us only viewers and videos with a showing since are solved, each from all of its pairs (stochastic gradients: all of
        them); "n_pairs" then counts those of the rows that are solved, as a mean of both sides.
        stop_after ends after that many epochs (of a training that is to be resumed). Raises InvalidInput for no pairs, or for a checkpoint or a
        snapshot of other data or another config."""
        progress = progress or NoProgress()
        pairs = interactions_of(
            material.showings, Meaning.of(self.config.confidence, untimed_of(material.showings))
        )
        if not len(pairs.item_id):
            raise expected("matrix factorisation", "at least 1 pair of viewer and video", 0)
        users, items = sides_of(pairs, material.n_items, Weighting.of(self.config))
        rows = self._solved(material)
        if rows is not None:
            users, items = users.of_rows(rows[0]), items.of_rows(rows[1])
        self._learned_from = material, pairs
        self._state = self._started(material, pairs, start_from)
        digest = self._digest(pairs, material, start_from)
        n_epochs = self.config.epochs
        done = self._restore(digest) if resume else 0
        progress.start("matrix factorisation", n_epochs - done, "epochs")
        for epoch in range(done, min(n_epochs, stop_after or n_epochs)):
            self._epoch(users, items, rows, epoch)
            self._save(digest, epoch + 1)
            progress.advance(1)
        progress.done()
        loss = float("nan")
        if not material.since_us:
            factors = self._state["user_factors"], self._state["item_factors"]
            loss = loss_of(users, items, *factors, self.config.unobserved_weight)
        n_pairs = (len(users.column) + len(items.column)) // 2
        return {"loss": loss, "n_pairs": n_pairs, "epochs": n_epochs}

    def _solved(self, material: Material) -> tuple[Int64, Int64] | None:
        """(viewers, videos) whose factors a fine-tuning solves; None: all."""
        if not material.since_us or self.config.solver == "sgd":
            return None
        is_new = material.showings.time_us >= material.since_us
        return np.unique(material.showings.user[is_new]), np.unique(
            material.showings.item_id[is_new]
        )

    def _started(
        self, material: Material, pairs: Interactions, start_from: Mapping[str, Array] | None
    ) -> dict[str, Array]:
        """Factors before the first epoch. A video or viewer without pairs is zero and stays so."""
        size, n_users = self.config.embedding_size, len(pairs.start) - 1
        keys = np.array([key_of(user_id) for user_id in material.showings.user_ids], np.uint64)
        users = np.zeros((n_users, size), np.float32)
        items = np.zeros((material.n_items, size), np.float32)
        if start_from is None:
            rng = rng_for("factorisation", self.config.seed)
            scale = self.config.init_scale / np.sqrt(size)
            users[:] = scale * rng.standard_normal(users.shape)
            items[:] = scale * rng.standard_normal(items.shape)
        else:
            _take_over(start_from, keys, users, items)
        users[np.diff(pairs.start) == 0] = 0
        items[np.bincount(pairs.item_id, minlength=len(items)) == 0] = 0
        state: dict[str, Array] = {"user_factors": users, "item_factors": items, "user_keys": keys}
        if self.config.solver == "sgd":
            _wake(users, items, pairs, self.config)
            state |= {"user_sums": first_sums(users), "item_sums": first_sums(items)}
        return state

    def _epoch(
        self, users: Side, items: Side, rows: tuple[Int64, Int64] | None, epoch: int
    ) -> None:
        """Viewers from videos, then videos from viewers; in place. rows: which of both the sides are, None for all."""
        c, state = self.config, self._state
        factors = state["user_factors"], state["item_factors"]
        if c.solver == "sgd":
            sums, key = (state["user_sums"], state["item_sums"]), key_of("sgd", c.seed, epoch)
            sgd_epoch(users, items, factors, sums, c.unobserved_weight, c.learning_rate, key)
            return
        for at, side, whole, other in ((0, users, *factors), (1, items, *factors[::-1])):
            own = whole if rows is None else whole[rows[at]]
            if c.solver == "cg":
                solve_by_cg(side, other, c.unobserved_weight, own, c.cg_steps, c.threads)
            else:
                solve_by_blocks(side, other, c.unobserved_weight, own, c.block_size, c.threads)
            if rows is not None:
                whole[rows[at]] = own

    def _digest(
        self, pairs: Interactions, material: Material, start_from: Mapping[str, Array] | None
    ) -> str:
        config = np.frombuffer(self.config.model_dump_json().encode(), np.uint8)
        parts: dict[str, Array] = {
            "start": pairs.start,
            "item": pairs.item_id,
            "confidence": pairs.confidence,
        }
        return checksum_of({
            **parts, "config": config, "keys": self._state["user_keys"],
            "n_items": np.array([material.n_items]), "since": np.array([material.since_us]),
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
        """user_factors float32[u, d], item_factors float32[n_items, d] and user_keys uint64[u], which say whose row is whose."""
        self._trained()
        names = ("user_factors", "item_factors", "user_keys")
        return {name: self._state[name].copy() for name in names}

    def export(self, folder: Path) -> None:
        """Writes what serving reads (factorisation_export.py lists the files)."""
        material, pairs = self._trained()
        checksum = checksum_of(self.snapshot())
        learned = Learned(self._state["item_factors"], pairs, self.config, checksum)
        export_factors(learned, material, folder)

    def _trained(self) -> tuple[Material, Interactions]:
        if self._learned_from is None:
            raise InvalidInput("matrix factorisation: learn before you export")
        return self._learned_from


def _take_over(earlier: Mapping[str, Array], keys: Array, users: Float32, items: Float32) -> None:
    """Copies an earlier snapshot's rows to the viewers and videos that were there. Raises InvalidInput for factors of another size."""
    old_users, old_items = earlier["user_factors"], earlier["item_factors"]
    if old_items.shape[1] != items.shape[1] or len(old_items) > len(items):
        raise expected(
            "earlier factors", f"at most {len(items)} videos x {items.shape[1]}", old_items.shape
        )
    items[: len(old_items)] = old_items
    order = np.argsort(earlier["user_keys"])
    place = np.searchsorted(earlier["user_keys"], keys, sorter=order)
    row = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(keys), np.int64)
    is_known = earlier["user_keys"][row] == keys if len(order) else np.zeros(len(keys), np.bool_)
    users[is_known] = old_users[row[is_known]]


def _wake(users: Float32, items: Float32, pairs: Interactions, config: FactorisationConfig) -> None:
    """Gradients of two zero rows are zero: rows that have pairs and stand at zero start small instead."""
    counts = np.diff(pairs.start), np.bincount(pairs.item_id, minlength=len(items))
    rng = rng_for("factorisation", config.seed, "wake")
    for rows, count in zip((users, items), counts):
        asleep = np.flatnonzero((count > 0) & ~rows.any(1))
        scale = config.init_scale / np.sqrt(rows.shape[1])
        rows[asleep] = scale * rng.standard_normal((len(asleep), rows.shape[1]))

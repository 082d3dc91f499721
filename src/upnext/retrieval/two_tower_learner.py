"""The two-tower network in training.

`TwoTowerLearner.learn` trains and checkpoints every epoch; the order of examples, dropout and negatives are functions of seed and
epoch, so a resumed training ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array, Float32
from upnext.features.context import ContextEncoder
from upnext.features.showings import Showings
from upnext.retrieval.batches import Batch, BatchReader
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.config import TwoTowerConfig
from upnext.retrieval.softmax import Proposal, sampled_softmax
from upnext.retrieval.training import device_of, is_half, rate
from upnext.retrieval.training_rows import Labels, labels_of
from upnext.retrieval.two_tower import TwoTower
from upnext.retrieval.two_tower_export import export_towers

CHECKPOINT: Final = "two_tower.npz"
FORMAT: Final = 1


class TwoTowerLearner:
    """A two-tower network in training, and its export."""

    def __init__(self, config: TwoTowerConfig, *, folder: Path | None = None) -> None:
        """folder: where a checkpoint is kept and a resumed training starts from; None keeps none."""
        self.config = config
        self._folder = folder
        self._device = device_of(config.device)
        self._network: TwoTower | None = None
        self._encoder: ContextEncoder | None = None
        self._content = np.zeros((0, 0), np.float32)
        self._trained = np.zeros(0, bool)

    def learn(
        self,
        showings: Showings,
        content: Float32,
        context: ContextEncoder,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        stop_after: int | None = None,
        start_from: Mapping[str, Array] | None = None,
    ) -> Mapping[str, float]:
        """{"loss", "n_examples", "epochs"} after the configured epochs.

        content float32[n_items, c] by item_id. resume goes on from the folder's checkpoint when there is one.
        start_from: weights of an earlier network of the same shapes (a snapshot), to fine-tune on these showings.
        stop_after ends after that many epochs (of a training that is to be resumed).
        Raises InvalidInput for no examples, or for a checkpoint of other data or another config."""
        progress = progress or NoProgress()
        labels = labels_of(showings, self.config)
        if len(labels) < 2:
            raise expected("two-tower training", "at least 2 examples", len(labels))
        self._prepare(showings, labels, content, context)
        reader = BatchReader(showings, labels, context, self.config, len(content))
        network = self._built()
        if start_from is not None:
            network.load_state_dict(
                {k: torch.from_numpy(np.array(v)) for k, v in start_from.items()}
            )
        optimisers = _optimisers(network, self.config)
        digest = self._digest(showings, content)
        done = self._restore(optimisers, digest) if resume else 0
        proposal = self._proposal(showings, labels)
        n_steps = reader.n_batches()
        total = (self.config.epochs - done) * n_steps
        progress.start("two-tower network", total * self.config.batch_size, "examples")
        loss = float("nan")
        for epoch in range(done, min(self.config.epochs, stop_after or self.config.epochs)):
            loss = self._epoch(epoch, reader, proposal, optimisers, progress)
            self._save(optimisers, digest, epoch + 1)
        progress.done()
        return {"loss": loss, "n_examples": len(labels), "epochs": self.config.epochs}

    def _prepare(
        self, showings: Showings, labels: Labels, content: Float32, context: ContextEncoder
    ) -> None:
        if len(showings) and int(showings.item_id.max()) >= len(content):
            raise expected("content", f"a row for item {showings.item_id.max()}", len(content))
        self._encoder, self._content = context, content
        self._trained = np.zeros(len(content), bool)
        self._trained[showings.item_id[labels.row]] = True
        torch.manual_seed(self.config.seed)
        features = torch.from_numpy(np.ascontiguousarray(content, np.float32))
        self._network = TwoTower(features, context.size, self.config).to(self._device)

    def _built(self) -> TwoTower:
        if self._network is None:
            raise InvalidInput("two-tower network: learn before you export")
        return self._network

    def _proposal(self, showings: Showings, labels: Labels) -> Proposal:
        counts = np.bincount(showings.item_id[labels.row], minlength=len(self._content))
        share = torch.from_numpy((counts / counts.sum()).astype(np.float32)).to(self._device)
        n_popular = min(self.config.batch_size, len(labels)) - 1
        return Proposal(n_popular, self.config.n_uniform, share)

    def _epoch(
        self,
        epoch: int,
        reader: BatchReader,
        proposal: Proposal,
        optimisers: list[torch.optim.Optimizer],
        progress: Progress,
    ) -> float:
        """The mean loss of one pass."""
        network, n_steps = self._built(), reader.n_batches()
        network.train()
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        total = 0.0
        for step, batch in enumerate(reader.epoch(epoch)):
            share = rate(epoch * n_steps + step, self.config.epochs * n_steps)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.config.learning_rate * share
                optimiser.zero_grad(set_to_none=True)
            kept = torch.rand(len(batch.items), generator=generator) >= self.config.id_dropout
            # an id that is no label anywhere would only ever be pushed down, as a negative: content alone
            kept &= torch.from_numpy(self._trained[batch.items])
            loss = self._loss(batch, kept.float(), proposal)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            total += float(loss.detach())
            progress.advance(len(batch.weight), loss=total / (step + 1))
        return total / n_steps

    def _loss(self, batch: Batch, kept: Tensor, proposal: Proposal) -> Tensor:
        network, device = self._built(), self._device
        tensors = _tensors(batch, device)
        items = torch.from_numpy(batch.items).to(device)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=is_half(self.config.precision, device)
        ):
            inputs = network.inputs(items, kept.to(device))
            users = network.user(network.user_rows(tensors, inputs.float()))
            videos = network.item.vectors(inputs)
        candidate = tensors["candidate"]
        logits = users.float() @ videos.float()[candidate].T / self.config.temperature
        hidden = None
        if self.config.mask_seen:
            hidden = _seen(tensors, len(items))[:, candidate]
        row_loss = sampled_softmax(
            logits,
            candidate,
            torch.arange(len(users), device=device),
            proposal.log_draws(items[candidate]),
            self.config.pairing,
            hidden,
        )
        return (row_loss * tensors["weight"]).mean()

    def _digest(self, showings: Showings, content: Float32) -> str:
        config = np.frombuffer(self.config.model_dump_json().encode(), np.uint8)
        data = {"item": showings.item_id, "user": showings.user, "time": showings.time_us}
        return checksum_of({**data, "flags": showings.flags, "content": content, "config": config})

    def _save(self, optimisers: list[torch.optim.Optimizer], digest: str, epochs: int) -> None:
        if self._folder is None:
            return
        arrays = dict(self.snapshot())
        for i, optimiser in enumerate(optimisers):
            for key, state in optimiser.state_dict()["state"].items():
                for name, value in state.items():
                    arrays[f"optimiser:{i}:{key}:{name}"] = torch.as_tensor(value).cpu().numpy()
        meta = {"format": FORMAT, "digest": digest, "epochs": epochs}
        write_checkpoint(self._folder / CHECKPOINT, arrays, meta)

    def _restore(self, optimisers: list[torch.optim.Optimizer], digest: str) -> int:
        """Epochs done by the folder's checkpoint; 0 without one."""
        path = None if self._folder is None else self._folder / CHECKPOINT
        if path is None or not path.exists():
            return 0
        arrays, meta = read_checkpoint(path)
        if meta["digest"] != digest or meta["format"] != FORMAT:
            raise InvalidInput(
                f"{path}: is of other data or another config; delete it to start anew"
            )
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        weights = {n: t for n, t in tensors.items() if not n.startswith("optimiser:")}
        self._built().load_state_dict(weights)
        for i, optimiser in enumerate(optimisers):
            state: dict[int, dict[str, Any]] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimiser:{i}:"):
                    _, _, key, entry = name.split(":", 3)
                    # a sparse optimiser counts its steps in a plain number
                    plain = entry == "step" and isinstance(optimiser, torch.optim.SparseAdam)
                    state.setdefault(int(key), {})[entry] = int(value) if plain else value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})
        return int(str(meta["epochs"]))

    def snapshot(self) -> Mapping[str, Array]:
        """Every weight by name."""
        state = self._built().state_dict()
        return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}

    def export(self, folder: Path) -> None:
        """Writes what serving reads (two_tower_export.py lists the files)."""
        network = self._built().cpu().eval()
        assert self._encoder is not None
        export_towers(network, self._encoder, checksum_of(self.snapshot()), folder)
        network.to(self._device)


def _tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    arrays: dict[str, Array] = {
        "context": batch.context, "age": batch.age, "candidate": batch.candidate,
        "weight": batch.weight, "searched": batch.searched[0],
        "searched:is_there": batch.searched[1].astype(np.float32),
    }  # fmt: skip
    for name, (place, is_there) in batch.history.items():
        arrays[name] = place
        arrays[f"{name}:is_there"] = is_there.astype(np.float32)
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _seen(batch: Mapping[str, Tensor], n_local: int) -> Tensor:
    """bool[b, v]: the viewer's pooled history holds that video of the batch."""
    seen = torch.zeros(len(batch["watched"]), n_local, device=batch["watched"].device)
    seen.scatter_reduce_(1, batch["watched"], batch["watched:is_there"], "amax")
    return seen > 0


def _optimisers(network: TwoTower, config: TwoTowerConfig) -> list[torch.optim.Optimizer]:
    tables = [network.ids.weight, network.tokens.weight]
    dense = [*network.item.parameters(), *network.user.parameters()]
    return [
        torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.reg),
        torch.optim.SparseAdam(tables, lr=config.learning_rate),
    ]

"""The two-tower network in training.

`TwoTowerLearner.learn` trains and checkpoints every epoch; the order of examples, dropout and negatives are functions of seed and
epoch, so a resumed training ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.material import Material
from upnext.retrieval.optimiser_state import load_optimisers, optimiser_arrays
from upnext.retrieval.pairs import unwatched_loss
from upnext.retrieval.training import device_of, is_half, rate
from upnext.retrieval.training_rows import labels_of
from upnext.retrieval.two_tower.batches import Batch, BatchReader
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.export import export_towers
from upnext.retrieval.two_tower.losses import Draws, loss_of_rows, tensors_of
from upnext.retrieval.two_tower.network import TwoTower

CHECKPOINT: Final = "two_tower.npz"
FORMAT: Final = 2
BY_VIDEO: Final = ("ids.weight", "is_trained")  # they grow with the catalogue


class TwoTowerLearner:
    """A two-tower network in training, and its export."""

    def __init__(self, config: TwoTowerConfig, *, folder: Path | None = None) -> None:
        """folder: where a checkpoint is kept and a resumed training starts from; None keeps none."""
        self.config = config
        self._folder = folder
        self._device = device_of(config.device)
        self._network: TwoTower | None = None
        self._material: Material | None = None
        self._trained = np.zeros(0, bool)  # [n_items], what the network says of it too

    def learn(
        self,
        material: Material,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        stop_after: int | None = None,
        start_from: Mapping[str, Array] | None = None,
    ) -> Mapping[str, float]:
        """{"loss", "n_examples", "epochs"} after the configured epochs.

        resume goes on from the folder's checkpoint when there is one. start_from: a snapshot of an earlier training, to fine-tune on
        these showings (those of material.since_us and later, where that is set); videos may have come since, none may have gone.
        stop_after ends after that many epochs (of a training that is to be resumed).
        Raises InvalidInput for no examples, for a snapshot of other shapes, or for a checkpoint of other data or another config."""
        progress = progress or NoProgress()
        labels = labels_of(material.showings, self.config, material.since_us)
        if len(labels) < 2:
            raise expected("two-tower training", "at least 2 examples", len(labels))
        self._prepare(material)
        network = self._built()
        if start_from is not None:
            self._start(start_from)
        network.is_trained[torch.from_numpy(material.showings.item_id[labels.row])] = True
        self._trained = network.is_trained.cpu().numpy()
        pool = np.flatnonzero(self._trained)
        reader = BatchReader(material, labels, self.config, pool)
        optimisers = _optimisers(network, self.config)
        draws = Draws(material, labels, self.config, len(pool))
        digest = self._digest(material, start_from)
        done = self._restore(optimisers, draws, digest) if resume else 0
        n_steps = reader.n_batches()
        total = (self.config.epochs - done) * n_steps
        progress.start("two-tower network", total * self.config.batch_size, "examples")
        loss = float("nan")
        for epoch in range(done, min(self.config.epochs, stop_after or self.config.epochs)):
            loss = self._epoch(epoch, reader, draws, optimisers, progress)
            self._save(optimisers, draws, digest, epoch + 1)
        progress.done()
        return {"loss": loss, "n_examples": len(labels), "epochs": self.config.epochs}

    def _prepare(self, material: Material) -> None:
        item_id, content = material.showings.item_id, material.content
        if len(item_id) and int(item_id.max()) >= len(content):
            raise expected("content", f"a row for item {item_id.max()}", len(content))
        self._material = material
        torch.manual_seed(self.config.seed)
        features = torch.from_numpy(np.ascontiguousarray(content, np.float32))
        self._network = TwoTower(features, material.context.size, self.config).to(self._device)

    def _start(self, weights: Mapping[str, Array]) -> None:
        """Sets the weights of an earlier network; videos that came since start as ids that were never trained."""
        network = self._built()
        state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
        for name in BY_VIDEO:
            table = state.get(name)
            if table is not None and len(table) < len(network.features):
                n_new = len(network.features) - len(table)
                state[name] = torch.cat([table, table.new_zeros(n_new, *table.shape[1:])])
        own = network.state_dict()
        for name in sorted(own.keys() | state.keys()):
            was, is_now = (list(part[name].shape) if name in part else [] for part in (state, own))
            if was != is_now:
                raise expected(f"snapshot to start from: {name}", f"shape {is_now}", was)
        network.load_state_dict(state)

    def _built(self) -> TwoTower:
        if self._network is None:
            raise InvalidInput("two-tower network: learn before you export")
        return self._network

    def _epoch(
        self,
        epoch: int,
        reader: BatchReader,
        draws: Draws,
        optimisers: list[torch.optim.Optimizer],
        progress: Progress,
    ) -> float:
        """The mean loss of one pass."""
        network, n_steps = self._built(), reader.n_batches()
        network.train()
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        torch.manual_seed(self.config.seed * 1_000_003 + epoch)  # of the layers' own dropout
        total = 0.0
        for step, batch in enumerate(reader.epoch(epoch)):
            share = rate(epoch * n_steps + step, self.config.epochs * n_steps)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.config.learning_rate * share
                optimiser.zero_grad(set_to_none=True)
            kept = torch.rand(len(batch.items), generator=generator) >= self._id_dropout()
            # an id that is no label anywhere would only ever be pushed down, as a negative: content alone
            kept &= torch.from_numpy(self._trained[batch.items])
            loss = self._loss(batch, kept.float(), draws)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            total += float(loss.detach())
            progress.advance(len(batch.weight), loss=total / (step + 1))
        return total / n_steps

    def _id_dropout(self) -> float:
        """A video known by its id alone can't lose it."""
        return 0.0 if self.config.video_parts == "id" else self.config.id_dropout

    def _loss(self, batch: Batch, kept: Tensor, draws: Draws) -> Tensor:
        network, device = self._built(), self._device
        tensors = tensors_of(batch, device)
        items = torch.from_numpy(batch.items).to(device)
        with torch.autocast(
            device.type, torch.bfloat16, enabled=is_half(self.config.precision, device)
        ):
            inputs = network.inputs(items, kept.to(device))
            users = network.user(network.user_rows(tensors, inputs.float()))
            videos = network.item.vectors(inputs[tensors["candidate"]])
        users = users.float() / self.config.temperature
        scores = users @ videos.float().T
        log_draws = draws.log_draws(batch).to(device)
        row_loss = loss_of_rows(scores, tensors, log_draws, network.bias, self.config)
        if self.config.hard_weight:
            skipped = (users * network.item.vectors(inputs[tensors["skipped"]])).sum(1)
            term = unwatched_loss(scores.diagonal(), skipped) * tensors["has_skipped"]
            row_loss = row_loss + self.config.hard_weight * term
        return (row_loss * tensors["weight"]).mean()

    def _digest(self, material: Material, start_from: Mapping[str, Array] | None) -> str:
        config = np.frombuffer(self.config.model_dump_json().encode(), np.uint8)
        showings = material.showings
        data: dict[str, Array] = {
            "item": showings.item_id,
            "user": showings.user,
            "time": showings.time_us,
        }
        data |= {"flags": showings.flags, "content": material.content, "config": config}
        data |= {f"start_from:{name}": array for name, array in (start_from or {}).items()}
        return checksum_of({**data, "since": np.array(material.since_us)})

    def _save(
        self, optimisers: list[torch.optim.Optimizer], draws: Draws, digest: str, epochs: int
    ) -> None:
        if self._folder is None:
            return
        arrays = {**self.snapshot(), **{f"draws:{n}": a for n, a in draws.state().items()}}
        arrays |= optimiser_arrays(optimisers)
        meta = {"format": FORMAT, "digest": digest, "epochs": epochs}
        write_checkpoint(self._folder / CHECKPOINT, arrays, meta)

    def _restore(self, optimisers: list[torch.optim.Optimizer], draws: Draws, digest: str) -> int:
        """Epochs done by the folder's checkpoint; 0 without one."""
        path = None if self._folder is None else self._folder / CHECKPOINT
        if path is None or not path.exists():
            return 0
        arrays, meta = read_checkpoint(path)
        if meta["digest"] != digest or meta["format"] != FORMAT:
            raise InvalidInput(
                f"{path}: is of other data or another config; delete it to start anew"
            )
        draws.restore({n[6:]: array for n, array in arrays.items() if n.startswith("draws:")})
        weights = {n: torch.from_numpy(np.array(a)) for n, a in arrays.items() if ":" not in n}
        self._built().load_state_dict(weights)
        load_optimisers(optimisers, arrays)
        return int(str(meta["epochs"]))

    def snapshot(self) -> Mapping[str, Array]:
        """Every weight by name."""
        state = self._built().state_dict()
        return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}

    def export(self, folder: Path) -> None:
        """Writes what serving reads (export.py lists the files)."""
        network = self._built().cpu().eval()
        assert self._material is not None
        checksum = checksum_of(self.snapshot())
        export_towers(network, self._material, self._trained, checksum, folder)
        network.to(self._device)


def _optimisers(network: TwoTower, config: TwoTowerConfig) -> list[torch.optim.Optimizer]:
    tables = [network.ids.weight, network.tokens.weight]
    dense = [*network.item.parameters(), *network.user.parameters(), network.bias]
    return [
        torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.reg),
        torch.optim.SparseAdam(tables, lr=config.learning_rate),
    ]

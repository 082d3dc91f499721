"""The variational embeddings in training.

The bound of one example, a viewer with n earlier showings who met a video with n_v examples:

    E[log softmax(u . v / temperature)] - beta * (KL(u) / (n + 1) + KL(v) / n_v)

A viewer's and a video's divergence is paid once, by all of their examples together, as in the bound of the whole log; so what has few
examples stays near its prior, and variance shrinks with evidence. u and v are drawn once per example and per video of a batch. The sum over the
catalogue is a sampled softmax (retrieval/softmax.py). Order, dropout, negatives and draws are functions of seed and epoch, so a resumed training
ends with the same bits.
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
from upnext.features.context import ContextEncoder
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.material import Material
from upnext.retrieval.optimiser_state import PREFIX, load_optimisers, optimiser_arrays
from upnext.retrieval.softmax import Proposal, sampled_softmax
from upnext.retrieval.training import device_of, is_half, rate
from upnext.retrieval.training_rows import Labels, labels_of
from upnext.retrieval.two_tower.batches import Batch, BatchReader
from upnext.retrieval.variational.config import VariationalConfig
from upnext.retrieval.variational.export import export_variational
from upnext.retrieval.variational.network import Gaussian, VariationalNetwork, kl_divergence
from upnext.retrieval.variational.viewer_row import as_two_tower

CHECKPOINT: Final = "variational.npz"
FORMAT: Final = 1


class VariationalLearner:
    """A network of Gaussians in training, and its export."""

    def __init__(self, config: VariationalConfig, *, folder: Path | None = None) -> None:
        """folder: where a checkpoint is kept and a resumed training starts from; None keeps none."""
        self.config = config
        self._folder = folder
        self._device = device_of(config.device)
        self._network: VariationalNetwork | None = None
        self._encoder: ContextEncoder | None = None

    def learn(
        self,
        material: Material,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        stop_after: int | None = None,
        start_from: Mapping[str, Array] | None = None,
    ) -> Mapping[str, float]:
        """{"loss", "kl_viewer", "kl_video", "n_examples", "epochs"} after the configured epochs; divergences are means per example, unweighted.

        resume goes on from the folder's checkpoint when there is one. start_from: an earlier snapshot, to fine-tune on what was shown at or
        after material.since_us; videos may have come since. stop_after ends after that many epochs (of a training that is to be resumed).
        Raises InvalidInput for no examples, for a snapshot of other shapes, or for a checkpoint of other data or another config."""
        progress = progress or NoProgress()
        cut = as_two_tower(self.config)
        labels = labels_of(material.showings, cut, material.since_us)
        if len(labels) < 2:
            raise expected("variational training", "at least 2 examples", len(labels))
        if int(material.showings.item_id.max()) >= material.n_items:
            most = material.showings.item_id.max()
            raise expected("content", f"a row for item {most}", material.n_items)
        network = self._prepare(material, labels, start_from)
        reader = BatchReader(material, labels, cut, np.arange(material.n_items))
        optimisers = _optimisers(network, self.config)
        digest = self._digest(material, start_from)
        done = self._restore(optimisers, digest) if resume else 0
        proposal = self._proposal(material, labels)
        total = (self.config.epochs - done) * reader.n_batches()
        progress.start("variational network", total * self.config.batch_size, "examples")
        figures = {"loss": float("nan")}
        for epoch in range(done, min(self.config.epochs, stop_after or self.config.epochs)):
            figures = self._epoch(epoch, reader, proposal, optimisers, progress)
            self._save(optimisers, digest, epoch + 1)
        progress.done()
        return {**figures, "n_examples": len(labels), "epochs": self.config.epochs}

    def _prepare(
        self, material: Material, labels: Labels, start_from: Mapping[str, Array] | None
    ) -> VariationalNetwork:
        self._encoder = material.context
        torch.manual_seed(self.config.seed)
        features = torch.from_numpy(np.ascontiguousarray(material.content, np.float32))
        network = VariationalNetwork(features, material.context.size, self.config)
        if start_from is not None:
            _start(network, start_from)
        item_id = material.showings.item_id[labels.row]
        network.n_examples += torch.from_numpy(np.bincount(item_id, minlength=material.n_items))
        self._network = network.to(self._device)
        return self._network

    def _built(self) -> VariationalNetwork:
        if self._network is None:
            raise InvalidInput("variational network: learn before you export")
        return self._network

    def _proposal(self, material: Material, labels: Labels) -> Proposal:
        counts = np.bincount(material.showings.item_id[labels.row], minlength=material.n_items)
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
    ) -> dict[str, float]:
        """The mean figures of one pass."""
        network, n_steps = self._built(), reader.n_batches()
        network.train()
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        total = torch.zeros(3)
        for step, batch in enumerate(reader.epoch(epoch)):
            share = rate(epoch * n_steps + step, self.config.epochs * n_steps)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.config.learning_rate * share
                optimiser.zero_grad(set_to_none=True)
            beta = self.config.beta * min(
                1.0, 2 * (epoch * n_steps + step) / (self.config.epochs * n_steps)
            )
            loss, figures = self._loss(batch, proposal, generator, beta)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            total += figures
            progress.advance(len(batch.weight), loss=float(total[0]) / (step + 1))
        names = ("loss", "kl_viewer", "kl_video")
        return dict(zip(names, (total / n_steps).tolist(), strict=True))

    def _loss(
        self, batch: Batch, proposal: Proposal, generator: torch.Generator, beta: float
    ) -> tuple[Tensor, Tensor]:
        """(the mean loss, float32[3]: it and the mean divergences of viewers and videos)."""
        network, device, n = self._built(), self._device, len(batch.weight)
        tensors = _tensors(batch, device)
        items = torch.from_numpy(batch.items).to(device)
        size = self.config.embedding_size
        kept = (torch.rand(len(items), generator=generator) >= self.config.id_dropout).to(device)
        viewer_noise = torch.randn(n, size, generator=generator).to(device)
        video_noise = torch.randn(len(items), size, generator=generator).to(device)
        # an id that is no example anywhere would only ever be pushed down, as a negative: content alone
        kept = (kept & (network.n_examples[items] > 0)).float()
        with torch.autocast(
            device.type, torch.bfloat16, enabled=is_half(self.config.precision, device)
        ):
            inputs, posterior, prior = network.videos(items, kept)
            viewer = Gaussian(*network.viewer(network.viewer_rows(tensors, inputs.float())))
        candidate = tensors["candidate"]
        videos = posterior.draw(video_noise)[candidate]
        logits = viewer.draw(viewer_noise).float() @ videos.float().T / self.config.temperature
        row_loss = sampled_softmax(
            logits,
            candidate,
            torch.arange(n, device=device),
            proposal.log_draws(items[candidate]),
            "candidate",
            _seen(tensors, len(items))[:, candidate],
        )
        kl_viewer = kl_divergence(viewer, network.viewer.prior(n))
        kl_video = kl_divergence(posterior, prior)[candidate[:n]]
        n_earlier = tensors["watched:is_there"].sum(1)
        n_examples = network.n_examples[items[candidate[:n]]]
        bound = row_loss + beta * (kl_viewer / (n_earlier + 1) + kl_video / n_examples)
        loss = (bound * tensors["weight"]).mean()
        figures = torch.stack([loss, kl_viewer.mean(), kl_video.mean()]).detach().cpu()
        return loss, figures

    def _digest(self, material: Material, start_from: Mapping[str, Array] | None) -> str:
        config = np.frombuffer(self.config.model_dump_json().encode(), np.uint8)
        showings = material.showings
        data: dict[str, Array] = {
            "item": showings.item_id, "user": showings.user, "time": showings.time_us,
            "flags": showings.flags, "content": material.content, "config": config,
            "since": np.array(material.since_us),
        }  # fmt: skip
        return checksum_of({**data, **{f"start:{n}": a for n, a in (start_from or {}).items()}})

    def _save(self, optimisers: list[torch.optim.Optimizer], digest: str, epochs: int) -> None:
        if self._folder is None:
            return
        arrays = dict(self.snapshot())
        arrays |= optimiser_arrays(optimisers)
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
        own = {n: a for n, a in arrays.items() if not n.startswith(PREFIX)}
        self._built().load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in own.items()})
        load_optimisers(optimisers, arrays)
        return int(str(meta["epochs"]))

    def snapshot(self) -> Mapping[str, Array]:
        """Every weight by name, and how many examples each video had."""
        state = self._built().state_dict()
        return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}

    def export(self, folder: Path) -> None:
        """Writes what serving reads (export.py lists the files)."""
        network = self._built().cpu().eval()
        assert self._encoder is not None
        export_variational(network, self._encoder, checksum_of(self.snapshot()), folder)
        network.to(self._device)


def _start(network: VariationalNetwork, snapshot: Mapping[str, Array]) -> None:
    """Loads weights; tables by video may be shorter than now: later videos begin as new ones."""
    state = network.state_dict()
    for name, now in state.items():
        if name not in snapshot:
            raise expected("start_from", f"an array {name!r}", sorted(snapshot))
        then = torch.from_numpy(np.array(snapshot[name]))
        by_video = name in ("ids.weight", "n_examples")
        fits = then.shape[1:] == now.shape[1:] and len(then) <= len(now)
        if not (fits if by_video else then.shape == now.shape):
            raise expected(f"start_from, array {name!r}", str(tuple(now.shape)), tuple(then.shape))
        now[: len(then)] = then
    network.load_state_dict(state)


def _tensors(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    arrays: dict[str, Array] = {
        "context": batch.context, "age": batch.age, "candidate": batch.candidate,
        "weight": batch.weight,
    }  # fmt: skip
    for name, (place, is_there) in batch.history.items():
        arrays[name] = place
        arrays[f"{name}:is_there"] = is_there.astype(np.float32)
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _seen(batch: Mapping[str, Tensor], n_local: int) -> Tensor:
    """bool[b, v]: the viewer's pooled history holds that video of the batch: serving would exclude it."""
    seen = torch.zeros(len(batch["watched"]), n_local, device=batch["watched"].device)
    seen.scatter_reduce_(1, batch["watched"], batch["watched:is_there"], "amax")
    return seen > 0


def _optimisers(
    network: VariationalNetwork, config: VariationalConfig
) -> list[torch.optim.Optimizer]:
    dense = [*network.video.parameters(), *network.viewer.parameters()]
    return [
        torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.reg),
        torch.optim.SparseAdam([network.ids.weight], lr=config.learning_rate),
    ]

"""The sequence model in training.

`SequenceLearner.learn` trains and keeps a checkpoint of every epoch. Order, cuts, dropout and negatives are functions of seed and epoch,
so a training that was killed goes on to the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array, Float32, Int64
from upnext.features.showings import Showings
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.optimiser_state import PREFIX, load_optimisers, optimiser_arrays
from upnext.retrieval.sequence.batches import SequenceReader
from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.sequence.export import export_sequence
from upnext.retrieval.sequence.network import SequenceNetwork, Sizes
from upnext.retrieval.sequence.objective import Objective
from upnext.retrieval.sequence.recent import Recent, recent_of
from upnext.retrieval.sequence.vectors import Asked, item_vectors, viewer_vectors
from upnext.retrieval.softmax import Proposal
from upnext.retrieval.training import device_of, rate

CHECKPOINT: Final = "sequence.npz"
CONTEXT_NAMES: Final = "context_names"
FORMAT: Final = 1


class SequenceLearner:
    """A sequence model in training, and its export."""

    def __init__(self, config: SequenceConfig, *, folder: Path | None = None) -> None:
        """folder: where a checkpoint is kept and a resumed training starts from; None keeps none.

        Raises InvalidInput where the heads don't divide the embedding."""
        if config.embedding_size % config.n_heads:
            raise expected("n_heads", f"a divisor of {config.embedding_size}", config.n_heads)
        if config.loss != "full" and not config.n_uniform + config.n_popular:
            raise expected("negatives of a sampled loss", "at least 1", 0)
        self.config = config
        self._folder = folder
        self._device = device_of(config.device)
        self._network: SequenceNetwork | None = None
        self._material: Material | None = None
        self._recent: Recent | None = None

    def learn(
        self,
        material: Material,
        *,
        progress: Progress | None = None,
        resume: bool = False,
        start_from: Mapping[str, Array] | None = None,
        stop_after: int | None = None,
    ) -> Mapping[str, float]:
        """{"loss", "n_examples", "epochs"} after the configured epochs.

        resume goes on from the folder's checkpoint where there is one. start_from: an earlier snapshot, to fine-tune on what was shown at or
        after material.since_us; videos may have come since. stop_after ends after that many epochs (of a training that is to be resumed).
        Raises InvalidInput for no targets, or for a checkpoint of other data or another config."""
        progress = progress or NoProgress()
        recent = recent_of(material.showings, material.n_items, self.config.popularity_days)
        reader = SequenceReader(material, recent, self.config)
        if reader.n_targets() < 2:
            raise expected("sequence model", "at least 2 examples", reader.n_targets())
        network = self._prepared(material, recent)
        if start_from is not None:
            self.restore(start_from)
        optimisers = _optimisers(network, self.config)
        digest = self._digest(material, start_from)
        done = self._restore(optimisers, digest) if resume else 0
        objective = self._objective(reader)
        n_epochs = self.config.epochs
        progress.start("sequence model", (n_epochs - done) * reader.n_targets(), "examples")
        loss = float("nan")
        for epoch in range(done, min(n_epochs, stop_after or n_epochs)):
            loss = self._epoch(epoch, reader, objective, optimisers, progress)
            self._save(optimisers, digest, epoch + 1)
        progress.done()
        return {"loss": loss, "n_examples": reader.n_targets(), "epochs": n_epochs}

    def _prepared(self, material: Material, recent: Recent) -> SequenceNetwork:
        showings = material.showings
        if len(showings) and int(showings.item_id.max()) >= material.n_items:
            raise expected("content", f"a row for item {showings.item_id.max()}", material.n_items)
        self._material, self._recent = material, recent
        codes = table_rows(material.videos)
        n_categories, n_creators, n_languages = codes.max(0, initial=0).tolist()
        sizes = Sizes(
            n_items=material.n_items,
            n_content=material.content.shape[1],
            n_categories=n_categories,
            n_creators=n_creators,
            n_languages=n_languages,
            n_context=material.context.size,
        )
        torch.manual_seed(self.config.seed)
        features = torch.from_numpy(np.ascontiguousarray(material.content, np.float32))
        network = SequenceNetwork(features, torch.from_numpy(codes), sizes, self.config)
        network.is_trained[torch.from_numpy(np.unique(showings.item_id))] = 1
        self._network = network.to(self._device)
        return self._network

    def _built(self) -> SequenceNetwork:
        if self._network is None:
            raise InvalidInput("sequence model: learn before you export")
        return self._network

    def _objective(self, reader: SequenceReader) -> Objective:
        assert self._material is not None
        assert self._recent is not None
        item_id = self._material.showings.item_id[reader.is_target]
        counts = np.bincount(item_id, minlength=self._material.n_items)
        share = torch.from_numpy((counts / counts.sum()).astype(np.float32)).to(self._device)
        n_uniform = min(self.config.n_uniform, self._material.n_items)
        columns = self._recent.columns if self.config.popularity else self._recent.columns[..., :0]
        return Objective(
            self._built(),
            torch.from_numpy(columns).to(self._device),
            Proposal(self.config.n_popular, n_uniform, share),
            self._device,
        )

    def _epoch(
        self,
        epoch: int,
        reader: SequenceReader,
        objective: Objective,
        optimisers: list[torch.optim.Optimizer],
        progress: Progress,
    ) -> float:
        """The mean loss of one pass."""
        self._built().train()
        torch.manual_seed(self.config.seed * 1_000_003 + epoch)  # of dropout
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        total, n_seen = 0.0, 0
        for batch in reader.epoch(epoch):
            done = (epoch + n_seen / reader.n_targets()) / self.config.epochs
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.config.learning_rate * rate(int(done * 10_000), 10_000)
                optimiser.zero_grad(set_to_none=True)
            loss = objective.of(batch, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            total += float(loss.detach()) * len(batch.target)
            n_seen += len(batch.target)
            progress.advance(len(batch.target), loss=total / n_seen)
        return total / max(1, n_seen)

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
        self.restore({n: a for n, a in arrays.items() if not n.startswith(PREFIX)})
        load_optimisers(optimisers, arrays)
        return int(str(meta["epochs"]))

    def restore(self, snapshot: Mapping[str, Array]) -> None:
        """Takes the weights of a snapshot; rows of videos and codes, and columns of context, that the snapshot does not know stay as they are.

        Raises InvalidInput where the network has another shape."""
        network = self._built()
        assert self._material is not None
        state = network.state_dict()
        for name, own in state.items():
            if name not in snapshot:
                raise expected("weights to start from", f"an array {name!r}", sorted(snapshot))
            theirs = torch.from_numpy(np.array(snapshot[name])).to(own.device)
            if name == "after.weight.weight":
                theirs = _by_name(
                    own, theirs, self._material.context.names, snapshot[CONTEXT_NAMES]
                )
            grows = name == "is_trained" or name.split(".")[0] in ("ids", "bias", "category")
            grows |= name.startswith("videos.tables")
            if own.shape[1:] != theirs.shape[1:] or (len(own) != len(theirs) and not grows):
                raise expected(f"weights {name!r}", f"shape {tuple(own.shape)}", theirs.shape)
            n = min(len(own), len(theirs))
            if name == "is_trained":
                theirs = torch.maximum(theirs[:n], own[:n])
            own[:n] = theirs[:n]

    def snapshot(self) -> Mapping[str, Array]:
        """Every weight by name, and the names of the context's columns."""
        assert self._material is not None, "learn before you take a snapshot"
        state = self._built().state_dict()
        weights = {name: value.detach().cpu().numpy().copy() for name, value in state.items()}
        return {**weights, CONTEXT_NAMES: np.array(self._material.context.names)}

    def viewers(self, showings: Showings, rows: Int64, asked: Asked | None = None) -> Float32:
        """float32[u, d]: query vectors of the users in rows int64[u] after all of their showings.

        asked: when and in which context each asks; None knows neither."""
        assert self._material is not None
        asked = asked or Asked.unknown(len(rows), self._material.context.size)
        return viewer_vectors(
            self._built(), showings, self._material.videos.duration_s, rows, asked
        )

    def item_vectors(self) -> Float32:
        """float32[i, d]: what query vectors are compared with."""
        assert self._recent is not None
        return item_vectors(self._built(), self._recent.columns[-1])

    def export(self, folder: Path) -> None:
        """Writes what serving reads (export.py lists the files)."""
        network = self._built().cpu().eval()
        assert self._material is not None
        assert self._recent is not None
        export_sequence(network, self._material, self._recent, checksum_of(self.snapshot()), folder)
        network.to(self._device)


def table_rows(videos: VideoCodes) -> Int64:
    """int64[i, 3]: rows of the tables of category, creator and language; 0 is unknown."""
    codes = np.stack([videos.category, videos.creator, videos.language], 1).astype(np.int64)
    return np.maximum(codes, -1) + 1


def _by_name(own: Tensor, theirs: Tensor, names: Sequence[str], known: Array) -> Tensor:
    """float32[d, c]: columns of `theirs` at the places where `names` has them, else of `own`."""
    place = {name: column for column, name in enumerate(known.tolist())}
    found = own.clone()
    for column, name in enumerate(names):
        if name in place:
            found[:, column] = theirs[:, place[name]]
    return found


def _optimisers(network: SequenceNetwork, config: SequenceConfig) -> list[torch.optim.Optimizer]:
    tables = [] if config.loss == "full" else [network.ids.weight]
    if tables and network.bias is not None:
        tables.append(network.bias.weight)
    is_table = {id(table) for table in tables}
    dense = [weight for weight in network.parameters() if id(weight) not in is_table]
    rate_, reg = config.learning_rate, config.reg
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(dense, lr=rate_, weight_decay=reg, betas=(0.9, 0.98), fused=True)
    ]
    if tables:
        found.append(torch.optim.SparseAdam(tables, lr=rate_, betas=(0.9, 0.98)))
    return found

"""The losses of a batch of the two-tower network: which scores are compared, and with what correction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from upnext.core.types import Array
from upnext.retrieval.material import Material
from upnext.retrieval.pairs import binary_loss
from upnext.retrieval.softmax import Proposal, sampled_softmax
from upnext.retrieval.training_rows import Labels
from upnext.retrieval.two_tower.batches import Batch
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.frequency import StreamingFrequency


class Draws:
    """How often each candidate column of a batch is drawn: counted over the examples, or estimated while they stream by."""

    def __init__(
        self, material: Material, labels: Labels, config: TwoTowerConfig, n_pool: int
    ) -> None:
        """n_pool: how many videos uniform negatives are drawn from."""
        drawn = material.showings.item_id[labels.row]
        counts = np.bincount(drawn, minlength=material.n_items)
        share = torch.from_numpy((counts / counts.sum()).astype(np.float32))
        n_popular = min(config.batch_size, len(labels)) - 1
        self._proposal = Proposal(n_popular, config.n_uniform, share, n_pool)
        self._stream: StreamingFrequency | None = None
        if config.frequency == "streaming":
            self._stream = StreamingFrequency(
                config.frequency_hashes, config.frequency_buckets, config.frequency_rate,
                float(material.n_items),
            )  # fmt: skip

    def log_draws(self, batch: Batch) -> Tensor:
        """float32[s] of the batch's candidate columns, on the CPU; what streams by is taken in first."""
        items = batch.items[batch.candidate]
        if self._stream is not None:
            self._stream.update(items[: len(batch.weight)])
            share = torch.from_numpy(self._stream.share(items))
            self._proposal.popularity[torch.from_numpy(items)] = share
        return self._proposal.log_draws(torch.from_numpy(items))

    def state(self) -> Mapping[str, Array]:
        """What `restore` takes: nothing where the draws are counted."""
        return {} if self._stream is None else self._stream.state()

    def restore(self, state: Mapping[str, Array]) -> None:
        """Goes on from a state."""
        if self._stream is not None:
            self._stream.restore(state)


def loss_of_rows(
    scores: Tensor,
    batch: Mapping[str, Tensor],
    log_draws: Tensor,
    bias: Tensor,
    config: TwoTowerConfig,
) -> Tensor:
    """float32[b]: the loss of every example.

    scores float32[b, s] against the candidate columns, of which the first b are the examples' own videos; batch as tensors_of gives it;
    log_draws float32[s]: of the softmax."""
    candidate, n = batch["candidate"], len(scores)
    hidden = _hidden(batch) if config.mask_seen else None
    if config.loss == "softmax":
        positive = torch.arange(n, device=scores.device)
        return sampled_softmax(scores, candidate, positive, log_draws, config.pairing, hidden)
    is_own = candidate[n:] == candidate[:n, None]
    is_none = is_own if hidden is None else is_own | hidden[:, n:]
    random = (scores[:, n:] + bias).masked_fill(is_none, -torch.inf)
    kept = (
        max(1, round(config.negatives_per_positive)) if config.imbalance == "downsample" else None
    )
    return binary_loss(
        scores.diagonal() + bias, batch["is_positive"], random, config.negatives_per_positive, kept
    )


def tensors_of(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """The batch's arrays by name, where the network is."""
    arrays: dict[str, Array] = {
        "context": batch.context, "age": batch.age, "candidate": batch.candidate,
        "weight": batch.weight, "searched": batch.searched[0], "user": batch.user,
        "searched:is_there": batch.searched[1].astype(np.float32),
        "is_positive": batch.is_positive, "skipped": batch.skipped,
        "has_skipped": batch.has_skipped, "n_items": np.array(len(batch.items)),
    }  # fmt: skip
    for name, (place, is_there) in batch.history.items():
        arrays[name] = place
        arrays[f"{name}:is_there"] = is_there.astype(np.float32)
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _hidden(batch: Mapping[str, Tensor]) -> Tensor:
    """bool[b, s]: candidate columns that are no negatives of a row: the viewer's pooled history holds the video, or it is what the same
    viewer was shown in another example of the batch."""
    place, is_there = batch["watched"], batch["watched:is_there"] > 0
    n_local = int(batch["n_items"])
    seen = torch.zeros(len(place), n_local + 1, dtype=torch.bool, device=place.device)
    seen.scatter_(
        1, torch.where(is_there, place, n_local), value=True
    )  # the rest in the last column
    user = batch["user"]
    hidden = seen[:, batch["candidate"]]
    hidden[:, : len(user)] |= user == user[:, None]
    return hidden

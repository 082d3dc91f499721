"""Off-policy training of a generator from logged showings, and its export.

Every showing teaches the propensity head what the logging policy shows to whom; those with a reward teach the policy, weighed as weights.py
says. Where the log holds a slot's own propensity, that one is used. Rewards and propensities are read before the first epoch and change
with nothing that is learned. Order, dropout and negatives are functions of seed and epoch: a resumed training ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from upnext.core.errors import InvalidInput, expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array, Bool, Float32, Query
from upnext.features.context import ContextEncoder
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.config import OffPolicyConfig
from upnext.retrieval.off_policy.epochs import FIGURES, Epochs, Logged, Shares
from upnext.retrieval.off_policy.export import Serving, all_items, export_network
from upnext.retrieval.off_policy.generator import viewer_inputs
from upnext.retrieval.off_policy.histories import HistoryReader, actions_of
from upnext.retrieval.off_policy.network import OffPolicyNetwork
from upnext.retrieval.off_policy.propensities import counted_propensities, shares_of
from upnext.retrieval.off_policy.rewards import rewards_of
from upnext.retrieval.optimiser_state import PREFIX, load_optimisers, optimiser_arrays
from upnext.retrieval.training import device_of

CHECKPOINT: Final = "off_policy.npz"
FORMAT: Final = 1
VIEWERS: Final = 512  # at a time


class OffPolicyLearner:
    """A policy in training, and its export."""

    def __init__(self, config: OffPolicyConfig, *, folder: Path | None = None) -> None:
        """folder: where a checkpoint is kept and a resumed training starts from; None keeps none."""
        self.config = config
        self._folder = folder
        self._device = device_of(config.device)
        self._network: OffPolicyNetwork | None = None
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
        """Figures of the last epoch: "loss" of the policy, "propensity_loss" (nats an action), "mean_weight" (E[u / beta], 1 if the
        propensities are right), "effective_share" of the actions under those weights, "n_actions", "n_rewarded", "epochs".

        start_from: a snapshot to fine-tune on what was shown at or after material.since_us; videos may have come since. stop_after ends a training that is to be resumed.
        Raises InvalidInput for fewer than two actions, no reward at all, or a checkpoint of other data or another config."""
        progress = progress or NoProgress()
        if int(material.showings.item_id.max(initial=-1)) >= material.n_items:
            raise expected("showings", f"videos below {material.n_items}", "a later one")
        is_action = actions_of(material.showings, self.config, material.since_us)
        reward = rewards_of(material, self.config.reward)
        n_rewarded = int((is_action & (np.nan_to_num(reward) != 0)).sum())
        if int(is_action.sum()) < 2 or not n_rewarded:
            found = f"{int(is_action.sum())} and {n_rewarded}"
            raise expected("off-policy training", "2 showings and a reward at least", found)
        logged = Logged(is_action, reward, self._propensities(material, is_action))
        network, optimisers = self._built(material, is_action, start_from)
        digest = self.digest(material, start_from)
        done = self._restore(network, optimisers, digest) if resume else 0
        reader = HistoryReader(material, is_action, self.config)
        epochs = Epochs(network, reader, logged, material.showings)
        total = (self.config.epochs - done) * int(is_action.sum())
        progress.start("off-policy network", total, "showings")
        figures = dict.fromkeys(FIGURES, float("nan"))
        for epoch in range(done, min(self.config.epochs, stop_after or self.config.epochs)):
            figures = epochs.run(epoch, optimisers, progress)
            self._save(network, optimisers, digest, epoch + 1)
        progress.done()
        figures["effective_share"] = figures["mean_weight"] ** 2 / figures.pop("mean_square_weight")
        counts = {"n_actions": int(is_action.sum()), "n_rewarded": n_rewarded}
        return {**figures, **counts, "epochs": self.config.epochs}

    def snapshot(self) -> Mapping[str, Array]:
        """Every weight by name. Raises InvalidInput before learn."""
        weights = self._learned().state_dict()
        return {name: value.detach().cpu().numpy().copy() for name, value in weights.items()}

    def export(self, folder: Path) -> None:
        """Writes what serving reads (export.py). Raises InvalidInput before learn."""
        network = self._learned()
        assert self._encoder is not None
        network.eval().cpu()
        export_network(network, self._encoder, checksum_of(self.snapshot()), folder)
        network.to(self._device)

    @torch.no_grad()
    def vectors(self, queries: Sequence[Query]) -> tuple[Float32, Float32]:
        """(float32[u, d] of the queries' viewers, float32[n_items, d]): what the exported files say, many viewers at a time.

        Raises InvalidInput before learn."""
        network, config = self._learned().eval().cpu(), self.config
        assert self._encoder is not None
        inputs, items = all_items(network)
        asked: list[dict[str, Float32]] = []
        for query in queries:
            history = query.user.history.last(config.n_history)
            history = history.where(history.item_id < len(items))
            asked.append(viewer_inputs(query, history, inputs[history.item_id], self._encoder))
        found = np.zeros((len(asked), config.embedding_size), np.float32)
        length = np.array([len(one["steps"]) for one in asked], np.int64)
        for n in np.unique(length).tolist():
            place = np.flatnonzero(length == n)
            for part in np.array_split(place, -(-len(place) // VIEWERS)):
                rows = [asked[i] for i in part.tolist()]
                columns = [np.stack([one[name] for one in rows]) for name in rows[0]]
                found[part] = Serving(network)(*map(torch.from_numpy, columns)).numpy()
        network.to(self._device)
        return found, items

    def shares(self, material: Material) -> Iterator[Shares]:
        """What the policy and the propensity head make of every action of a material, trained on or not, among all of its videos.

        Raises InvalidInput before learn, and for more than n_uniform videos."""
        if material.n_items > self.config.n_uniform:
            raise expected("shares", f"at most {self.config.n_uniform} videos", material.n_items)
        network, showings = self._learned(), material.showings
        is_action = actions_of(showings, self.config)
        nothing = np.full(len(showings), np.nan, np.float32)
        reader = HistoryReader(material, is_action, self.config)
        return Epochs(network, reader, Logged(is_action, nothing, nothing), showings).shares()

    def digest(self, material: Material, start_from: Mapping[str, Array] | None = None) -> str:
        """A checksum of what a training depends on: settings, showings and what is known of the videos."""
        showings, config = material.showings, self.config.model_dump_json()
        arrays: dict[str, Array] = {
            "item": showings.item_id, "user": showings.user, "time": showings.time_us,
            "flags": showings.flags, "watch": showings.watch_s, "content": material.content,
            "premium": material.videos.is_premium,
            "config": np.frombuffer(config.encode(), np.uint8),
            "since": np.array(material.since_us),
        }  # fmt: skip
        if showings.propensity is not None:
            arrays["propensity"] = showings.propensity
        return checksum_of({**arrays, **{f"start:{n}": a for n, a in (start_from or {}).items()}})

    def _learned(self) -> OffPolicyNetwork:
        if self._network is None:
            raise InvalidInput("off-policy network: learn before you export")
        return self._network

    def _propensities(self, material: Material, is_action: Bool) -> Float32:
        """float32[m]: what is known before training: the log's own, else counts where counts are asked for, else NaN."""
        showings = material.showings
        known = np.full(len(showings), np.nan, np.float32)
        if self.config.correction == "counts":
            known = counted_propensities(showings, is_action, material.n_items, self.config)
        if showings.propensity is None:
            return known
        return np.where(np.nan_to_num(showings.propensity) > 0, showings.propensity, known)

    def _built(
        self, material: Material, is_action: Bool, start_from: Mapping[str, Array] | None
    ) -> tuple[OffPolicyNetwork, list[torch.optim.Optimizer]]:
        config = self.config
        torch.manual_seed(config.seed)
        features = torch.from_numpy(np.ascontiguousarray(material.content, np.float32))
        share = shares_of(material.showings.item_id[is_action], material.n_items)
        log_share = torch.from_numpy(np.log(share).astype(np.float32))
        network = OffPolicyNetwork(features, log_share, material.context.size + 1, config)
        if start_from is not None:
            network.load_state_dict(_grown(network, start_from))
        self._network = network = network.to(self._device)
        self._encoder = material.context
        return network, [
            torch.optim.AdamW(network.dense(), lr=config.learning_rate, weight_decay=config.reg),
            torch.optim.SparseAdam(network.tables(), lr=config.learning_rate),
        ]

    def _save(
        self,
        network: OffPolicyNetwork,
        optimisers: list[torch.optim.Optimizer],
        digest: str,
        epochs: int,
    ) -> None:
        if self._folder is None:
            return
        arrays = dict(self.snapshot()) | optimiser_arrays(optimisers)
        meta = {"format": FORMAT, "digest": digest, "epochs": epochs}
        write_checkpoint(self._folder / CHECKPOINT, arrays, meta)

    def _restore(
        self, network: OffPolicyNetwork, optimisers: list[torch.optim.Optimizer], digest: str
    ) -> int:
        """Epochs done by the folder's checkpoint; 0 without one."""
        path = None if self._folder is None else self._folder / CHECKPOINT
        if path is None or not path.exists():
            return 0
        arrays, meta = read_checkpoint(path)
        if meta["digest"] != digest or meta["format"] != FORMAT:
            raise InvalidInput(
                f"{path}: is of other data or another config; delete it to start anew"
            )
        weights = {n: torch.from_numpy(a) for n, a in arrays.items() if not n.startswith(PREFIX)}
        network.load_state_dict(weights)
        load_optimisers(optimisers, arrays)
        return int(str(meta["epochs"]))


def _grown(network: OffPolicyNetwork, start_from: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """A snapshot with rows for the videos that came since, as new ones begin. Raises InvalidInput for another network's weights."""
    grown: dict[str, torch.Tensor] = {}
    for name, weight in network.state_dict().items():
        given = torch.from_numpy(np.array(start_from.get(name, np.zeros(0, np.float32))))
        is_table = name in ("ids.weight", "propensity.ids.weight")
        fits = given.ndim == weight.ndim and given.shape[1:] == weight.shape[1:]
        if not fits or not (given.shape == weight.shape or (is_table and len(given) < len(weight))):
            raise expected(f"start_from[{name!r}]", f"{list(weight.shape)}", list(given.shape))
        grown[name] = weight.clone()
        grown[name][: len(given)] = given
    return grown

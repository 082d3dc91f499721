"""One pass over the log: the losses of both heads, and what their propensities say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from upnext.core.protocols import Progress
from upnext.core.types import Bool, Float32, Int64
from upnext.features.showings import Showings
from upnext.retrieval.off_policy.histories import Batch, HistoryReader, actions_of
from upnext.retrieval.off_policy.network import OffPolicyNetwork
from upnext.retrieval.off_policy.weights import action_weights, self_normalised, top_k_factor
from upnext.retrieval.softmax import Proposal
from upnext.retrieval.training import is_half, rate

FIGURES: Final = ("loss", "propensity_loss", "mean_weight", "mean_square_weight")


@dataclass(frozen=True)
class Logged:
    """What is known of m showings before training; nothing changes it."""

    is_action: Bool  # [m]
    reward: Float32  # [m] NaN: not known
    propensity: Float32  # [m] NaN: to be learned


class Epochs:
    """Passes over the log, with everything they read."""

    def __init__(
        self, network: OffPolicyNetwork, reader: HistoryReader, logged: Logged, showings: Showings
    ) -> None:
        self._network = network
        self._config = network.config
        self._reader = reader
        self._logged = logged
        self._device = network.features.device
        self._n_items = len(network.features)
        counts = np.bincount(showings.item_id[logged.is_action], minlength=self._n_items)
        share = (counts / counts.sum()).astype(np.float32)
        known = actions_of(showings, network.config)  # a fine-tuning's are the latest of them
        shown = np.bincount(showings.item_id[known], minlength=self._n_items)
        self._trained = torch.from_numpy(shown > 0)
        self._share = torch.from_numpy(share).to(self._device)

    def run(
        self, epoch: int, optimisers: list[torch.optim.Optimizer], progress: Progress
    ) -> dict[str, float]:
        """FIGURES, each a mean over the epoch's actions."""
        config, n_steps = self._config, self._reader.n_batches()
        self._network.train()
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        totals, n_actions = torch.zeros(len(FIGURES), dtype=torch.float64), 0
        for step, batch in enumerate(self._reader.epoch(epoch)):
            share = rate(epoch * n_steps + step, config.epochs * n_steps)
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = config.learning_rate * share
                optimiser.zero_grad(set_to_none=True)
            kept = torch.rand(len(batch.items), generator=generator) >= config.id_dropout
            # an id that is no action anywhere would only ever be pushed down: content alone
            kept &= self._trained[torch.from_numpy(batch.items)]
            losses, figures = self._losses(batch, kept.float())
            losses.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
            totals += figures * len(batch.row)
            n_actions += len(batch.row)
            progress.advance(len(batch.row), loss=float(totals[0]) / n_actions)
        return dict(zip(FIGURES, (totals / n_actions).tolist(), strict=True))

    def shares(self) -> Iterator[Shares]:
        """What both heads say now of every action, batch by batch, where all videos are candidates."""
        assert self._reader.scores_all
        self._network.eval()
        for batch in self._reader.epoch(0):
            with torch.no_grad():
                said = self._said(batch, torch.ones(len(batch.items)))
                is_seen = said.choice.is_seen
                logits = self._beta_logits(said)
                policy, propensity = (
                    x.masked_fill(is_seen, -torch.inf).softmax(1).cpu().numpy()
                    for x in (said.scores, logits)
                )
            yield Shares(batch.row, policy, propensity)

    def _losses(self, batch: Batch, kept: Tensor) -> tuple[Tensor, Tensor]:
        """(both heads' losses in one, whose weights they don't share; float64[4] FIGURES of the batch)."""
        config = self._config
        said = self._said(batch, kept)
        log_policy = said.choice.log_share(said.scores)
        propensity, propensity_loss = self._propensity(said)
        reward = torch.from_numpy(self._logged.reward[batch.row]).to(self._device)
        n_known = torch.isfinite(reward).sum().clamp_min(1)
        reward = torch.nan_to_num(reward)
        if config.objective == "softmax":
            reward = reward.clamp_min(0)  # log pi has no lower bound, and negative weights seek it
        uniform = 1.0 / self._n_items
        weight = action_weights(
            reward, log_policy, propensity, uniform, objective=config.objective, cap=config.cap
        )
        if config.self_normalise:
            weight = self_normalised(weight)
        weight = weight * top_k_factor(log_policy, config.top_k)
        loss = -(weight * log_policy).sum() / n_known
        ratio = torch.ones_like(reward) if propensity is None else uniform / propensity
        figures = torch.stack([loss, propensity_loss, ratio.mean(), ratio.square().mean()])
        return loss + propensity_loss, figures.detach().double().cpu()

    def _said(self, batch: Batch, kept: Tensor) -> _Said:
        """The states before a batch's actions, and the policy's scores of the candidates there."""
        network, config, device = self._network, self._config, self._device
        tensors = {name: torch.from_numpy(a).to(device) for name, a in vars(batch).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=is_half(config.precision, device)):
            inputs = network.inputs(tensors["items"], kept.to(device))
            beginning = (0, 0, 1, 0)  # a row of zeros before the first
            history = functional.pad(inputs[tensors["history"]], beginning)
            states = network.state(history, functional.pad(tensors["steps"], beginning))
            state = states[tensors["window"], tensors["n_before"]]
            viewers = network.viewer(state, tensors["context"])
            videos = network.item.vectors(inputs)
        scores = viewers.float() @ videos.float()[tensors["candidate"]].T / config.temperature
        return _Said(scores, state.float(), self._choice(tensors), tensors)

    def _beta_logits(self, said: _Said) -> Tensor:
        """float32[t, s]: the propensity head's logits of the candidates; no gradient reaches the state from here."""
        tensors = said.tensors
        items = tensors["items"][tensors["candidate"]]
        return self._network.propensity(said.state, tensors["context"], items)  # type: ignore[no-any-return]

    def _propensity(self, said: _Said) -> tuple[Tensor | None, Tensor]:
        """(float32[t] propensities without gradient, None for no correction; the propensity head's loss)."""
        known = torch.from_numpy(self._logged.propensity).to(self._device)[said.tensors["row"]]
        if self._config.correction != "learned":
            corrected = None if self._config.correction == "none" else known
            return corrected, said.state.new_zeros(())
        log_share = said.choice.log_share(self._beta_logits(said))
        learned = log_share.detach().clamp_max(0).exp()
        return torch.where(torch.isfinite(known), known, learned), -log_share.mean()

    def _choice(self, tensors: Mapping[str, Tensor]) -> _Choice:
        """What each action was chosen from."""
        candidate, action = tensors["candidate"], tensors["action"]
        if self._reader.scores_all:
            own, log_draws = action, torch.zeros(len(candidate), device=self._device)
        else:
            own = torch.arange(len(action), device=self._device)
            proposal = Proposal(len(action) - 1, self._config.n_uniform, self._share)
            log_draws = proposal.log_draws(tensors["items"][candidate])
        return _Choice(own, log_draws, tensors["is_seen"][:, candidate])


@dataclass(frozen=True)
class Shares:
    """What both heads say of t actions' choices among all i videos; 0 for what a viewer had seen in the window."""

    row: Int64  # [t] in the showings
    policy: Float32  # [t, i]
    propensity: Float32  # [t, i]


@dataclass(frozen=True)
class _Said:
    """A batch of t actions as the network sees them."""

    scores: Tensor  # float32[t, s] the policy's logits of the candidates
    state: Tensor  # float32[t, state_size]
    choice: _Choice
    tensors: Mapping[str, Tensor]  # the batch


@dataclass(frozen=True)
class _Choice:
    """t actions among s candidate columns."""

    own: Tensor  # int64[t] the action's own column
    log_draws: Tensor  # float32[s] log of the expected number of draws of each column's video
    is_seen: Tensor  # bool[t, s] outside the row's choice

    def log_share(self, logits: Tensor) -> Tensor:
        """float32[t]: the log of each action's share of the softmax over all videos, estimated from the columns' logits float32[t, s]."""
        corrected = (logits - self.log_draws).masked_fill(self.is_seen, -torch.inf)
        own = logits.gather(1, self.own[:, None])[:, 0]
        return own - torch.logsumexp(corrected, 1)

"""The loss of one batch of sequences: the videos it needs, the queries of its targets, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from upnext.core.types import Array
from upnext.retrieval.sequence.batches import SequenceBatch
from upnext.retrieval.sequence.negatives import Draws, draw, gbce, sampled_softmax
from upnext.retrieval.sequence.network import SequenceNetwork
from upnext.retrieval.sequence.softmax import Hidden, full_softmax
from upnext.retrieval.softmax import Proposal
from upnext.retrieval.training import is_half


@dataclass(frozen=True)
class Objective:
    """What does not change from batch to batch."""

    network: SequenceNetwork
    recent: Tensor  # float32[n, i, p] popularity columns; p = 0 where they are not used
    proposal: Proposal
    device: torch.device

    def of(self, batch: SequenceBatch, generator: torch.Generator) -> Tensor:
        """The mean weighted loss of the batch's targets; the generator draws negatives and dropped ids."""
        network, config = self.network, self.network.config
        target = self._tensor(batch.target)
        draws = None if config.loss == "full" else draw(self.proposal, generator)
        items = self._items(batch, draws)
        kept = torch.rand(len(items), generator=generator) >= config.id_dropout
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=is_half(config.precision, self.device)
        ):
            videos = network.vectors(items, kept.float().to(self.device))
            queries = self._queries(batch, items, videos)
        videos, queries = videos.float(), queries.float()
        videos = network.biased(videos, items)
        weight = self._tensor(batch.weight)
        total = self._compared(batch, items, videos, queries, draws)
        loss = total / len(target)
        if network.category is not None:
            said = network.category(queries[:, : config.embedding_size])
            wanted = network.codes[target, 0]
            second = functional.cross_entropy(said, wanted, reduction="none")
            loss = loss + config.category_weight * (weight * second).mean()
        return loss

    def _items(self, batch: SequenceBatch, draws: Draws | None) -> Tensor:
        """int64[v] ascending: every video for the full softmax, else those of the batch and the draws."""
        if draws is None:
            return torch.arange(self.network.sizes.n_items, device=self.device)
        needed = np.concatenate([batch.item_id.ravel(), batch.target, draws.item_id.cpu().numpy()])
        return self._tensor(np.unique(needed))

    def _queries(self, batch: SequenceBatch, items: Tensor, videos: Tensor) -> Tensor:
        local = torch.searchsorted(items, self._tensor(batch.item_id))
        gaps = None if batch.gaps is None else self._tensor(batch.gaps)
        hidden = self.network.hidden(
            functional.embedding(local, videos),
            self._tensor(batch.feedback),
            self._tensor(batch.clock),
            gaps,
        )
        asked = hidden.flatten(0, 1).index_select(0, self._tensor(batch.place))
        return self.network.queries(asked, self._tensor(batch.context))

    def _compared(
        self,
        batch: SequenceBatch,
        items: Tensor,
        videos: Tensor,
        queries: Tensor,
        draws: Draws | None,
    ) -> Tensor:
        """The weighted sum of the targets' losses, the targets of each instant with its popularity columns."""
        total = queries.new_zeros(())
        instants, first = np.unique(batch.instant, return_index=True)
        ends = [*first[1:].tolist(), len(batch.instant)]
        for instant, start, end in zip(instants.tolist(), first.tolist(), ends):
            rows = slice(start, end)
            whole = torch.cat([videos, self.recent[instant, items]], 1)
            target = torch.searchsorted(items, self._tensor(batch.target[rows]))
            weight = self._tensor(batch.weight[rows])
            bounds = batch.seen.start[start : end + 1]
            seen = self._tensor(batch.seen.item_id[bounds[0] : bounds[-1]])
            hidden = Hidden(torch.from_numpy(bounds - bounds[0]), torch.searchsorted(items, seen))
            if draws is None:
                total = total + full_softmax(queries[rows], whole, target, weight, hidden)
            else:
                column = torch.searchsorted(items, draws.item_id)
                losses = self._sampled(queries[rows], whole, target, hidden, column, draws)
                total = total + (weight * losses).sum()
        return total

    def _sampled(
        self,
        queries: Tensor,
        videos: Tensor,
        target: Tensor,
        hidden: Hidden,
        column: Tensor,
        draws: Draws,
    ) -> Tensor:
        """float32[t]: the losses of targets int64[t] against the draws, which are videos[column]."""
        left_out = _left_out(hidden, column, target, len(videos))
        own = (queries * videos[target]).sum(1)
        others = queries @ videos[column].T
        config = self.network.config
        if config.loss == "sampled":
            return sampled_softmax(own, others, draws.log_draws, left_out)
        n_items = self.network.sizes.n_items
        return gbce(own, others, left_out, n_items, config.gbce_calibration)

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _left_out(hidden: Hidden, column: Tensor, target: Tensor, n_items: int) -> Tensor:
    """bool[t, s]: the negative in column int64[s] is hidden from the row, or the row's own target int64[t]."""
    drawn, place = torch.unique(column, return_inverse=True)
    lookup = torch.full((n_items,), -1, device=column.device)
    lookup[drawn] = torch.arange(len(drawn), device=column.device)
    row, item = hidden.of(slice(0, len(target)))
    found = lookup[item]
    mask = torch.zeros(len(target), len(drawn), dtype=torch.bool, device=column.device)
    mask[row[found >= 0], found[found >= 0]] = True
    return mask[:, place] | (column[None, :] == target[:, None])

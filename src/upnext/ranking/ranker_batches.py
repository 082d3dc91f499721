"""The ranker's rows as tensors, whole requests together, and their loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from upnext.core.types import Array, Int64
from upnext.ranking.config import RankingConfig
from upnext.ranking.ranker_network import RankerNetwork, list_loss, losses
from upnext.ranking.rows import RankerRows
from upnext.ranking.tasks import LISTED, kind_of


class Batches:
    """Rows as tensors, whole requests together, with each task's scale in the loss."""

    def __init__(
        self,
        rows: RankerRows,
        label: Tensor,
        index: Int64,
        tasks: tuple[str, ...],
        config: RankingConfig,
        device: torch.device,
    ) -> None:
        self.index, self._device, self._tasks = index, device, tasks
        self._rows, self._label = rows, label
        known = ~np.isnan(label.numpy()[index])
        told = (known * rows.weight[index][:, None]).sum(0)
        importance = np.array([config.task_weights.get(t, 1.0) for t in tasks])
        scale = importance * len(index) / np.maximum(told, 1e-9)
        self._scale = torch.from_numpy(scale.astype(np.float32)).to(device)
        means = [
            mean_label(rows.labels[t], rows.weight) if kind_of(t) == "seconds" else 1.0
            for t in tasks
        ]
        self._mean_s = torch.tensor(means, device=device)
        request = rows.requests()[index]
        self._starts = np.flatnonzero(np.diff(request, prepend=-1))
        self._ends = np.append(self._starts[1:], len(index))
        self._request = torch.from_numpy(request)  # of each row of index
        self._listed = tasks.index(LISTED) if LISTED in tasks and config.list_weight > 0 else None
        self._list_scale = config.list_weight * len(index) / max(1, self.n_requests)

    @property
    def n_requests(self) -> int:
        """Runs of rows with one viewer and one instant."""
        return len(self._starts)

    def n_steps(self, batch_rows: int) -> int:
        """Batches of about so many rows."""
        return max(1, math.ceil(len(self.index) / batch_rows))

    def cut(self, requests: Int64, n_steps: int) -> Iterator[Int64]:
        """The places in `index` of all rows of the requests, in their order, in n_steps pieces."""
        for piece in np.array_split(requests, min(n_steps, max(1, len(requests)))):
            starts, sizes = self._starts[piece], self._ends[piece] - self._starts[piece]
            before = np.cumsum(sizes) - sizes
            yield np.repeat(starts - before, sizes) + np.arange(sizes.sum())

    def loss(
        self, model: RankerNetwork, places: Int64, generator: torch.Generator | None
    ) -> Tensor:
        """The sum of the weighted, scaled losses of the rows at these places of `index`."""
        index = self.index[places]
        user = torch.from_numpy(self._rows.user[index]).to(self._device)
        items = torch.from_numpy(self._rows.items[index]).to(self._device)
        weight = torch.from_numpy(self._rows.weight[index]).to(self._device)
        label = self._label[torch.from_numpy(index)].to(self._device)
        output = model(user, items, generator).float()
        each = losses(output, label, self._tasks, self._mean_s) * self._scale * weight[:, None]
        if self._listed is None:
            return each.sum()
        _, request = torch.unique_consecutive(self._request[places], return_inverse=True)
        k = self._listed
        listed = list_loss(output[:, k], label[:, k], weight, request.to(self._device))
        return each.sum() + self._list_scale * listed


def mean_label(label: Array, weight: Array) -> float:
    known = ~np.isnan(label)
    return max(float(np.average(label[known], weights=weight[known])), 1e-6)

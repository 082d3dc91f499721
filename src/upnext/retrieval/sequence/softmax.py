"""The full softmax over every video, forward and backward in one walk through rows that fit the cache.

Cross-entropy by the library keeps logits, log-probabilities and their gradients of t rows by v videos in memory, and reads each several
times. Here a block of rows is scored, turned into probabilities and multiplied back into both gradients before the next block is begun;
nothing of size t by v outlives its block. Same numbers as log_softmax up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

BLOCK: Final = 1_048_576  # logits at a time: 4 MB


@dataclass(frozen=True)
class Hidden:
    """For each of t rows the columns that are no alternatives: column[start[r] : start[r + 1]]; never its own target."""

    start: Tensor  # int64[t + 1], on the CPU
    column: Tensor  # int64[p]

    def of(self, rows: slice) -> tuple[Tensor, Tensor]:
        """(row int64[q] counted from the first of `rows`, column int64[q])."""
        start = self.start[rows.start : rows.stop + 1]
        column = self.column[int(start[0]) : int(start[-1])]
        row = torch.arange(len(start) - 1).repeat_interleave(start.diff())
        return row.to(column.device), column


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, items: Tensor, target: Tensor, weight: Tensor, hidden: Hidden
    ) -> Tensor:
        n, size = len(query), max(1, BLOCK // len(items))
        by_query, by_item = torch.empty_like(query), torch.zeros_like(items)
        loss = query.new_zeros(())
        place = torch.arange(min(n, size), device=query.device)
        for start in range(0, n, size):
            rows = slice(start, min(n, start + size))
            part, hit, w = query[rows], target[rows], weight[rows]
            logits = part @ items.T
            logits[hidden.of(rows)] = -torch.inf
            own = logits[place[: len(part)], hit]
            top = logits.amax(1, keepdim=True)
            total = logits.sub_(top).exp_().sum(1)
            loss += (w * (top[:, 0] + total.log() - own)).sum()
            scale = (w / total)[:, None]
            by_query[rows] = (logits @ items) * scale - w[:, None] * items[hit]
            by_item.addmm_(logits.T, part * scale)
            by_item.index_add_(0, hit, part * -w[:, None])
        ctx.save_for_backward(by_query, by_item)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        by_query, by_item = ctx.saved_tensors
        return by_query * grad[0], by_item * grad[0], None, None, None


def full_softmax(
    query: Tensor, items: Tensor, target: Tensor, weight: Tensor, hidden: Hidden
) -> Tensor:
    """The sum over t rows of weight * -log softmax(query @ items.T)[target], hidden columns left out.

    query float32[t, d], items float32[v, d], target int64[t], weight float32[t] (which gets no gradient)."""
    found: Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
        query, items, target, weight, hidden
    )
    return found

"""One loss for every convention of weighted factorisation, and the rows that solvers read.

    sum over pairs shown  c (p - u.v)^2  +  W sum over other pairs (u.v)^2  +  sum ridge_u |u|^2 + sum ridge_v |v|^2

with weight c = |confidence| and p = 1 where the confidence is above 0, else 0. Design A is this with c = 1; Hu, Koren, Volinsky 2008 with W = 1,
c = 1 + alpha r; `implicit` with W = 1, c = alpha r. Rendle et al. 2022 let W (alpha0) weigh all pairs, shown ones too: weighs = "all".
A row's normal equations are (W G + sum extra h h' + ridge) x = sum pull h, with the Gram matrix G of all rows of the other side, extra = c - W (or c)
and pull = c p: all pairs are there at the cost of those shown (Hu 2008). The ridge is reg (sum c + W n)^exponent (Rendle 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from upnext.core.types import Array, Float32, Int64
from upnext.retrieval.factorisation.config import FactorisationConfig
from upnext.retrieval.factorisation.interactions import Interactions


@dataclass(frozen=True)
class Weighting:
    """The settings of the loss."""

    unobserved_weight: float
    weighs: Literal["unobserved", "all"]
    reg: float
    reg_exponent: float

    @staticmethod
    def of(config: FactorisationConfig) -> Weighting:
        """The loss of these settings."""
        c = config
        return Weighting(c.unobserved_weight, c.weighs, c.reg, c.reg_exponent)

    def extra(self, confidence: Float32) -> Float32:
        """float32[p]: what a shown pair weighs beyond W."""
        taken = self.unobserved_weight if self.weighs == "unobserved" else 0.0
        return (np.abs(confidence) - np.float32(taken)).astype(np.float32)

    def ridge(self, weight: Array, n_others: int) -> Float32:
        """float32[r]: of rows whose shown pairs weigh `weight` [r] in sum, among n_others on the other side."""
        whole = np.asarray(weight, np.float64) + self.unobserved_weight * n_others
        return (self.reg * whole**self.reg_exponent).astype(np.float32)


@dataclass(frozen=True)
class Side:
    """The rows of one side, viewers or videos, r of them with p pairs."""

    start: Int64  # [r + 1]
    column: Array  # int32[p] rows of the other side
    extra: Float32  # [p]
    pull: Float32  # [p]
    ridge: Float32  # [r]

    def __len__(self) -> int:
        return len(self.ridge)

    def of_rows(self, rows: Int64) -> Side:
        """The rows int64[s] alone, in their order."""
        n = np.diff(self.start)[rows]
        start = np.concatenate([[0], np.cumsum(n)]).astype(np.int64)
        place = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], n)
        return Side(
            start, self.column[place], self.extra[place], self.pull[place], self.ridge[rows]
        )


def sides_of(pairs: Interactions, n_items: int, weighting: Weighting) -> tuple[Side, Side]:
    """(viewers, videos) as the solvers read them."""
    user, item, confidence = pairs.user, pairs.item_id, pairs.confidence
    n_users = len(pairs.start) - 1
    extra, pull = weighting.extra(confidence), np.maximum(confidence, 0)
    weight = np.abs(confidence)
    of_user = weighting.ridge(np.bincount(user, weight, n_users), n_items)
    of_item = weighting.ridge(np.bincount(item, weight, n_items), n_users)
    users = Side(pairs.start, item.astype(np.int32), extra, pull, of_user)
    order = np.argsort(item, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(item, minlength=n_items))]).astype(np.int64)
    items = Side(start, user[order].astype(np.int32), extra[order], pull[order], of_item)
    return users, items


def loss_of(
    users: Side, items: Side, user_factors: Float32, item_factors: Float32, unobserved_weight: float
) -> float:
    """The loss above over all pairs, in float64."""
    row = np.repeat(np.arange(len(users)), np.diff(users.start))
    shown = 0.0
    for start in range(0, len(row), 1 << 18):  # bounded memory
        chunk = slice(start, start + (1 << 18))
        score = np.einsum(
            "pd,pd->p",
            user_factors[row[chunk]],
            item_factors[users.column[chunk]],
            dtype=np.float64,
        )
        pull = users.pull[chunk].astype(np.float64)
        shown += float((users.extra[chunk] * score**2 + pull * (1 - 2 * score)).sum())
    u, v = user_factors.astype(np.float64), item_factors.astype(np.float64)
    everywhere = unobserved_weight * float(((u.T @ u) * (v.T @ v)).sum())
    kept_small = float(users.ridge @ (u**2).sum(1)) + float(items.ridge @ (v**2).sum(1))
    return shown + everywhere + kept_small

"""Slates: what a page as a whole would have earned, summed over its slots.

A slate's reward is the sum of its slots' rewards; w_k = target / logged of slot k given the slots before it, and w_1:k their product. Who looks
how decides how much of the slate has to be weighted (McInerney et al. 2020):
- standard: every slot's reward may depend on the whole slate: w_1:K r_k. No assumption, and a variance that grows exponentially in K;
- reward interaction (RIPS): a slot's reward depends on itself and the slots above (a viewer who reads downwards): w_1:k r_k;
- independent (IIPS): on its own video alone: the ratio of the slot's marginal probabilities. Without marginals the conditional ratio stands in,
  which then also takes the slots above as the logging policy filled them;
- cascade doubly robust (Kiyohara et al. 2022, eq. 5): RIPS corrected by predictions q_k of what slot k and the slots below will earn:
  w_1:k (r_k - q_k) + w_1:k-1 E_target[q_k].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Array, Estimate, Float64, Int64
from upnext.evaluate.off_policy.estimator import Ratio, Terms, figure
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.support import Support, support_of_weights


@dataclass(frozen=True, slots=True)
class Slates:
    """Logged slots that belong together: rows of `slots` with one key in `slate`, in the order of `slots.position`.

    slots.logged and slots.target are probabilities given the slots above. A shorter slate is one whose further slots earn nothing."""

    slots: Logged
    slate: Array  # [n] keys
    logged_marginal: Float64 | None = None  # [n] P(video in this slot), whatever stands above
    target_marginal: Float64 | None = None  # [n]
    row: Int64 = field(init=False, repr=False, compare=False)  # [n] slate of each slot, from 0
    depth: Int64 = field(init=False, repr=False, compare=False)  # [n] slot of each row, from 0
    cluster: Int64 = field(init=False, repr=False, compare=False)  # [s] viewer of each slate

    def __post_init__(self) -> None:
        """Raises InvalidInput without positions, for a position twice in a slate, and for a slate of two viewers."""
        n = len(self.slots)
        if self.slots.position is None:
            raise InvalidInput("slates: the log needs `position`")
        if len(self.slate) != n:
            raise expected("slate", f"{n} keys", len(self.slate))
        _, row = np.unique(self.slate, return_inverse=True)
        order = np.lexsort((self.slots.position, row))
        starts = np.flatnonzero(np.diff(row[order], prepend=-1))
        sizes = np.diff(starts, append=n)
        depth = np.empty(n, np.int64)
        depth[order] = np.arange(n) - np.repeat(starts, sizes)
        _check_twice(self, row, order)
        object.__setattr__(self, "row", row)
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "cluster", self._clusters(row, order[starts]))

    def _clusters(self, row: Int64, first: Int64) -> Int64:
        if self.slots.user is None:
            return np.arange(len(first))
        viewer = self.slots.cluster[first]
        is_same = self.slots.cluster == viewer[row]
        if not is_same.all():
            raise expected("slate", "one viewer a slate", self.slate[int(np.argmin(is_same))])
        return np.unique(viewer, return_inverse=True)[1].astype(np.int64)

    def grid(self, column: Float64, blank: float) -> Float64:
        """A column float64[n] of slots as float64[s, k], `blank` where a slate is shorter."""
        shape = (len(self.cluster), int(self.depth.max(initial=-1)) + 1)
        out = np.full(shape, blank)
        out[self.row, self.depth] = column
        return out

    @property
    def weight(self) -> Float64:
        """float64[s, k]: the product of w up to each slot."""
        return np.asarray(np.cumprod(self.grid(self.slots.weight, 1.0), axis=1), np.float64)


class SlateEstimator(Protocol):
    """Values a target policy's slates."""

    @property
    def name(self) -> str: ...

    def weight(
        self, slates: Slates
    ) -> Float64: ...  # [s, k] what each slot's reward is weighted by

    def terms(self, slates: Slates) -> Terms: ...  # of s slates


@dataclass(frozen=True, slots=True)
class StandardIps:
    """The whole slate's weight for every slot (SlateEstimator)."""

    name: str = "slate IPS"

    def weight(self, slates: Slates) -> Float64:
        """float64[s, k]: the product over the whole slate, in every slot."""
        weight = slates.weight
        return np.repeat(weight[:, -1:], weight.shape[1], axis=1)

    def terms(self, slates: Slates) -> Terms:
        """The mean over slates of the whole weight times the slate's reward."""
        return _weighted(self.weight(slates), slates, bias_bound=0.0)


@dataclass(frozen=True, slots=True)
class RewardInteractionIps:
    """RIPS: the weight of the slots down to this one (SlateEstimator)."""

    name: str = "RIPS"

    def weight(self, slates: Slates) -> Float64:
        """float64[s, k]: the product down to each slot."""
        return slates.weight

    def terms(self, slates: Slates) -> Terms:
        """The mean over slates of sum_k w_1:k r_k."""
        return _weighted(self.weight(slates), slates)


@dataclass(frozen=True, slots=True)
class IndependentIps:
    """IIPS: each slot's own weight (SlateEstimator)."""

    name: str = "IIPS"

    def weight(self, slates: Slates) -> Float64:
        """float64[s, k]: the ratio of marginals, or of the conditional probabilities where the log has no marginals."""
        logged, target = slates.logged_marginal, slates.target_marginal
        if logged is None or target is None:
            return slates.grid(slates.slots.weight, 1.0)
        own = Logged(slates.slots.reward, logged, target)  # checks their ranges
        return slates.grid(own.weight, 1.0)

    def terms(self, slates: Slates) -> Terms:
        """The mean over slates of sum_k w_k r_k."""
        return _weighted(self.weight(slates), slates)


@dataclass(frozen=True, slots=True)
class CascadeDoublyRobust:
    """Cascade-DR; slots.predicted holds q_k and its mean under the target given the slots above (SlateEstimator)."""

    name: str = "cascade-DR"

    def weight(self, slates: Slates) -> Float64:
        """float64[s, k]: the product down to each slot."""
        return slates.weight

    def terms(self, slates: Slates) -> Terms:
        """The mean over slates of sum_k w_1:k (r_k - q_k) + w_1:k-1 E_target[q_k]. Raises InvalidInput without predictions."""
        predicted = slates.slots.predicted
        if predicted is None:
            raise InvalidInput("predicted: cascade-DR needs predictions of every slot")
        weight = slates.weight
        above = np.concatenate([np.ones((len(weight), 1)), weight[:, :-1]], axis=1)
        missed = slates.grid(slates.slots.reward - predicted.logged, 0.0)
        rows = weight * missed + above * slates.grid(predicted.target, 0.0)
        return Terms((Ratio.mean(rows.sum(axis=1)),), float("nan"))


def estimate_slates(
    estimator: SlateEstimator, slates: Slates, *, level: float = 0.95
) -> tuple[Estimate, Support]:
    """The target's mean reward of a slate, cluster-robust by viewer, and the support of the slot that has least of it."""
    support = slate_support(estimator, slates)
    return figure(estimator.terms(slates), slates.cluster, support, level=level), support


def slate_support(estimator: SlateEstimator, slates: Slates) -> Support:
    """The first slot whose weights can't answer, or else the one with the fewest effective rows."""
    weight = estimator.weight(slates)
    each = [support_of_weights(weight[:, k], slates.cluster) for k in range(weight.shape[1])]
    if not each:
        return support_of_weights(np.zeros(0), slates.cluster)
    return min(each, key=lambda support: (support.reason == "", support.n_effective))


def _weighted(weight: Float64, slates: Slates, bias_bound: float = float("nan")) -> Terms:
    """Nothing bounds the bias of an estimator whose assumption about viewers fails."""
    rows = (weight * slates.grid(slates.slots.reward, 0.0)).sum(axis=1)
    return Terms((Ratio.mean(rows),), bias_bound)


def _check_twice(slates: Slates, row: Int64, order: Int64) -> None:
    assert slates.slots.position is not None
    position = slates.slots.position[order]
    is_twice = (np.diff(position) == 0) & (np.diff(row[order]) == 0)
    if is_twice.any():
        at = int(order[np.argmax(is_twice) + 1])
        raise expected(
            f"position[{at}]", "each position once in a slate", int(slates.slots.position[at])
        )

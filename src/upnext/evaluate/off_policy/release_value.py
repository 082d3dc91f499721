"""What another release would have earned on the pages that were logged, surface by surface.

A page's reward is the sum of its slots' rewards; W_k is the product of target / logged down to slot k (off_policy/slates.py has the
estimators and their papers). Five answers stand side by side, with the assumption that each makes:

    cascade-DR    a slot's reward depends on itself and the slots above. RIPS corrected by the target ranker's own predictions: the headline
    RIPS          the same, without a model
    SN-RIPS       the same, each slot's weights divided by their mean
    slot-wise     a slot's reward depends on its own video, and what stands above is as it was logged: far less variance, and a bias where the
                  target would fill the slots above otherwise
    direct        the ranker's predictions of pages that the target draws itself: as wrong as the ranker

The products of a long page vary beyond use, so the support is judged slot by slot from the top: `depth` is how many slots the log can answer
for under the cascade assumption. All slots (`page`) and those alone (`top`) are estimated; a verdict of "not identifiable" says which part of
the page the log does not know. Beside each stands what the page earned as it was logged, and the paired difference: both are of the same pages.
All of it is about the requests as they came, with the viewers' states as the logging releases made them: what a target's pages would change in
later visits is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from upnext.core.randomness import key_of
from upnext.core.types import Estimate, Float64, Int64
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE, user_rows
from upnext.evaluate.off_policy.estimator import Ratio, Terms, figure
from upnext.evaluate.off_policy.logged import Logged, Predicted
from upnext.evaluate.off_policy.logged_pages import REWARDS, Pages
from upnext.evaluate.off_policy.slates import (
    CascadeDoublyRobust,
    RewardInteractionIps,
    Slates,
)
from upnext.evaluate.off_policy.support import Support, support_of_weights

LEVEL: Final = 0.95
HEADLINE: Final = "cascade-DR"
ASSUMES: Final[Mapping[str, str]] = {
    "cascade-DR": "a slot's reward depends on itself and the slots above; corrected by the ranker's predictions",
    "RIPS": "a slot's reward depends on itself and the slots above",
    "SN-RIPS": "the same; self-normalised: a little biased, less variance",
    "slot-wise": "a slot's reward depends on its own video; the slots above as they were logged",
    "direct": "the ranker's predictions are right",
}
_N_FOLDS: Final = 2
_LEAST_OUTSIDE: Final = (
    20  # pages with all candidates logged, to say what share of the target lies outside them
)


@dataclass(frozen=True, slots=True)
class SlotSupport:
    """Whether the log can answer for one slot."""

    slot: int
    n_pages: int
    cascade: Support  # of W, down to this slot
    own: Support  # of this slot's weight alone


@dataclass(frozen=True, slots=True)
class RewardValue:
    """One reward per page."""

    logged: Estimate  # as it was earned
    estimates: Mapping[str, Estimate]  # by ASSUMES
    differences: Mapping[str, Estimate]  # the estimate less the logged, paired


@dataclass(frozen=True, slots=True)
class SurfaceValue:
    """A release on one surface."""

    n_pages: int
    n_viewers: int
    n_slots: int  # of the longest page
    slots: tuple[SlotSupport, ...]
    depth: int  # slots from the top that the log can answer for
    reason: str  # why no deeper; "" when it is the whole page
    page: Mapping[str, RewardValue]  # by reward, all slots
    top: Mapping[str, RewardValue]  # the first `depth` slots; empty when there are none

    @property
    def verdict(self) -> str:
        """ "ok" for the whole page, else "not identifiable"."""
        return NOT_IDENTIFIABLE if self.reason else "ok"


def values_of(pages: Pages, rewards: Float64) -> dict[str, SurfaceValue]:
    """{surface: what the target would have earned there} from pages and rewards float64[n, k, m]."""
    surface = np.array(pages.surface, dtype=object)
    found = {}
    for name in sorted(set(pages.surface)):
        mine = surface == name
        found[name] = _surface_value(pages.take(mine), rewards[mine])
    return found


def _surface_value(pages: Pages, rewards: Float64) -> SurfaceValue:
    k = int(pages.n_slots.max())
    cluster, n_viewers = user_rows(np.array(pages.user_id, dtype=object).astype(str))
    slots = slot_supports(pages, cluster, k)
    bad = [slot.slot for slot in slots if slot.cascade.reason]
    depth = bad[0] if bad else k
    reason = f"slot {depth + 1}: {slots[depth].cascade.reason}" if bad else ""
    modelled = _calibrated(pages, rewards)
    values = {
        d: {
            name: _reward_value(modelled, rewards[:, :d, m], cluster, slots[:d], m)
            for m, name in enumerate(REWARDS)
        }
        for d in {k, depth}
        if d
    }
    return SurfaceValue(
        len(pages), n_viewers, k, slots, depth, reason, values[k], values.get(depth, {})
    )


def slot_supports(pages: Pages, cluster: Int64, k: int) -> tuple[SlotSupport, ...]:
    """The support of each of the first k slots, over the pages that have it."""
    own = pages.target / pages.logged
    down = np.cumprod(own, axis=1)
    found = []
    for j in range(k):
        has = pages.n_slots > j
        viewers = np.unique(cluster[has], return_inverse=True)[1]
        known = pages.outside[has, j]
        known = known[np.isfinite(known)]
        outside = float(known.mean()) if len(known) >= _LEAST_OUTSIDE else float("nan")
        cascade, alone = (
            support_of_weights(weight[has, j], viewers, never_logged=outside)
            for weight in (down, own)
        )
        found.append(SlotSupport(j, int(has.sum()), cascade, alone))
    return tuple(found)


def _calibrated(pages: Pages, rewards: Float64) -> Pages:
    """The pages with predictions multiplied, slot by slot, by what fits the rewards of the other half of the viewers best.

    A ranker knows nothing of slots, and deeper ones are looked at less. The other half, so that no prediction has seen its own reward."""
    fold = np.array([key_of("fold", user) % _N_FOLDS for user in pages.user_id])
    factor = np.ones((len(pages), *rewards.shape[1:]))
    for f in range(_N_FOLDS):
        if (fold == f).any():
            factor[fold == f] = _factors(pages.predicted[fold != f], rewards[fold != f])
    named = {name: getattr(pages, name) * factor for name in ("predicted", "expected", "drawn")}
    return replace(pages, **named)


def _factors(predicted: Float64, rewards: Float64) -> Float64:
    """float64[k, m]: least squares through the origin by slot, drawn to that of all slots; 0 where nothing is predicted."""
    product, square = (predicted * rewards).sum(axis=0), np.square(predicted).sum(axis=0)
    everywhere = np.divide(
        product.sum(axis=0),
        square.sum(axis=0),
        out=np.zeros(square.shape[1]),
        where=square.sum(axis=0) > 0,
    )
    prior = 0.1 * square.mean(axis=0)
    factor: Float64 = np.divide(
        product + prior * everywhere,
        square + prior,
        out=np.zeros_like(square),
        where=square + prior > 0,
    )
    return factor


def _reward_value(
    pages: Pages, reward: Float64, cluster: Int64, slots: tuple[SlotSupport, ...], m: int
) -> RewardValue:
    """One reward over the first len(slots) slots."""
    n, d = reward.shape
    page, slot = np.nonzero(pages.item_id[:, :d] >= 0)
    at = (page, slot)
    predicted, expected = pages.predicted[:, :d, m], pages.expected[:, :d, m]
    drawn = pages.drawn[:, :d, m]
    below = np.cumsum(drawn[:, ::-1], axis=1)[:, ::-1] - drawn  # of the slots below
    rows = Logged(
        reward[at], pages.logged[:, :d][at], pages.target[:, :d][at], user=cluster[page],
        position=slot, predicted=Predicted((predicted + below)[at], (expected + below)[at]),
    )  # fmt: skip
    slates = Slates(rows, page)
    own = slates.grid(rows.weight, 1.0)
    down = slates.weight
    missed = slates.grid((reward - predicted)[at], 0.0)
    terms = {
        "cascade-DR": CascadeDoublyRobust().terms(slates),
        "RIPS": RewardInteractionIps().terms(slates),
        "SN-RIPS": _self_normalised(down, reward, pages.n_slots),
        "slot-wise": Terms((Ratio.mean((expected + own * missed).sum(axis=1)),)),
        "direct": Terms((Ratio.mean(drawn.sum(axis=1)),)),
    }
    logged = reward.sum(axis=1)
    cascade = _least([slot.cascade for slot in slots])
    own_least = _least([slot.own for slot in slots])
    everything = Support(1.0, 0.0, float(n), float("nan"), "")
    earned = figure(Terms((Ratio.mean(logged),)), cluster, everything, level=LEVEL)
    estimates, differences = {}, {}
    for name, term in terms.items():
        support = own_least if name == "slot-wise" else cascade
        estimates[name] = figure(term, cluster, support, level=LEVEL)
        paired = Terms((*term.ratios, Ratio.mean(-logged)))
        differences[name] = figure(paired, cluster, support, level=LEVEL)
    return RewardValue(earned, estimates, differences)


def _least(supports: list[Support]) -> Support:
    return min(supports, key=lambda support: (support.reason == "", support.n_effective))


def _self_normalised(down: Float64, reward: Float64, n_slots: Int64) -> Terms:
    """The sum over slots of sum(W r) / sum(W), each over the pages that have the slot, times their share of all pages."""
    ratios = []
    for j in range(reward.shape[1]):
        has = n_slots > j
        weight = np.where(has, down[:, j], 0.0)
        ratios.append(Ratio(weight * reward[:, j] * has.mean(), weight))
    return Terms(tuple(ratios))

"""Slate estimators by enumeration: every slate of a small world with its exact probability, so that expectations have no noise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.types import Float64
from upnext.evaluate.off_policy.logged import Logged, Predicted
from upnext.evaluate.off_policy.report import report_of
from upnext.evaluate.off_policy.slates import (
    CascadeDoublyRobust,
    IndependentIps,
    RewardInteractionIps,
    SlateEstimator,
    Slates,
    StandardIps,
    estimate_slates,
)

N_VIDEOS, N_SLOTS = 4, 3
RNG = np.random.default_rng(1)
LOGGING, TARGET = RNG.normal(size=(2, N_VIDEOS))  # Plackett-Luce logits
WORTH = RNG.random(N_VIDEOS)
SLATES = np.array(list(permutations(range(N_VIDEOS), N_SLOTS)))


def chosen(logits: Float64) -> Float64:
    """float64[s, k]: P(slot k | slots above), without replacement."""
    raised = np.exp(logits)[SLATES]
    left = np.exp(logits).sum() - np.cumsum(raised, axis=1) + raised
    return np.asarray(raised / left)


def marginals(logits: Float64) -> Float64:
    """float64[s, k]: P(this video in slot k), whatever stands above."""
    joint = chosen(logits).prod(axis=1)
    out = np.zeros((N_SLOTS, N_VIDEOS))
    for k in range(N_SLOTS):
        out[k] = np.bincount(SLATES[:, k], joint, N_VIDEOS)
    return np.asarray(out[np.arange(N_SLOTS), SLATES])


def independent(slates: np.ndarray) -> Float64:
    """What a slot earns, by its own video."""
    return np.asarray(WORTH[slates])


def cascading(slates: np.ndarray) -> Float64:
    """... damped by what stands above."""
    above = np.cumsum(WORTH[slates], axis=1) - WORTH[slates]
    return np.asarray(WORTH[slates] * np.exp(-above))


def whole(slates: np.ndarray) -> Float64:
    """... and by what stands below."""
    others = WORTH[slates].sum(axis=1, keepdims=True) - WORTH[slates]
    return np.asarray(WORTH[slates] * np.exp(-others))


def log_of(
    reward: Float64, predicted: Predicted | None = None, *, marginal: bool = False
) -> Slates:
    """Every slate once."""
    n = len(SLATES)
    slots = Logged(
        reward.ravel(), chosen(LOGGING).ravel(), chosen(TARGET).ravel(),
        position=np.tile(np.arange(N_SLOTS), n), predicted=predicted,
    )  # fmt: skip
    keys = np.repeat(np.arange(n), N_SLOTS)
    if not marginal:
        return Slates(slots, keys)
    return Slates(slots, keys, marginals(LOGGING).ravel(), marginals(TARGET).ravel())


def bias(estimator: SlateEstimator, slates: Slates, reward: Float64) -> float:
    """The exact expectation over logged slates, less the truth."""
    rows = estimator.terms(slates).ratios[0].numerator
    truth = chosen(TARGET).prod(axis=1) @ reward.sum(axis=1)
    return float(chosen(LOGGING).prod(axis=1) @ rows - truth)


UNBIASED: list[tuple[Callable[[np.ndarray], Float64], set[str]]] = [
    (independent, {"slate IPS", "RIPS", "IIPS"}),
    (cascading, {"slate IPS", "RIPS"}),
    (whole, {"slate IPS"}),
]


@pytest.mark.parametrize(("law", "unbiased"), UNBIASED)
def test_each_estimator_is_unbiased_exactly_where_its_assumption_holds(
    law: Callable[[np.ndarray], Float64], unbiased: set[str]
) -> None:
    reward = law(SLATES)
    for estimator in (StandardIps(), RewardInteractionIps(), IndependentIps()):
        found = bias(estimator, log_of(reward, marginal=True), reward)
        if estimator.name in unbiased:
            assert found == pytest.approx(0, abs=1e-12)
        else:
            assert abs(found) > 1e-3  # exact: what is not 0 is bias


def test_conditional_probabilities_in_place_of_marginals_take_the_slots_above_from_the_log() -> (
    None
):
    reward = independent(SLATES)
    assert abs(bias(IndependentIps(), log_of(reward), reward)) > 0.005


def test_cascade_doubly_robust_is_unbiased_under_garbage_where_rips_is_and_the_true_model_takes_its_variance() -> (
    None
):
    reward = cascading(SLATES)
    garbage = RNG.random((N_SLOTS, N_VIDEOS, N_VIDEOS))  # by slot, video above, video
    above = np.concatenate([np.zeros((len(SLATES), 1), np.int64), SLATES[:, :-1]], axis=1)
    predicted = predicted_of(lambda k, video: garbage[k, above[:, k], video])
    found = log_of(reward, predicted)
    assert bias(CascadeDoublyRobust(), found, reward) == pytest.approx(0, abs=1e-12)
    truth = predicted_of(lambda k, video: to_come(SLATES[:, :k], video))
    robust, plain = CascadeDoublyRobust(), RewardInteractionIps()
    assert bias(robust, log_of(reward, truth), reward) == pytest.approx(0, abs=1e-12)
    assert spread(robust, log_of(reward, truth)) < 0.5 * spread(plain, log_of(reward))


def to_come(above: np.ndarray, video: np.ndarray) -> Float64:
    """What a video earns below these."""
    return np.asarray(WORTH[video] * np.exp(-WORTH[above].sum(axis=1)))


def predicted_of(q: Callable[[int, np.ndarray], Float64]) -> Predicted:
    """Predictions of the logged slots and their mean under the target given the slots above."""
    logged, target = np.zeros(SLATES.shape), np.zeros(SLATES.shape)
    for k in range(N_SLOTS):
        logged[:, k] = q(k, SLATES[:, k])
        is_left = np.ones((len(SLATES), N_VIDEOS), np.bool_)
        for above in range(k):
            is_left[np.arange(len(SLATES)), SLATES[:, above]] = False
        p = np.where(is_left, np.exp(TARGET), 0.0)
        p /= p.sum(axis=1, keepdims=True)
        for video in range(N_VIDEOS):
            target[:, k] += p[:, video] * q(k, np.full(len(SLATES), video))
    return Predicted(logged.ravel(), target.ravel())


def spread(estimator: SlateEstimator, slates: Slates) -> float:
    """The exact standard deviation over logged slates."""
    rows, p = estimator.terms(slates).ratios[0].numerator, chosen(LOGGING).prod(axis=1)
    return float(np.sqrt(p @ np.square(rows - p @ rows)))


def test_the_less_of_a_slate_is_weighted_the_less_the_variance() -> None:
    slates = log_of(independent(SLATES), marginal=True)
    spreads = [spread(e, slates) for e in (StandardIps(), RewardInteractionIps(), IndependentIps())]
    assert spreads == sorted(spreads, reverse=True)
    assert spreads[0] > 1.2 * spreads[-1]


def test_rows_may_come_in_any_order_and_slates_may_be_short() -> None:
    slots = Logged(
        np.array([4.0, 1.0, 2.0]), np.array([0.5, 0.25, 0.5]), np.array([0.25, 0.5, 0.5]),
        position=np.array([7, 0, 3]),
    )  # fmt: skip
    slates = Slates(slots, np.array(["b", "a", "b"]))
    # slate a: one slot, w = 2, r = 1; slate b: position 3 (w = 1, r = 2), then 7 (w = .5, r = 4)
    assert slates.weight == pytest.approx(np.array([[2.0, 2.0], [1.0, 0.5]]))
    assert RewardInteractionIps().terms(slates).value == pytest.approx(
        (2 * 1 + 1 * 2 + 0.5 * 4) / 2
    )
    assert StandardIps().terms(slates).value == pytest.approx((2 * 1 + 0.5 * (2 + 4)) / 2)


def drawn(n: int, *, repeats: int = 1) -> Slates:
    """n logged slates of viewers who each come `repeats` times with the same slate."""
    rng = np.random.default_rng(0)
    which = np.repeat(rng.choice(len(SLATES), n, p=chosen(LOGGING).prod(axis=1)), repeats)
    slots = Logged(
        cascading(SLATES)[which].ravel(), chosen(LOGGING)[which].ravel(), chosen(TARGET)[which].ravel(),
        user=np.repeat(np.arange(n), N_SLOTS * repeats), position=np.tile(np.arange(N_SLOTS), len(which)),
    )  # fmt: skip
    return Slates(slots, np.repeat(np.arange(len(which)), N_SLOTS))


def test_an_interval_holds_the_truth_and_counts_viewers_not_slates() -> None:
    truth = float(chosen(TARGET).prod(axis=1) @ cascading(SLATES).sum(axis=1))
    once, _ = estimate_slates(RewardInteractionIps(), drawn(4_000))
    often, _ = estimate_slates(RewardInteractionIps(), drawn(4_000, repeats=5))
    assert once.low <= truth <= once.high
    assert once.verdict == "ok"
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=0.01)


def test_the_deepest_slot_decides_whether_a_log_can_answer() -> None:
    slates = drawn(120)
    report = report_of(slates)
    assert report.unit == "slate"
    lines = {line.name: line for line in report.lines}
    assert lines["IIPS"].support.n_effective > lines["slate IPS"].support.n_effective
    assert lines["slate IPS"].value.verdict == "not identifiable"
    assert any("slate IPS" in reason for reason in report.reasons())
    assert "no cascade-DR" in report.left_out


def test_slates_say_what_they_need() -> None:
    one = np.ones(2)
    with pytest.raises(InvalidInput, match="needs `position`"):
        Slates(Logged(one, one, one), np.zeros(2))
    with pytest.raises(InvalidInput, match=r"position\[1\]: expected each position once"):
        Slates(Logged(one, one, one, position=np.array([3, 3])), np.zeros(2))
    with pytest.raises(InvalidInput, match="one viewer a slate"):
        Slates(Logged(one, one, one, user=np.arange(2), position=np.arange(2)), np.zeros(2))
    with pytest.raises(InvalidInput, match="cascade-DR needs predictions"):
        CascadeDoublyRobust().terms(drawn(2))

"""What every OffPolicyEstimator must do, run through each implementation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.evaluate.off_policy.estimator import OffPolicyEstimator, estimate
from upnext.evaluate.off_policy.importance import ClippedIps, Ips, Snips
from upnext.evaluate.off_policy.logged import Logged, Predicted
from upnext.evaluate.off_policy.model_based import (
    DirectMethod,
    DoublyRobust,
    SelfNormalisedDoublyRobust,
    ShrunkDoublyRobust,
    SwitchDoublyRobust,
)

ESTIMATORS: list[OffPolicyEstimator] = [
    Ips(), ClippedIps(1.5), Snips(), DirectMethod(), DoublyRobust(), SelfNormalisedDoublyRobust(),
    SwitchDoublyRobust(1.5), ShrunkDoublyRobust(4.0),
]  # fmt: skip
pytestmark = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: e.name)


def log_of(n: int, seed: int) -> Logged:
    rng = np.random.default_rng(seed)
    return Logged(
        rng.normal(1, 1, n), rng.uniform(0.2, 1, n), rng.uniform(0, 1, n),
        user=rng.integers(0, max(1, n // 3), n),
        predicted=Predicted(rng.normal(size=n), rng.normal(size=n)),
    )  # fmt: skip


def permuted(log: Logged, order: np.ndarray) -> Logged:
    assert log.user is not None
    assert log.predicted is not None
    return Logged(
        log.reward[order], log.logged[order], log.target[order], user=log.user[order],
        predicted=Predicted(log.predicted.logged[order], log.predicted.target[order]),
    )  # fmt: skip


@given(n=st.integers(2, 60), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_the_order_of_rows_does_not_matter(
    estimator: OffPolicyEstimator, n: int, seed: int
) -> None:
    log = log_of(n, seed)
    other = permuted(log, np.random.default_rng(seed).permutation(n))
    a, b = estimate(estimator, log), estimate(estimator, other)
    assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high), nan_ok=True)


@given(n=st.integers(2, 60), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_influence_values_sum_to_zero_and_the_value_lies_in_its_interval(
    estimator: OffPolicyEstimator, n: int, seed: int
) -> None:
    log = log_of(n, seed)
    assert estimator.terms(log).influence.sum() == pytest.approx(0, abs=1e-9 * n)
    got = estimate(estimator, log)
    assert got.low <= got.mean <= got.high


def test_a_higher_level_is_a_wider_interval(estimator: OffPolicyEstimator) -> None:
    log = log_of(300, 0)
    for interval in ("influence", "bootstrap"):
        narrow = estimate(estimator, log, level=0.5, interval=interval)
        wide = estimate(estimator, log, level=0.99, interval=interval)
        assert wide.low < narrow.low < narrow.high < wide.high


def test_the_bootstrap_and_the_influence_function_agree_on_a_large_log(
    estimator: OffPolicyEstimator,
) -> None:
    log = log_of(3_000, 1)
    theory = estimate(estimator, log)
    drawn = estimate(estimator, log, interval="bootstrap")
    assert drawn.mean == pytest.approx(theory.mean)
    # 1,000 resamples leave about 4 % of noise in each end.
    assert drawn.high - drawn.low == pytest.approx(theory.high - theory.low, rel=0.12)


def test_rewards_in_another_unit_give_the_same_in_that_unit(estimator: OffPolicyEstimator) -> None:
    log = log_of(200, 2)
    assert log.predicted is not None
    scaled = replace(
        log,
        reward=60 * log.reward,
        predicted=Predicted(60 * log.predicted.logged, 60 * log.predicted.target),
    )
    a, b = estimator.terms(log), estimator.terms(scaled)
    assert b.value == pytest.approx(60 * a.value)
    assert b.bias_bound == pytest.approx(60 * a.bias_bound, nan_ok=True)


def test_an_empty_log_is_not_identifiable(estimator: OffPolicyEstimator) -> None:
    nothing = np.zeros(0)
    log = Logged(nothing, nothing, nothing, predicted=Predicted(nothing, nothing))
    got = estimate(estimator, log)
    assert got.verdict == "not identifiable"
    assert np.isnan([got.mean, got.low, got.high]).all()


def test_one_viewer_alone_has_no_interval(estimator: OffPolicyEstimator) -> None:
    log = replace(log_of(400, 0), user=np.zeros(400, np.int64))
    got = estimate(estimator, log)
    assert (got.low, got.high) == (-np.inf, np.inf)
    assert got.verdict == "not identifiable"

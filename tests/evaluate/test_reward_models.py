"""Reward models, cross-fitting and the estimators that lean on them, where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.types import Float64, Int64
from upnext.evaluate.off_policy.estimator import estimate
from upnext.evaluate.off_policy.importance import ClippedIps, Ips
from upnext.evaluate.off_policy.logged import Logged, Predicted
from upnext.evaluate.off_policy.model_based import (
    DirectMethod,
    DoublyRobust,
    SelfNormalisedDoublyRobust,
    ShrunkDoublyRobust,
    SwitchDoublyRobust,
    shrunk,
)
from upnext.evaluate.off_policy.reward_models import (
    FittedModel,
    TabularModel,
    cross_fit,
    folds_of,
    shrunk_means,
)
from upnext.evaluate.off_policy.support import support_of
from upnext.evaluate.off_policy.tuning import tuned_clip, tuned_shrinkage, tuned_switch

N_CONTEXTS, N_ACTIONS = 4, 6
RNG = np.random.default_rng(3)
REWARD = RNG.random((N_CONTEXTS, N_ACTIONS))
LOGGING = 0.8 * RNG.dirichlet(np.ones(N_ACTIONS), N_CONTEXTS) + 0.2 / N_ACTIONS
TARGET = RNG.dirichlet(np.ones(N_ACTIONS), N_CONTEXTS)
TRUTH = float((TARGET * REWARD).sum(axis=1).mean())
_Z = np.linspace(
    -9, 9, 200_001
)  # the mean of weight x reward below, by summation over the normal law
VALUE = float(
    np.average(
        np.minimum(np.exp(1.2 * _Z - 0.72), 80.0) / (1 + np.exp(-_Z)), weights=np.exp(-(_Z**2) / 2)
    )
)
GARBAGE = RNG.random((N_CONTEXTS, N_ACTIONS)) * 3


def log_of(n: int, seed: int, *, exact: bool = False) -> Logged:
    """n draws; rewards Bernoulli, or with `exact` the means themselves."""
    rng = np.random.default_rng(seed)
    context = rng.integers(0, N_CONTEXTS, n)
    action = (np.cumsum(LOGGING, axis=1)[context, :-1] < rng.random((n, 1))).sum(axis=1)
    mean = REWARD[context, action]
    return Logged(
        mean if exact else (rng.random(n) < mean).astype(np.float64),
        LOGGING[context, action],
        TARGET[context, action],
        action=action,
        position=context,
        target_all=TARGET,
        distribution=context,
    )


def given(log: Logged, table: Float64) -> Logged:
    """The log with predictions float64[c, a] from elsewhere."""
    assert log.position is not None
    assert log.action is not None
    return log.with_predicted(Predicted.of(table[log.position], log.action, TARGET[log.position]))


def test_doubly_robust_with_garbage_for_a_model_is_unbiased_and_the_direct_method_is_not() -> None:
    logs = [given(log_of(500, seed), GARBAGE) for seed in range(400)]
    dr = np.array([DoublyRobust().terms(log).value for log in logs])
    dm = np.array([DirectMethod().terms(log).value for log in logs])
    assert abs(dr.mean() - TRUTH) < 3 * dr.std() / math.sqrt(400)
    assert abs(dm.mean() - TRUTH) > 10 * dm.std() / math.sqrt(400)


def test_doubly_robust_with_the_true_model_has_the_direct_method_s_variance() -> None:
    # With rewards equal to their means nothing is left to correct: DR is DM row by row, while IPS still pays for its weights.
    logs = [given(log_of(500, seed, exact=True), REWARD) for seed in range(400)]
    for log in logs[:20]:
        assert DoublyRobust().terms(log).value == pytest.approx(DirectMethod().terms(log).value)
    dr = np.array([DoublyRobust().terms(log).value for log in logs])
    ips = np.array([Ips().terms(log).value for log in logs])
    assert abs(dr.mean() - TRUTH) < 3 * dr.std() / math.sqrt(400)
    assert ips.std() > 3 * dr.std()


def test_wrong_propensities_are_healed_by_the_true_model_and_ruin_ips() -> None:
    logs = [log_of(500, seed) for seed in range(400)]
    wrong = [replace(log, logged=np.minimum(1.0, log.logged * 1.5)) for log in logs]
    dr = np.array([DoublyRobust().terms(given(log, REWARD)).value for log in wrong])
    ips = np.array([Ips().terms(log).value for log in wrong])
    assert abs(dr.mean() - TRUTH) < 3 * dr.std() / math.sqrt(400)
    assert abs(ips.mean() - TRUTH) > 10 * ips.std() / math.sqrt(400)


@pytest.mark.parametrize("name", ["clipped", "switch", "shrunk", "direct"])
def test_what_is_biased_by_design_has_its_analytic_bias(name: str) -> None:
    weight, missed = TARGET / LOGGING, REWARD - GARBAGE
    expected_by_log: Callable[[Float64], float] = lambda x: float((LOGGING * x).sum(1).mean())  # noqa: E731
    cut, switched = np.minimum(weight, 1.2), np.where(weight <= 1.2, weight, 0.0)
    estimator, bias = {
        "clipped": (ClippedIps(1.2), expected_by_log((cut - weight) * REWARD)),
        "switch": (SwitchDoublyRobust(1.2), expected_by_log((switched - weight) * missed)),
        "shrunk": (
            ShrunkDoublyRobust(2.0),
            expected_by_log((shrunk(weight, 2.0) - weight) * missed),
        ),
        "direct": (DirectMethod(), -float((TARGET * missed).sum(1).mean())),
    }[name]
    logs = [given(log_of(500, seed), GARBAGE) for seed in range(400)]
    got = np.array([estimator.terms(log).value for log in logs])
    error = got.std() / math.sqrt(400)
    assert abs(got.mean() - (TRUTH + bias)) < 3 * error
    assert abs(bias) > 10 * error  # who takes it for unbiased is found out
    if name != "direct":
        assert abs(bias) <= estimator.terms(logs[0]).bias_bound


def test_the_ends_of_switching_and_shrinking_are_the_direct_method_and_doubly_robust() -> None:
    log = given(log_of(500, 0), GARBAGE)
    direct, robust = DirectMethod().terms(log).value, DoublyRobust().terms(log).value
    assert SwitchDoublyRobust(0.0).terms(log).value == pytest.approx(direct)
    assert SwitchDoublyRobust(math.inf).terms(log).value == pytest.approx(robust)
    assert ShrunkDoublyRobust(0.0).terms(log).value == pytest.approx(direct)
    assert ShrunkDoublyRobust(math.inf).terms(log).value == pytest.approx(robust)
    assert ShrunkDoublyRobust(1e12).terms(log).value == pytest.approx(robust)


def test_a_weight_of_the_root_of_lambda_is_halved() -> None:
    assert shrunk(np.array([0.0, 2.0]), 4.0) == pytest.approx([0.0, 1.0])


def test_cross_fitting_never_learns_from_the_viewer_that_it_predicts() -> None:
    log = log_of(60, 0)
    log = replace(log, user=np.repeat(np.arange(20), 3))
    met: list[tuple[set[int], set[int]]] = []

    class Watched:
        def fit(self, log: Logged, rows: Int64) -> Callable[[Int64], Float64]:
            learned = set(log.cluster[rows].tolist())

            def predict(others: Int64) -> Float64:
                met.append((learned, set(log.cluster[others].tolist())))
                return np.zeros((len(others), N_ACTIONS))

            return predict

    cross_fit(log, Watched())
    assert sum(len(predicted) for _, predicted in met) == 20
    assert all(learned | predicted == set(range(20)) for learned, predicted in met)
    assert not any(learned & predicted for learned, predicted in met)


def test_folds_are_balanced_and_keyed_by_the_seed() -> None:
    folds = folds_of(23, 5, seed=1)
    assert sorted(np.bincount(folds)) == [4, 4, 5, 5, 5]
    assert (folds == folds_of(23, 5, seed=1)).all()
    assert (folds != folds_of(23, 5, seed=2)).any()


class Memory:
    """A reward model without restraint: the plain mean of each action."""

    def fit(self, log: Logged, rows: Int64) -> Callable[[Int64], Float64]:
        assert log.action is not None
        assert log.target_all is not None
        n = log.target_all.shape[1]
        count = np.bincount(log.action[rows], minlength=n)
        mean = np.bincount(log.action[rows], log.reward[rows], n) / np.maximum(count, 1)
        return lambda others: np.tile(mean, (len(others), 1))


def test_without_cross_fitting_a_model_that_memorises_makes_intervals_too_narrow() -> None:
    n, n_actions = 400, 100
    rng = np.random.default_rng(0)
    reward, target = rng.random(n_actions), rng.dirichlet(np.full(n_actions, 5.0))
    truth, held = float(target @ reward), {"fitted": 0, "cross-fitted": 0}
    for _ in range(200):
        action = rng.integers(0, n_actions, n)
        outcome = (rng.random(n) < reward[action]).astype(np.float64)
        log = Logged(
            outcome, np.full(n, 1 / n_actions), target[action], action=action,
            target_all=target[None], distribution=np.zeros(n, np.int64),
        )  # fmt: skip
        every = np.arange(n)
        own = Predicted.of(Memory().fit(log, every)(every), action, log.distributions(every))
        for name, made in (
            ("fitted", log.with_predicted(own)),
            ("cross-fitted", cross_fit(log, TabularModel())),
        ):
            got = estimate(DoublyRobust(), made, level=0.9)
            held[name] += got.low <= truth <= got.high
    # 200 intervals of 90 %: 3 standard errors are 6 %.
    assert held["cross-fitted"] / 200 > 0.84
    assert held["fitted"] / 200 < 0.8


def test_a_cell_is_drawn_to_the_mean_by_what_chance_explains() -> None:
    # Two cells of four rows, rewards 1 1 1 0 and 0 0 0 1: overall .5, means .75 and .25.
    # within = (.75 + .75) / (8 - 2) = .25; spread = 8 x .25^2 - 1 x .25 = .25; between = .25 / (8 - 32 / 8) = .0625.
    # kept = .0625 x 4 / (.0625 x 4 + .25) = .5, so the means become .625 and .375; a cell never seen gets .5.
    count, total = np.array([4, 4, 0]), np.array([3.0, 1.0, 0.0])
    assert shrunk_means(count, total, total) == pytest.approx([0.625, 0.375, 0.5])


def test_equal_cells_become_one_and_many_rows_keep_their_own_mean() -> None:
    same = shrunk_means(np.array([10, 10]), np.array([5.0, 5.0]), np.array([5.0, 5.0]))
    assert same == pytest.approx([0.5, 0.5])
    n = 100_000
    far = shrunk_means(np.array([n, n]), np.array([0.9 * n, 0.1 * n]), np.array([0.9 * n, 0.1 * n]))
    assert far == pytest.approx([0.9, 0.1], abs=1e-4)
    assert shrunk_means(np.zeros(2, np.int64), np.zeros(2), np.zeros(2)) == pytest.approx([0, 0])


@pytest.mark.parametrize(
    "model", [TabularModel(), FittedModel("logistic"), FittedModel("boosting")]
)
def test_every_reward_model_learns_which_action_is_good(model: TabularModel | FittedModel) -> None:
    pytest.importorskip("sklearn")
    log = log_of(1_000, 0)
    log = replace(log, context=np.random.default_rng(0).normal(size=(1_000, 2)))
    for rewards in (log.reward, log.reward * 30.0):  # classified, regressed
        predicted = cross_fit(replace(log, reward=rewards), model).predicted
        assert predicted is not None
        mean = REWARD[log.position, log.action]
        assert np.corrcoef(predicted.logged, mean)[0, 1] > 0.5
        assert predicted.logged.mean() == pytest.approx(rewards.mean(), rel=0.1)


def test_a_log_with_one_reward_only_is_predicted_by_it() -> None:
    log = replace(log_of(50, 0), reward=np.ones(50))
    predicted = cross_fit(log, FittedModel("logistic")).predicted
    assert predicted is not None
    assert predicted.target == pytest.approx(np.ones(50))


def test_what_a_model_needs_is_said() -> None:
    bare = Logged(np.ones(10), np.ones(10), np.ones(10))
    with pytest.raises(InvalidInput, match="needs `action` and `target_all`"):
        cross_fit(bare, TabularModel())
    with pytest.raises(InvalidInput, match="needs predictions"):
        SelfNormalisedDoublyRobust().terms(bare)
    with pytest.raises(InvalidInput, match="at least 5 viewers"):
        cross_fit(log_of(4, 0), TabularModel())


def test_actions_that_the_log_never_shows_make_the_verdict_though_the_weights_look_well() -> None:
    rng = np.random.default_rng(0)
    n = 2_000
    action = rng.integers(
        0, 4, n
    )  # of five: the last was never shown, which a propensity of 1/4 hides
    target = np.array([[0.2, 0.2, 0.2, 0.2, 0.2]])
    log = Logged(
        np.ones(n), np.full(n, 0.2), np.full(n, 0.2), action=action,
        target_all=target, distribution=np.zeros(n, np.int64),
    )  # fmt: skip
    support = support_of(log)
    assert support.mean_weight == pytest.approx(1)
    assert support.never_logged == pytest.approx(0.2)
    assert support.reason == "20% of the target's choices were never logged"


def test_a_tuned_clip_loses_nothing_and_a_fixed_one_loses_the_truth() -> None:
    # Weights exp(1.2 z - .72): mean 1, heavy. The reward goes with the weight, so that what is cut off matters.
    held, errors, n_clipped = {"tuned": 0, "fixed": 0}, [], 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=2_000)
        weight = np.minimum(np.exp(1.2 * z - 0.72), 80.0)
        reward = (rng.random(2_000) < 1 / (1 + np.exp(-z))).astype(np.float64)
        log = Logged(reward, np.full(2_000, 0.0125), weight * 0.0125)
        tuned = tuned_clip(log)
        n_clipped += tuned.clip < math.inf
        for name, estimator in (("tuned", tuned), ("fixed", ClippedIps(3.0))):
            got = estimate(estimator, log, level=0.9)
            held[name] += got.low <= VALUE <= got.high
        errors.append((tuned.terms(log).value - VALUE, Ips().terms(log).value - VALUE))
    tuned_error, ips_error = np.sqrt(np.square(errors).mean(axis=0))
    assert n_clipped > 50
    assert tuned_error < 1.02 * ips_error
    assert held["tuned"] / 200 > 0.9 - 3 * math.sqrt(0.09 / 200)
    assert held["fixed"] == 0


def test_without_weights_nothing_is_tuned() -> None:
    nothing = Logged(
        np.ones(3), np.ones(3), np.zeros(3), predicted=Predicted(np.zeros(3), np.zeros(3))
    )
    assert tuned_clip(nothing).clip == math.inf
    assert tuned_switch(nothing).threshold == math.inf
    assert tuned_shrinkage(nothing).shrinkage == math.inf

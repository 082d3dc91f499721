"""Off-policy estimates in worlds where the target's value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.evaluate.off_policy.estimator import Interval, estimate
from upnext.evaluate.off_policy.importance import ClippedIps, Ips, Snips
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.support import support_of

N_ACTIONS = 20
RNG = np.random.default_rng(0)
REWARD = RNG.random(N_ACTIONS)
LOGGING = RNG.dirichlet(np.ones(N_ACTIONS) * 2) * 0.9 + 0.1 / N_ACTIONS
TARGET = RNG.dirichlet(np.ones(N_ACTIONS) * 2)
TRUTH = float(TARGET @ REWARD)


def log_of(n: int, seed: int, logging: np.ndarray = LOGGING) -> Logged:
    rng = np.random.default_rng(seed)
    action = rng.choice(N_ACTIONS, size=n, p=logging)
    reward = (rng.random(n) < REWARD[action]).astype(np.float64)
    return Logged(reward, logging[action], TARGET[action])


def values(n: int, repeats: int) -> tuple[np.ndarray, np.ndarray]:
    ips, snips = [], []
    for seed in range(repeats):
        log = log_of(n, seed)
        ips.append(Ips().terms(log).value)
        snips.append(Snips().terms(log).value)
    return np.array(ips), np.array(snips)


def test_ips_is_unbiased_over_400_logs_and_the_logged_mean_is_not() -> None:
    ips, _ = values(1000, 400)
    assert abs(ips.mean() - TRUTH) < 3 * ips.std() / math.sqrt(400)
    naive = np.array([log_of(1000, seed).reward.mean() for seed in range(400)])
    assert abs(naive.mean() - TRUTH) > 10 * naive.std() / math.sqrt(400)


def test_the_bias_of_snips_falls_as_1_over_n() -> None:
    # Its delta-method bias is -cov(w, w(r - V)) / n; at n = 4 it is seen, at 400 it is within noise.
    weight = TARGET / LOGGING
    predicted = -float((LOGGING * weight**2 * (REWARD - TRUTH)).sum())
    _, few = values(4, 3000)
    _, many = values(400, 400)
    assert abs((few.mean() - TRUTH) - predicted / 4) < 0.6 * abs(
        predicted / 4
    ) + 4 * few.std() / math.sqrt(3000)
    assert abs(many.mean() - TRUTH) < 3 * many.std() / math.sqrt(400) + abs(predicted) / 400


def test_clipping_costs_exactly_the_weight_above_the_clip() -> None:
    clip = 1.5
    lost = float((LOGGING * np.maximum(TARGET / LOGGING - clip, 0) * REWARD).sum())
    clipped = ClippedIps(clip)
    got = np.array([clipped.terms(log_of(1000, seed)).value for seed in range(400)])
    assert abs(got.mean() - (TRUTH - lost)) < 3 * got.std() / math.sqrt(400)
    assert lost > 10 * got.std() / math.sqrt(400)
    log = log_of(50_000, 1)
    bound = float((LOGGING * np.maximum(TARGET / LOGGING - clip, 0)).sum())
    assert clipped.terms(log).bias_bound == pytest.approx(bound, rel=0.1)
    assert Ips().terms(log).bias_bound == 0.0


@pytest.mark.parametrize(("interval", "n_logs"), [("influence", 200), ("bootstrap", 60)])
def test_intervals_hold_the_truth_about_95_times_in_100(interval: Interval, n_logs: int) -> None:
    held = 0
    for seed in range(n_logs):
        got = estimate(Snips(), log_of(1000, seed), interval=interval, seed=seed)
        held += got.low <= TRUTH <= got.high
        assert got.verdict == "ok"
    assert abs(held / n_logs - 0.95) < 3 * math.sqrt(0.05 * 0.95 / n_logs)


@pytest.mark.parametrize("interval", ["influence", "bootstrap"])
def test_rows_of_one_viewer_widen_the_interval(interval: Interval) -> None:
    once = log_of(300, 3)
    columns = [np.repeat(c, 10) for c in (once.reward, once.logged, once.target)]
    by_row = estimate(Ips(), Logged(*columns), interval=interval)
    by_user = estimate(
        Ips(), Logged(*columns, user=np.repeat(np.arange(300), 10)), interval=interval
    )
    assert by_row.mean == pytest.approx(by_user.mean)
    assert by_user.high - by_user.low > 2 * (by_row.high - by_row.low)  # sqrt(10) = 3.2


def test_a_nucleus_without_exploration_is_found_out_by_the_mean_weight() -> None:
    base = np.sort(RNG.dirichlet(np.ones(N_ACTIONS)))[::-1]
    kept = np.cumsum(base) - base < 0.5
    nucleus = np.where(kept, base, 0) / base[kept].sum()
    mixed = 0.95 * nucleus + 0.05 / N_ACTIONS
    target = np.full(N_ACTIONS, 1 / N_ACTIONS)
    rng = np.random.default_rng(1)
    cut = rng.choice(N_ACTIONS, size=20_000, p=nucleus)
    whole = rng.choice(N_ACTIONS, size=20_000, p=mixed)
    unseen = Logged(np.ones(20_000), nucleus[cut], target[cut])
    seen = Logged(np.ones(20_000), mixed[whole], target[whole])
    bad, good = support_of(unseen), support_of(seen)
    assert bad.mean_weight == pytest.approx(kept.sum() / N_ACTIONS, abs=0.02)
    assert bad.verdict == "not identifiable"
    assert "E[w]" in bad.reason
    assert good.mean_weight == pytest.approx(1, abs=3 * good.standard_error)
    assert good.verdict == "ok"
    for estimator in (Ips(), Snips()):
        assert estimate(estimator, unseen).verdict == "not identifiable"
        assert estimate(estimator, seen).verdict == "ok"


def test_few_effective_rows_are_not_identifiable() -> None:
    logged, target = np.full(1000, 0.5), np.zeros(1000)
    target[:20] = 1.0
    support = support_of(Logged(np.ones(1000), logged, target))
    assert support.n_effective == pytest.approx(20)
    assert support.verdict == "not identifiable"
    assert "20 effective rows" in support.reason


def test_the_logging_policy_s_own_value_is_the_logged_mean_with_every_row_counting() -> None:
    log = log_of(500, 0)
    own = Logged(log.reward, log.logged, log.logged)
    for estimator in (Ips(), Snips()):
        got = estimate(estimator, own)
        assert got.mean == pytest.approx(log.reward.mean())
        assert got.n_effective == pytest.approx(500)


def test_a_log_names_the_row_and_field_that_can_t_be() -> None:
    one = np.ones(3)
    for bad in (0.0, -0.1, 1.1, math.nan):
        with pytest.raises(
            InvalidInput, match=r"logged\[2\]: expected a propensity in \(0, 1\], got"
        ):
            Logged(one, np.array([1, 1, bad]), one)
    with pytest.raises(InvalidInput, match=r"target\[1\]: .* got 1.5"):
        Logged(one, one, np.array([1, 1.5, 1]))
    with pytest.raises(InvalidInput, match=r"reward\[0\]: .* got nan"):
        Logged(np.array([math.nan, 1, 1]), one, one)
    with pytest.raises(InvalidInput, match=r"user: expected 3 rows"):
        Logged(one, one, one, user=np.arange(2))


def test_an_empty_log_is_not_identifiable() -> None:
    nothing = np.zeros(0)
    got = estimate(Snips(), Logged(nothing, nothing, nothing))
    assert got.verdict == "not identifiable"
    assert math.isnan(got.mean)

"""The tests of METHODS I3 for experiments: each claim with its number, and the naive method that fails beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from upnext.core.errors import InvalidInput
from upnext.evaluate.experiments.comparison import (
    Sample,
    always_valid,
    anytime_p,
    critical_z,
    linearised,
    relative,
    welch,
)
from upnext.evaluate.experiments.cuped import adjusted
from upnext.evaluate.experiments.decisions import (
    SRM_ALARM,
    detectable,
    guardrail,
    holm,
    sample_ratio_p,
    viewers_needed,
)
from upnext.evaluate.experiments.interleaving import preference, team_draft
from upnext.evaluate.experiments.rehearsal import declared, found

N = 1_000  # replications; 3 SE of a share of 5 % are 2.1 points
EVERY_100 = np.arange(100, 5_001, 100)


def test_peeking_errs_in_at_most_5_percent_of_aa_tests_and_the_naive_test_in_over_20() -> None:
    daily = declared(N, EVERY_100)
    assert daily.sequential <= 0.05
    assert daily.naive_peeking > 0.20
    assert abs(daily.naive_once - 0.05) < 3 * math.sqrt(0.05 * 0.95 / N)  # the same test, read once


def test_a_look_after_every_viewer_is_no_different() -> None:
    always = declared(N, np.arange(100, 3_001), seed=1)
    assert always.sequential <= 0.05
    assert always.naive_peeking > 0.20


def test_a_lift_is_found_and_found_early() -> None:
    """Sigma of a log-normal with sigma 1 is 1.31 of its mean: 5,000 an arm find 10 % with z = 3.8."""
    said = declared(300, EVERY_100, lift=0.10, seed=2)
    assert said.sequential > 0.7
    assert said.mean_stop < 0.8 * EVERY_100[-1]


def test_viewers_who_stay_and_go_on_watching_make_no_more_false_alarms() -> None:
    """Values that grow with each day, of viewers who come back: looked at daily."""
    rng = np.random.default_rng(3)
    n, days, n_replications = 500, 20, 400
    z = np.empty((n_replications, days))
    for replication in range(n_replications):
        rate = rng.lognormal(0.0, 1.0, (2, n))
        joined = rng.integers(0, days, (2, n))
        joined[:, :100] = 0
        total = np.zeros((2, n))
        for day in range(days):
            here = joined <= day
            total += np.where(here, rng.exponential(rate), 0.0)
            samples = [Sample.of(total[arm][here[arm]]) for arm in (0, 1)]
            said = always_valid(samples[1], samples[0])
            z[replication, day] = not said.low <= 0 <= said.high
    assert z.any(axis=1).mean() <= 0.05


def test_the_p_value_is_below_alpha_exactly_where_the_interval_leaves_zero_out() -> None:
    v = np.array([50.0, 500.0, 5_000.0])
    at = critical_z(v)
    assert np.allclose(anytime_p(at, v), 0.05, rtol=1e-12)
    assert (anytime_p(at * 1.001, v) < 0.05).all()
    # by hand, v = 540: (600 / 540) * ln(600 / (60 * .0025)) = 1.1111 * 8.2940 = 9.2156, its root 3.0357
    assert critical_z(np.array([540.0]))[0] == pytest.approx(3.0357, abs=1e-4)


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(0)
    treated, control = rng.normal(1, 2, 40), rng.normal(0.5, 1, 25)
    theirs = stats.ttest_ind(treated, control, equal_var=False)
    ours = welch(Sample.of(treated), Sample.of(control))
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-12)
    interval = theirs.confidence_interval()
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), rel=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 99])
def test_a_few_viewers_say_nothing_and_nothing_fails(n: int) -> None:
    few, many = Sample.of(np.arange(n, dtype=float)), Sample.of(np.arange(200.0))
    for interval in (always_valid(few, many), relative(few, many)):
        assert interval.p == 1.0
        assert not interval.is_significant
    assert welch(few, many).p <= 1.0


def test_equal_values_everywhere_are_no_difference() -> None:
    same = Sample.of(np.zeros(500))
    assert not always_valid(same, same).is_significant
    assert not relative(same, same).is_significant


def test_a_relative_interval_covers_the_true_lift() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        control, treated = rng.exponential(2.0, 400), rng.exponential(2.2, 600)
        said = relative(Sample.of(treated), Sample.of(control))
        covered += said.low <= 0.1 <= said.high
    assert covered / 300 > 0.97  # an always-valid interval is wider than one look needs


def test_cuped_is_unbiased_and_leaves_1_less_rho_squared_of_the_variance() -> None:
    rng = np.random.default_rng(1)
    rho, effect, n = 0.7, 0.3, 4_000
    plain, reduced, left = [], [], []
    for _ in range(400):
        before = rng.normal(size=n)
        arm = rng.integers(0, 2, n)
        values = rho * before + math.sqrt(1 - rho**2) * rng.normal(size=n) + effect * arm
        said = adjusted(values, before, arm)
        for into, column in ((plain, values), (reduced, said.values)):
            into.append(column[arm == 1].mean() - column[arm == 0].mean())
        left.append(said.variance_left)
    assert abs(np.mean(reduced) - effect) < 3 * np.std(reduced) / math.sqrt(400)
    # 400 replications: an SE of the ratio of variances of about sqrt(2 * 2 / 400) * .51 * sqrt(1 - rho^4 ...) < .06
    assert np.var(reduced) / np.var(plain) == pytest.approx(1 - rho**2, abs=0.12)
    assert np.mean(left) == pytest.approx(1 - rho**2, abs=0.005)


def test_a_covariate_that_the_arm_changes_would_take_the_effect_away() -> None:
    """Why it has to be of the time before: the naive covariate, measured after, hides what the arm did."""
    rng = np.random.default_rng(2)
    arm = rng.integers(0, 2, 20_000)
    after = rng.normal(size=20_000) + 0.3 * arm
    values = after + 0.2 * rng.normal(size=20_000)
    said = adjusted(values, after, arm)
    seen = said.values[arm == 1].mean() - said.values[arm == 0].mean()
    assert abs(seen) < 0.05  # the truth is .3


def test_cuped_without_a_useful_covariate_changes_nothing() -> None:
    values, arm = np.arange(6.0), np.array([0, 0, 0, 1, 1, 1])
    for covariate in (np.full(6, np.nan), np.ones(6)):
        said = adjusted(values, covariate, arm)
        assert said.values.tolist() == values.tolist()
        assert said.variance_left == 1.0
    with pytest.raises(InvalidInput, match="6 viewers"):
        adjusted(values, np.ones(5), arm)


def test_a_ratio_by_the_delta_method_covers_and_rows_as_units_do_not() -> None:
    """Viewers with rates and numbers of showings of their own: clicks / showings, 95 % intervals, 1,000 replications."""
    rng = np.random.default_rng(4)
    truth, n = 0.0, 300
    covered = naive = 0
    for _ in range(N):
        ratios, variances, naive_variances = [], [], []
        for _arm in range(2):
            showings = 1 + rng.negative_binomial(1, 0.05, n)
            clicks = rng.binomial(showings, rng.beta(1, 4, n)).astype(float)
            column = linearised(clicks, showings.astype(float))
            ratios.append(column.mean())
            variances.append(column.var(ddof=1) / n)
            p = clicks.sum() / showings.sum()
            naive_variances.append(p * (1 - p) / showings.sum())
        difference = ratios[1] - ratios[0]
        covered += abs(difference - truth) <= 1.96 * math.sqrt(sum(variances))
        naive += abs(difference - truth) <= 1.96 * math.sqrt(sum(naive_variances))
    assert abs(covered / N - 0.95) < 3 * math.sqrt(0.05 * 0.95 / N)
    assert naive / N < 0.75


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=30))
def test_the_mean_of_the_linearised_column_is_the_ratio(rows: list[tuple[int, int]]) -> None:
    above, below = np.array(rows, float).T
    assert linearised(above, below).mean() == pytest.approx(above.sum() / below.sum())


def test_the_sample_ratio_alarm_rings_at_49_51_of_100_000_and_not_at_50_50() -> None:
    # by hand: (49,000 - 50,000)^2 / 50,000 * 2 = 40, p = 2.5e-10
    assert sample_ratio_p([49_000, 51_000], [50, 50]) == pytest.approx(2.54e-10, rel=0.01)
    assert sample_ratio_p([49_000, 51_000], [50, 50]) < SRM_ALARM
    assert sample_ratio_p([50_000, 50_000], [50, 50]) == 1.0
    rng = np.random.default_rng(0)
    drawn = rng.binomial(100_000, 0.5, 2_000)
    alarms = np.mean([sample_ratio_p([a, 100_000 - a], [1, 1]) < SRM_ALARM for a in drawn.tolist()])
    assert alarms <= 0.004
    skewed = rng.binomial(100_000, 0.49, 500)
    caught = [sample_ratio_p([a, 100_000 - a], [1, 1]) < SRM_ALARM for a in skewed.tolist()]
    assert np.mean(caught) > 0.99  # the alarm lies 3.3 SE of 158 viewers nearer to the half
    assert sample_ratio_p([], []) == 1.0


def test_holm_keeps_false_alarms_of_ten_metrics_at_5_percent_and_none_keeps_40() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    rng = np.random.default_rng(6)
    p = rng.random((N, 10))
    any_naive = np.mean((p < 0.05).any(axis=1))
    corrected = [min(holm(dict(zip("abcdefghij", row))).values()) < 0.05 for row in p.tolist()]
    assert abs(np.mean(corrected) - 0.05) < 3 * math.sqrt(0.05 * 0.95 / N)
    assert any_naive > 0.35


def test_a_guardrail_is_kept_only_when_the_harm_is_ruled_out() -> None:
    rng = np.random.default_rng(7)
    few = [Sample.of(rng.normal(10, 3, 150)) for _ in range(2)]
    many = [Sample.of(rng.normal(10, 3, 20_000)) for _ in range(2)]
    assert guardrail(relative(*few), 0.02) == "open"  # not proven harmful is not proven harmless
    assert guardrail(relative(*many), 0.02) == "kept"
    worse = Sample.of(rng.normal(9, 3, 20_000))
    assert guardrail(relative(worse, many[0]), 0.02) == "broken"
    assert guardrail(relative(worse, many[0]), 0.02, is_more_better=False) == "kept"


def test_the_planned_number_of_viewers_has_the_planned_power() -> None:
    n = viewers_needed(4.0, 0.2, peeking=False)
    assert n == pytest.approx(2 * 4 * (1.959964 + 0.841621) ** 2 / 0.04, abs=1)  # 1,570
    assert detectable(4.0, n, peeking=False) == pytest.approx(0.2, rel=1e-3)
    peeking = viewers_needed(4.0, 0.2)
    assert detectable(4.0, peeking) == pytest.approx(0.2, rel=1e-3)
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(400):
        control, treated = rng.normal(0, 2, peeking), rng.normal(0.2, 2, peeking)
        hits += always_valid(Sample.of(treated), Sample.of(control)).is_significant
    assert abs(hits / 400 - 0.8) < 3 * math.sqrt(0.8 * 0.2 / 400)
    with pytest.raises(InvalidInput, match="other than 0"):
        viewers_needed(1.0, 0.0)


def test_a_team_draft_by_hand() -> None:
    rankings = np.array([[[1, 2, 3, 4]], [[1, 3, 5, 6]]])
    slate, team = team_draft(rankings, 4, np.array([[True, False]]))
    # the first takes 1, the second its best left, 3; the second begins the next round: 5, then the first's best left, 2
    assert slate.tolist() == [[1, 3, 5, 2]]
    assert team.tolist() == [[0, 1, 1, 0]]
    with pytest.raises(InvalidInput, match="at least 5"):
        team_draft(rankings, 5, np.array([[True, False, True]]))


def test_two_equal_rankings_win_half_of_the_pages_each_and_the_one_that_always_begins_wins_more() -> (
    None
):
    equal = found(120, 200, edge=0.0)
    # one replication's share of pages has an SE of about .5 * sqrt(pages with a winner) / pages: printed by the bench; 120 of them
    assert abs(equal.wins - 0.5) < 0.003
    naive = found(40, 200, edge=0.0, coin=False, seed=1)
    assert naive.wins < 0.46


def test_interleaving_finds_with_the_same_traffic_what_an_ab_test_misses() -> None:
    said = found(40, 600, edge=1.0)
    assert said.interleaving > 0.7
    assert said.ab < 0.3


def test_pages_of_one_viewer_count_together() -> None:
    """One busy viewer with 10,000 pages has one vote of 201."""
    rng = np.random.default_rng(9)
    viewer = np.concatenate([np.arange(200), np.full(10_000, 200)])
    credit = np.zeros((10_200, 2))
    credit[np.arange(10_200), rng.integers(0, 2, 10_200)] = 1
    credit[200:] = [0, 1]  # the busy one always prefers the second
    said = preference(credit, viewer)
    assert said.n_viewers == 201
    assert abs(said.share.difference) < 0.1
    assert not said.share.is_significant  # rows as units would be certain: z = 98
    assert (said.wins, said.losses, said.ties) == (
        int((credit[:, 1] > 0).sum()), int((credit[:, 0] > 0).sum()), 0,
    )  # fmt: skip

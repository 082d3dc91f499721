"""Effects of a treatment from rows: numbers by hand, intervals that know of viewers, errors that say what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Float64
from upnext.evaluate.uplift.effects import (
    Effect,
    Nuisances,
    Study,
    doubly_robust,
    inverse_propensity,
    naive_difference,
    pseudo_outcomes,
)
from upnext.evaluate.uplift.nuisances import Predict, cross_fitted, viewer_folds
from upnext.evaluate.uplift.objective import creator_uplift
from upnext.evaluate.uplift.qini import qini


def _study(treated: list[int], outcome: list[float], viewer: list[int] | None = None) -> Study:
    n = len(treated)
    keys = np.arange(n) if viewer is None else np.array(viewer)
    return Study(np.array(treated, np.bool_), np.array(outcome, np.float64), keys)


def test_the_three_effects_of_five_rows_by_hand() -> None:
    study = _study([1, 1, 0, 0, 0], [3, 1, 1, 0, 2])
    assert naive_difference(study).mean == pytest.approx(2 - 1)
    e = np.array([0.5, 0.25, 0.5, 0.75, 0.5])
    # treated weights 2, 4: (6 + 4) / 6; the others' 2, 4, 2: (2 + 0 + 4) / 8
    assert inverse_propensity(study, e).mean == pytest.approx(10 / 6 - 6 / 8)
    beliefs = Nuisances(e, np.full(5, 2.0), np.full(5, 1.0))
    # m1 - m0 = 1 everywhere; (3-2)/.5 = 2, (1-2)/.25 = -4, -(1-1)/.5 = 0, -(0-1)/.25 = 4, -(2-1)/.5 = -2
    assert pseudo_outcomes(study, beliefs) == pytest.approx([3, -3, 1, 5, -1])
    assert doubly_robust(study, beliefs).mean == pytest.approx(1.0)


def test_the_error_of_an_even_draw_is_that_of_two_means() -> None:
    rng = rng_for("two means")
    treated = rng.random(4_000) < 0.3
    y = rng.normal(0, 1 + treated, 4_000)
    found = naive_difference(Study(treated, y, np.arange(4_000)))
    by_hand = np.sqrt(y[treated].var() / treated.sum() + y[~treated].var() / (~treated).sum())
    assert found.standard_error == pytest.approx(by_hand, rel=0.001)


def test_intervals_cover_when_viewers_repeat_and_those_of_single_rows_do_not() -> None:
    covered, covered_by_rows = 0, 0
    for turn in range(300):
        rng = rng_for("clusters", turn)
        viewer = np.repeat(np.arange(150), 8)
        treated = np.repeat(rng.random(150) < 0.5, 8)  # a viewer is treated as a whole
        y = 1.0 * treated + np.repeat(rng.normal(0, 1, 150), 8) + rng.normal(0, 1, 1_200)
        for name, keys in (("viewers", viewer), ("rows", np.arange(1_200))):
            e = naive_difference(Study(treated, y, keys)).estimate
            hit = e.low <= 1.0 <= e.high
            covered += hit and name == "viewers"
            covered_by_rows += hit and name == "rows"
    assert 0.91 <= covered / 300 <= 0.99  # 95 %, 3 binomial errors of 1.3 %
    assert covered_by_rows / 300 < 0.75


def test_few_effective_rows_are_not_identifiable() -> None:
    assert Effect(0.1, 0.01, 99.0).estimate.verdict == "not identifiable"
    assert Effect(0.1, 0.01, 101.0).estimate.verdict == "ok"


def test_what_is_no_study_is_refused() -> None:
    with pytest.raises(InvalidInput, match="as many treated"):
        Study(np.ones(3, np.bool_), np.zeros(2), np.arange(3))
    with pytest.raises(InvalidInput, match="some of them true and some not"):
        _study([1, 1], [0, 1])
    with pytest.raises(InvalidInput, match="finite"):
        _study([1, 0], [np.nan, 1])
    study = _study([1, 0, 1], [1, 0, 1])
    with pytest.raises(InvalidInput, match="the ends excluded"):
        inverse_propensity(study, np.array([0.5, 1.0, 0.5]))
    with pytest.raises(InvalidInput, match="if_not: expected 3 rows, got 2"):
        doubly_robust(study, Nuisances(np.full(3, 0.5), np.zeros(3), np.zeros(2)))


def test_a_row_is_never_predicted_from_its_own_viewer() -> None:
    viewer = np.repeat(np.arange(40), 5)
    features = viewer[:, None].astype(np.float64)

    def knows_who(x: Float64, y: Float64) -> Predict:
        met = set(x[:, 0].tolist())
        return lambda other: np.array([0.9 if v in met else 0.3 for v in other[:, 0].tolist()])

    treated = rng_for("own viewer").random(200) < 0.5
    study = Study(treated, treated.astype(np.float64), viewer)
    found = cross_fitted(study, features, propensity=knows_who, outcome=knows_who)
    assert (found.propensity == 0.3).all()
    assert (found.if_treated == 0.3).all()
    assert np.bincount(viewer_folds(viewer, 5, 0)).tolist() == [40] * 5
    with pytest.raises(InvalidInput, match="at least 5 viewers"):
        viewer_folds(np.zeros(9), 5, 0)


def _slice(n: int) -> tuple[Study, Float64]:
    """A randomised slice in which the treatment helps the first half by .4, and the true effect."""
    rng = rng_for("slice", n)
    treated: Bool = rng.random(n) < 0.5
    tau = np.where(np.arange(n) < n // 2, 0.4, 0.0)
    y = (rng.random(n) < 0.3 + tau * treated).astype(np.float64)
    return Study(treated, y, np.arange(n)), tau


def test_the_qini_of_a_perfect_score_is_its_area_by_hand_and_that_of_chance_is_zero() -> None:
    study, tau = _slice(20_000)
    perfect = qini(study, tau)
    # Q rises to .2 at half and stays: area beyond the line (0, 0)-(1, .2) is .15 - .1
    assert perfect.coefficient.mean == pytest.approx(0.05, abs=0.01)
    assert perfect.area.mean == pytest.approx(0.15, abs=0.02)
    assert len(perfect.share) == 3  # two scores, and nobody
    chance = qini(study, rng_for("chance").random(20_000))
    assert chance.coefficient.low <= 0 <= chance.coefficient.high
    assert qini(study, -tau).coefficient.high < 0
    assert qini(study, np.zeros(20_000)).coefficient.mean == 0


def test_the_qini_curve_of_four_rows_by_hand() -> None:
    study = _study([1, 0, 1, 0], [1, 0, 1, 1])
    found = qini(study, np.array([4.0, 3.0, 2.0, 1.0]))
    assert found.share == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert found.gain == pytest.approx([0, 0.5, 0.5, 1, 0.5])
    with pytest.raises(InvalidInput, match="4 finite numbers"):
        qini(study, np.array([1.0, np.nan, 1, 1]))


def test_the_creators_uplift_is_the_formula_and_vanishes_where_creation_already_holds_it() -> None:
    watched, skipped, p_watch = np.array([0.3, 0.2]), np.array([0.1, 0.2]), np.array([0.5, 0.9])
    told = creator_uplift(watched, skipped, p_watch, 1 - p_watch, np.array([0.15, 0.2]))
    assert told == pytest.approx([0.05, 0.0])
    mixed = watched * p_watch + skipped * (1 - p_watch)
    assert creator_uplift(watched, skipped, p_watch, 1 - p_watch, mixed) == pytest.approx([0, 0])
    with pytest.raises(InvalidInput, match="P_watch \\+ P_skip"):
        creator_uplift(watched, skipped, p_watch, p_watch, mixed)

"""Two-sided experiments: arms that are closed, effects per capita by hand, intervals over clusters."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.randomness import rng_for
from upnext.evaluate.co_diversion import co_divert, corpus_cost, effect_of_arms
from upnext.evaluate.experiments.assignment import N_BUCKETS, NO_ARM

USERS = [f"u{i}" for i in range(6_000)]
CREATORS = [f"c{i}" for i in range(6_000)]


def test_an_arm_has_the_same_share_of_viewers_and_creators_and_is_closed() -> None:
    split = co_divert("boost", {"control": 20, "treated": 20})
    viewer, creator = split.viewers.rows(USERS), split.creators.rows(CREATORS)
    for rows in (viewer, creator):
        assert np.bincount(rows + 1) / 6_000 == pytest.approx([0.6, 0.2, 0.2], abs=0.02)
    shown = split.may_show(USERS, CREATORS)
    assert (shown == (viewer == creator)).all()
    assert ((viewer == NO_ARM) & shown).any()  # those outside are a platform too
    assert split.arms == ("control", "treated")
    with pytest.raises(InvalidInput, match="creator_ids"):
        split.may_show(USERS[:2], CREATORS[:3])


def test_viewers_and_creators_of_one_name_are_split_apart_from_each_other() -> None:
    split = co_divert("boost", {"control": 50, "treated": 50})
    same = split.viewers.rows(USERS) == split.creators.rows(USERS)
    assert same.mean() == pytest.approx(0.5, abs=0.025)  # 4 binomial errors of .0065


def test_taken_buckets_stay_with_their_owner() -> None:
    first = co_divert("one", {"control": 30, "treated": 30})
    second = co_divert(
        "two",
        {"control": 20, "treated": 20},
        taken_viewers=first.viewers.owned,
        taken_creators=first.creators.owned,
    )
    assert not (first.viewers.owned & second.viewers.owned).any()
    assert second.creators.owned.sum() == 0.4 * N_BUCKETS
    with pytest.raises(InvalidInput, match="free"):
        co_divert("three", {"a": 50, "b": 30}, taken_viewers=first.viewers.owned)


def test_the_effect_per_capita_and_in_total_by_hand() -> None:
    outcome, arm = np.array([1.0, 3, 6, 8, 100]), np.array([0, 0, 1, 1, NO_ARM])
    found = effect_of_arms(outcome, arm)
    assert found.per_capita.mean == 5
    assert found.relative.mean == 2.5
    assert found.total.mean == 25  # five units on the platform, two of them treated
    assert found.control_mean == 2


def test_what_was_known_before_takes_out_noise_and_leaves_the_effect() -> None:
    rng = rng_for("before")
    before = rng.normal(0, 3, (4_000, 2))
    arm = rng.integers(0, 2, 4_000)
    outcome = 0.2 * arm + before @ np.array([1.0, -0.5]) + rng.normal(0, 0.5, 4_000)
    plain, adjusted = effect_of_arms(outcome, arm), effect_of_arms(outcome, arm, before=before)
    assert adjusted.per_capita.low <= 0.2 <= adjusted.per_capita.high
    widths = [e.per_capita.high - e.per_capita.low for e in (adjusted, plain)]
    # spreads .5 and sqrt(.25 + 9 + 2.25) = 3.4: one seventh
    assert widths[0] < widths[1] / 5


def test_units_that_move_together_widen_the_interval() -> None:
    rng = rng_for("together")
    cluster = np.repeat(np.arange(80), 25)
    arm = np.repeat(rng.integers(0, 2, 80), 25)
    outcome = np.repeat(rng.normal(0, 1, 80), 25) + rng.normal(0, 0.3, 2_000)
    alone = effect_of_arms(outcome, arm).per_capita
    together = effect_of_arms(outcome, arm, cluster=cluster).per_capita
    assert together.mean == pytest.approx(alone.mean)
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_the_cost_of_a_smaller_corpus_is_relative_to_the_whole() -> None:
    cost = corpus_cost(np.full(30, 9.0), np.full(50, 10.0))
    assert (cost.mean, cost.low, cost.high) == pytest.approx((-0.1, -0.1, -0.1))
    with pytest.raises(InvalidInput, match="at least one"):
        corpus_cost(np.zeros(0), np.ones(3))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InvalidInput, match="treated arm: expected at least 2 units, got 1"):
        effect_of_arms(np.ones(3), np.array([0, 0, 1]))
    with pytest.raises(InvalidInput, match="arms and clusters"):
        effect_of_arms(np.ones(3), np.array([0, 1]))
    with pytest.raises(InvalidInput, match="finite"):
        effect_of_arms(np.array([1.0, np.nan, 2, 2]), np.array([0, 0, 1, 1]))
    with pytest.raises(InvalidInput, match="before"):
        effect_of_arms(np.ones(4), np.array([0, 0, 1, 1]), before=np.ones((3, 1)))

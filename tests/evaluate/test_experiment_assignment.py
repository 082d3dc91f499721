"""Assignment: even, stable, exclusive inside a layer, independent between layers."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from upnext.core.errors import InvalidInput
from upnext.evaluate.experiments.assignment import (
    N_BUCKETS,
    NO_ARM,
    Allocation,
    Layer,
    allocate,
    ramped,
)

VIEWERS = [f"user-{i}" for i in range(200_000)]
EVEN = {"control": 50.0, "wide": 50.0}


@given(st.lists(st.text(max_size=40), max_size=20))
def test_many_ids_get_the_buckets_that_each_gets_alone(ids: list[str]) -> None:
    layer = Layer("ranking")
    assert layer.buckets(ids).tolist() == [layer.bucket(one) for one in ids]


def test_buckets_are_uniform_over_sequential_ids() -> None:
    counts = np.bincount(Layer("a").buckets(VIEWERS), minlength=N_BUCKETS)
    assert stats.chisquare(counts).pvalue > 0.001
    # the naive hash, the id's number modulo the buckets, is no randomisation: its counts are too even
    naive = np.bincount(np.arange(len(VIEWERS)) % N_BUCKETS, minlength=N_BUCKETS)
    assert stats.chisquare(naive).pvalue > 1 - 1e-9


def test_layers_are_independent() -> None:
    """Arms of two layers over the same viewers: a 4 x 4 table without association."""
    quarters = {f"arm{i}": 25.0 for i in range(4)}
    pairs = [("a", "b"), ("a", "c"), ("ranking", "ranking2")]
    for first, second in pairs:
        one = allocate(Layer(first), "x", quarters).rows(VIEWERS)
        two = allocate(Layer(second), "y", quarters).rows(VIEWERS)
        table = np.bincount(one * 4 + two, minlength=16).reshape(4, 4)
        assert stats.chi2_contingency(table).pvalue > 0.001
    same = np.bincount(one * 4 + one, minlength=16).reshape(4, 4)  # one layer twice must fail
    assert stats.chi2_contingency(same).pvalue < 1e-9


def test_viewers_and_creators_of_one_id_are_assigned_apart() -> None:
    viewer = allocate(Layer("l", "viewer"), "x", EVEN).rows(VIEWERS)
    creator = allocate(Layer("l", "creator"), "x", EVEN).rows(VIEWERS)
    agree = np.mean(viewer == creator)
    assert abs(agree - 0.5) < 4 * 0.5 / len(VIEWERS) ** 0.5


def test_experiments_of_a_layer_exclude_each_other() -> None:
    layer = Layer()
    first = allocate(layer, "first", {"control": 20, "a": 20})
    second = allocate(layer, "second", {"control": 30, "b": 30}, first.owned)
    assert not (first.owned & second.owned).any()
    assert (first.owned | second.owned).all()
    with pytest.raises(InvalidInput, match="at most 0 % more"):
        allocate(layer, "third", {"control": 1, "c": 1}, first.owned | second.owned)


def test_the_next_experiment_on_the_same_buckets_cuts_across_the_arms_of_the_last_one() -> None:
    layer = Layer()
    last = allocate(layer, "last", EVEN).rows(VIEWERS)
    following = allocate(layer, "following", EVEN).rows(VIEWERS)
    both = np.mean((last == 0) & (following == 0))
    # a quarter, but for which 10,000 buckets fell where: SE .5 * .5 / sqrt(10,000)
    assert abs(both - 0.25) < 4 * 0.25 / N_BUCKETS**0.5


def test_shares_are_kept_to_a_hundredth_of_a_percent() -> None:
    allocation = allocate(Layer(), "x", {"control": 33.33, "a": 0.01, "b": 1})
    assert allocation.shares() == {"control": 33.33, "a": 0.01, "b": 1.0}
    assert (allocation.arm_of_bucket == NO_ARM).sum() == N_BUCKETS - 3333 - 1 - 100


def test_ramping_up_keeps_everyone_who_is_in_where_they_are() -> None:
    small = allocate(Layer(), "x", {"control": 1, "a": 1})
    large = ramped(small, "x", {"control": 50, "a": 20})
    was, now = small.rows(VIEWERS), large.rows(VIEWERS)
    assert (now[was != NO_ARM] == was[was != NO_ARM]).all()
    assert large.shares() == {"control": 50, "a": 20}
    with pytest.raises(InvalidInput, match="at least 50 %"):
        ramped(large, "x", {"control": 40, "a": 20})
    with pytest.raises(InvalidInput, match="shares of control, a"):
        ramped(large, "x", {"control": 60})


@pytest.mark.parametrize("share", [0, -1, 101, 0.001, float("nan")])
def test_a_share_that_is_no_percentage_is_refused(share: float) -> None:
    with pytest.raises(InvalidInput, match=r"0\.01 to 100"):
        allocate(Layer(), "x", {"control": share})


def test_an_arm_by_name_is_the_arm_by_row() -> None:
    allocation = allocate(Layer(), "x", {"control": 30, "wide": 30})
    ids = VIEWERS[:500]
    names = [allocation.arm(one) for one in ids]
    assert names == [(*allocation.arms, None)[row] for row in allocation.rows(ids)]


def test_assignment_is_the_same_in_another_process_and_another_version() -> None:
    """Golden buckets: an experiment outlives an upgrade."""
    program = (
        "from upnext.evaluate.experiments.assignment import Layer;"
        "print([Layer('ranking').bucket(u) for u in ('u1', 'u2', 'ünï', '')])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    here = [Layer("ranking").bucket(u) for u in ("u1", "u2", "ünï", "")]
    assert said.stdout.strip() == str(here)
    assert here == GOLDEN


GOLDEN = [7274, 6797, 6044, 9898]


def test_an_allocation_of_nobody_is_empty() -> None:
    allocation: Allocation = allocate(Layer(), "x", EVEN)
    assert allocation.rows([]).shape == (0,)

"""The gate: equal passes, plausibly worse is refused with words a person can read."""

from __future__ import annotations

import math

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.evaluate.gate import GateMetrics, Margins, gate, log_loss_sums

RNG = np.random.default_rng(0)
NDCG = RNG.random(4000)
LOSS = {"click": RNG.random(4000) + 0.2, "relevant": RNG.random(4000) + 0.4}


def changed(ndcg: float = 1.0, **heads: float) -> GateMetrics:
    noise = np.random.default_rng(1).normal(0, 0.002, 4000)
    return GateMetrics(
        NDCG * ndcg + noise, {k: v * heads.get(k, 1.0) + noise for k, v in LOSS.items()}
    )


def test_the_same_release_and_a_better_one_are_accepted() -> None:
    same = gate(GateMetrics(NDCG, LOSS), GateMetrics(NDCG, LOSS))
    assert (same.accepted, same.reasons) == (True, ())
    assert gate(changed(ndcg=1.1, click=0.9), GateMetrics(NDCG, LOSS)).accepted


def test_within_the_margin_passes_and_beyond_it_the_reason_names_figure_interval_and_margin() -> (
    None
):
    assert gate(changed(ndcg=0.995), GateMetrics(NDCG, LOSS)).accepted
    verdict = gate(changed(ndcg=0.97, relevant=1.05), GateMetrics(NDCG, LOSS))
    assert not verdict.accepted
    assert len(verdict.reasons) == 2
    assert verdict.reasons[0].startswith("ndcg@10: -3.0")
    assert "95 % interval [-3." in verdict.reasons[0]
    assert "margin 1.00%" in verdict.reasons[0]
    assert verdict.reasons[1].startswith("log loss of relevant: +5.0")
    assert verdict.differences["log_loss:click"].mean == pytest.approx(0, abs=1e-3)


def test_a_small_noisy_window_refuses_although_the_mean_is_equal() -> None:
    rng = np.random.default_rng(2)
    verdict = gate(GateMetrics(rng.random(60)), GateMetrics(rng.random(60)))
    assert not verdict.accepted
    wide = Margins(ndcg=0.9)
    assert gate(GateMetrics(rng.random(60)), GateMetrics(rng.random(60)), wide).accepted


def test_a_lost_head_is_refused_and_a_gained_one_is_not_compared() -> None:
    lost = gate(GateMetrics(NDCG, {"click": LOSS["click"]}), GateMetrics(NDCG, LOSS))
    assert lost.reasons == (
        "head relevant: the candidate has no such head, the current release does",
    )
    assert gate(GateMetrics(NDCG, LOSS), GateMetrics(NDCG)).accepted  # popularity has no heads


def test_a_head_that_is_not_finite_is_refused() -> None:
    broken = GateMetrics(NDCG, {**LOSS, "click": np.full(4000, math.nan)})
    assert gate(broken, GateMetrics(NDCG, LOSS)).reasons[0].startswith("head click")


def test_nobody_to_judge_on_is_refused_and_nothing_to_lose_is_accepted() -> None:
    nobody = GateMetrics(np.full(5, math.nan))
    assert "can't be compared (0 viewers" in gate(nobody, nobody).reasons[0]
    assert gate(GateMetrics(np.ones(5)), GateMetrics(np.zeros(5))).accepted


def test_other_viewers_are_refused_as_input() -> None:
    with pytest.raises(InvalidInput, match="4000 viewers"):
        gate(GateMetrics(NDCG[:10]), GateMetrics(NDCG))
    with pytest.raises(InvalidInput, match="same viewers"):
        gate(GateMetrics(np.array([math.nan, 1.0])), GateMetrics(np.ones(2)))


def test_log_loss_sums_leave_unlabelled_rows_out() -> None:
    label, user = np.array([1.0, math.nan, 0.0]), np.array([0, 0, 2])
    sums = log_loss_sums(label, np.array([0.5, 0.1, 0.2]), user, 3)
    np.testing.assert_allclose(sums, [math.log(2), 0, -math.log(0.8)])

"""Two predictions beside each other: their own figures, and differences whose sign and size are known."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.evaluate import binary, regression
from upnext.evaluate.head_pairs import compare


def world(n: int = 4_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true probability, label, viewer) of n rows of 200 viewers."""
    rng = np.random.default_rng(0)
    p = rng.beta(1, 2, n)
    return p, (rng.random(n) < p).astype(float), rng.integers(0, 200, n)


def test_the_truth_is_better_than_its_noisy_copy_in_every_figure() -> None:
    p, label, user = world()
    noisy = np.clip(p + np.random.default_rng(1).normal(0, 0.3, len(p)), 0.01, 0.99)
    found = compare(label, p, noisy, user, "probability")
    assert found["auc"].ours == binary.auc(label, p)
    assert found["gauc"].theirs == binary.gauc(label, noisy, user).value
    for name in ("auc", "gauc", "log_loss"):
        one = found[name]
        assert one.difference is not None
        assert one.difference.mean == pytest.approx(one.ours - one.theirs)
        assert one.word(name) == "better"
    back = compare(label, noisy, p, user, "probability")
    assert all(back[name].word(name) == "worse" for name in ("auc", "gauc", "log_loss"))
    assert found["pcoc"].difference is None


def test_a_prediction_is_not_told_apart_from_itself() -> None:
    p, label, user = world()
    found = compare(label, p, p, user, "probability")
    assert {one.word(name) for name, one in found.items() if one.difference} == {"not told apart"}


def test_seconds_are_compared_by_error_order_and_mean() -> None:
    p, _, user = world()
    seconds = np.random.default_rng(2).exponential(60 * p)
    found = compare(seconds, 60 * p, np.full(len(p), 20.0), user, "seconds")
    assert found["rmse"].ours == regression.rmse(seconds, 60 * p)
    assert found["rmse"].word("rmse") == "better"
    assert found["xauc"].theirs == 0.5
    assert found["xauc"].word("xauc") == "better"
    assert found["mean_ratio"].ours == pytest.approx(60 * p.sum() / seconds.sum())

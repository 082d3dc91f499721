"""Boosted trees as the network's teacher: what they predict of viewers they did not see, and that it helps where the network alone is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.protocols import NoProgress
from upnext.ranking import teacher
from upnext.ranking.calibration import auc
from upnext.ranking.ranker_learner import RankerLearner
from upnext.ranking.rows import RankerRows
from upnext.ranking.teacher import softened

TASKS = ("like", "watch_s", "share")
try:
    import lightgbm  # noqa: F401
except (ImportError, OSError) as error:
    WHY_NOT = str(error)
else:
    WHY_NOT = ""
needs_trees = pytest.mark.skipif(bool(WHY_NOT), reason=f"LightGBM can't be loaded: {WHY_NOT}")


def stairs(m: int = 6_000) -> RankerRows:
    """Rows whose truth is a stair of one column, which trees find at once: likes .2 or .8, 10 or 40 seconds."""
    rng = np.random.default_rng(0)
    items = rng.normal(size=(m, 3)).astype(np.float32)
    high = np.sin(6 * items[:, 0]) > 0
    labels = {
        "like": (rng.random(m) < np.where(high, 0.8, 0.2)).astype(np.float32),
        "watch_s": rng.exponential(np.where(high, 40, 10)).astype(np.float32),
        "share": (rng.random(m) < 0.01).astype(np.float32),  # too few to teach
    }
    return RankerRows(
        np.zeros((m, 1), np.float32), items, labels, np.ones(m, np.float32), rng.integers(0, 300, m),
        np.arange(m) * 1_000_000, ("u0",), ("i0", "i1", "i2"),
    )  # fmt: skip


def asked(rows: RankerRows, taught: np.ndarray, share: float) -> np.ndarray:
    label = rows.label_table(TASKS)
    label[5] = np.nan
    return softened(rows, label, TASKS, taught, share, 3, 0, NoProgress())


@needs_trees
def test_targets_are_what_trees_predict_of_viewers_they_did_not_learn_from() -> None:
    rows, label = stairs(), stairs().label_table(TASKS)
    taught = np.arange(len(rows)) < 5_000
    target = asked(rows, taught, 1.0)
    high = np.sin(6 * rows.items[:, 0]) > 0
    told = taught & (np.arange(len(rows)) != 5)
    assert target[told & high, 0].mean() == pytest.approx(0.8, abs=0.08)
    assert target[told & ~high, 0].mean() == pytest.approx(0.2, abs=0.08)
    assert target[told & high, 1].mean() == pytest.approx(40, abs=6)
    # no closer to its own label than the truth is: the trees have not seen it
    assert 0.7 < auc(target[told, 0], label[told, 0]) < 0.81
    np.testing.assert_array_equal(
        target[:, 2], np.where(np.arange(len(rows)) == 5, np.nan, label[:, 2])
    )
    np.testing.assert_array_equal(target[~taught], label[~taught])
    assert np.isnan(target[5]).all()
    half = asked(rows, taught, 0.5)
    np.testing.assert_allclose(half[told], (target[told] + label[told]) / 2, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(asked(rows, taught, 0.5), half)  # deterministic


@needs_trees
def test_a_taught_network_predicts_the_stair_better_than_one_alone() -> None:
    from ranking_worlds import SMALL

    rows, losses = stairs(), []
    for share in (0.0, 0.9):
        changed = {"teacher_share": share, "epochs": 8, "patience": 9, "weight_decay": 0.01}
        learner = RankerLearner(SMALL.model_copy(update=changed), seed=1, device="cpu")
        losses.append(learner.learn(rows)["like.log_loss"])
    assert losses[1] < losses[0] - 0.02


def test_without_lightgbm_a_ranker_is_trained_on_labels_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ranking_worlds import SMALL

    def missing(*_: object) -> None:
        raise ImportError("no module named lightgbm")

    monkeypatch.setattr("upnext.ranking.ranker_learner.softened", missing)
    learner = RankerLearner(SMALL.model_copy(update={"epochs": 1}), seed=1, device="cpu")
    learner.learn(stairs(1_000))
    assert any("lightgbm can't be loaded" in note for note in learner.notes)
    assert teacher.NO_TREES.format("x") != learner.notes[0]

"""What every Ranker must do; each implementation runs through it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.protocols import Ranker
from upnext.core.types import Features
from upnext.ranking.onnx_ranker import OnnxRanker
from upnext.ranking.popularity_ranker import RATE_COLUMN, PopularityRanker
from upnext.ranking.reference_ranker import write_reference_ranker

USER_NAMES = ("u0", "u1", "u2")
ITEM_NAMES = ("i0", RATE_COLUMN, "i2", "i3", "i4")


def onnx_ranker(folder: Path) -> Ranker:
    write_reference_ranker(
        folder, USER_NAMES, ITEM_NAMES, experts=2, expert_hidden=(6, 4), int8=False
    )
    return OnnxRanker.load(folder)


RANKERS: dict[str, Callable[[Path], Ranker]] = {
    "popularity": lambda folder: PopularityRanker(),
    "onnx": onnx_ranker,
}


@pytest.fixture(params=sorted(RANKERS))
def ranker(request: pytest.FixtureRequest, tmp_path: Path) -> Ranker:
    return RANKERS[request.param](tmp_path)


def features(n: int) -> Features:
    rng = np.random.default_rng(n)
    items = rng.random((n, 5)).astype(np.float32)
    return Features(rng.random(3).astype(np.float32), items, USER_NAMES, ITEM_NAMES)


@pytest.mark.parametrize("n", [0, 1, 17])
def test_predictions_are_aligned_finite_and_in_their_units(ranker: Ranker, n: int) -> None:
    predictions = ranker.predict(features(n))
    assert predictions.values.shape == (n, len(predictions.tasks))
    assert predictions.values.dtype == np.float32
    assert np.isfinite(predictions.values).all()
    for task in predictions.tasks:
        top = 600.01 if task.endswith("_s") else 1
        assert ((predictions.task(task) >= 0) & (predictions.task(task) <= top)).all()


def test_each_row_is_predicted_alone(ranker: Ranker) -> None:
    given = features(9)
    together = ranker.predict(given).values
    order = np.random.default_rng(0).permutation(9)
    shuffled = Features(given.user, given.items[order], USER_NAMES, ITEM_NAMES)
    np.testing.assert_allclose(ranker.predict(shuffled).values, together[order], rtol=1e-5)
    assert len(np.unique(together[:, 0])) == 9


def test_other_columns_are_refused(ranker: Ranker) -> None:
    given = features(4)
    with pytest.raises(InvalidInput, match="column"):
        ranker.predict(Features(given.user, given.items, USER_NAMES, ("a", "b", "c", "d", "e")))


def test_the_trained_ranker_names_missing_unknown_and_reordered_columns(tmp_path: Path) -> None:
    ranker, given = onnx_ranker(tmp_path), features(4)
    names = ("i0", RATE_COLUMN, "new", "i3", "i4")
    with pytest.raises(InvalidInput, match=r"missing \['i2'\], unknown \['new'\]"):
        ranker.predict(Features(given.user, given.items, USER_NAMES, names))
    with pytest.raises(InvalidInput, match="another order"):
        ranker.predict(Features(given.user, given.items, USER_NAMES[::-1], ITEM_NAMES))
    with pytest.raises(InvalidInput, match=r"ranker\.json"):
        OnnxRanker.load(tmp_path / "nowhere")

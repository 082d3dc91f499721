"""A ranker that goes on over newer rows: exactly from its state, and predicting each batch before it learns from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ranking_worlds import SMALL, rows

from upnext.core.errors import InvalidInput
from upnext.ranking.ranker_learner import RankerLearner

QUICK = SMALL.model_copy(update={"epochs": 2, "teacher_share": 0.0})
WORLD = rows(3_000)
FIRST, NEWEST = (WORLD.take(np.arange(len(WORLD)) // 2_800 == part) for part in (0, 1))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[RankerLearner, Path]:
    learner = RankerLearner(QUICK, seed=1, device="cpu")
    learner.learn(FIRST)
    state = tmp_path_factory.mktemp("state") / "state.safetensors"
    learner.save(state)
    return learner, state


def restored(state: Path) -> RankerLearner:
    learner = RankerLearner(QUICK, seed=1, device="cpu")
    learner.restore(state)
    return learner


def test_from_its_state_it_goes_on_as_if_it_had_never_stopped(
    learned: tuple[RankerLearner, Path],
) -> None:
    again = restored(learned[1])
    metrics = [one.go_on(NEWEST, 0.5) for one in (learned[0], again)]
    assert metrics[0] == metrics[1]
    for name, array in learned[0].snapshot().items():
        np.testing.assert_array_equal(array, again.snapshot()[name], err_msg=name)
    assert learned[0].drift == again.drift


def test_each_batch_is_predicted_before_it_is_learned_from(
    learned: tuple[RankerLearner, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, told = restored(learned[1]), []
    for name, place in (("_outputs", 2), ("_step", 3)):
        own = getattr(learner, name)

        def spied(*args: object, own: object = own, name: str = name, place: int = place) -> object:
            told.append((name, np.asarray(args[place]).tolist()))
            return own(*args)  # type: ignore[operator]

        monkeypatch.setattr(learner, name, spied)
    learner.go_on(NEWEST, 0.5)
    assert len(told) > 2
    assert [name for name, _ in told] == ["_outputs", "_step"] * (len(told) // 2)
    assert [index for _, index in told[::2]] == [index for _, index in told[1::2]]
    assert np.concatenate([index for _, index in told[::2]]).tolist() == list(range(len(NEWEST)))


def test_a_state_of_another_network_and_rows_of_other_columns_are_refused(
    learned: tuple[RankerLearner, Path],
) -> None:
    wider = QUICK.model_copy(update={"experts": 3})
    with pytest.raises(InvalidInput, match="another network"):
        RankerLearner(wider, seed=1, device="cpu").restore(learned[1])
    renamed = rows(50)
    object.__setattr__(renamed, "item_names", ("a", "b", "c", "d", "e"))
    with pytest.raises(InvalidInput, match="columns of the ranker"):
        restored(learned[1]).go_on(renamed, 0.5)

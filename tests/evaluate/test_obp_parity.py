"""Our off-policy estimators give obp's values: tests/evaluate/obp_values.json, made by `make obp-values` from the same generated inputs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from upnext.evaluate.off_policy.estimator import OffPolicyEstimator
from upnext.evaluate.off_policy.importance import ClippedIps, Ips, Snips
from upnext.evaluate.off_policy.logged import Logged, Predicted
from upnext.evaluate.off_policy.model_based import (
    DirectMethod,
    DoublyRobust,
    SelfNormalisedDoublyRobust,
    ShrunkDoublyRobust,
    SwitchDoublyRobust,
)
from upnext.evaluate.off_policy.slates import (
    CascadeDoublyRobust,
    IndependentIps,
    RewardInteractionIps,
    SlateEstimator,
    Slates,
    StandardIps,
)

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location(
    "off_policy_inputs", ROOT / "benchmarks/peers/off_policy_inputs.py"
)
assert SPEC is not None
assert SPEC.loader is not None
GENERATED = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(GENERATED)
COLUMNS = GENERATED.inputs()
PEER = json.loads((Path(__file__).parent / "obp_values.json").read_text("utf-8"))

ESTIMATORS: list[OffPolicyEstimator] = [
    Ips(),
    ClippedIps(GENERATED.CLIP),
    Snips(),
    DirectMethod(),
    DoublyRobust(),
    SelfNormalisedDoublyRobust(),
    SwitchDoublyRobust(GENERATED.SWITCH),
    ShrunkDoublyRobust(GENERATED.SHRINKAGE),
]
SLATE_ESTIMATORS: list[SlateEstimator] = [
    StandardIps(),
    IndependentIps(),
    RewardInteractionIps(),
    CascadeDoublyRobust(),
]


def named(estimator: OffPolicyEstimator | SlateEstimator) -> str:
    return estimator.name


def single() -> Logged:
    c = COLUMNS
    return Logged(
        c["reward"], c["logged"], c["target"], action=c["action"], target_all=c["target_all"],
        predicted=Predicted.of(c["predictions"], c["action"], c["target_all"]),
    )  # fmt: skip


def slates(order: np.ndarray) -> Slates:
    c = {
        name: column.reshape(-1, *column.shape[2:])
        for name, column in COLUMNS.items()
        if name[:5] == "slate"
    }
    n_slates, n_slots = COLUMNS["slate_reward"].shape
    predicted = Predicted.of(c["slate_predictions"], c["slate_action"], c["slate_target_all"])
    slots = Logged(
        c["slate_reward"][order], c["slate_logged"][order], c["slate_target"][order],
        position=np.tile(np.arange(n_slots), n_slates)[order],
        predicted=Predicted(predicted.logged[order], predicted.target[order]),
    )  # fmt: skip
    return Slates(slots, np.repeat(np.arange(n_slates), n_slots)[order])


def test_the_inputs_are_the_ones_that_obp_saw() -> None:
    assert PEER["obp"] == "0.5.7"
    assert {n: float(c.mean()) for n, c in COLUMNS.items()} == pytest.approx(PEER["input_means"])
    assert set(PEER["values"]) == {e.name for e in (*ESTIMATORS, *SLATE_ESTIMATORS)}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=named)
def test_an_estimate_is_obp_s(estimator: OffPolicyEstimator) -> None:
    assert estimator.terms(single()).value == pytest.approx(
        PEER["values"][estimator.name], abs=1e-9
    )


@pytest.mark.parametrize("estimator", SLATE_ESTIMATORS, ids=named)
def test_an_estimate_of_slates_is_obp_s_whatever_the_order_of_rows(
    estimator: SlateEstimator,
) -> None:
    n = COLUMNS["slate_reward"].size
    for order in (np.arange(n), np.random.default_rng(0).permutation(n)):
        value = estimator.terms(slates(order)).value
        assert value == pytest.approx(PEER["values"][estimator.name], abs=1e-9)


def test_no_two_estimators_agree_so_none_can_stand_in_for_another() -> None:
    values = sorted(PEER["values"].values())
    assert min(np.diff(values)) > 1e-4

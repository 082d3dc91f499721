"""The network against its formula, its training against a known world, its export against itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ranking_worlds import NETWORK_TASKS as TASKS
from ranking_worlds import SMALL, network, rows, truth

from upnext.core.errors import InvalidInput
from upnext.core.types import Features
from upnext.ranking.calibration import auc
from upnext.ranking.onnx_ranker import OnnxRanker
from upnext.ranking.ranker_export import export_ranker
from upnext.ranking.ranker_graph import quantise, write_graph
from upnext.ranking.ranker_learner import RankerLearner
from upnext.ranking.ranker_metrics import in_units
from upnext.ranking.ranker_network import list_loss, losses
from upnext.ranking.rows import RankerRows


def test_the_network_is_the_formula_written_out() -> None:
    model = network()
    a = {name: value.astype(np.float64) for name, value in model.weights().arrays.items()}
    rng = np.random.default_rng(1)
    user, items = rng.normal(size=(5, 4)), rng.normal(size=(5, 7))
    z_user = np.clip((user - a["user_mean"]) * a["user_scale"], -5, 5)
    z_item = np.clip((items - a["item_mean"]) * a["item_scale"], -5, 5)
    x = np.hstack([z_user, z_item])
    first, gate = (
        np.vstack([a["first_user"], a["first_item"]]),
        np.vstack([a["gate_user"], a["gate_item"]]),
    )
    e, width = 2, 16
    want = np.zeros((5, 3))
    for k in range(3):
        logit = (x @ gate + a["gate_bias"])[:, k * e : (k + 1) * e]
        g = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
        mixed = np.zeros((5, 8))
        for i in range(e):
            cut = slice(i * width, (i + 1) * width)
            h = np.maximum(x @ first[:, cut] + a["first_bias"][cut], 0)
            h = np.maximum(h @ a["expert_weight_1"][i] + a["expert_bias_1"][i], 0)
            mixed += g[:, i : i + 1] * h
        y = np.maximum(mixed @ a["head_weight"][k] + a["head_bias"][k], 0)
        want[:, k] = y @ a["out_weight"][k] + a["out_bias"][k]
    want += z_user @ a["wide_user"] + z_item @ a["wide_item"]
    with torch.no_grad():
        got = model(
            torch.tensor(user, dtype=torch.float32), torch.tensor(items, dtype=torch.float32)
        )
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("trunk", "hidden"),
    [
        ("mmoe", (16,)), ("mmoe", (16, 8)), ("mmoe", (12, 9, 6)), ("shared_bottom", (12, 9)),
        ("ple", (16,)), ("ple", (16, 8)), ("ple", (12, 9, 6)),
    ],
)  # fmt: skip
def test_the_graph_predicts_what_the_network_does_for_one_viewer_and_for_many(
    trunk: str, hidden: tuple[int, ...], tmp_path: Path
) -> None:
    changed = SMALL.model_copy(update={"trunk": trunk, "expert_hidden": hidden})
    model = network(changed, with_curves=True)
    assert len(model.item_curve_at) == 6
    write_graph(model.weights(), tmp_path / "ranker.onnx")
    manifest = {
        "file": "ranker.onnx",
        "tasks": TASKS,
        "user_names": ["u"] * 4,
        "item_names": ["i"] * 7,
    }
    (tmp_path / "ranker.json").write_text(json.dumps(manifest))
    ranker = OnnxRanker.load(tmp_path)
    rng = np.random.default_rng(2)
    user, items = (
        rng.normal(size=(9, 4)).astype(np.float32),
        rng.normal(size=(9, 7)).astype(np.float32),
    )
    items[2, 3], items[4, 1] = np.nan, 1e9
    user[7, 2] = np.nan
    with torch.no_grad():
        want = in_units(model(torch.from_numpy(user), torch.from_numpy(items)).numpy(), TASKS, 600)
    assert np.isfinite(want).all()
    np.testing.assert_allclose(ranker.predict_rows(user, items), want, rtol=2e-5)
    one = ranker.predict_rows(np.repeat(user[:1], 9, 0), items)
    (alone,) = ranker._session.run(["predictions"], {"user": user[:1], "items": items})
    np.testing.assert_allclose(alone, one, rtol=1e-6)
    many = np.tile(user, (40, 1)), np.tile(items, (40, 1))  # more than two pieces
    in_turn = ranker.predict_rows(*many)
    np.testing.assert_allclose(in_turn, np.tile(want, (40, 1)), rtol=2e-5)
    shared = OnnxRanker.load(tmp_path, threads=3)
    for _ in range(20):  # whoever takes which piece
        np.testing.assert_array_equal(shared.predict_rows(*many), in_turn)
    page = Features(user[0], many[1], ("u",) * 4, ("i",) * 7)
    np.testing.assert_array_equal(
        shared.predict(page, share=True).values, shared.predict(page).values
    )
    quantise(tmp_path / "ranker.onnx", tmp_path / "int8.onnx")
    (tmp_path / "ranker.json").write_text(json.dumps({**manifest, "file": "int8.onnx"}))
    rough = OnnxRanker.load(tmp_path).predict_rows(user, items)
    np.testing.assert_allclose(rough, want, rtol=0.1)
    assert not np.array_equal(rough, one)


def test_a_task_may_start_at_the_logistic_regression_on_one_column() -> None:
    config = SMALL.model_copy(
        update={"start_columns": {"like": "i2", "share": "i1", "watch_s": "i0"}}
    )
    model = network(config)
    with torch.no_grad():
        for parameter in (model.wide_user, model.wide_item, model.out_weight):
            parameter.zero_()
    model.start_line(1, 2, slope=0.7, intercept=-0.4)
    model.start_line(0, 6, slope=0.7, intercept=-0.4)  # without spread: nothing to start from
    items = np.random.default_rng(1).normal(-1, 2, (6, 7)).astype(np.float32)
    with torch.no_grad():
        got = model(torch.zeros(6, 4), torch.from_numpy(items)).numpy()
    np.testing.assert_allclose(got[:, 1], 0.7 * items[:, 2] - 0.4, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got[:, 0], -1, rtol=1e-5)


def test_a_ranker_that_starts_from_the_merge_keeps_its_order_where_rows_say_nothing_more() -> None:
    world = rows(1500)
    merge = truth(world.user, world.items)[0].astype(np.float32)
    told = RankerRows(
        world.user, np.hstack([world.items[:, :1], merge[:, None]]), {"relevant": world.labels["relevant"]},
        world.weight, world.group, world.time_us, world.user_names, ("noise", "score:blend"),
    )  # fmt: skip
    short = SMALL.model_copy(update={"epochs": 1, "learning_rate": 1e-5})
    learner = RankerLearner(short, seed=1, device="cpu")
    started = learner.learn(told)["relevant.auc"]
    alone = RankerLearner(short.model_copy(update={"start_columns": {}}), seed=1, device="cpu")
    known = ~np.isnan(told.labels["relevant"]) & learner.held_out
    best = auc(merge[known], told.labels["relevant"][known], told.weight[known])
    assert started == pytest.approx(best, abs=0.01)
    assert alone.learn(told)["relevant.auc"] < started - 0.02


def test_an_unknown_label_costs_nothing_and_poisson_is_least_at_the_mean() -> None:
    label = torch.tensor([[1.0, float("nan"), 30.0], [0.0, 1.0, float("nan")]])
    output = torch.zeros(2, 3, requires_grad=True)
    got = losses(output, label, TASKS, torch.tensor([1.0, 1.0, 10.0]))
    got.sum().backward()
    assert got[0, 1] == 0
    assert got[1, 2] == 0
    assert output.grad is not None
    assert output.grad[0, 1] == 0
    np.testing.assert_allclose(got[0, 0].item(), np.log(2), rtol=1e-6)
    at = torch.tensor([[0.0, 0.0, np.log(30.0)]], requires_grad=True)
    losses(at, label[:1], TASKS, torch.tensor([1.0, 1.0, 10.0])).sum().backward()
    assert at.grad is not None
    assert abs(at.grad[0, 2].item()) < 1e-6


@pytest.fixture(scope="module")
def learned() -> RankerLearner:
    learner = RankerLearner(SMALL, seed=1, device="cpu")
    learner.learn(rows())
    return learner


def test_a_known_world_is_learned_and_calibrated(learned: RankerLearner) -> None:
    world = rows()
    held = learned.held_out
    assert learned.weights is not None
    logit, _ = truth(world.user[held], world.items[held])
    shown = ~np.isnan(world.labels["relevant_shown"][held])
    best = auc(logit[shown], world.labels["relevant_shown"][held][shown])
    metrics = learned.metrics
    assert best - 0.03 < metrics["relevant_shown.auc"] < best + 0.02
    assert metrics["relevant_shown.pcoc"] == pytest.approx(1, abs=0.12)
    assert metrics["watch_s.mean_ratio"] == pytest.approx(1, abs=0.12)
    rate = np.average(world.labels["relevant"], weights=world.weight)
    assert rate < 0.8 * np.nanmean(world.labels["relevant_shown"])
    assert metrics["relevant.pcoc"] == pytest.approx(1, abs=0.15)
    assert learned.notes[0] == "task 'share' dropped: no positive among 5395 rows"
    assert "share" not in learned.weights.tasks


def test_a_training_says_how_its_experts_are_used(learned: RankerLearner, tmp_path: Path) -> None:
    load = np.array([learned.expert_load[task] for task in learned.expert_load])
    np.testing.assert_allclose(load.sum(1), 1, rtol=1e-5)
    share = load.mean(0)
    assert learned.metrics["experts_used"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    learned.export(tmp_path, rows())
    said = json.loads((tmp_path / "ranker.json").read_text())
    assert said["expert_load"] == learned.expert_load
    assert said["trunk"] == "mmoe"


def test_two_trainings_of_one_seed_are_equal_and_of_two_are_not(learned: RankerLearner) -> None:
    short = SMALL.model_copy(update={"epochs": 1})
    first, again, other = (RankerLearner(short, seed=s, device="cpu") for s in (1, 1, 2))
    for learner in (first, again, other):
        learner.learn(rows(1500))
    for name, value in first.snapshot().items():
        np.testing.assert_array_equal(value, again.snapshot()[name])
    assert not np.array_equal(first.snapshot()["first_item"], other.snapshot()["first_item"])


def test_a_killed_training_goes_on_to_the_same_result(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class KillIn:
        """Progress that dies in the middle of an epoch."""

        def __init__(self, steps: int) -> None:
            self.left = steps

        def start(self, task: str, total: int | None, unit: str) -> None: ...

        def advance(self, n: int, **shown: float) -> None:
            self.left -= 1
            if self.left == 0:
                raise Killed

        def done(self) -> None: ...

    config = SMALL.model_copy(update={"epochs": 3, "dropout": 0.1})
    world, path = rows(1500), tmp_path / "ranker.safetensors"
    whole = RankerLearner(config, seed=5, device="cpu")
    whole.learn(world)
    with pytest.raises(Killed):
        RankerLearner(config, seed=5, device="cpu", checkpoint=path, progress=KillIn(16)).learn(
            world
        )
    assert path.exists()
    resumed = RankerLearner(config, seed=5, device="cpu", checkpoint=path)
    resumed.learn(world)
    for name, value in whole.snapshot().items():
        np.testing.assert_array_equal(value, resumed.snapshot()[name])
    assert resumed.metrics == whole.metrics
    with pytest.raises(InvalidInput, match="the same rows and settings"):
        RankerLearner(config, seed=6, device="cpu", checkpoint=path).learn(world)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InvalidInput, match="can't be read"):
        RankerLearner(config, seed=5, device="cpu", checkpoint=path).learn(world)


def test_the_export_serves_int8_only_when_it_predicts_as_well(
    learned: RankerLearner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = learned.export(tmp_path / "good", rows())
    assert manifest["int8"]["serves"], manifest["int8"]
    assert manifest["file"] == "ranker.int8.onnx"
    assert manifest["held_out_rows"] == int(learned.held_out.sum())
    ranker = OnnxRanker.load(tmp_path / "good")
    assert ranker.tasks == ("relevant", "relevant_shown", "watch_s")
    monkeypatch.setattr("upnext.ranking.ranker_export.LEAST_SPEARMAN", 1.0)
    assert learned.weights is not None
    refused = export_ranker(tmp_path / "bad", learned.weights, rows().take(learned.held_out))
    assert refused["file"] == "ranker.onnx"
    assert "Spearman" in refused["int8"]["reason"]
    assert not (tmp_path / "bad" / "ranker.int8.onnx").exists()
    held = rows().take(learned.held_out)
    exact = OnnxRanker.load(tmp_path / "bad").predict_rows(held.user, held.items)
    shown = ~np.isnan(held.labels["watch_s"])
    # calibration is inside the graph: on the rows it was fitted on, means agree
    assert exact[shown, 2].mean() == pytest.approx(held.labels["watch_s"][shown].mean(), rel=1e-3)
    assert exact[shown, 1].mean() == pytest.approx(
        held.labels["relevant_shown"][shown].mean(), rel=1e-3
    )


def test_rows_without_any_task_to_learn_are_refused() -> None:
    world = rows(500)
    for label in world.labels.values():
        label[:] = 0
    with pytest.raises(InvalidInput, match="a task with positives and negatives"):
        RankerLearner(SMALL, device="cpu").learn(world)
    with pytest.raises(InvalidInput, match="at least one"):
        RankerLearner(SMALL, device="cpu").learn(world.take(np.zeros(0, np.int64)))


def test_times_that_do_not_tell_rows_apart_hold_out_whole_groups() -> None:
    world = rows(2000)
    world.time_us[:] = 7
    learner = RankerLearner(SMALL.model_copy(update={"epochs": 1}), device="cpu")
    learner.learn(world)
    held, train = world.group[learner.held_out], world.group[~learner.held_out]
    assert 0 < len(held) < len(world) / 4
    assert not set(held.tolist()) & set(train.tolist())


def test_the_list_loss_of_three_requests_by_hand() -> None:
    output = torch.tensor([1.0, 0.0, 2.0, 0.5, 0.5, 0.0, 0.0, 3.0])
    label = torch.tensor([1.0, 0.0, float("nan"), 0.0, 1.0, 1.0, 1.0, 0.0])
    request = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    got = list_loss(output, label, weight, request)
    want = -np.log(np.e / (np.e + 1)) - 2 * np.log(0.5)  # the row without a label is in no list
    want += np.log(2 + np.exp(3))  # two positives share their list
    np.testing.assert_allclose(float(got), want, rtol=1e-6)
    nothing = list_loss(output[:0], label[:0], weight[:0], request[:0])
    assert float(nothing) == 0


def on_days(found: RankerRows, day: np.ndarray) -> RankerRows:
    """The rows with columns of the weekday int[m]."""
    week = np.eye(7, dtype=np.float32)[day]
    names = (*found.user_names, *(f"weekday={i}" for i in range(7)))
    return replace(found, user=np.hstack([found.user, week]), user_names=names)


def predicted(learner: RankerLearner, found: RankerRows, folder: Path) -> np.ndarray:
    """What the exported ranker says of the first rows, seconds last."""
    learner.export(folder, found)
    ranker = OnnxRanker.load(folder)
    features = [
        Features(found.user[i], found.items[i : i + 1], found.user_names, found.item_names)
        for i in range(60)
    ]
    return np.concatenate([ranker.predict(one).values for one in features])


def test_a_day_of_rows_teaches_nothing_of_other_weekdays_and_a_whole_week_does(
    tmp_path: Path,
) -> None:
    found = rows(2_000)
    monday = np.zeros(len(found), np.int64)
    monday[:5] = 6  # a few rows of the evening before
    tuesday = on_days(found, np.ones(len(found), np.int64))
    one_day = RankerLearner(SMALL, seed=0)
    one_day.learn(on_days(found, monday))
    on_monday = predicted(one_day, on_days(found, np.zeros_like(monday)), tmp_path / "monday")
    on_tuesday = predicted(one_day, tuesday, tmp_path / "tuesday")
    assert np.array_equal(on_monday, on_tuesday)
    every_day = RankerLearner(SMALL, seed=0)
    week = on_days(found, np.arange(len(found)) % 7)
    week.labels["watch_s"][week.user[:, -1] > 0] *= 4  # on the last day people watch longer
    every_day.learn(week)
    last = on_days(found, np.full(len(found), 6))
    longer = predicted(every_day, last, tmp_path / "last")[:, -1]
    assert longer.mean() > 1.5 * predicted(every_day, tuesday, tmp_path / "week")[:, -1].mean()

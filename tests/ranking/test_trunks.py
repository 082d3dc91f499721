"""Layered extraction against its formula and against the baseline that it becomes with one shared expert."""

from __future__ import annotations

import numpy as np
import torch
from ranking_worlds import SMALL, network


def test_layered_extraction_is_the_formula_written_out() -> None:
    model = network(SMALL.model_copy(update={"trunk": "ple", "experts": 2, "task_experts": 1}))
    with torch.no_grad():
        for gate in model.level_gate:
            gate.normal_(generator=torch.Generator().manual_seed(1))
    a = {name: value.astype(np.float64) for name, value in model.weights().arrays.items()}
    rng = np.random.default_rng(1)
    user, items = rng.normal(size=(5, 4)), rng.normal(size=(5, 7))
    x = np.hstack([
        np.clip((user - a["user_mean"]) * a["user_scale"], -5, 5),
        np.clip((items - a["item_mean"]) * a["item_scale"], -5, 5),
    ])  # fmt: skip
    first = np.vstack([a["first_user"], a["first_item"]])
    gate = np.vstack([a["gate_user"], a["gate_item"]])
    seen = [[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 2, 3, 4]]  # by the tasks, by the shared ones

    def mixed(logits: np.ndarray, layer: list[np.ndarray], g: int) -> np.ndarray:
        chosen = np.exp(logits[:, seen[g]])
        chosen /= chosen.sum(1, keepdims=True)
        return sum(chosen[:, [j]] * layer[e] for j, e in enumerate(seen[g]))  # type: ignore[return-value]

    h = np.maximum(x @ first + a["first_bias"], 0)
    layer = [h[:, 16 * e : 16 * e + 16] for e in range(5)]
    logits = (x @ gate + a["gate_bias"]).reshape(5, 4, 5)
    mixtures = [mixed(logits[:, g], layer, g) for g in range(4)]
    layer = [
        np.maximum(mixtures[reads] @ a["expert_weight_1"][e] + a["expert_bias_1"][e], 0)
        for e, reads in enumerate([3, 3, 0, 1, 2])
    ]
    want = np.zeros((5, 3))
    for k in range(3):
        logit = mixtures[k] @ a["level_gate_1"][k] + a["level_gate_bias_1"][k]
        y = mixed(logit, layer, k) @ a["head_weight"][k] + a["head_bias"][k]
        want[:, k] = np.maximum(y, 0) @ a["out_weight"][k] + a["out_bias"][k]
    want += x[:, :4] @ a["wide_user"] + x[:, 4:] @ a["wide_item"]
    rows_ = torch.tensor(user, dtype=torch.float32), torch.tensor(items, dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_allclose(model(*rows_), want, atol=1e-5)
    load = model.loads(*rows_)
    np.testing.assert_allclose(load.sum(2), 1, rtol=1e-5)
    assert (load[:, 0, 3:] == 0).all()  # the other tasks' own experts


def test_layered_extraction_of_one_shared_expert_is_the_shared_bottom() -> None:
    one = {"expert_hidden": (16, 8), "experts": 1, "task_experts": 0}
    layered = network(SMALL.model_copy(update={**one, "trunk": "ple"}))
    bottom = network(SMALL.model_copy(update={**one, "trunk": "shared_bottom"}))
    told = layered.state_dict()
    bottom.load_state_dict({  # gates have nothing to choose
        name: told[name] if told[name].shape == value.shape else value
        for name, value in bottom.state_dict().items()
    })  # fmt: skip
    rng = np.random.default_rng(1)
    user, items = (torch.from_numpy(rng.normal(size=(5, f)).astype(np.float32)) for f in (4, 7))
    with torch.no_grad():
        np.testing.assert_allclose(layered(user, items), bottom(user, items), rtol=1e-5)

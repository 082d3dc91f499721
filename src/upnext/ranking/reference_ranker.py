"""A ranker with random weights, in the size that serving is measured with: 8 experts of 256 and 128, 6 tasks, 96 user and 224 item
columns, 986 thousand weights, about 1 GFLOP per 500 candidates. It needs numpy and `onnx`, no training and no torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Float32
from upnext.ranking.onnx_ranker import MANIFEST
from upnext.ranking.ranker_graph import RankerWeights, quantise, write_graph
from upnext.ranking.trunk import Layout

REFERENCE_TASKS = ("relevant", "click", "like", "share", "skip", "watch_s")
REFERENCE_USER_NAMES = tuple(f"user_{i}" for i in range(96))
REFERENCE_ITEM_NAMES = tuple(f"item_{i}" for i in range(224))


def write_reference_ranker(
    folder: Path,
    user_names: Sequence[str] = REFERENCE_USER_NAMES,
    item_names: Sequence[str] = REFERENCE_ITEM_NAMES,
    *,
    experts: int = 8,
    expert_hidden: tuple[int, int] = (256, 128),
    int8: bool = True,
    seed: int = 0,
) -> None:
    """Writes ranker.onnx, with int8 also ranker.int8.onnx which then serves, and ranker.json."""
    folder.mkdir(parents=True, exist_ok=True)
    f_user, f_item, n_tasks = len(user_names), len(item_names), len(REFERENCE_TASKS)
    first, last = expert_hidden
    head = max(1, last // 2)

    def random(name: str, *shape: int) -> Float32:
        spread = np.sqrt(2 / shape[-2]) if len(shape) > 1 else 0.0
        return (rng_for(seed, name).normal(size=shape) * spread).astype(np.float32)

    arrays = {
        "user_mean": np.zeros(f_user, np.float32),
        "user_scale": np.ones(f_user, np.float32),
        "item_mean": np.zeros(f_item, np.float32),
        "item_scale": np.ones(f_item, np.float32),
        "first_user": random("first_user", f_user, experts * first),
        "first_item": random("first_item", f_item, experts * first),
        "first_bias": random("first_bias", experts * first),
        "gate_user": random("gate_user", f_user, n_tasks * experts),
        "gate_item": random("gate_item", f_item, n_tasks * experts),
        "gate_bias": random("gate_bias", n_tasks * experts),
        "expert_weight_1": random("expert_weight_1", experts, first, last),
        "expert_bias_1": random("expert_bias_1", experts, last),
        "head_weight": random("head_weight", n_tasks, last, head),
        "head_bias": random("head_bias", n_tasks, head),
        "out_weight": (rng_for(seed, "out").normal(size=(n_tasks, head)) / head).astype(np.float32),
        "out_bias": np.full(n_tasks, -1, np.float32),
        "wide_user": np.zeros((f_user, n_tasks), np.float32),
        "wide_item": np.zeros((f_item, n_tasks), np.float32),
    }
    layout = Layout.open(experts, expert_hidden, n_tasks)
    weights = RankerWeights(arrays, REFERENCE_TASKS, layout, clip=5.0, watch_cap_s=600.0)
    write_graph(weights, folder / "ranker.onnx")
    if int8:
        quantise(folder / "ranker.onnx", folder / "ranker.int8.onnx")
    manifest = {
        "version": 1,
        "file": "ranker.int8.onnx" if int8 else "ranker.onnx",
        "tasks": list(REFERENCE_TASKS),
        "user_names": list(user_names),
        "item_names": list(item_names),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")

"""The ranker as an ONNX graph, built from its weights: normalisation, trunk, heads, calibration and units inside.

Two inputs, `user` float32[1, f_user] and `items` float32[n, f_item], so that what belongs to the viewer is multiplied once per request:
the first layer is items @ W_items + (user @ W_user + b). (For rows of many viewers, `user` may have n rows.) Matrix products have constant two-dimensional weights, one per expert and head,
because that is the form that dynamic quantisation takes; gates, mixtures and last layers stay in float32 (see QUANTISED).
Built directly, not traced: it needs numpy and `onnx`, no torch. Never imported by serving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from upnext.core.types import Array, Float32
from upnext.ranking.curves import DEVIATIONS, MEANS, N_POINTS
from upnext.ranking.tasks import kind_of
from upnext.ranking.trunk import Layout

QUANTISED = ("first", "expert", "head")  # names of the matrix products that become int8
INT64 = 7  # onnx.TensorProto.INT64
UNSEEN = -1e9  # added to the logit of an expert that a gate does not see


@dataclass(frozen=True)
class RankerWeights:
    """Every array of the network; e experts, g gates, t tasks, f_u and f_i columns, h_l widths of the experts, k of the heads.

    user_mean, user_scale [f_u]; item_mean, item_scale [f_i] (a scale of 0 switches a column off)
    user_curve_at, _low, _per_point [q_u], _share [q_u, N_POINTS], and the same of item (curves.py; none: no curves)
    x_u = f_u + 3 q_u and x_i = f_i + 3 q_i inputs:
    first_user [x_u, e * h_1], first_item [x_i, e * h_1], first_bias [e * h_1]
    gate_user [x_u, g * e], gate_item [x_i, g * e], gate_bias [g * e]
    expert_weight_<l> [e, h_l, h_l+1], expert_bias_<l> [e, h_l+1]     l from 1
    level_gate_<l> [g, h_l, e], level_gate_bias_<l> [g, e]     of a stacked trunk
    head_weight [t, h_last, k], head_bias [t, k], out_weight [t, k], out_bias [t]
    wide_user [x_u, t], wide_item [x_i, t]      the linear part
    """

    arrays: Mapping[str, Array]
    tasks: tuple[str, ...]
    layout: Layout
    clip: float
    watch_cap_s: float

    def calibrated(self, scale: Float32, shift: Float32) -> RankerWeights:
        """The network whose last layer's output is scale * output + shift, float32[t] each."""
        arrays = dict(self.arrays)
        arrays["out_weight"] = (arrays["out_weight"] * scale[:, None]).astype(np.float32)
        arrays["out_bias"] = (arrays["out_bias"] * scale + shift).astype(np.float32)
        for name in ("wide_user", "wide_item"):
            arrays[name] = (arrays[name] * scale).astype(np.float32)
        return replace(self, arrays=arrays)


def write_graph(weights: RankerWeights, path: Path) -> None:
    """Writes the float32 graph. Needs the `train` extra."""
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph()
    _build(graph, weights)
    f_user, f_item = len(weights.arrays["user_mean"]), len(weights.arrays["item_mean"])
    floats = TensorProto.FLOAT
    proto = helper.make_graph(
        [n.proto(helper.make_node) for n in graph.nodes],
        "ranker",
        [
            helper.make_tensor_value_info("user", floats, ["u", f_user]),
            helper.make_tensor_value_info("items", floats, ["n", f_item]),
        ],
        [helper.make_tensor_value_info("predictions", floats, ["n", len(weights.tasks)])],
        [onnx.numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
    )
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9  # what onnxruntime 1.22 reads
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def quantise(source: Path, target: Path) -> None:
    """Writes the graph with int8 weights and dynamically quantised inputs in its large products."""
    import logging

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    names = [
        node.name
        for node in onnx.load(str(source)).graph.node
        if node.op_type == "MatMul" and node.name.startswith(QUANTISED)
    ]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a preprocessing that changes nothing here
    try:
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=["MatMul"],
            nodes_to_quantize=names,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.setLevel(level)


@dataclass(frozen=True)
class _Node:
    args: tuple[str, list[str], list[str]]
    name: str
    attributes: Mapping[str, int]

    def proto(self, make_node: Callable[..., Any]) -> Any:
        return make_node(*self.args, name=self.name, **self.attributes)


@dataclass
class _Graph:
    """Nodes and constants in the making; a value is known by its name."""

    nodes: list[_Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: int) -> str:
        self.nodes.append(_Node((op, list(inputs), [name]), name, attributes))
        return name

    def split(self, value: str, sizes: Sequence[int], names: list[str], axis: int) -> list[str]:
        """Cuts a value into pieces along an axis."""
        length = self.constant(f"{names[0]}_sizes", np.array(sizes, np.int64))
        self.nodes.append(
            _Node(("Split", [value, length], names), f"{names[0]}_split", {"axis": axis})
        )
        return names

    def linear(self, value: str, weight: Array, bias: Array, name: str) -> str:
        """value @ weight + bias; the product's node is called `name`."""
        product = self.add("MatMul", [value, self.constant(f"{name}_weight", weight)], name)
        return self.add("Add", [product, self.constant(f"{name}_bias", bias)], f"{name}_sum")


def _build(graph: _Graph, weights: RankerWeights) -> None:
    arrays, n_tasks = weights.arrays, len(weights.tasks)
    user = _inputs(graph, weights, "user", "user")
    items = _inputs(graph, weights, "item", "items")
    gates = _first_gates(graph, weights, user, items)
    experts = _first_layers(graph, weights, user, items)
    for level in range(1, len(weights.layout.widths)):
        if weights.layout.is_stacked:
            mixtures = _mixtures(graph, weights, gates, experts, level)
            gates = _later_gates(graph, weights, mixtures, level)
            experts = [mixtures[gate] for gate in weights.layout.reads]
        experts = _later_layers(graph, weights, experts, level)
    mixed = _mixtures(graph, weights, gates, experts, len(weights.layout.widths))
    wide = _wide(graph, weights, user, items)
    outputs = []
    for k in range(n_tasks):
        x = graph.linear(mixed[k], arrays["head_weight"][k], arrays["head_bias"][k], f"head_{k}")
        x = graph.add("Relu", [x], f"head_{k}_relu")
        x = graph.linear(
            x, arrays["out_weight"][k][:, None], arrays["out_bias"][k][None], f"out_{k}"
        )
        x = graph.add("Add", [x, wide[k]], f"both_{k}")
        outputs.append(_in_units(graph, weights, k, x))
    graph.add("Concat", outputs, "predictions", axis=1)


def _in_units(graph: _Graph, weights: RankerWeights, k: int, x: str) -> str:
    if kind_of(weights.tasks[k]) == "binary":
        return graph.add("Sigmoid", [x], f"task_{k}")
    cap = graph.constant(f"task_{k}_cap", np.float32(np.log(weights.watch_cap_s)))
    return graph.add("Exp", [graph.add("Min", [x, cap], f"task_{k}_log")], f"task_{k}")


def _inputs(graph: _Graph, weights: RankerWeights, side: str, given: str) -> str:
    """Standardised, a missing value at the mean, cut at +- clip; then quantiles, squares and roots of the columns that have curves."""
    arrays, clip = weights.arrays, weights.clip
    low = graph.constant(f"{side}_low", np.float32(-clip))
    high = graph.constant(f"{side}_high", np.float32(clip))
    zero = graph.constant(f"{side}_zero", np.float32(0))
    mean, scale = (graph.constant(f"{side}_{k}", arrays[f"{side}_{k}"]) for k in ("mean", "scale"))
    x = graph.add(
        "Mul", [graph.add("Sub", [given, mean], f"{side}_centred"), scale], f"{side}_scaled"
    )
    missing = graph.add("IsNaN", [x], f"{side}_missing")
    x = graph.add("Where", [missing, zero, x], f"{side}_known")
    x = graph.add("Clip", [x, low, high], f"{side}_normal")
    if not len(arrays.get(f"{side}_curve_at", ())):
        return x
    return graph.add(
        "Concat", [x, *_quantiles(graph, weights, side, given, zero)], f"{side}_all", axis=1
    )


def _quantiles(
    graph: _Graph, weights: RankerWeights, side: str, given: str, zero: str
) -> list[str]:
    """Three values [n, q]: quantiles, squares and roots, each with mean 0 and deviation 1 as of a uniform distribution."""
    prefix = f"{side}_curve"
    at, low, per_point, share = (
        weights.arrays[f"{prefix}_{name}"] for name in ("at", "low", "per_point", "share")
    )
    rise = np.diff(share, axis=1, append=share[:, -1:])  # to the next point
    values = graph.add(
        "Gather", [given, graph.constant(f"{prefix}_at", at)], f"{prefix}_values", axis=1
    )
    missing = graph.add("IsNaN", [values], f"{prefix}_missing")
    first = graph.constant(f"{prefix}_low", low)
    values = graph.add("Where", [missing, first, values], f"{prefix}_known")
    place = graph.add("Sub", [values, first], f"{prefix}_above")
    place = graph.add(
        "Mul", [place, graph.constant(f"{prefix}_per_point", per_point)], f"{prefix}_scaled"
    )
    last = graph.constant(f"{prefix}_last", np.float32(N_POINTS - 1))
    place = graph.add("Clip", [place, zero, last], f"{prefix}_place")
    point = graph.add("Floor", [place], f"{prefix}_point")
    part = graph.add("Sub", [place, point], f"{prefix}_part")
    index = graph.add("Cast", [point], f"{prefix}_index", to=INT64)
    start = graph.constant(f"{prefix}_start", N_POINTS * np.arange(len(at)))
    index = graph.add("Add", [index, start], f"{prefix}_where")
    left, climb = (
        graph.add("Gather", [graph.constant(f"{prefix}_{name}", flat.ravel()), index], f"{prefix}_{name}_there")
        for name, flat in (("share", share), ("rise", rise))
    )  # fmt: skip
    u = graph.add(
        "Add", [left, graph.add("Mul", [part, climb], f"{prefix}_climbed")], f"{prefix}_u"
    )
    least = graph.constant(f"{prefix}_least", np.float32(1e-6))
    root = graph.add("Sqrt", [graph.add("Max", [u, least], f"{prefix}_positive")], f"{prefix}_root")
    powers = (u, graph.add("Mul", [u, u], f"{prefix}_square"), root)
    normal = []
    for i, (power, mean, deviation) in enumerate(zip(powers, MEANS, DEVIATIONS, strict=True)):
        taken = graph.constant(f"{prefix}_mean_{i}", np.float32(mean))
        divided = graph.constant(f"{prefix}_deviation_{i}", np.float32(deviation))
        x = graph.add("Sub", [power, taken], f"{prefix}_centred_{i}")
        x = graph.add("Div", [x, divided], f"{prefix}_spread_{i}")
        normal.append(graph.add("Where", [missing, zero, x], f"{prefix}_normal_{i}"))
    return normal


def _first_gates(graph: _Graph, weights: RankerWeights, user: str, items: str) -> str:
    """softmax over experts, [n, g, e]; nothing to choose where one expert is all there is."""
    arrays = weights.arrays
    of_user = graph.linear(user, arrays["gate_user"], arrays["gate_bias"], "gate_user")
    of_items = graph.add(
        "MatMul", [items, graph.constant("gate_item", arrays["gate_item"])], "gate"
    )
    return _softmax(graph, weights, graph.add("Add", [of_items, of_user], "gate_both"), "gates_0")


def _later_gates(graph: _Graph, weights: RankerWeights, mixtures: list[str], level: int) -> str:
    """The same of a level of extraction, each gate from its own mixture."""
    weight, bias = (weights.arrays[f"level_gate{kind}_{level}"] for kind in ("", "_bias"))
    logits = [
        graph.linear(mixture, weight[g], bias[g], f"gate_{level}_{g}")
        for g, mixture in enumerate(mixtures)
    ]
    both = graph.add("Concat", logits, f"gate_{level}_all", axis=1)
    return _softmax(graph, weights, both, f"gates_{level}")


def _softmax(graph: _Graph, weights: RankerWeights, logits: str, name: str) -> str:
    """[n, g * e] -> [n, g, e]"""
    layout = weights.layout
    if not layout.sees.all():
        unseen = np.where(layout.sees, 0, UNSEEN).astype(np.float32).reshape(1, -1)
        logits = graph.add("Add", [logits, graph.constant(f"{name}_sees", unseen)], f"{name}_seen")
    shape = np.array([-1, layout.n_gates, layout.n_experts], np.int64)
    cube = graph.add("Reshape", [logits, graph.constant(f"{name}_shape", shape)], f"{name}_cube")
    return graph.add("Softmax", [cube], name, axis=2)


def _mixtures(
    graph: _Graph, weights: RankerWeights, gates: str, experts: list[str], level: int
) -> list[str]:
    """What each gate makes of the experts' layer: g values [n, h]."""
    layout = weights.layout
    width, n_gates, n_experts = layout.widths[level - 1], layout.n_gates, layout.n_experts
    if n_experts == 1:
        return experts * n_gates
    flat = graph.add("Concat", experts, f"experts_{level}_flat", axis=1)
    cube = graph.constant(f"experts_{level}_shape", np.array([-1, n_experts, width], np.int64))
    stacked = graph.add("Reshape", [flat, cube], f"experts_{level}")  # [n, e, h]
    mixed = graph.add("MatMul", [gates, stacked], f"mixture_{level}")  # [n, g, e] @ [n, e, h]
    names = [f"mixture_{level}_{g}" for g in range(n_gates)]
    pieces = graph.split(mixed, [1] * n_gates, names, 1)
    row = graph.constant(f"mixture_{level}_shape", np.array([-1, width], np.int64))
    return [graph.add("Reshape", [piece, row], f"{piece}_flat") for piece in pieces]


def _wide(graph: _Graph, weights: RankerWeights, user: str, items: str) -> list[str]:
    """The linear part, t values [n, 1]; in float32, for it carries the order of the merge."""
    arrays, n_tasks = weights.arrays, len(weights.tasks)
    zero = np.zeros(n_tasks, np.float32)
    of_user = graph.linear(user, arrays["wide_user"], zero, "wide_user")
    weight = graph.constant("wide_item_weight", arrays["wide_item"])
    of_items = graph.add("MatMul", [items, weight], "wide_item")
    both = graph.add("Add", [of_items, of_user], "wide")
    return graph.split(both, [1] * n_tasks, [f"wide_{k}" for k in range(n_tasks)], 1)


def _first_layers(graph: _Graph, weights: RankerWeights, user: str, items: str) -> list[str]:
    """The experts' first layers, e values [n, h]. One product per expert: cutting a joint one apart costs a copy."""
    arrays, n_experts = weights.arrays, weights.layout.n_experts
    width = weights.layout.widths[0]
    of_user = graph.linear(user, arrays["first_user"], arrays["first_bias"], "user_first")
    names = [f"user_first_{e}" for e in range(n_experts)]
    of_user_each = graph.split(of_user, [width] * n_experts, names, 1)
    result = []
    for e in range(n_experts):
        weight = arrays["first_item"][:, e * width : (e + 1) * width]
        constant = graph.constant(f"first_{e}_weight", weight)
        x = graph.add("MatMul", [items, constant], f"first_{e}")
        x = graph.add("Add", [x, of_user_each[e]], f"first_{e}_sum")
        result.append(graph.add("Relu", [x], f"first_{e}_relu"))
    return result


def _later_layers(
    graph: _Graph, weights: RankerWeights, inputs: list[str], level: int
) -> list[str]:
    """Every expert's layer after `level`, of e values [n, h]."""
    weight, bias = (weights.arrays[f"expert_{kind}_{level}"] for kind in ("weight", "bias"))
    sums = [
        graph.linear(x, weight[e], bias[e], f"expert_{e}_{level}") for e, x in enumerate(inputs)
    ]
    return [graph.add("Relu", [x], f"expert_{e}_{level}_relu") for e, x in enumerate(sums)]

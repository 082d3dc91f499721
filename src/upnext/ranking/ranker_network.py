"""The multi-task network: y_k = h_k(sum over experts e of g_k(x)_e * E_e(x)), with the experts and gates of a trunk (trunk.py).

x is the row of user columns and item columns, standardised by the training rows; a missing value stands at the mean. Columns with many values
are read as quantiles too, with squares and roots (curves.py). Each gate is a softmax over the
experts it sees; in training a gate loses each expert with a chance of 10 % and the rest is scaled up again (Zhao et al. 2019, section 5.2:
against the collapse onto one expert). Heads are one ReLU layer, and beside them stands a linear part (Cheng et al. 2016, wide & deep),
which starts at the logistic regression of a task on one column where the settings name one: the ranker then begins with the order of the
merge and learns what to change in it. All experts' first layers are one matrix, split into a user and an item part, so that serving
multiplies the user part once per request.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from upnext.core.types import Array
from upnext.ranking.config import RankingConfig
from upnext.ranking.curves import DEVIATIONS, MEANS, N_POINTS, Curves
from upnext.ranking.ranker_graph import RankerWeights
from upnext.ranking.tasks import kind_of
from upnext.ranking.trunk import Layout


class RankerNetwork(nn.Module):
    """The network; `forward` gives what precedes sigmoid and exp."""

    user_mean: Tensor
    user_scale: Tensor
    item_mean: Tensor
    item_scale: Tensor
    item_curve_at: Tensor
    sees: Tensor
    reads: Tensor

    def __init__(
        self,
        config: RankingConfig,
        tasks: Sequence[str],
        f_user: int,
        f_item: int,
        generator: torch.Generator,
        curves: Mapping[str, Curves] | None = None,
    ) -> None:
        """`curves` of the sides "user" and "item": those columns are read as quantiles too."""
        super().__init__()
        self.config, self.tasks = config, tuple(tasks)
        self.layout = layout = Layout.of(config, len(tasks))
        curves = curves or {"user": Curves.none(), "item": Curves.none()}
        self._register(curves)
        in_user, in_item = f_user + 3 * len(curves["user"]), f_item + 3 * len(curves["item"])
        e, g, t, f = layout.n_experts, layout.n_gates, len(tasks), in_user + in_item
        widths = layout.widths
        for side, size in (("user", f_user), ("item", f_item)):
            self.register_buffer(f"{side}_mean", torch.zeros(size))
            self.register_buffer(f"{side}_scale", torch.ones(size))
        self.register_buffer("sees", torch.from_numpy(layout.sees), persistent=False)
        self.register_buffer("reads", torch.from_numpy(layout.reads), persistent=False)

        def weight(*shape: int, fan_in: int, gain: float = 2.0) -> nn.Parameter:
            bound = math.sqrt(
                3 * gain / fan_in
            )  # uniform with variance gain / fan_in (He et al. 2015)
            return nn.Parameter((torch.rand(*shape, generator=generator) * 2 - 1) * bound)

        first, gate = weight(f, e * widths[0], fan_in=f), weight(f, g * e, fan_in=f, gain=0.01)
        self.first_user, self.first_item = (
            nn.Parameter(first[:in_user].detach().clone()),
            nn.Parameter(first[in_user:].detach().clone()),
        )
        self.first_bias = nn.Parameter(torch.zeros(e * widths[0]))
        self.gate_user, self.gate_item = (
            nn.Parameter(gate[:in_user].detach().clone()),
            nn.Parameter(gate[in_user:].detach().clone()),
        )
        self.gate_bias = nn.Parameter(torch.zeros(g * e))
        self.expert_weight = nn.ParameterList(
            [weight(e, a, b, fan_in=a) for a, b in pairwise(widths)]
        )
        self.expert_bias = nn.ParameterList([torch.zeros(e, b) for b in widths[1:]])
        later = widths[1:] if layout.is_stacked else ()
        self.level_gate = nn.ParameterList(
            [weight(g, a, e, fan_in=a, gain=0.01) for a in widths[: len(later)]]
        )
        self.level_gate_bias = nn.ParameterList([torch.zeros(g, e) for _ in later])
        self.head_weight = weight(t, widths[-1], config.head_hidden, fan_in=widths[-1])
        self.head_bias = nn.Parameter(torch.zeros(t, config.head_hidden))
        self.out_weight = weight(t, config.head_hidden, fan_in=config.head_hidden, gain=0.1)
        self.out_bias = nn.Parameter(torch.zeros(t))
        self.wide_user = nn.Parameter(torch.zeros(in_user, t))
        self.wide_item = nn.Parameter(torch.zeros(in_item, t))

    def _register(self, curves: Mapping[str, Curves]) -> None:
        for side, told in curves.items():
            for name in ("at", "low", "per_point", "share"):
                self.register_buffer(f"{side}_curve_{name}", torch.from_numpy(getattr(told, name)))

    def start_from(self, user: Array, items: Array, base: Array) -> None:
        """Takes the columns' means and deviations from float32[m, f] rows, and the heads' starting outputs float32[t]."""
        for side, rows in (("user", user), ("item", items)):
            mean, scale = _moments(rows)
            getattr(self, f"{side}_mean").copy_(torch.from_numpy(mean))
            getattr(self, f"{side}_scale").copy_(torch.from_numpy(scale))
        with torch.no_grad():
            self.out_bias.copy_(torch.from_numpy(np.asarray(base, np.float32)))

    def leave_out_user(self, columns: Array) -> None:
        """Lets columns int[k] of the viewer's side count as their mean, always; after start_from."""
        self.user_scale[torch.from_numpy(columns)] = 0.0

    def start_line(self, task: int, column: int, slope: float, intercept: float) -> None:
        """Lets a task start at slope * (item column) + intercept; after start_from."""
        scale, mean = float(self.item_scale[column]), float(self.item_mean[column])
        if scale == 0:
            return
        with torch.no_grad():
            self.wide_item[column, task] = slope / scale
            self.out_bias[task] = intercept + slope * mean

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """For the optimiser: the linear part does not decay."""
        wide = [self.wide_user, self.wide_item]
        deep = [p for name, p in self.named_parameters() if not name.startswith("wide_")]
        return [
            {"params": deep, "weight_decay": weight_decay},
            {"params": wide, "weight_decay": 0.0},
        ]

    def forward(
        self, user: Tensor, items: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """float32[b, t] of rows user [b, f_user] and items [b, f_item]; a generator switches dropout on."""
        u, i = self._inputs("user", user), self._inputs("item", items)
        wide = u @ self.wide_user + i @ self.wide_item
        mixed, _ = self._mixed(u, i, generator)
        y = torch.baddbmm(self.head_bias[:, None, :], mixed.transpose(0, 1), self.head_weight)
        y = torch.relu(y)  # [t, b, g]
        return (y @ self.out_weight[:, :, None]).squeeze(2).T + self.out_bias + wide

    @torch.no_grad()
    def loads(self, user: Tensor, items: Tensor) -> Tensor:
        """float32[b, t, e]: how much each task's last gate takes of each expert, for every row."""
        u, i = self._inputs("user", user), self._inputs("item", items)
        return self._mixed(u, i, None)[1]

    def _mixed(
        self, u: Tensor, i: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """(what the heads read [b, t, h], the tasks' last gates [b, t, e])."""
        n_tasks, layout = len(self.tasks), self.layout
        logits = (u @ self.gate_user + self.gate_bias) + i @ self.gate_item
        gates = self._gates(logits.view(-1, layout.n_gates, layout.n_experts), generator)
        x = torch.relu((u @ self.first_user + self.first_bias) + i @ self.first_item)
        if generator is not None:
            x = _dropped(x, self.config.dropout, generator)
        x = x.view(len(x), layout.n_experts, -1).transpose(0, 1)  # [e, b, h]
        for level, (w, b) in enumerate(zip(self.expert_weight, self.expert_bias, strict=True)):
            if layout.is_stacked:
                mixtures = (gates @ x.transpose(0, 1)).transpose(0, 1)  # [g, b, h]
                bias = self.level_gate_bias[level][:, None, :]
                logits = torch.baddbmm(bias, mixtures, self.level_gate[level])
                gates = self._gates(logits.transpose(0, 1), generator)
                x = mixtures[self.reads]
            x = torch.relu(torch.baddbmm(b[:, None, :], x, w))
        gates = gates[:, :n_tasks]
        return gates @ x.transpose(0, 1), gates  # [b, t, e] @ [b, e, h]

    def _gates(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """softmax [b, g, e] over the experts that each gate sees."""
        gates = logits.masked_fill(~self.sees, -torch.inf).softmax(2)
        return (
            gates
            if generator is None
            else _dropped_gates(gates, self.config.gate_dropout, generator)
        )

    def weights(self) -> RankerWeights:
        """Every array, for the graph; float32 on the CPU."""
        names = {
            "expert_weight.": "expert_weight_",
            "expert_bias.": "expert_bias_",
            "level_gate.": "level_gate_",
            "level_gate_bias.": "level_gate_bias_",
        }
        arrays = {}
        for name, value in self.state_dict().items():
            for old, new in names.items():
                if name.startswith(old):
                    name = f"{new}{int(name[len(old) :]) + 1}"
            array = value.detach().cpu().numpy().copy()
            arrays[name] = array if name.endswith("_at") else array.astype(np.float32)
        return RankerWeights(
            arrays, self.tasks, self.layout, self.config.clip, self.config.watch_cap_s
        )

    def _inputs(self, side: str, x: Tensor) -> Tensor:
        """What the layers read of rows [b, f]: standardised columns, then quantiles, their squares and their roots [b, f + 3 q]."""
        clip = self.config.clip
        z = (x - getattr(self, f"{side}_mean")) * getattr(self, f"{side}_scale")
        z = torch.where(torch.isnan(z), torch.zeros_like(z), z).clamp(-clip, clip)
        at, low, per_point, share = (
            getattr(self, f"{side}_curve_{name}") for name in ("at", "low", "per_point", "share")
        )
        if not len(at):
            return z
        values = x[:, at]
        missing = torch.isnan(values)
        place = (torch.where(missing, low, values) - low) * per_point
        place = place.clamp(0, N_POINTS - 1)
        point = place.floor().clamp(max=N_POINTS - 2)
        index = point.long() + N_POINTS * torch.arange(len(at), device=x.device)
        flat = share.flatten()
        u = flat[index] + (place - point) * (flat[index + 1] - flat[index])
        parts = [z]
        for power, mean, deviation in zip(
            (u, u * u, u.clamp_min(1e-6).sqrt()), MEANS, DEVIATIONS, strict=True
        ):
            normal = (power - mean) / deviation
            parts.append(torch.where(missing, torch.zeros_like(normal), normal))
        return torch.cat(parts, dim=1)


def losses(output: Tensor, label: Tensor, tasks: Sequence[str], mean_s: Tensor) -> Tensor:
    """float32[b, t]: each task's loss, 0 where the label float32[b, t] is NaN.

    Binary: cross-entropy. Seconds: Poisson deviance up to a constant with log link, exp(f) - y f, of y = label / mean_s [t], whose minimum is
    exp(f) = E[T], the target of 2016's weighted logistic regression without its doubled rows (METHODS E2)."""
    known = ~torch.isnan(label)
    y = torch.where(known, label, torch.zeros_like(label))
    seconds = torch.tensor([kind_of(task) == "seconds" for task in tasks], device=output.device)
    cross_entropy = nn.functional.softplus(output) - y * output
    f = output - mean_s.log()
    poisson = f.clamp(max=8).exp() - (y / mean_s) * f
    return torch.where(seconds, poisson, cross_entropy) * known


def list_loss(output: Tensor, label: Tensor, weight: Tensor, request: Tensor) -> Tensor:
    """The sum over requests of the mean of -weight * log softmax(output) over its positive rows, the softmax over all its rows.

    A request with many positives counts like one with one, or the lists of a few busy viewers would be all that is learned. output, label, weight float32[b], request int64[b] ascending from 0; rows whose label is NaN are not in the list. (Cao et al. 2007, the
    top-one probability of ListNet.)"""
    known = ~torch.isnan(label)
    output, label, weight, request = (x[known] for x in (output, label, weight, request))
    if not len(output):
        return output.sum()
    n = int(request[-1]) + 1
    lowest = torch.full((n,), -torch.inf, device=output.device)
    highest = lowest.scatter_reduce(0, request, output.detach(), "amax")
    shifted = output - highest[request]
    total = torch.zeros(n, device=output.device).index_add(0, request, shifted.exp())
    likelihood = shifted - total.clamp_min(1e-20).log()[request]
    positives = torch.zeros(n, device=output.device).index_add(0, request, label)
    share = label / positives.clamp_min(1e-9)[request]
    return -(weight * share * likelihood).sum()


def _moments(rows: Array) -> tuple[Array, Array]:
    """(mean, 1 / deviation) per column of float32[m, f], NaN left out; a column without spread has 1 / deviation 0."""
    known = ~np.isnan(rows)
    n = np.maximum(known.sum(0), 1)
    filled = np.where(known, rows, 0).astype(np.float64)
    mean = filled.sum(0) / n
    spread = np.sqrt(np.maximum((np.where(known, filled - mean, 0) ** 2).sum(0) / n, 0))
    scale = np.where(spread > 1e-6 * (1 + np.abs(mean)), 1 / np.maximum(spread, 1e-12), 0.0)
    return mean.astype(np.float32), scale.astype(np.float32)


def _dropped(x: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    if rate == 0:
        return x
    keep = torch.rand(x.shape, generator=generator, device=x.device) >= rate
    return x * keep / (1 - rate)


def _dropped_gates(gates: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Gates [b, g, e] with experts left out; where all that a gate sees are, none is."""
    if rate == 0 or gates.shape[2] == 1:
        return gates
    keep = torch.rand(gates.shape, generator=generator, device=gates.device) >= rate
    kept = gates * keep
    total = kept.sum(2, keepdim=True)
    return torch.where(total > 1e-6, kept / total.clamp_min(1e-6), gates)

"""From rows to a calibrated ranker: AdamW over shuffled rows, early stopping and calibration on the latest rows.

One loss per task, each scaled so that its weighted mean over the rows that tell it counts as one row's, whatever share of the rows tells it.
The relevant head, which orders what was retrieved, also has a softmax over each request's rows (mmoe.list_loss); batches are whole requests.
Everything random comes from (seed, epoch), so a training that was killed goes on from the last whole epoch to the same result.
Calibration (Platt per binary task, one factor per task in seconds) is fitted on the held-out rows; its metrics are cross-fitted: each
half of the held-out groups is judged with the calibration of the other half.
`go_on` takes a trained ranker through rows that came since, with its optimiser's moments as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from upnext.core.errors import expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.randomness import key_of, rng_for
from upnext.core.types import Array, Bool, Float32, Float64, Int64
from upnext.ranking.calibration import platt
from upnext.ranking.config import RankingConfig
from upnext.ranking.curves import Curves
from upnext.ranking.drift import column_drift, drift_notes, head_drift
from upnext.ranking.ranker_batches import Batches, mean_label
from upnext.ranking.ranker_checkpoint import Checkpoint, put_state, read_state, write_state
from upnext.ranking.ranker_export import export_ranker
from upnext.ranking.ranker_graph import RankerWeights
from upnext.ranking.ranker_metrics import in_units
from upnext.ranking.ranker_network import RankerNetwork
from upnext.ranking.row_choices import calendar_not_told, fingerprint, held_out, learnable
from upnext.ranking.rows import RankerRows
from upnext.ranking.task_calibration import Calibration, calibrate, cross_fitted
from upnext.ranking.tasks import LISTED, kind_of
from upnext.ranking.teacher import NO_TREES, softened

EVALUATION_ROWS = 8192
GRADIENT_NORM = 5.0
WARM_UP_SHARE = 0.05
DRIFTING = 20  # columns that a drift report names


class RankerLearner:
    """The ranker in training (core.protocols.Learner)."""

    def __init__(
        self,
        config: RankingConfig,
        *,
        seed: int = 0,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """`checkpoint`: a file written after each epoch; when it is there already, training goes on from it."""
        self.config, self._seed = config, seed
        name = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(name)
        self._bf16 = name == "cuda" and torch.cuda.is_bf16_supported()
        self._checkpoint = checkpoint
        self._progress: Progress = progress or NoProgress()
        self.notes: list[str] = []  # what a person should know: dropped tasks, early stops
        self.metrics: dict[str, float] = {}
        self.weights: RankerWeights | None = None  # calibrated, after learn
        self.calibration: Calibration | None = None
        self.expert_load: dict[str, list[float]] = {}  # by task, the mean of its gate
        self.held_out: Bool = np.zeros(0, np.bool_)  # [m], of the rows learned from
        self.drift: dict[str, Any] = {}  # of the newest rows, after go_on
        self._network: RankerNetwork | None = None
        self._optimised: torch.optim.AdamW | None = None
        self._columns: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def learn(self, examples: RankerRows) -> Mapping[str, float]:
        """Trains and calibrates; {"<task>.<metric>": value on held-out rows}, also kept in `metrics`.

        Raises InvalidInput without rows, without a task that can be learned, and for a checkpoint of other rows."""
        rows = examples
        if len(rows) == 0:
            raise expected("ranker rows", "at least one", 0)
        self.held_out = held_out(rows, self.config, self._seed)
        tasks, dropped = learnable(rows.take(~self.held_out))
        self.notes += dropped
        if not tasks:
            raise expected("ranker rows", "a task with positives and negatives", dropped)
        model = self._model(rows, tasks)
        label = self._labels(rows, tasks)
        optimiser = self._optimiser(model)
        target = torch.from_numpy(self._targets(rows, label, tasks))
        best_epoch = self._train(model, optimiser, rows, target, tasks)
        self._network, self._optimised = model, optimiser
        held = np.flatnonzero(self.held_out)
        self._calibrate(model, rows, held, self._outputs(model, rows, held))
        self.metrics["epochs"] = float(best_epoch + 1)
        return self.metrics

    def go_on(self, newest: RankerRows, rate: float) -> Mapping[str, float]:
        """Learns once from rows that came since, in order of time, at `rate` of the learning rate; after `learn` or `restore`.

        Every batch is predicted before it is learned from. These predictions, which no row has taught, give the new calibration and the metrics: a whole
        day of them is far more than `learn` can hold out. Tasks that were dropped stay dropped. Raises InvalidInput for rows of other columns."""
        model, optimiser = self._network, self._optimised
        assert model is not None, "learn or restore first"
        assert optimiser is not None
        if (newest.user_names, newest.item_names) != self._columns:
            raise expected("newest ranker rows", "the columns of the ranker", "others")
        tasks, absent = model.tasks, np.full(len(newest), np.nan, np.float32)
        rows = replace(newest, labels={task: newest.labels.get(task, absent) for task in tasks})
        everything = np.arange(len(rows))
        label = torch.from_numpy(self._labels(rows, tasks))
        batches = Batches(rows, label, everything, tasks, self.config, self._device)
        generator = torch.Generator(self._device)
        generator.manual_seed(key_of(self._seed, "ranker-newest") >> 1)
        for group in optimiser.param_groups:
            group["lr"] = self.config.learning_rate * rate
        before = [np.zeros((0, len(tasks)), np.float32)]
        self._progress.start("ranker, newest rows", len(rows), "rows")
        n_steps = batches.n_steps(self.config.batch_size)
        for index in batches.cut(np.arange(batches.n_requests), n_steps):
            before.append(self._outputs(model, rows, index))
            self._step(model, optimiser, batches, index, generator)
        self._progress.done()
        output = np.concatenate(before)
        drift = self._drift(model, rows, output, tasks)
        self.held_out = np.ones(len(rows), np.bool_)
        self._calibrate(model, rows, everything, output, self.calibration)
        self.drift = drift
        self.notes += drift_notes(drift)
        return self.metrics

    def _drift(
        self,
        model: RankerNetwork,
        rows: RankerRows,
        output: Float32,
        tasks: tuple[str, ...],
    ) -> dict[str, Any]:
        """{"columns", "heads"}: the rows beside those that the ranker was made with, and what it said of them, outputs float32[m, t], before it learned from them."""
        columns: dict[str, float] = {}
        for side, table, names in (
            ("user", rows.user, rows.user_names),
            ("item", rows.items, rows.item_names),
        ):
            mean, scale = (
                getattr(model, f"{side}_{moment}").cpu().numpy() for moment in ("mean", "scale")
            )
            columns |= column_drift(table, mean, scale, names)
        by_size = sorted(columns.items(), key=lambda told: -abs(told[1]))
        assert self.calibration is not None
        said = output * self.calibration.scale + self.calibration.shift
        prediction = in_units(said, tasks, self.config.watch_cap_s)
        label = self._labels(rows, tasks)
        return {
            "columns": dict(by_size[:DRIFTING]),
            "heads": head_drift(prediction, label, rows.weight, tasks),
        }

    def _calibrate(
        self,
        model: RankerNetwork,
        rows: RankerRows,
        index: Int64,
        output: Float32,
        before: Calibration | None = None,
    ) -> None:
        """Sets calibration, weights and metrics by the outputs float32[len(index), t] of rows that had not taught them."""
        tasks = model.tasks
        label = self._labels(rows, tasks)[index]
        weight = rows.weight[index]
        self.calibration = calibrate(output, label, weight, tasks, self.config, before)
        scale, shift = self.calibration.scale, self.calibration.shift
        self.weights = model.weights().calibrated(scale, shift)
        self.metrics = cross_fitted(output, label, rows.take(index), tasks, self.config, before)
        load = self._expert_load(model, rows, index)
        self.expert_load = dict(zip(tasks, load.tolist(), strict=True))
        self.metrics["experts_used"] = _effective(load.mean(0))
        self._columns = (rows.user_names, rows.item_names)

    def _targets(self, rows: RankerRows, label: Float32, tasks: tuple[str, ...]) -> Float32:
        """float32[m, t]: what the network is to say, of the labels float32[m, t]: softened by trees on the rows that it learns from."""
        config, shown = self.config, [k for k, task in enumerate(tasks) if task != LISTED]
        if config.teacher_share == 0 or not shown:
            return label
        target = label.copy()
        try:
            target[:, shown] = softened(
                rows, label[:, shown], [tasks[k] for k in shown], ~self.held_out,
                config.teacher_share, config.teacher_folds, self._seed, self._progress,
            )  # fmt: skip
        except (ImportError, OSError) as error:
            self.notes.append(NO_TREES.format(error))
        return target

    def _labels(self, rows: RankerRows, tasks: tuple[str, ...]) -> Float32:
        """float32[m, t], seconds cut at the cap."""
        label = rows.label_table(tasks)
        for k, task in enumerate(tasks):
            if kind_of(task) == "seconds":
                label[:, k] = np.clip(label[:, k], 0, self.config.watch_cap_s)
        return label

    def _optimiser(self, model: RankerNetwork) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            model.parameter_groups(self.config.weight_decay), lr=self.config.learning_rate, eps=1e-8
        )

    def save(self, path: Path) -> None:
        """Writes the network and the optimiser's moments, from which `restore` goes on exactly; after learn or go_on."""
        assert self._network is not None, "learn first"
        assert self._optimised is not None
        assert self.calibration is not None
        said = {
            "tasks": self._network.tasks, "user": self._columns[0], "items": self._columns[1],
            "scale": self.calibration.scale.tolist(), "shift": self.calibration.shift.tolist(),
        }  # fmt: skip
        write_state(path, self._network, self._optimised, said)

    def restore(self, path: Path) -> None:
        """Takes up what `save` wrote. Raises InvalidInput where it can't be read or is of other settings of the network."""
        tensors, said = read_state(path)
        user, items = tuple(said["user"]), tuple(said["items"])
        generator = torch.Generator().manual_seed(0)
        curves = {
            side: Curves(
                *(
                    tensors[f"model.{side}_curve_{name}"].numpy()
                    for name in ("at", "low", "per_point", "share")
                )
            )
            for side in ("user", "item")
        }
        model = RankerNetwork(self.config, said["tasks"], len(user), len(items), generator, curves)
        optimiser = self._optimiser(model.to(self._device))
        put_state(path, tensors, model, optimiser)
        self._network, self._optimised, self._columns = model, optimiser, (user, items)
        self.calibration = Calibration(
            *(np.array(said[name], np.float32) for name in ("scale", "shift"))
        )

    def snapshot(self) -> Mapping[str, Array]:
        """The calibrated network's arrays (ranker_graph.RankerWeights); empty before learn."""
        return {} if self.weights is None else self.weights.arrays

    def export(self, folder: Path, rows: RankerRows) -> dict[str, Any]:
        """Writes the serving folder (ranker_export.py) after `learn(rows)`; ranker.json's content."""
        assert self.weights is not None, "learn first"
        assert self.calibration is not None
        times = rows.time_us[rows.time_us > 0]
        said = {
            "calibration": {
                "scale": self.calibration.scale.tolist(),
                "shift": self.calibration.shift.tolist(),
            },
            "trunk": self.config.trunk,
            "expert_load": self.expert_load,
            "rows": len(rows),
            "held_out_rows": int(self.held_out.sum()),
            "window_us": [int(times.min()), int(times.max())] if len(times) else None,
            "metrics": {k: v for k, v in self.metrics.items() if math.isfinite(v)},
            "notes": list(self.notes),
            "drift": self.drift,
        }
        held = rows.take(self.held_out)
        return export_ranker(folder, self.weights, held, int8=self.config.int8 == "auto", said=said)

    def _model(self, rows: RankerRows, tasks: tuple[str, ...]) -> RankerNetwork:
        generator = torch.Generator().manual_seed(key_of(self._seed, "ranker") >> 1)
        f_user, f_item = rows.user.shape[1], rows.items.shape[1]
        train = ~self.held_out
        curves = {"user": Curves.none(), "item": Curves.none()}
        if self.config.quantiles:
            curves = {"user": Curves.of(rows.user[train]), "item": Curves.of(rows.items[train])}
        model = RankerNetwork(self.config, tasks, f_user, f_item, generator, curves)
        base = np.array([_base(rows.labels[t][train], rows.weight[train], t) for t in tasks])
        model.start_from(rows.user[train], rows.items[train], base)
        model.leave_out_user(calendar_not_told(rows.take(train)))
        self._start_lines(model, rows, tasks)
        return model.to(self._device)

    def _start_lines(self, model: RankerNetwork, rows: RankerRows, tasks: tuple[str, ...]) -> None:
        """Binary tasks that start from a column that is there."""
        for task, name in self.config.start_columns.items():
            if task not in tasks or name not in rows.item_names or kind_of(task) != "binary":
                continue
            at = rows.item_names.index(name)
            known = ~self.held_out & ~np.isnan(rows.labels[task]) & ~np.isnan(rows.items[:, at])
            line = platt(rows.items[known, at], rows.labels[task][known], rows.weight[known])
            model.start_line(tasks.index(task), at, *line)

    def _train(
        self,
        model: RankerNetwork,
        optimiser: torch.optim.Optimizer,
        rows: RankerRows,
        label: Tensor,
        tasks: tuple[str, ...],
    ) -> int:
        """Fits the model and leaves its best epoch's weights in it; that epoch, from 0."""
        config = self.config
        batches = Batches(rows, label, np.flatnonzero(~self.held_out), tasks, config, self._device)
        held = Batches(rows, label, np.flatnonzero(self.held_out), tasks, config, self._device)
        state = Checkpoint(self._checkpoint, fingerprint(rows, config, tasks, self._seed))
        epoch = state.load(model, optimiser)
        self._progress.start("ranker", len(batches.index) * config.epochs, "rows")
        self._progress.advance(len(batches.index) * epoch)
        while epoch < config.epochs and epoch - state.best_epoch <= config.patience:
            self._epoch(model, optimiser, batches, epoch)
            loss = self._held_out_loss(model, held)
            state.epoch_done(model, optimiser, epoch, loss)
            epoch += 1
        self._progress.done()
        state.restore_best(model, optimiser)
        if epoch < config.epochs:
            self.notes.append(
                f"stopped after {epoch} of {config.epochs} epochs: held-out loss rose"
            )
        return state.best_epoch

    def _epoch(
        self, model: RankerNetwork, optimiser: torch.optim.Optimizer, batches: Batches, epoch: int
    ) -> None:
        config = self.config
        order = rng_for(self._seed, "ranker-epoch", epoch).permutation(batches.n_requests)
        generator = torch.Generator(self._device)
        generator.manual_seed(key_of(self._seed, "ranker-dropout", epoch) >> 1)
        n_steps = batches.n_steps(config.batch_size)
        for step, index in enumerate(batches.cut(order, n_steps)):
            done = (epoch * n_steps + step) / (config.epochs * n_steps)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _schedule(done)
            self._step(model, optimiser, batches, index, generator)

    def _step(
        self,
        model: RankerNetwork,
        optimiser: torch.optim.Optimizer,
        batches: Batches,
        index: Int64,
        generator: torch.Generator,
    ) -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            loss = batches.loss(model, index, generator) / len(index)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
        optimiser.step()
        self._progress.advance(len(index), loss=float(loss.detach()))

    @torch.no_grad()
    def _held_out_loss(self, model: RankerNetwork, held: Batches) -> float:
        everything = np.arange(held.n_requests)
        pieces = held.cut(everything, held.n_steps(EVALUATION_ROWS))
        total = sum(float(held.loss(model, index, None)) for index in pieces)
        return total / max(len(held.index), 1)

    @torch.no_grad()
    def _outputs(self, model: RankerNetwork, rows: RankerRows, index: Int64) -> Float32:
        """float32[len(index), t]: the network's outputs before calibration."""
        parts = [np.zeros((0, len(model.tasks)), np.float32)]
        for i in range(0, len(index), EVALUATION_ROWS):
            chosen = index[i : i + EVALUATION_ROWS]
            user = torch.from_numpy(rows.user[chosen]).to(self._device)
            items = torch.from_numpy(rows.items[chosen]).to(self._device)
            parts.append(model(user, items).float().cpu().numpy())
        return np.concatenate(parts)

    def _expert_load(self, model: RankerNetwork, rows: RankerRows, index: Int64) -> Float64:
        """float64[t, e]: the share of each expert in each task's mixture, mean over rows of `index`."""
        total = np.zeros((len(model.tasks), model.layout.n_experts))
        for i in range(0, len(index), EVALUATION_ROWS):
            chosen = index[i : i + EVALUATION_ROWS]
            user = torch.from_numpy(rows.user[chosen]).to(self._device)
            items = torch.from_numpy(rows.items[chosen]).to(self._device)
            total += model.loads(user, items).sum(0).double().cpu().numpy()
        return np.asarray(total / max(len(index), 1), np.float64)


def _effective(load: Float64) -> float:
    """How many equally used experts would be as mixed as these shares float64[e]: exp of their entropy, from 1 (collapsed) to e."""
    share = load[load > 0] / max(float(load.sum()), 1e-12)
    return float(np.exp(-(share * np.log(share)).sum()))


def _base(label: Array, weight: Array, task: str) -> float:
    """The output that predicts the mean."""
    mean = mean_label(label, weight)
    return math.log(mean) if kind_of(task) == "seconds" else math.log(mean / max(1 - mean, 1e-6))


def _schedule(done: float) -> float:
    """Share of the learning rate after a share `done` of all steps: linear rise, then half a cosine to 5 %."""
    if done < WARM_UP_SHARE:
        return (done + 0.002) / (WARM_UP_SHARE + 0.002)
    rest = (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * rest))

"""A log as every off-policy estimator reads it: what was earned, how likely it was to be shown, how likely the target would have shown it.

One row is one draw of the logging policy: `logged` is the probability with which it took the action that it took, `target` is the probability
with which the target policy would have taken that same action there. Only the true propensity of the draw makes an estimate unbiased; one
learned afterwards has to show E[w] = 1 first. Everything is checked here, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Array, Bool, Float64, Int64
from upnext.evaluate.bootstrap import user_rows


@dataclass(frozen=True, slots=True)
class Predicted:
    """A reward model's word on every row: all that the model-based estimators need of it."""

    logged: Float64  # [n] q(x, a) of the action that was logged
    target: Float64  # [n] sum over a of target(a | x) q(x, a)

    @staticmethod
    def of(predictions: Float64, action: Int64, target_all: Float64) -> Predicted:
        """From predictions float64[n, a] of every action, the logged action int64[n] and target probabilities float64[n, a]."""
        if predictions.shape != target_all.shape:
            raise expected("predictions", f"float64{list(target_all.shape)}", predictions.shape)
        logged = predictions[np.arange(len(action)), action]
        return Predicted(logged, (target_all * predictions).sum(axis=1))


@dataclass(frozen=True, slots=True)
class Logged:
    """n logged draws; the columns behind `user` are what reward models and support checks read, if they are known."""

    reward: Float64  # [n]
    logged: Float64  # [n] propensity of the logged action, in (0, 1]
    target: Float64  # [n] the target's probability of the logged action, in [0, 1]
    user: Array | None = None  # [n] keys; rows of one viewer depend on each other
    action: Int64 | None = None  # [n] in 0..a-1
    position: Int64 | None = None  # [n] from 0
    context: Float64 | None = None  # [n, d]
    target_all: Float64 | None = None  # [c, a] the target's whole distributions; rows sum to 1
    distribution: Int64 | None = None  # [n] which of the c a row has; None: row i has the i-th
    predicted: Predicted | None = None
    weight: Float64 = field(init=False, repr=False, compare=False)  # [n] target / logged
    cluster: Int64 = field(
        init=False, repr=False, compare=False
    )  # [n] of independent draws: viewers

    def __post_init__(self) -> None:
        """Raises InvalidInput that names row and field where a value can't be."""
        for name in ("reward", "logged", "target"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        n = len(self.reward)
        for name, width in _SHAPES.items():
            _check_shape(name, getattr(self, name), n, width)
        _check_rows("reward", self.reward, np.isfinite(self.reward), "a finite number")
        in_range = (self.logged > 0) & (self.logged <= 1)
        _check_rows("logged", self.logged, in_range, "a propensity in (0, 1]")
        in_range = (self.target >= 0) & (self.target <= 1)
        _check_rows("target", self.target, in_range, "a probability in [0, 1]")
        _check_codes(self)
        _check_distributions(self)
        if self.predicted is not None:
            for name, column in (
                ("logged", self.predicted.logged),
                ("target", self.predicted.target),
            ):
                _check_shape(f"predicted.{name}", column, n, 1)
                _check_rows(f"predicted.{name}", column, np.isfinite(column), "a finite number")
        object.__setattr__(self, "weight", self.target / self.logged)
        cluster = np.arange(n) if self.user is None else user_rows(self.user)[0]
        object.__setattr__(self, "cluster", cluster)

    def __len__(self) -> int:
        return len(self.reward)

    def with_predicted(self, predicted: Predicted) -> Logged:
        """The same log with a reward model's predictions."""
        return replace(self, predicted=predicted)

    def distributions(self, rows: Int64) -> Float64:
        """float64[m, a]: the target's distribution in each of rows int64[m]. Raises InvalidInput without target_all."""
        if self.target_all is None:
            raise InvalidInput("target_all: the target's probability of every action is needed")
        return self.target_all[rows if self.distribution is None else self.distribution[rows]]


_SHAPES = {
    "logged": 1, "target": 1, "user": 1, "action": 1, "position": 1, "context": 2, "distribution": 1,
}  # fmt: skip


def _check_shape(name: str, column: Array | None, n: int, n_axes: int) -> None:
    if column is None:
        return
    shape = np.shape(column)
    if len(shape) != n_axes or shape[0] != n:
        raise expected(name, f"{n} rows in {n_axes} axes, as reward has", shape)


def _check_rows(name: str, column: Array, is_good: Bool, wanted: str) -> None:
    if not is_good.all():
        row = int(np.argmin(is_good))
        raise expected(f"{name}[{row}]", wanted, column[row].item())


def _check_codes(log: Logged) -> None:
    for name in ("action", "position", "distribution"):
        column = getattr(log, name)
        if column is not None:
            if not np.issubdtype(np.asarray(column).dtype, np.integer):
                raise expected(name, "int64 codes", str(np.asarray(column).dtype))
            _check_rows(name, column, column >= 0, "a code from 0 on")


def _check_distributions(log: Logged) -> None:
    every = log.target_all
    if every is None:
        return
    if log.action is None:
        raise InvalidInput("target_all: the logged `action` is needed beside it")
    if every.ndim != 2 or (log.distribution is None and len(every) != len(log)):
        raise expected("target_all", f"float64[{len(log)}, a], or `distribution`", every.shape)
    if log.distribution is not None:
        is_there = log.distribution < len(every)
        _check_rows("distribution", log.distribution, is_there, f"a row below {len(every)}")
    is_known = log.action < every.shape[1]
    _check_rows("action", log.action, is_known, f"a code below {every.shape[1]}")
    total = np.where((every >= 0).all(axis=1), every.sum(axis=1), np.nan)
    is_sum = np.abs(total - 1) < 1e-6
    _check_rows("target_all", total, is_sum, "probabilities that sum to 1")
    which = np.arange(len(log)) if log.distribution is None else log.distribution
    is_same = np.abs(every[which, log.action] - log.target) < 1e-9
    _check_rows("target", log.target, is_same, "target_all's value at the logged action")

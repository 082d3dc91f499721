"""What off-policy intervals hold of what they promise: many logs of a tabular world, each estimator against the true value.

The estimators that should cover do so with the models they would have on real logs (cross-fitted on the log at hand). Those that are biased by design are
held at a fixed degree and a fixed reward model (each video's mean, blind to the viewer), so that their bias is known in closed form:
E[(changed w - w)(r - q)] over the log's law, and for the direct method E_target[q - r].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array
from upnext.evaluate.off_policy.estimator import OffPolicyEstimator, Ratio, Terms, figure
from upnext.evaluate.off_policy.importance import ClippedIps, Ips, Snips
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.model_based import (
    DirectMethod,
    DoublyRobust,
    SelfNormalisedDoublyRobust,
    ShrunkDoublyRobust,
    SwitchDoublyRobust,
    shrunk,
)
from upnext.evaluate.off_policy.reward_models import TabularModel, cross_fit
from upnext.evaluate.off_policy.support import Support, support_of
from upnext.evaluate.off_policy.tuning import tuned_clip, tuned_shrinkage, tuned_switch
from upnext.simulate.tabular import Tabular

TOP_SHARE = 0.02  # of the log's rows have a weight that the fixed clip and switch change


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the study."""

    name: str
    terms: Callable[[Logged, Logged], Terms]  # of the log cross-fitted, and with the fixed model
    known_bias: float | None = None  # exact; None: not known in closed form


@dataclass(frozen=True, slots=True)
class Outcome:
    """One estimator over all replications."""

    name: str
    bias: float  # mean estimate less the truth
    bias_error: float  # its Monte-Carlo standard error
    known_bias: float | None
    deviation: float  # standard deviation of the estimates
    rmse: float
    coverage: float  # share of intervals that hold the truth


@dataclass(frozen=True, slots=True)
class Study:
    """One world over all replications."""

    value: float  # the truth
    n_replications: int
    n_effective: float  # mean
    not_identifiable: float  # share of the logs with that verdict
    outcomes: tuple[Outcome, ...]


def study(
    world: Tabular,
    *,
    n_replications: int = 2_000,
    n_viewers: int = 500,
    n_rows: int = 5,
    level: float = 0.9,
    seed: int = 0,
    progress: Progress | None = None,
) -> Study:
    """Every estimator on n_replications logs of n_viewers viewers with n_rows rows each."""
    progress = progress or NoProgress()
    kinds = kinds_of(world)
    got = np.empty((n_replications, len(kinds), 3))  # value, low, high
    supports: list[Support] = []
    model = np.tile(world.video_means, (len(world.reward), 1))
    for replication in range(n_replications):
        log = world.draw(n_viewers, n_rows, seed=seed, replication=replication)
        support = support_of(log)
        fitted, fixed = (
            cross_fit(log, TabularModel(), seed=replication),
            world.predicted(log, model),
        )
        for k, kind in enumerate(kinds):
            found = figure(kind.terms(fitted, fixed), log.cluster, support, level=level)
            got[replication, k] = found.mean, found.low, found.high
        supports.append(support)
        progress.advance(1)
    return Study(
        world.value,
        n_replications,
        float(np.mean([s.n_effective for s in supports])),
        float(np.mean([s.reason != "" for s in supports])),
        tuple(_outcome(kind, got[:, k], world.value) for k, kind in enumerate(kinds)),
    )


def not_identifiable(
    world: Tabular, *, n_replications: int, n_viewers: int = 500, n_rows: int = 5, seed: int = 0
) -> float:
    """The share of n_replications logs whose verdict is "not identifiable"."""
    logs = (world.draw(n_viewers, n_rows, seed=seed, replication=r) for r in range(n_replications))
    return float(np.mean([support_of(log).reason != "" for log in logs]))


def kinds_of(world: Tabular) -> Sequence[Kind]:
    """The rows of the study in the order of the table."""
    top = _quantile(world, 1 - TOP_SHARE)
    missed = world.reward - world.video_means
    weight, mean = world.weight, world.expected
    clipped, switched = np.minimum(weight, top), np.where(weight <= top, weight, 0.0)
    by_target = float((world.target * missed).sum(axis=1).mean())
    return (
        Kind("logged mean", lambda log, _: Terms((Ratio.mean(log.reward),)),
             mean(world.reward) - world.value),
        Kind("IPS", _fitted(Ips()), 0.0),
        Kind("SNIPS", _fitted(Snips())),
        Kind("DR", _fitted(DoublyRobust()), 0.0),
        Kind("SNDR", _fitted(SelfNormalisedDoublyRobust())),
        Kind("DM", _fixed(DirectMethod()), -by_target),
        Kind("clipped IPS", _fixed(ClippedIps(top)), mean((clipped - weight) * world.reward)),
        Kind("Switch-DR", _fixed(SwitchDoublyRobust(top)), mean((switched - weight) * missed)),
        Kind("DRos", _fixed(ShrunkDoublyRobust(top**2)),
             mean((shrunk(weight, top**2) - weight) * missed)),
        Kind("clipped IPS, tuned", lambda log, _: tuned_clip(log).terms(log)),
        Kind("Switch-DR, tuned", lambda log, _: tuned_switch(log).terms(log)),
        Kind("DRos, tuned", lambda log, _: tuned_shrinkage(log).terms(log)),
    )  # fmt: skip


def _fitted(estimator: OffPolicyEstimator) -> Callable[[Logged, Logged], Terms]:
    return lambda fitted, _: estimator.terms(fitted)


def _fixed(estimator: OffPolicyEstimator) -> Callable[[Logged, Logged], Terms]:
    return lambda _, fixed: estimator.terms(fixed)


def _quantile(world: Tabular, share: float) -> float:
    """The weight below which `share` of the log's rows lie."""
    order = np.argsort(world.weight, axis=None)
    mass = np.cumsum(world.logging.ravel()[order]) / len(world.logging)
    return float(world.weight.ravel()[order][int(np.searchsorted(mass, share))])


def _outcome(kind: Kind, got: Array, truth: float) -> Outcome:
    value, low, high = got.T
    n = len(value)
    deviation = float(value.std(ddof=1)) if n > 1 else float("nan")
    return Outcome(
        kind.name,
        float(value.mean() - truth),
        deviation / np.sqrt(n),
        kind.known_bias,
        deviation,
        float(np.sqrt(np.square(value - truth).mean())),
        float(((low <= truth) & (truth <= high)).mean()),
    )

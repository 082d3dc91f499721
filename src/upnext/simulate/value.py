"""The true value of a policy, and the true effect of one policy beside another: closed where it exists, else played out.

A rollout plays the same world with another chance; two policies are compared on the same chances, so that what they share cancels (common random
numbers; the standard error is that of the paired differences). All viewers under one policy against all under the other is the global treatment
effect, with everything that spills over from viewer to viewer, from video to video and from day to day in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Float64, Int64
from upnext.simulate import behaviour
from upnext.simulate.loop import run
from upnext.simulate.measures import DayRow
from upnext.simulate.platform import Platform
from upnext.simulate.policies import Policy
from upnext.simulate.truth import rates_in, watch_s_of
from upnext.simulate.world import World

Measure = Callable[[Sequence[DayRow]], float]  # of the table of a run


@dataclass(frozen=True)
class Value:
    """A mean over rollouts."""

    mean: float
    standard_error: float  # 0 where the mean is exact
    each: Float64  # [r] of every rollout


@dataclass(frozen=True)
class Horizon:
    """How long and how often a policy is played."""

    days: int = 7
    n_rollouts: int = 10

    def __post_init__(self) -> None:
        if self.days < 1 or self.n_rollouts < 2:
            raise expected("horizon", "at least 1 day and 2 rollouts", self)


def watch_s_per_viewer_day(world: World) -> Measure:
    """Mean seconds watched per viewer of the world and day, the days that they didn't come included."""

    def measure(rows: Sequence[DayRow]) -> float:
        return 3_600 * sum(row.watch_h for row in rows) / (world.n_viewers * len(rows))

    return measure


def value_of(world: World, policy: Policy, measure: Measure, horizon: Horizon) -> Value:
    """V(policy): the mean of a measure over rollouts of the world's first days."""
    return _value(_played(world, policy, measure, horizon))


def effect_of(
    world: World, treated: Policy, control: Policy, measure: Measure, horizon: Horizon
) -> Value:
    """The global treatment effect: every viewer under `treated` less every viewer under `control`, on the same chances."""
    played = [_played(world, policy, measure, horizon) for policy in (treated, control)]
    return _value(played[0] - played[1])


def closed_value(world: World, p: Float64, video: Int64) -> Value:
    """Mean seconds watched of a first home page per viewer, exact: p float64[u, k, n] is P(slot j of the viewer's page holds each of n videos).

    Exists where a slot's reaction doesn't depend on the other slots. Raises InvalidInput in a cascade."""
    knobs = world.knobs
    if knobs.click_model == "cascade":
        raise expected("click_model", "examination or additive, for a closed form", "cascade")
    n_viewers, k, n = p.shape
    viewer, what = np.repeat(np.arange(n_viewers), n), np.tile(video, n_viewers)
    autoplay = np.zeros(len(what), np.bool_)
    rate = rates_in(world, viewer, what, autoplay, None)
    started_s = watch_s_of(knobs, rate) / rate.attract
    total = np.zeros(n_viewers)
    device = world.own_device
    for j in range(k):
        slot = np.full(len(what), j)
        p_start = behaviour.p_start_if_looked_at(knobs, rate, slot, autoplay)
        look = np.ones(n_viewers)
        if knobs.click_model == "examination":
            look = behaviour.examination(knobs, np.full(n_viewers, j), device)
        total += look * (p[:, j] * (p_start * started_s).reshape(n_viewers, n)).sum(axis=1)
    return Value(float(total.mean()), 0.0, total)


def _played(world: World, policy: Policy, measure: Measure, horizon: Horizon) -> Float64:
    days = horizon.days
    runs = (
        run(Platform(world, days=days, chance=chance), policy, days)
        for chance in range(horizon.n_rollouts)
    )
    return np.array([measure(rows) for rows in runs])


def _value(each: Float64) -> Value:
    return Value(float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each))), each)

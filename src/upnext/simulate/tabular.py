"""A world as tables: c viewers x a videos, a logging and a target policy, and the target's value in closed form.

Whether an off-policy interval holds what it promises can only be seen where the truth is known and a log can be drawn thousands of times. Rewards
are the world's own: each viewer finds each video relevant with the probability of simulate/truth.py. The logging policy shows what is popular
among the viewers, with exploration; the target knows the viewer. A drawn log has whole viewers, with several rows each, so its rows are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Float64, Int64
from upnext.evaluate.off_policy.logged import Logged, Predicted
from upnext.simulate.truth import expected_relevance
from upnext.simulate.world import World

EXPLORATION = 0.3  # share of the logging policy's draws that are uniform
SHARPNESS = 1.0  # of both policies: the logit of relevance is multiplied by it
NUCLEUS = 0.7  # mass that the logging policy without support keeps


@dataclass(frozen=True)
class Tabular:
    """Bernoulli rewards and two policies over a videos for each of c viewers, who come equally often."""

    reward: Float64  # [c, a] P(reward is 1)
    logging: Float64  # [c, a]
    target: Float64  # [c, a]

    def __post_init__(self) -> None:
        """Raises InvalidInput when a policy's rows don't sum to 1 or the tables differ in shape."""
        for name in ("logging", "target"):
            table: Float64 = getattr(self, name)
            if table.shape != self.reward.shape:
                raise expected(name, f"float64{list(self.reward.shape)}", table.shape)
            if not np.allclose(table.sum(axis=1), 1.0):
                raise expected(name, "rows that sum to 1", float(table.sum(axis=1).max()))

    @staticmethod
    def of_world(world: World) -> Tabular:
        """All viewers and videos of a small world: a popularity policy with exploration, and one that knows the viewer."""
        n_viewers, n_videos = world.n_viewers, world.n_videos
        viewer, video = np.divmod(np.arange(n_viewers * n_videos), n_videos)
        reward = expected_relevance(world, viewer, video).reshape(n_viewers, n_videos)
        popular = np.tile(_softmax(SHARPNESS * _logit(reward.mean(axis=0))), (n_viewers, 1))
        logging = EXPLORATION / n_videos + (1 - EXPLORATION) * popular
        return Tabular(reward, logging, _softmax(SHARPNESS * _logit(reward)))

    def without_support(self) -> Tabular:
        """The same with a logging policy that keeps each viewer's likeliest videos of NUCLEUS mass and explores nothing."""
        order = np.argsort(-self.logging, axis=1, kind="stable")
        mass = np.take_along_axis(self.logging, order, axis=1)
        is_kept = np.empty(self.logging.shape, np.bool_)
        np.put_along_axis(is_kept, order, np.cumsum(mass, axis=1) - mass < NUCLEUS, axis=1)
        kept = np.where(is_kept, self.logging, 0.0)
        return replace(self, logging=kept / kept.sum(axis=1, keepdims=True))

    @property
    def value(self) -> float:
        """The target's mean reward, exact."""
        return float((self.target * self.reward).sum(axis=1).mean())

    @cached_property
    def weight(self) -> Float64:
        """float64[c, a]: target / logging; 0 where the logging policy never goes."""
        there = self.logging > 0
        weight: Float64 = np.zeros(self.target.shape)
        np.divide(self.target, self.logging, out=weight, where=there)
        return weight

    @cached_property
    def video_means(self) -> Float64:
        """float64[a]: each video's mean reward in the log, which is what a model that doesn't know the viewer learns."""
        shown = self.logging.sum(axis=0)
        total = (self.logging * self.reward).sum(axis=0)
        means: Float64 = np.zeros(len(total))
        np.divide(total, shown, out=means, where=shown > 0)
        return means

    def expected(self, values: Float64) -> float:
        """The mean over a log of values float64[c, a] of viewer and video."""
        return float((self.logging * values).sum(axis=1).mean())

    def draw(self, n_viewers: int, n_rows: int, *, seed: int, replication: int = 0) -> Logged:
        """A log of n_viewers drawn viewers with n_rows rows each, keyed by seed and replication."""
        rng = rng_for("tabular log", seed, replication)
        viewer = np.repeat(rng.integers(0, len(self.reward), n_viewers), n_rows)
        below = self._cumulative[viewer] < rng.random((len(viewer), 1))
        action = below.sum(axis=1).astype(np.int64)
        reward = (rng.random(len(viewer)) < self.reward[viewer, action]).astype(np.float64)
        return Logged(
            reward,
            self.logging[viewer, action],
            self.target[viewer, action],
            user=np.repeat(np.arange(n_viewers), n_rows),
            action=action,
            target_all=self.target,
            distribution=viewer,
        )

    def predicted(self, log: Logged, predictions: Float64) -> Logged:
        """The log with given predictions float64[c, a], which have seen none of its rewards."""
        assert log.distribution is not None
        viewer: Int64 = log.distribution
        mean = (self.target * predictions).sum(axis=1)
        return log.with_predicted(Predicted(predictions[viewer, log.action], mean[viewer]))

    @cached_property
    def _cumulative(self) -> Float64:
        """Its last column is left out of the comparison, so that rounding draws no video beyond the last."""
        return np.cumsum(self.logging, axis=1)[:, :-1]


def _softmax(x: Float64) -> Float64:
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float64)


def _logit(p: Float64) -> Float64:
    return np.asarray(np.log(p / (1 - p)), np.float64)

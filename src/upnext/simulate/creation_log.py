"""A log of watching and creating whose every effect is known: both potential outcomes of each pair are drawn (METHODS.md H1, L3).

Viewers are shown videos; some they watch, and within a week some create a video of their own. Those who create anyway also watch more
(their c_u drives both), and videos that inspire are watched by those who like them, so watchers and others differ before they watch. On the
exploration slots a coin decides what starts to play. The truth of each pair is tau(u, v) = P(creates | do(watch)) - P(creates | do(not)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Float64, Int64
from upnext.simulate import creators
from upnext.simulate.creators import Creation, CreatorKnobs
from upnext.simulate.truth import affinity
from upnext.simulate.world import World

HORIZON_D = 7
FEATURES = ("affinity", "quality", "creation propensity", "inspired before")


@dataclass(frozen=True)
class CreationLog:
    """n rows in order of viewer; features, watched, created and is_random are what a platform has, the rest is the truth."""

    viewer: Int64  # [n]
    video: Int64  # [n]
    features: Float64  # [n, 4], named FEATURES: all that drives both watching and creating
    is_random: Bool  # [n] whether watching was drawn by a coin
    watched: Bool  # [n]
    created: Bool  # [n] within HORIZON_D days
    p_watch: Float64  # [n] the probability that watched was drawn with
    truth: Creation  # both outcomes and their probabilities

    def part(self, rows: Bool) -> CreationLog:
        """The rows of a mask bool[n]."""
        true = self.truth
        return CreationLog(
            viewer=self.viewer[rows],
            video=self.video[rows],
            features=self.features[rows],
            is_random=self.is_random[rows],
            watched=self.watched[rows],
            created=self.created[rows],
            p_watch=self.p_watch[rows],
            truth=Creation(
                true.p_watched[rows],
                true.p_skipped[rows],
                true.if_watched[rows],
                true.if_skipped[rows],
            ),
        )


def creation_log(
    world: World,
    n_each: int,
    seed: int = 0,
    *,
    random_share: float = 0.0,
    selection: float = 1.0,
    knobs: CreatorKnobs | None = None,
) -> CreationLog:
    """n_each pairs of every viewer of the world; its inspiration and creation propensities are those of `knobs` and of the viewers.

    random_share: of the rows whose watching a coin decides. selection: how strongly creators-to-be watch more than others; 0 leaves liking alone
    between watchers and the rest. Raises InvalidInput where random_share is no share."""
    if not 0 <= random_share <= 1:
        raise expected("random_share", "a share in 0 to 1", random_share)
    knobs = knobs or CreatorKnobs()
    rng = rng_for(world.seed, "creation log", seed)
    n = world.n_viewers * n_each
    viewer = np.repeat(np.arange(world.n_viewers), n_each)
    video, liked = _feed(world, viewer, rng)
    quality = world.videos.quality[video].astype(np.float64)
    propensity = world.viewers.creation.astype(np.float64)[viewer]
    before = rng.exponential(0.15, n)
    insp = creators.inspiration(knobs, liked, quality, np.ones(n))
    truth = creators.potential_creations(
        knobs, propensity, before, insp, rng.random(n), horizon_d=HORIZON_D
    )
    usual = world.knobs.creation_level
    keen = selection * (propensity - usual)
    organic = 1 / (1 + np.exp(-(-1.2 + 2.0 * (liked - 0.5) + keen + before)))
    is_random = rng.random(n) < random_share
    p_watch = np.where(is_random, 0.5, np.clip(organic, 0.02, 0.98))
    watched = rng.random(n) < p_watch
    return CreationLog(
        viewer=viewer,
        video=video,
        features=np.stack([liked, quality, propensity, before], axis=1),
        is_random=is_random,
        watched=watched,
        created=truth.observed(watched),
        p_watch=p_watch,
        truth=truth,
    )


def _feed(world: World, viewer: Int64, rng: np.random.Generator) -> tuple[Int64, Float64]:
    """(video int64[n], affinity float64[n]): of two videos by chance, the one that the viewer likes better."""
    pair = rng.integers(0, world.n_videos, (2, len(viewer)))
    liked = np.stack([affinity(world, viewer, video) for video in pair])
    better = liked.argmax(axis=0)[None]
    return np.take_along_axis(pair, better, axis=0)[0], np.take_along_axis(liked, better, axis=0)[0]

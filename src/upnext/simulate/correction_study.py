"""What the correction for the logging policy is worth, where that policy and every video's true relevance are known.

Two surfaces each have an editor who pushes videos without regard to what they are worth (their logits' standard deviation is `strength`, and they don't
correlate with worth); 5 in 100 slots are drawn by chance. A shown video is found relevant with the probability of simulate/truth.py. The
log says which surface a slot stood on, and nothing of its propensity. One network is trained per kind of propensity (retrieval/off_policy):

    none        rewards weigh log pi: the policy learns what was pushed and liked
    counts      each video's share of the log: knows how much it was pushed, not on which surface
    learned     the second head, which reads state and surface
    true        the editors' own probabilities, as an honest log would hold them

Value is the mean true relevance of the first ten unseen videos that the trained policy would list for each viewer at their last showing: exact,
no estimate. Beside it stand the logging policy's own value, and the best there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.protocols import NoProgress, Progress
from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Flag, Float64, Int64, Profile
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.features.moments import Moments
from upnext.features.showings import Showings
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.off_policy.config import OffPolicyConfig, RewardConfig
from upnext.retrieval.off_policy.propensities import counted_propensities
from upnext.simulate.content import content_vectors
from upnext.simulate.truth import SURFACES, expected_relevance
from upnext.simulate.world import World, category_of_topic
from upnext.simulate.worlds import world_of

Kind = Literal["none", "counts", "learned", "true"]
KINDS: Final[tuple[Kind, ...]] = ("none", "counts", "learned", "true")
LISTED: Final = 10
EXPLORED: Final = 0.05  # share of slots drawn by chance
CONFIG: Final = OffPolicyConfig(
    reward=RewardConfig(shown=0.0, click=0.0, relevant=1.0, completed=1.0),
    embedding_size=16, input_size=16, state_size=16, content_hidden=16, n_history=20, epochs=6,
    id_dropout=0.0, temperature=0.2, learning_rate=0.01, device="cpu",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Sizes of a study."""

    world: str = "everyday"
    n_videos: int = 60
    n_viewers: int = 4_000
    n_showings: int = 6  # of each viewer
    strength: float = 1.5  # standard deviation of the logits of what editors push; 0: pure chance
    seed: int = 0


@dataclass(frozen=True)
class Log:
    """A drawn log and the truth behind it."""

    material: Material  # its showings hold no propensity
    propensity: Float64  # [m] the true one of every showing
    relevance: Float64  # [u, v] P(relevant | shown)
    logging_value: float  # mean relevance of what the editors would show next
    best_value: float  # of the ten best unseen videos of each viewer


@dataclass(frozen=True)
class Corrected:
    """One kind of propensity."""

    kind: Kind
    value: float
    kl: float  # nats, of the true propensities from these, over the log's own showings; NaN: none
    mean_weight: float  # E[u / beta]; NaN: none


def drawn_log(plan: Plan) -> Log:
    """The log of a plan's seed. Raises InvalidInput for sizes that can't be."""
    world = World.make(
        plan.n_viewers, plan.n_videos, plan.seed, knobs=world_of(plan.world).knobs
    )  # fmt: skip
    n_users, n_items, n = plan.n_viewers, plan.n_videos, plan.n_showings
    pair = np.divmod(np.arange(n_users * n_items), n_items)
    relevance = expected_relevance(world, *pair).reshape(n_users, n_items)
    rng = rng_for("correction study", plan.seed)
    push = np.exp(plan.strength * _regardless(rng.normal(size=(2, n_items)), relevance.mean(0)))
    editor = (1 - EXPLORED) * push / push.sum(axis=1, keepdims=True) + EXPLORED / n_items
    surface = rng.integers(0, 2, (n_users, n))
    unseen, who = np.ones((n_users, n_items), np.bool_), np.arange(n_users)
    item, propensity = np.empty((n_users, n), np.int64), np.empty((n_users, n))
    for step in range(n):
        share = editor[surface[:, step]] * unseen
        share /= share.sum(axis=1, keepdims=True)
        if step == n - 1:
            values = _values(share, relevance, unseen)
        below = np.cumsum(share, axis=1)[:, :-1] <= rng.random((n_users, 1))
        item[:, step] = below.sum(axis=1)
        propensity[:, step] = share[who, item[:, step]]
        unseen[who, item[:, step]] = False
    is_relevant = rng.random(item.shape) < relevance[who[:, None], item]
    showings = _showings(world, item, surface, is_relevant)
    codes = VideoCodes(
        category_of_topic()[world.videos.topic].astype(np.int32), world.videos.creator,
        world.videos.language.astype(np.int32), world.videos.duration_s.astype(np.float32),
        world.videos.is_premium, world.videos.uploaded_us,
    )  # fmt: skip
    context = ContextEncoder(Vocabulary.learn({"surface": SURFACES[:2]}))
    material = Material(showings, content_vectors(world), context, codes)
    return Log(material, propensity.ravel(), relevance, *values)


def study(
    plan: Plan, config: OffPolicyConfig = CONFIG, progress: Progress | None = None
) -> tuple[Log, list[Corrected]]:
    """(the log, one line per kind in the order of KINDS), every kind from the same first weights in the same order."""
    progress = progress or NoProgress()
    log = drawn_log(plan)
    return log, [corrected(log, kind, config, progress) for kind in KINDS]


def corrected(log: Log, kind: Kind, config: OffPolicyConfig, progress: Progress) -> Corrected:
    """What training with one kind of propensity comes to."""
    from upnext.retrieval.off_policy.learner import OffPolicyLearner  # torch: for training alone

    material = log.material
    if kind == "true":
        known = log.propensity.astype(np.float32)
        material = replace(material, showings=replace(material.showings, propensity=known))
    learner = OffPolicyLearner(
        config.model_copy(update={"correction": "counts" if kind == "true" else kind})
    )
    learner.learn(material, progress=progress)
    showings, n_items = material.showings, material.n_items
    last = showings.starts()[1:] - 1
    score, beta = np.zeros((len(last), n_items)), np.full(len(showings), np.nan)
    for said in learner.shares(material):
        row = said.row
        beta[row] = said.propensity[np.arange(len(row)), showings.item_id[row]]
        at_end = row == last[showings.user[row]]
        score[showings.user[row[at_end]]] = said.policy[at_end]
    listed = np.argsort(-score, axis=1, kind="stable")[:, :LISTED]
    value = float(np.take_along_axis(log.relevance, listed, axis=1).mean())
    if kind == "none":
        return Corrected(kind, value, float("nan"), float("nan"))
    if kind == "counts":
        is_action = np.ones(len(showings), np.bool_)
        beta = counted_propensities(showings, is_action, n_items, config).astype(np.float64)
    if kind == "true":
        beta = log.propensity
    ratio = np.log(log.propensity / beta)
    return Corrected(kind, value, float(ratio.mean()), float((1 / n_items / beta).mean()))


def _regardless(push: Float64, worth: Float64) -> Float64:
    """float64[2, v]: the logits less what correlates with each video's worth, so that no seed's editors are right or wrong by luck."""
    worth = worth - worth.mean()
    push = push - push.mean(axis=1, keepdims=True)
    return np.asarray(push - np.outer(push @ worth, worth) / (worth @ worth), np.float64)


def _values(share: Float64, relevance: Float64, unseen: Bool) -> tuple[float, float]:
    """(the mean relevance of what is drawn by share float64[u, v], of the best LISTED unseen)."""
    best = np.sort(np.where(unseen, relevance, -np.inf), axis=1)[:, -LISTED:]
    return float((share * relevance).sum(axis=1).mean()), float(best.mean())


def _showings(world: World, item: Int64, surface: Int64, is_relevant: Bool) -> Showings:
    """Each viewer's row of videos, an hour apart."""
    n_users, n = item.shape
    time_us = np.tile(world.end_us + HOUR_US * np.arange(n), n_users)
    user = np.repeat(np.arange(n_users), n)
    flags = Flag.IMPRESSION | np.where(is_relevant.ravel(), Flag.LIKE, 0)
    words = [(name, None, None, None, None, True) for name in SURFACES[:2]]
    moments = Moments(
        user.astype(np.int32),
        time_us,
        surface.ravel().astype(np.int32),
        [Profile()] * n_users,
        words,
    )
    return Showings(
        user, item.ravel(), time_us, flags.astype(np.uint16), np.zeros(len(user), np.float32),
        np.arange(len(user)), world.user_ids, moments, {},
    )  # fmt: skip


def gains(found: Sequence[Sequence[Corrected]], kind: Kind) -> Float64:
    """float64[seeds]: the value under a kind of propensity less that without any, seed by seed."""
    position = KINDS.index(kind)
    return np.array([lines[position].value - lines[0].value for lines in found])

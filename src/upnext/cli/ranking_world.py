"""A made-up platform for `upnext bench evaluate` whose best ranking is known: tastes, videos and what viewers liked, as vectors.

Videos stand around topics, a viewer has a few topics, and what a viewer likes is drawn from softmax(taste . video + bias) over videos of the own
topics (Gumbel-max). A model with the true vectors is the best there can be; one with noisy vectors must come out below it, popularity
below that, and random lists at k / n_items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Array, Int64
from upnext.evaluate.full_ranking import VectorModel
from upnext.evaluate.user_items import UserItems

VIDEOS_PER_TOPIC = 500
TOPICS_PER_VIEWER = 3
N_CATEGORIES = 40
N_MET, N_LIKED, N_TO_FIND = 300, 10, 5  # videos a viewer meets; liked before; to be found
NOISE = 1.0  # of the second model's vectors, in units of a coordinate's spread inside a topic
_BLOCK = 2048  # viewers drawn at a time


@dataclass(frozen=True, slots=True)
class RankingWorld:
    """u viewers, n_items videos."""

    true: VectorModel
    category: Array  # int32[n_items], by topic
    liked: UserItems  # before the window; what must not be listed
    truth: UserItems  # to be found

    def noisy(self, seed: int) -> VectorModel:
        """The same model with other vectors for the videos: the true ones and noise."""
        items = self.true.items
        noise = rng_for("noisy-vectors", seed).standard_normal(items.shape, dtype=np.float32)
        noise *= NOISE * _spread(items.shape[1])
        noise += items
        return VectorModel(self.true.users, noise, self.true.bias)


def made_world(n_users: int, n_items: int, size: int, seed: int = 0) -> RankingWorld:
    """The world of a seed; vectors of `size` numbers."""
    rng = rng_for("ranking-world", seed)
    n_topics = max(TOPICS_PER_VIEWER, n_items // VIDEOS_PER_TOPIC)
    centres = rng.standard_normal((n_topics, size), dtype=np.float32) / np.float32(np.sqrt(size))
    topic = np.sort(rng.integers(0, n_topics, n_items))
    items = rng.standard_normal((n_items, size), dtype=np.float32)
    items *= _spread(size)
    items += centres[topic]
    bias = rng.standard_normal(n_items, dtype=np.float32)
    bias *= np.float32(0.5)
    own = rng.integers(0, n_topics, (n_users, TOPICS_PER_VIEWER))
    users = rng.standard_normal((n_users, size), dtype=np.float32)
    users *= np.float32(2.0)
    users += 8 * centres[own].mean(1)
    true = VectorModel(users, items, bias)
    starts = np.searchsorted(topic, np.arange(n_topics + 1)).astype(np.int64)
    kept = [
        _liked(rng, true, starts, own, slice(start, start + _BLOCK))
        for start in range(0, n_users, _BLOCK)
    ]
    pairs = np.concatenate(kept)  # [u, N_LIKED + N_TO_FIND]
    return RankingWorld(
        true,
        (topic * N_CATEGORIES // n_topics).astype(np.int32),
        _sets(pairs[:, :N_LIKED]),
        _sets(pairs[:, N_LIKED:]).without(_sets(pairs[:, :N_LIKED])),
    )


def _liked(
    rng: np.random.Generator, model: VectorModel, starts: Int64, own: Int64, part: slice
) -> Int64:
    """int64[b, N_LIKED + N_TO_FIND]: what a block of viewers liked, in no order."""
    users = model.users[part]
    topic = own[part][
        np.arange(len(users))[:, None], rng.integers(0, own.shape[1], (len(users), N_MET))
    ]
    width = np.maximum(starts[topic + 1] - starts[topic], 1)
    met = starts[topic] + (rng.random(topic.shape) * width).astype(np.int64)
    met = np.minimum(met, len(model.items) - 1)
    assert model.bias is not None
    value = np.einsum("bd,bmd->bm", users, model.items[met]) + model.bias[met]
    value += rng.gumbel(size=value.shape)
    best = np.argpartition(-value, N_LIKED + N_TO_FIND - 1, axis=1)[:, : N_LIKED + N_TO_FIND]
    return np.take_along_axis(met, rng.permuted(best, axis=1), 1)


def _sets(pairs: Int64) -> UserItems:
    user = np.repeat(np.arange(len(pairs)), pairs.shape[1])
    return UserItems.of_pairs(user, pairs.ravel(), len(pairs))


def _spread(size: int) -> np.float32:
    return np.float32(0.5 / np.sqrt(size))

"""Tastes that move: by themselves, and pulled by what is watched.

theta_u(t) is drift_u(t) + pull_u(t), scaled to drift's sum. The first part doesn't depend on what is shown: an interest gives way to another topic now and then. The second is the
rabbit hole (METHODS.md L2): theta += eta * s_u * watch * topic, forgotten slowly. Where nobody is susceptible the pull is exactly 0, so
that its size measures what a policy has done.
"""

from __future__ import annotations

import numpy as np

from upnext.core.types import Float32, Float64, Int64
from upnext.simulate.draws import UInt64, keys_of, uniform
from upnext.simulate.knobs import Knobs
from upnext.simulate.world import World


def drifted(world: World, taste: Float32, today: UInt64) -> Float32:
    """float32[u, 32]: tastes after a day, whose keys are uint64[u], in which each interest gave way to another topic with the knobs' hazard."""
    if world.knobs.drift == 0:
        return taste
    moved = taste.copy()
    viewer, topic = np.nonzero(taste > 0)
    keys = keys_of(world.seed, today[viewer].view(np.int64), topic)
    gives_way = uniform(keys, "drift") < world.knobs.drift
    viewer, topic, keys = viewer[gives_way], topic[gives_way], keys[gives_way]
    new = (uniform(keys, "new_interest") * taste.shape[1]).astype(np.int64)
    strength = taste[viewer, topic]
    moved[viewer, topic] = 0
    np.maximum.at(moved, (viewer, new), strength)
    return moved


def pulled(
    world: World, pull: Float32, viewer: Int64, video: Int64, share_watched: Float64
) -> Float32:
    """float32[u, 32]: the pull after n videos watched to these shares of their length, float64[n]."""
    knobs, videos = world.knobs, world.videos
    if knobs.susceptibility == 0 or len(viewer) == 0:
        return pull
    gain = knobs.pull_rate * world.viewers.susceptibility[viewer] * share_watched
    second = videos.second_share[video]
    n_topics = pull.shape[1]
    at = np.concatenate([videos.topic[video], videos.second_topic[video]])
    at += np.tile(viewer, 2) * n_topics
    added = np.bincount(at, np.concatenate([gain * (1 - second), gain * second]), pull.size)
    return (pull + added.reshape(pull.shape)).astype(np.float32)


def forgotten(knobs: Knobs, pull: Float32) -> Float32:
    """float32[u, 32]: the pull a day later."""
    return (pull * (1 - knobs.forgetting)).astype(np.float32)


def taste_of(drift: Float32, pull: Float32) -> Float32:
    """float32[u, 32] in 0 to 1: both parts together. Attention is limited: what is pulled to a topic is taken from the others, in proportion."""
    if not pull.any():
        return drift
    both = drift + pull
    kept = drift.sum(axis=1, keepdims=True) / np.maximum(both.sum(axis=1, keepdims=True), 1e-9)
    return np.asarray(np.minimum(both * kept, np.float32(1.0)), np.float32)


def moved(drift: Float32, taste: Float32) -> Float64:
    """float64[u] in 0 to 1: the share of each viewer's attention that what was shown has moved (total variation distance); 0 without interests."""
    total = np.maximum(drift.sum(axis=1), 1e-9)
    return np.asarray(np.abs(taste - drift).sum(axis=1) / 2 / total, np.float64)

"""What a video's pictures and words would tell a model: its topics, blurred.

Each topic has a direction of its own; a video's vector is its mix of two directions and a noise of the knobs' length (METHODS.md L1).
"""

from __future__ import annotations

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Float32
from upnext.simulate.vocabulary import topics
from upnext.simulate.world import World


def content_vectors(world: World) -> Float32:
    """float32[v, 32]: a unit row per video."""
    rng, n_topics = rng_for(world.seed, "content"), len(topics())
    directions = np.linalg.qr(rng.normal(size=(n_topics, n_topics)))[0]
    second = world.videos.second_share[:, None].astype(float)
    mixed = (1 - second) * directions[world.videos.topic]
    mixed += second * directions[world.videos.second_topic]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    blur = rng.normal(size=mixed.shape)
    mixed += world.knobs.content_noise * blur / np.linalg.norm(blur, axis=1, keepdims=True)
    mixed /= np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)
    return np.asarray(mixed, np.float32)

"""Random numbers inside compiled loops: SplitMix64 (Steele, Lea, Flood 2014), one state per stream."""

from __future__ import annotations

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Array


@compiled
def draw_below(state: Array, n: int) -> np.int64:
    """A number 0 .. n - 1 (n below 2^31); state uint64[1] moves on."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64(((z >> np.uint64(33)) * np.uint64(n)) >> np.uint64(31))

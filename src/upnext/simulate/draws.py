"""Random numbers that are a function of what they are for: equal keys give equal draws, in whatever order they are asked.

A counter-based generator (Salmon, Moraes, Dror & Shaw 2011) with splitmix64's finaliser (Steele, Lea & Flood 2014) as its scrambler.
A reaction is keyed by (seed, viewer, video, visit) and each mechanism has its own draw of that key, so that two policies that show the
same video to the same viewer on the same visit get the same answer (common random numbers). The key can be logged and the draw repeated.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.types import Float64, Int64

UInt64 = npt.NDArray[np.uint64]
_STEP: Final = 0x9E3779B97F4A7C15
_ALL: Final = (1 << 64) - 1
# each mechanism's own draw; a new one goes at the end, so that the old ones keep their numbers
MECHANISMS: Final = (
    "look", "attract", "skip", "complete", "share_watched", "skip_s", "like", "share", "comment",
    "follow", "dislike", "not_interested", "leave", "pleasure", "go_on", "n_sessions", "hour",
    "hour_angle", "n_pages", "surface", "next_surface", "device", "own_device", "quit", "drift",
    "new_interest", "upload", "creator_leaves", "create", "topic_wave", "choose", "accept", "noise",
    "glance", "again", "again_share",
)  # fmt: skip
_PLACE: Final = {name: place for place, name in enumerate(MECHANISMS, 1)}
# what a viewer does with one showing
REACTIONS: Final = (
    "look", "attract", "skip", "complete", "share_watched", "skip_s", "like", "share", "comment",
    "follow", "dislike", "not_interested", "leave", "pleasure", "glance", "again", "again_share",
)  # fmt: skip
_REACTION_PLACES: Final = np.array(
    [[(_PLACE[name] * _STEP) & _ALL] for name in REACTIONS], np.uint64
)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_11, _27, _29, _30, _31, _32 = (np.uint64(bits) for bits in (11, 27, 29, 30, 31, 32))
_ADDED = np.uint64(_STEP)


def keys_of(seed: int, *parts: Int64) -> UInt64:
    """uint64[n]: a key of the seed and n rows of each of the parts, int64[n] each."""
    key = np.full(len(parts[0]), (seed * _STEP + 1) & _ALL, np.uint64)
    for part in parts:
        key = further(key, part)
    return key


def further(keys: UInt64, part: Int64) -> UInt64:
    """uint64[n]: the keys of keys_of with one part more, int64[n]."""
    return _scrambled((keys ^ part.astype(np.uint64)) + _ADDED)


def uniform(keys: UInt64, mechanism: str, n_th: int = 0) -> Float64:
    """float64[n] in [0, 1): the draw of one mechanism (a word of MECHANISMS) under each of the keys; n_th: a further one."""
    place = ((_PLACE[mechanism] + 64 * n_th) * _STEP) & _ALL
    return _as_share(_scrambled(keys + np.uint64(place)))


def reactions(keys: UInt64) -> dict[str, Float64]:
    """uniform(keys, name) of every name in REACTIONS, float64[n] each, drawn at once."""
    return dict(zip(REACTIONS, _as_share(_scrambled(keys + _REACTION_PLACES)), strict=True))


def normal(keys: UInt64, radius: str, angle: str) -> Float64:
    """float64[n]: a standard normal number from two mechanisms' draws (Box & Muller 1958)."""
    far = np.sqrt(-2.0 * np.log1p(-uniform(keys, radius)))
    return np.asarray(far * np.cos(2 * np.pi * uniform(keys, angle)), np.float64)


def poisson(u: Float64, rate: Float64, most: int) -> Int64:
    """int64[n]: min(Poisson(rate), most) by inversion of u float64[n]: it never falls where the rate rises."""
    p = np.exp(-rate)
    below = p.copy()
    count = np.zeros(len(u), np.int64)
    for i in range(1, most + 1):
        count += u >= below
        p = p * rate / i
        below += p
    return count


def noise(seed: int, a: Int64, b: Int64, salt: int | Int64) -> Float64:
    """float64[n] in -1 to 1, mean 0: what belongs to the pair (a, b) for good; another salt is another noise."""
    key = np.asarray((seed * 1_000_003 + np.asarray(salt, np.int64)) & 0xFFFFFFFF, np.uint64)
    mixed = a.astype(np.uint64) * _ADDED + b.astype(np.uint64)
    mixed = (mixed ^ (key << _32)) * _FIRST
    mixed = (mixed ^ (mixed >> _29)) * _SECOND
    mixed ^= mixed >> _32
    return np.asarray((mixed >> _11).astype(np.float64) * 2.0**-52 - 1.0, np.float64)


def _scrambled(x: UInt64) -> UInt64:
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


def _as_share(mixed: UInt64) -> Float64:
    return np.asarray((mixed >> _11).astype(np.float64) * 2.0**-53, np.float64)

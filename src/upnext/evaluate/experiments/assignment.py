"""Who is in which arm: a salted hash of the unit's id, in layers (Tang et al. 2010, "Overlapping experiment infrastructure").

A layer cuts its units into 10,000 buckets by a hash of (layer, unit id). Each arm owns buckets, no bucket has two owners: experiments
of one layer exclude each other. Another layer hashes anew, so its arms cut across this one's evenly. Which free buckets an arm gets
follows from the experiment's own salt, so an experiment's arms cut across those of the ones that had the buckets before it, too. Ramping
up gives an arm more buckets and takes none away: who is in stays in the same arm.

The hash is FNV-1a over code points, finished by two rounds of splitmix64 (Steele et al. 2014) with the layer's key between them:
plain 64-bit integers, so that one id costs microseconds and many ids are hashed column by column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from upnext.core.errors import InvalidInput, expected
from upnext.core.randomness import key_of
from upnext.core.types import Bool, Int64

UInt64 = npt.NDArray[np.uint64]
Unit = Literal["viewer", "creator"]

N_BUCKETS: Final = 10_000
NO_ARM: Final = -1

_FNV_START: Final = 0xCBF29CE484222325
_FNV_PRIME: Final = 0x100000001B3
_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX_1: Final = 0xBF58476D1CE4E5B9
_MIX_2: Final = 0x94D049BB133111EB
_MASK: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Layer:
    """A division of all units of one kind into buckets."""

    name: str = "default"
    unit: Unit = "viewer"

    @property
    def key(self) -> int:
        """64 bits that its hash is salted with."""
        return key_of("layer", self.unit, self.name)

    def bucket(self, unit_id: str) -> int:
        """0 .. N_BUCKETS - 1 of one unit."""
        return bucket_of(self.key, unit_hash(unit_id))

    def buckets(self, unit_ids: Sequence[str]) -> Int64:
        """int64[n]: the same of many units."""
        hashed = _mixed(_mixed(_fnv(unit_ids)) ^ np.uint64(self.key))
        return (hashed % np.uint64(N_BUCKETS)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Allocation:
    """The arms of one experiment and the buckets of its layer that they own."""

    layer: Layer
    arms: tuple[str, ...]
    arm_of_bucket: Int64  # [N_BUCKETS] row in `arms`, NO_ARM where the experiment has no share

    def arm(self, unit_id: str) -> str | None:
        """The unit's arm; None: not in the experiment."""
        row = int(self.arm_of_bucket[self.layer.bucket(unit_id)])
        return self.arms[row] if row != NO_ARM else None

    def rows(self, unit_ids: Sequence[str]) -> Int64:
        """int64[n]: each unit's row in `arms`, NO_ARM where it is not in the experiment."""
        return self.arm_of_bucket[self.layer.buckets(unit_ids)]

    @property
    def owned(self) -> Bool:
        """bool[N_BUCKETS]: the buckets of any arm."""
        return np.asarray(self.arm_of_bucket != NO_ARM)

    def shares(self) -> dict[str, float]:
        """{arm: percent of the layer's units}."""
        n = np.bincount(self.arm_of_bucket[self.owned], minlength=len(self.arms))
        return {arm: float(100 * n[row] / N_BUCKETS) for row, arm in enumerate(self.arms)}


def unit_hash(unit_id: str) -> int:
    """64 bits of an id, from which `bucket_of` makes its bucket in any layer."""
    hashed = _FNV_START
    for character in unit_id.rstrip("\0"):  # as numpy's strings end
        hashed = ((hashed ^ ord(character)) * _FNV_PRIME) & _MASK
    return _mixed_int(hashed)


def bucket_of(layer_key: int, hashed: int) -> int:
    """0 .. N_BUCKETS - 1: where a unit of this `unit_hash` falls in the layer of this key."""
    return _mixed_int(hashed ^ layer_key) % N_BUCKETS


def allocate(
    layer: Layer, salt: str, shares: Mapping[str, float], taken: Bool | None = None
) -> Allocation:
    """An experiment's arms in a layer where `taken` bool[N_BUCKETS] belong to others (None: all are free).

    shares: {arm: percent of the layer's units}, down to 0.01. Raises InvalidInput where the free buckets don't suffice."""
    none = Allocation(layer, tuple(shares), np.full(N_BUCKETS, NO_ARM))
    return ramped(none, salt, shares, taken)


def ramped(
    before: Allocation, salt: str, shares: Mapping[str, float], taken: Bool | None = None
) -> Allocation:
    """The allocation with each arm grown to its new share; every unit that has an arm keeps it.

    Raises InvalidInput: an arm that shrinks or is unknown, a share out of range, more than the free buckets."""
    if tuple(shares) != before.arms:
        raise expected("arms", f"shares of {', '.join(before.arms)}", list(shares))
    wanted = [_n_buckets(arm, share) for arm, share in shares.items()]
    owner = before.arm_of_bucket.copy()
    have = np.bincount(owner[before.owned], minlength=len(before.arms))
    free = np.flatnonzero(~before.owned if taken is None else ~(before.owned | taken))
    free = free[np.argsort(_mixed(free.astype(np.uint64) ^ np.uint64(key_of("arms", salt))))]
    needed = [n - int(had) for n, had in zip(wanted, have)]
    for arm, more, had in zip(before.arms, needed, have):
        if more < 0:
            raise expected(f"share of arm {arm!r}", f"at least {had / 100:g} %", shares[arm])
    if sum(needed) > len(free):
        raise InvalidInput(
            f"layer {before.layer.name!r}: expected at most {len(free) / 100:g} % more, which is what is free,"
            f" got {sum(needed) / 100:g} %"
        )
    ends = np.cumsum(needed)
    for row, (more, end) in enumerate(zip(needed, ends)):
        owner[free[end - more : end]] = row
    return Allocation(before.layer, before.arms, owner)


def _n_buckets(arm: str, share: float) -> int:
    is_share = 0 < share <= 100  # false for NaN
    n = round(share * N_BUCKETS / 100) if is_share else 0
    if not n:
        raise expected(f"share of arm {arm!r}", "a percentage from 0.01 to 100", share)
    return n


def _fnv(unit_ids: Sequence[str]) -> UInt64:
    """uint64[n]: FNV-1a over each id's code points."""
    texts = np.asarray(unit_ids, np.str_)
    hashed = np.full(len(texts), _FNV_START, np.uint64)
    if not texts.size or not texts.dtype.itemsize:
        return hashed
    points = np.ascontiguousarray(texts).view(np.uint32).reshape(len(texts), -1)
    length = np.strings.str_len(texts)
    prime = np.uint64(_FNV_PRIME)
    for j in range(points.shape[1]):  # as many turns as the longest id has characters
        np.copyto(hashed, (hashed ^ points[:, j]) * prime, where=j < length)
    return hashed


def _mixed(x: UInt64) -> UInt64:
    """uint64[n]: a round of splitmix64."""
    x = x + np.uint64(_GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    return x ^ (x >> np.uint64(31))


def _mixed_int(x: int) -> int:
    """The same of one integer."""
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * _MIX_1) & _MASK
    x = ((x ^ (x >> 27)) * _MIX_2) & _MASK
    return x ^ (x >> 31)

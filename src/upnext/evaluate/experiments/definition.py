"""What an experiment is: its arms, who is in them, what they change, what it is judged by, and when it ran.

A definition is a value in a file of its own. It stays after the end, so that slates logged under an arm can always be explained, and
its name is never used again.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec
import numpy as np

from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Bool
from upnext.evaluate.experiments.assignment import N_BUCKETS, NO_ARM, Allocation, Layer, Unit
from upnext.events.slate import INTERLEAVED

Kind = Literal["ab", "interleaving", "two-sided"]
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Arm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One side: who is in it and what differs from the base."""

    share: float  # percent of the layer's viewers
    buckets: bytes  # the layer's buckets that it owns, a bit each
    creator_buckets: bytes = b""  # two-sided: the same of creators
    surfaces: dict[
        str, Any
    ] = {}  # settings that differ, nested as in upnext.toml: {surface: {key: value}}
    release_id: str | None = None  # None: the current one

    def owned(self, unit: Unit = "viewer") -> Bool:
        """bool[N_BUCKETS]."""
        bits = np.frombuffer(self.buckets if unit == "viewer" else self.creator_buckets, np.uint8)
        return np.unpackbits(bits, count=N_BUCKETS).astype(np.bool_)


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arms that exclude each other on some surfaces; the first one is the control."""

    name: str
    kind: Kind = "ab"
    layer: str
    salt: str
    surfaces: list[str]  # where viewers are exposed
    arms: dict[str, Arm]
    started_us: int
    stopped_us: int | None = None
    metrics: list[str] = []  # what decides; the report corrects for how many they are
    guardrails: dict[str, float] = {}  # metric -> the relative loss that is too much

    @property
    def control(self) -> str:
        """The arm that the others are compared with."""
        return next(iter(self.arms))

    @property
    def is_running(self) -> bool:
        """Whether viewers are assigned."""
        return self.stopped_us is None

    @property
    def logged_arms(self) -> tuple[str, ...]:
        """What slates may log as its arm."""
        return (INTERLEAVED,) if self.kind == "interleaving" else tuple(self.arms)

    def allocation(self, unit: Unit = "viewer") -> Allocation:
        """Who is in which arm; creators are in one of a two-sided experiment alone."""
        owner = np.full(N_BUCKETS, NO_ARM)
        for row, arm in enumerate(self.arms.values()):
            owner[arm.owned(unit)] = row
        return Allocation(Layer(self.layer, unit), tuple(self.arms), owner)

    def with_allocation(self, allocation: Allocation) -> Experiment:
        """The same with these buckets of viewers or creators, as the allocation's layer says."""
        field = "buckets" if allocation.layer.unit == "viewer" else "creator_buckets"
        shares = allocation.shares()
        arms = {
            name: msgspec.structs.replace(
                arm, share=shares[name], **{field: bitmap(allocation.arm_of_bucket == row)}
            )
            for row, (name, arm) in enumerate(self.arms.items())
        }
        return msgspec.structs.replace(self, arms=arms)

    def changed_keys(self, surface: str) -> set[str]:
        """Dotted keys below the surface that any arm sets, "release" where one serves its own."""
        keys = {key for arm in self.arms.values() for key in dotted(arm.surfaces.get(surface, {}))}
        return keys | {"release" for arm in self.arms.values() if arm.release_id is not None}


def bitmap(owned: Bool) -> bytes:
    """The bits of owned bool[N_BUCKETS]."""
    return np.packbits(owned).tobytes()


def dotted(changes: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{"policy.temperature": 0.8} of {"policy": {"temperature": 0.8}}."""
    found: dict[str, Any] = {}
    for key, value in changes.items():
        if isinstance(value, dict):
            found |= dotted(value, f"{above}{key}.")
        else:
            found[above + key] = value
    return found


def overlaid(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """base with the changes set, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            value = overlaid(below, value)
        merged[key] = value
    return merged


def check_name(what: str, name: str) -> None:
    """Raises InvalidInput for what can't be a file's name and a label everywhere."""
    if not _NAME.fullmatch(name):
        raise expected(what, "1 to 64 of a-z, 0-9, - and _, a letter or digit first", name)


def check_kind(one: Experiment) -> None:
    """Raises InvalidInput for an interleaving that is none (it mixes two rankings of the same candidates by the same predictions), and for a
    two-sided experiment whose arms are platforms of different sizes."""
    if INTERLEAVED in one.arms:
        raise expected("arm", f"another name than {INTERLEAVED!r}, which slates use", INTERLEAVED)
    if one.kind == "ab":
        return
    shares = {name: arm.share for name, arm in one.arms.items()}
    are_equal = len(set(shares.values())) == 1
    if one.kind == "two-sided":
        if not are_equal:
            wanted = (
                "arms of equal shares: one with more videos to choose from differs by that alone"
            )
            raise expected("two-sided experiment", wanted, shares)
        return
    if len(one.arms) != 2 or not are_equal:
        raise expected("interleaving", "two arms of equal shares", shares)
    for surface in one.surfaces:
        for key in sorted(one.changed_keys(surface)):
            if key.split(".")[0] not in ("policy", "weights"):
                raise InvalidInput(
                    f"interleaving: surfaces.{surface}.{key}: expected a key of policy or weights, as both rankings"
                    " are of the same candidates; compare the rest in an A/B experiment"
                )


def check_apart(new: Experiment, running: list[Experiment]) -> None:
    """Raises InvalidInput where a viewer could be in two experiments that set the same key.

    Those of one layer share no viewer, so only other layers are looked at. Creators are in arms of one experiment at a time."""
    for other in running:
        if new.kind == other.kind == "two-sided":
            raise InvalidInput(
                f"experiment {new.name!r}: expected no other two-sided experiment, as both would cut up one corpus;"
                f" {other.name!r} runs"
            )
        if other.layer == new.layer:
            continue
        for surface in sorted(set(new.surfaces) & set(other.surfaces)):
            both = _clash(new, other, surface)
            if both:
                raise InvalidInput(
                    f"experiment {new.name!r}: {other.name!r} changes {', '.join(both)} of {surface!r} too, in"
                    f" layer {other.layer!r}: expected the same layer, so that no viewer is in both, got {new.layer!r}"
                )


def _clash(new: Experiment, other: Experiment, surface: str) -> list[str]:
    both = new.changed_keys(surface) & other.changed_keys(surface)
    if "interleaving" in (new.kind, other.kind):  # two rankings on one page: nothing beside it
        both |= new.changed_keys(surface) | other.changed_keys(surface)
    return sorted(both)

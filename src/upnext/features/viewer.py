"""A viewer at rest, and the view of it that a request reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec
import numpy as np

from upnext.core.types import NO_ITEMS, History, Int64, Profile, User


class Creators(Protocol):
    """What a reader needs of the catalogue to name creators by code (CatalogView has it)."""

    @property
    def creator(self) -> Int64:
        """int64[n_items]: the code of every video's creator, -1 where unknown."""
        ...

    def code(self, kind: str, value: str | None) -> int: ...


class ViewerRecord(msgspec.Struct, array_like=True):
    """UserState as it is stored, the ring as raw columns. A creator is an id, or the item_id of one of its videos."""

    ring: bytes
    n_impressions: int
    n_relevant: int
    last_time_us: int
    days: list[int]
    followed: list[str | int]
    muted_creators: list[str | int]
    muted_topics: list[str]
    interests: dict[str, float]
    not_interested: list[int]
    searches: list[int]


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ViewerRecord)


def encode_record(record: ViewerRecord) -> bytes:
    """The record as bytes; equal records give equal bytes."""
    return _ENCODER.encode(record)


def decode_record(data: bytes) -> ViewerRecord:
    """The inverse of encode_record."""
    return _DECODER.decode(data)


def user_of(
    record: ViewerRecord,
    history: History,
    user_id: str,
    profile: Profile,
    seen_order: Int64,
    creators: Creators,
) -> User:
    """The viewer of a record; `seen_order` int64[m] least recently seen first, duplicates allowed (the last one counts)."""
    seen: Int64 = np.unique(seen_order)
    if len(seen) != len(seen_order):
        seen_order = seen_order[_last_places(seen_order)]
    return User(
        user_id,
        profile,
        history,
        seen,
        seen_order,
        np.unique(np.array(record.not_interested, np.int64)) if record.not_interested else NO_ITEMS,
        _codes(record.followed, creators),
        _codes(record.muted_creators, creators),
        tuple(record.muted_topics),
        record.interests,
        np.sort(np.array(record.searches, np.int64)) if record.searches else NO_ITEMS,
        record.n_impressions,
        record.n_relevant,
        record.last_time_us,
    )


def _last_places(ids: Int64) -> Int64:
    """Positions of the last occurrence of each id, ascending."""
    _, first_from_behind = np.unique(ids[::-1], return_index=True)
    return np.sort(len(ids) - 1 - first_from_behind).astype(np.int64)


def _codes(named: Iterable[str | int], creators: Creators) -> Int64:
    """Sorted unique codes of creators named by id or by one of their videos; unknown ones are left out."""
    codes: set[int] = set()
    for name in named:
        if isinstance(name, str):
            codes.add(creators.code("creator", name))
        elif 0 <= name < len(creators.creator):
            codes.add(int(creators.creator[name]))
    codes.discard(-1)
    return np.array(sorted(codes), np.int64) if codes else NO_ITEMS

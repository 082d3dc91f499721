"""What was served in one session of one viewer: which videos, by which request, on which page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np

from upnext.core.randomness import key_of
from upnext.core.types import NO_ITEMS, Int64


def default_seed(user_id: str, session_id: str) -> int:
    """The seed of a session's draws where the request names none: one session's pages belong together, another's differ."""
    return key_of("session", user_id, session_id)


class ServedSlate(Protocol):
    """What the session needs of a logged slate (events.SlateRecord has it)."""

    @property
    def request_id(self) -> str: ...
    @property
    def log_seq(self) -> int: ...
    @property
    def time_us(self) -> int: ...
    @property
    def user_id(self) -> str: ...
    @property
    def session_id(self) -> str: ...
    @property
    def page(self) -> int: ...
    @property
    def item_id(self) -> Sequence[int]: ...
    @property
    def is_repeat(self) -> Sequence[bool]: ...


class Session(msgspec.Struct, array_like=True):
    """The served slots in order, with the request that each came with."""

    item_id: list[int] = []
    request: list[int] = []  # row in `requests`, per slot
    requests: list[str] = []
    pages: list[int] = []  # per request
    last_time_us: int = 0

    def add(self, slate: ServedSlate) -> None:
        """Appends a slate; one already here changes nothing."""
        if slate.request_id in self.requests:
            return
        self.request += [len(self.requests)] * len(slate.item_id)
        self.item_id += [int(item) for item in slate.item_id]
        self.requests.append(slate.request_id)
        self.pages.append(slate.page)
        self.last_time_us = max(self.last_time_us, slate.time_us)

    def conflicts(self, slate: ServedSlate) -> bool:
        """Whether another request served one of the slate's videos that the slate does not call a repeat."""
        if slate.request_id in self.requests:
            return False
        repeats = list(slate.is_repeat) or [False] * len(slate.item_id)
        fresh = {int(item) for item, known in zip(slate.item_id, repeats, strict=True) if not known}
        return not fresh.isdisjoint(self.item_id)

    def request_of_page(self, page: int) -> str | None:
        """The latest request that served this page."""
        for request_id, served_page in zip(reversed(self.requests), reversed(self.pages)):
            if served_page == page:
                return request_id
        return None

    def to_bytes(self) -> bytes:
        """The session at rest."""
        return msgspec.msgpack.encode(
            (
                np.array(self.item_id, np.int64).tobytes(),
                np.array(self.request, np.int32).tobytes(),
                self.requests,
                self.pages,
                self.last_time_us,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Session:
        """The inverse of to_bytes."""
        items, request, requests, pages, last_time_us = msgspec.msgpack.decode(data, type=_Stored)
        return cls(
            np.frombuffer(items, np.int64).tolist(),
            np.frombuffer(request, np.int32).tolist(),
            requests,
            pages,
            last_time_us,
        )


_Stored = tuple[bytes, bytes, list[str], list[int], int]


def served_of(data: bytes | None) -> Int64:
    """int64[m]: the videos of a stored session in the order served; empty for none."""
    if data is None:
        return NO_ITEMS
    return np.frombuffer(msgspec.msgpack.decode(data, type=_Stored)[0], np.int64)

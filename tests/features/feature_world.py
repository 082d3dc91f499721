"""A catalogue, a state store and a log in memory, and random days of viewers, for the tests of this room."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa

from upnext.core.clock import DAY_US, HOUR_US, SECOND_US
from upnext.core.columns import EVENTS, HISTORIES
from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.core.types import Profile

START_US = 20_000 * DAY_US
N_ITEMS = 300


class MemoryView:
    """The documented columns of CatalogView, item i belonging to creator i % 40 and category i % 7."""

    def __init__(self, n_items: int = N_ITEMS, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        ids = np.arange(n_items)
        self.n_items = n_items
        self.creator = (ids % 40).astype(np.int64)
        self.uploaded_us = np.where(ids % 11, START_US - rng.integers(0, 30 * DAY_US, n_items), 0)
        self.duration_s = np.where(ids % 13, rng.uniform(3, 90, n_items), np.nan).astype(np.float32)
        self.category = (ids % 7 - (ids % 17 == 0)).astype(np.int32)
        self.language = (ids % 3 - 1).astype(np.int32)
        self.tags = np.full((n_items, 8), -1, np.int32)
        self.tags[:, 0] = ids % 23
        self.tags[:, 1] = ids % 5 - 1
        self.min_age = np.where(ids % 19 == 0, 18, 0).astype(np.int32)
        self.status = np.zeros(n_items, np.uint8)
        self.is_premium = ids % 4 == 0
        self.latitude = np.where(ids % 6 == 0, rng.uniform(-60, 60, n_items), np.nan).astype(
            np.float32
        )
        self.longitude = np.where(ids % 6 == 0, rng.uniform(-180, 180, n_items), np.nan).astype(
            np.float32
        )

    def code(self, kind: str, value: str | None) -> int:
        digits = "".join(c for c in value or "" if c.isdigit())
        return int(digits) if digits else -1

    def item_id(self, video_id: str) -> int:
        return int(video_id[1:])

    def profile(self, user_id: str) -> Profile | None:
        return (
            Profile(age=20 + len(user_id), country="DE", language="l1") if user_id != "u0" else None
        )


class DictStore:
    """A StateStore in a dict; `is_down` makes it fail."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.seq = 0
        self.is_down = False
        self.n_gets = 0

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        self._check()
        self.n_gets += 1
        return [self.data.get(key) for key in keys]

    def apply(self, deltas: Mapping[bytes, bytes | None], log_seq: int) -> None:
        self._check()
        for key, value in deltas.items():
            if value is None:
                self.data.pop(key, None)
            else:
                self.data[key] = value
        self.seq = log_seq

    def watermark(self) -> int:
        self._check()
        return self.seq

    def clear(self) -> None:
        self.data, self.seq = {}, 0

    def checksum(self) -> str:
        digest = hashlib.sha256()
        for key in sorted(self.data):
            digest.update(len(key).to_bytes(4, "big") + key + self.data[key])
        return digest.hexdigest()

    def _check(self) -> None:
        if self.is_down:
            raise Unavailable("the store is down")


class Slate(msgspec.Struct):
    """The part of a SlateRecord that the state reads."""

    request_id: str
    user_id: str
    session_id: str
    item_id: list[int]
    page: int = 0
    time_us: int = START_US
    log_seq: int = 0
    is_repeat: list[bool] = []


@dataclass
class MemoryLog:
    """Events and slates that carry their log_seq."""

    events: list[Event] = field(default_factory=list)
    slates: list[Slate] = field(default_factory=list)
    stored: pa.Table = field(default_factory=HISTORIES.empty_table)

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]:
        rows = [e for e in self.events if e.log_seq > after_seq]
        for start in range(0, len(rows), batch_rows):
            yield table_of(rows[start : start + batch_rows])

    def scan_slates(self, after_seq: int = 0, *, batch_rows: int = 4096) -> Iterator[list[Slate]]:
        rows = [s for s in self.slates if s.log_seq > after_seq]
        for start in range(0, len(rows), batch_rows):
            yield rows[start : start + batch_rows]

    def histories(self) -> pa.Table:
        return self.stored


def log_of(*events: Event, stored: pa.Table | None = None) -> MemoryLog:
    """A log of the events in this order, numbered from 1."""
    rows = [msgspec.structs.replace(e, log_seq=i) for i, e in enumerate(events, start=1)]
    return MemoryLog(rows, stored=HISTORIES.empty_table() if stored is None else stored)


def table_of(events: Sequence[Event]) -> pa.Table:
    rows = [{name: getattr(e, name) for name in Event.__struct_fields__} for e in events]
    return pa.Table.from_pylist(rows, schema=EVENTS)


def event(
    kind: str, user_id: str = "u1", *, at: float = 0.0, item: int | None = None, **more: object
) -> Event:
    """An event `at` seconds after START_US; a video lasts 10 s unless said otherwise."""
    return Event(
        event_id=f"{kind}-{user_id}-{at}-{item}-{sorted(more.items())}",
        kind=kind,  # type: ignore[arg-type]
        user_id=user_id,
        time_us=START_US + round(at * SECOND_US),
        item_id=item,
        video_id=None if item is None else f"v{item}",
        **{"duration_s": 10.0 if item is not None else None, **more},  # type: ignore[arg-type]
    )


def random_day(
    seed: int, n_events: int = 300, n_users: int = 4, n_items: int = 40, *, late: float = 0.0
) -> list[Event]:
    """Events of some viewers over a few days, stamped, numbered from 1; a share `late` is logged after later ones."""
    rng = np.random.default_rng(seed)
    kinds = ["impression"] * 8 + ["click", "watch", "watch", "watch", "like", "dislike", "share", "comment",
             "follow", "unfollow", "not_interested", "mute", "more", "less", "report", "search", "undo", "upload"]  # fmt: skip
    at_us = START_US
    events: list[Event] = []
    for i in range(n_events):
        at_us += int(
            rng.choice([0, SECOND_US, 20 * SECOND_US, 2 * HOUR_US], p=[0.1, 0.5, 0.3, 0.1])
        )
        kind = str(rng.choice(kinds))
        events.append(_random_event(rng, kind, i, at_us, n_users, n_items, events))
    keys = np.arange(n_events) + (rng.random(n_events) < late) * rng.integers(0, 30, n_events)
    order = np.argsort(keys, kind="stable")
    return [msgspec.structs.replace(events[j], log_seq=seq) for seq, j in enumerate(order, start=1)]


def _random_event(
    rng: np.random.Generator,
    kind: str,
    i: int,
    at_us: int,
    n_users: int,
    n_items: int,
    before: list[Event],
) -> Event:
    user_id = f"u{rng.integers(n_users)}"
    if kind == "undo":
        past = [e for e in before if e.user_id == user_id and e.kind != "undo"]
        if not past:
            kind = "upload"
        else:
            undone = past[rng.integers(len(past))]
            return msgspec.structs.replace(
                undone, event_id=f"e{i}", kind="undo", time_us=at_us, undoes_kind=undone.kind,
                undoes_event_id=undone.event_id,
            )  # fmt: skip
    item = int(rng.integers(n_items))
    more: dict[str, object] = {}
    if kind in ("follow", "unfollow", "mute", "more", "less") and rng.random() < 0.8:
        topic = kind in ("mute", "more", "less") and rng.random() < 0.5
        more = {"target_kind": "topic" if topic else "creator", "target_id": f"c{rng.integers(9)}"}
    if kind == "watch":
        more = {
            "watch_s": float(rng.choice([0.5, 3.0, 7.0, 11.0])),
            "value": [None, 0.0, 1.0][rng.integers(3)],
        }
    if kind == "search":
        more = {"query": " ".join(rng.choice(["red", "Cat", "song", "how to"], 2))}
    return Event(
        event_id=f"e{i}", kind=kind, user_id=user_id, time_us=at_us,  # type: ignore[arg-type]
        item_id=None if kind in ("search", "upload") else item,
        video_id=None if kind in ("search", "upload") else f"v{item}",
        duration_s=[10.0, 6.3, None][item % 3],
        view_id=f"view{rng.integers(6)}" if rng.random() < 0.3 else None,
        request_id=f"r{rng.integers(9)}" if rng.random() < 0.4 else None,
        surface=["home", "shorts"][rng.integers(2)], device="phone",
        country=("FR", None, "in", "IN")[i % 4], **more,  # type: ignore[arg-type]
    )  # fmt: skip

"""Logs of slates and events made by hand, stored in a real event log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upnext.core.clock import DAY_US, HOUR_US, SECOND_US
from upnext.core.event import Event
from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord

MONDAY_US = 20_003 * DAY_US  # 2024-10-07T00:00Z, a Monday
DURATION_S = 100.0


def at(day: int, hour: float = 12.0, second: float = 0.0) -> int:
    """The instant of a day counted from MONDAY_US."""
    return MONDAY_US + day * DAY_US + int(hour * HOUR_US) + int(second * SECOND_US)


def slate(request_id: str, user_id: str, time_us: int, items: Sequence[int], **fields: Any) -> SlateRecord:  # fmt: skip
    """One answer of `items`, release r1 on home unless said otherwise."""
    k = len(items)
    plain: dict[str, Any] = {
        "request_id": request_id, "log_seq": 0, "time_us": time_us, "user_id": user_id,
        "session_id": "s", "page": 0, "surface": "home", "release_id": "r1", "policy_version": "p",
        "policy": "{}", "draw_key": 0, "arms": {}, "degraded": [], "item_id": list(items),
        "video_id": [f"v{i}" for i in items], "sources": [[]] * k, "source_scores": [[]] * k,
        "tasks": [], "predictions": [[]] * k, "value": [0.0] * k, "propensity": [0.5] * k,
        "n_eligible": [10] * k, "reason": [""] * k, "is_repeat": [False] * k, "features": b"",
        "n_features": 0, "trace": {}, "logged_in": True,
    }  # fmt: skip
    return SlateRecord(**{**plain, **fields})


class EventMaker:
    """Makes events with ids of their own."""

    def __init__(self) -> None:
        self._n = 0

    def __call__(self, kind: Any, user_id: str, time_us: int, item: int | None = None, **fields: Any) -> Event:  # fmt: skip
        """One stamped event on home about a video of 100 s."""
        self._n += 1
        plain: dict[str, Any] = {
            "event_id": f"e{self._n}", "kind": kind, "user_id": user_id, "time_us": time_us,
            "received_us": time_us, "surface": "home", "item_id": item,
            "video_id": None if item is None else f"v{item}",
            "duration_s": None if item is None else DURATION_S,
        }  # fmt: skip
        return Event(**{**plain, **fields})


def stored(
    folder: Path, slates: Sequence[SlateRecord], events: Sequence[Event], *, piece: int = 50
) -> SqliteEventLog:
    """A log with the slates and the events, appended piece by piece in the order given."""
    log = SqliteEventLog(folder)
    log.append([], slates)
    for start in range(0, len(events), piece):
        log.append(events[start : start + piece])
    return log

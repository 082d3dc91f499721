"""One thing that happened, as a client sends it and as the log keeps it (core/columns.py names the columns)."""

from __future__ import annotations

import msgspec

from upnext.core.columns import EventKind, TargetKind


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the events table. A client leaves the block "stamped at intake" out; intake fills it."""

    event_id: str
    kind: EventKind
    user_id: str
    time_us: int
    session_id: str | None = None
    request_id: str | None = None
    video_id: str | None = None
    target_kind: TargetKind | None = None
    target_id: str | None = None
    undoes_event_id: str | None = None
    view_id: str | None = None
    surface: str | None = None
    slot: int | None = None
    watch_s: float | None = None
    query: str | None = None
    text: str | None = None
    value: float | None = None
    device: str | None = None
    country: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    # stamped at intake
    log_seq: int = 0
    received_us: int = 0
    is_clamped: bool = False
    item_id: int | None = None
    duration_s: float | None = None
    undoes_kind: str | None = None

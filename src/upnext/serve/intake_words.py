"""What workers say to the intake process and what it answers. Every work may be sent twice with the effect of once."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from upnext.core.event import Event
from upnext.events.packed_slate import PackedSlate
from upnext.events.slate import SlateRecord


class AppendEvents(msgspec.Struct, tag="append_events"):
    """Valid events in the order of their arrival."""

    events: list[Event]


class AppendSlate(msgspec.Struct, tag="append_slate"):
    """A slate that nobody has seen yet, as the log will keep it."""

    slate: PackedSlate


class PutVideos(msgspec.Struct, tag="put_videos"):
    """Whole rows of core.columns.VIDEOS as plain values."""

    rows: list[dict[str, Any]]


class PatchVideo(msgspec.Struct, tag="patch_video"):
    """Some fields of one video."""

    video_id: str
    fields: dict[str, Any]


class DeleteVideo(msgspec.Struct, tag="delete_video"):
    """A video that must not be shown again."""

    video_id: str


class PutUsers(msgspec.Struct, tag="put_users"):
    """Whole rows of core.columns.USERS as plain values."""

    rows: list[dict[str, Any]]


class PatchUser(msgspec.Struct, tag="patch_user"):
    """Some fields of one user."""

    user_id: str
    fields: dict[str, Any]


class DeleteUser(msgspec.Struct, tag="delete_user"):
    """A user whose profile is forgotten."""

    user_id: str


class Ask(msgspec.Struct, tag="ask"):
    """How are you?"""


Work = (
    AppendEvents
    | AppendSlate
    | PutVideos
    | PatchVideo
    | DeleteVideo
    | PutUsers
    | PatchUser
    | DeleteUser
    | Ask
)
LogWork = AppendEvents | AppendSlate


class EventStatus(msgspec.Struct, omit_defaults=True):
    """What became of one event. `refused` says why: field, expected, got."""

    status: Literal["accepted", "known", "refused"]
    log_seq: int = 0
    is_clamped: bool = False
    field: str = ""
    expected: str = ""
    got: str = ""


class EventsDone(msgspec.Struct, tag="events_done"):
    """One status per event, aligned with the events sent; what is accepted is on disk and in the viewer's state."""

    statuses: list[EventStatus]


class SlateDone(msgspec.Struct, tag="slate_done"):
    """`stored`: in the log; `known`: this request was answered before, with `slate`; `conflict`: draw again."""

    status: Literal["stored", "known", "conflict"]
    log_seq: int = 0
    slate: SlateRecord | None = None


class Done(msgspec.Struct, tag="done"):
    """Committed; `n` rows."""

    n: int = 1


class Health(msgspec.Struct, tag="health"):
    """The writers' figures."""

    last_seq: int
    watermark: int
    n_events: int
    n_slates: int
    n_commits: int


class Failed(msgspec.Struct, tag="failed"):
    """Nothing was committed for this work."""

    kind: Literal["invalid", "not_found", "unavailable"]
    message: str


Answer = EventsDone | SlateDone | Done | Health | Failed

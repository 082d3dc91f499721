"""What the HTTP API takes and gives: each struct is the check, the documentation and the JSON at once."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

MAX_ID_CHARS = 2_048
Id = Annotated[str, Meta(max_length=MAX_ID_CHARS)]
Wanted = Annotated[int, Meta(ge=1)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]


class Context(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who asks, from where. Every field may be missing."""

    user_id: Annotated[
        Id, Meta(description="the viewer; empty: anonymous, with an id of the session's own")
    ] = ""
    session_id: Annotated[
        Id, Meta(description="one scroll: its pages never repeat a video; empty: a new session")
    ] = ""
    request_id: Annotated[
        Id, Meta(description="idempotency key: a retry gets the very slate of the first time")
    ] = ""
    page: Annotated[int, Meta(ge=0, le=100_000, description="page of the session, from 0")] = 0
    seed: Annotated[
        int | None,
        Meta(description="of the session's draws; default: derived from user and session"),
    ] = None
    logged_in: Annotated[bool | None, Meta(description="default: whether user_id is given")] = None
    device: Id | None = None
    country: Annotated[Id | None, Meta(description="two letters; before the profile's")] = None
    language: Annotated[Id | None, Meta(description="before the profile's")] = None
    time_zone: Annotated[Id | None, Meta(description="IANA name; before the profile's")] = None
    lat: Latitude | None = None
    lon: Longitude | None = None
    video_id: Annotated[Id | None, Meta(description="the video being watched, for upnext")] = None


class FeedQuery(Context, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a feed request."""

    n: Annotated[
        Wanted | None, Meta(description="videos wanted; default: the surface's own size")
    ] = None
    exclude: Annotated[
        list[Id],
        Meta(max_length=1_000, description="video ids that must not come; repeat the parameter"),
    ] = msgspec.field(default_factory=list)


class RankBody(Context, kw_only=True, forbid_unknown_fields=True):
    """The caller's own candidates to be filtered, scored and arranged."""

    surface: str = "home"
    video_ids: Annotated[list[Id], Meta(min_length=1, max_length=5_000)]
    n: Annotated[
        Wanted | None, Meta(description="videos wanted; default: all that may be shown")
    ] = None


class FeedItem(msgspec.Struct):
    """One slot. Post it back as an impression with request_id, video_id and slot."""

    video_id: str
    slot: int
    title: str | None
    creator_id: str | None
    duration_s: float | None
    thumbnail_url: str | None
    category: str | None
    reason: str
    reason_text: str
    sources: list[str]
    value: float
    propensity: float
    is_repeat: bool


class FeedAnswer(msgspec.Struct):
    """One page. `degraded` says what this answer had to go without; empty: nothing."""

    request_id: str
    user_id: str
    session_id: str
    surface: str
    page: int
    next_page: int | None
    items: list[FeedItem]
    degraded: list[str]
    n_repeats: int
    release_id: str
    policy_version: str
    arms: dict[str, str]  # {experiment: arm} of the viewer on this surface


class EventsBody(msgspec.Struct):
    """A batch; a bare JSON array of the same rows is taken too."""

    events: list[dict[str, Any]]


class EventResult(msgspec.Struct, omit_defaults=True):
    """What became of one row: accepted, known (it was there before) or refused, with the reason."""

    index: int
    status: str
    log_seq: int = 0
    is_clamped: bool = False
    field: str = ""
    expected: str = ""
    got: str = ""


class EventsAnswer(msgspec.Struct):
    """Counts, and one result for each row that was refused or changed. What is accepted is on disk."""

    accepted: int
    known: int
    refused: int
    results: list[EventResult]


class VideosBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whole rows of videos."""

    videos: Annotated[list[dict[str, Any]], Meta(max_length=10_000)]


class DoneAnswer(msgspec.Struct):
    """Committed."""

    status: str
    n: int = 1


class ExplainAnswer(msgspec.Struct):
    """Why a video stands in its slot, read from the slates log."""

    request_id: str
    slot: int
    video_id: str
    reason: str
    reason_text: str
    sources: dict[str, float]
    predictions: dict[str, float]
    contributions: dict[str, float]
    value: float
    propensity: float
    n_eligible: int
    degraded: list[str]
    release_id: str
    policy_version: str
    arms: dict[str, str]
    time_us: int
    trace: dict[str, Any]


class HealthAnswer(msgspec.Struct, omit_defaults=True):
    """Whether this system answers. `degraded`: "release" while the current release is damaged and `release_id` answers in its place.

    `simulated_time_us` where the system's time is what requests say."""

    status: str
    release_id: str = ""
    degraded: list[str] = []
    simulated_time_us: int | None = None


class ErrorBody(msgspec.Struct, omit_defaults=True):
    """One line a person can act on."""

    code: str
    message: str
    field: str = ""


class ErrorAnswer(msgspec.Struct):
    """Every error has this shape."""

    error: ErrorBody

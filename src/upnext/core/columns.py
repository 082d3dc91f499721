"""The tables of the system as Arrow schemas: the one place where a column's name and type live.

Times are UTC microseconds (`*_us`), durations seconds (`*_s`). `video_id`, `user_id`, `creator_id` are the
platform's own strings; `item_id` is the dense int64 that the catalog assigns once. Only the columns in
REQUIRED must be there and not null; every other one may be missing.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import pyarrow as pa

SCHEMA_VERSION: Final = 1

EventKind = Literal[
    "impression", "click", "watch", "like", "dislike", "share", "comment", "follow", "unfollow",
    "not_interested", "mute", "more", "less", "report", "survey", "search", "upload", "undo",
]  # fmt: skip
EVENT_KINDS: Final[tuple[str, ...]] = get_args(EventKind)
TargetKind = Literal["creator", "topic"]
TARGET_KINDS: Final[tuple[str, ...]] = get_args(TargetKind)
VideoStatus = Literal["active", "hidden", "deleted", "unknown"]
VIDEO_STATUSES: Final[tuple[str, ...]] = get_args(VideoStatus)

_LABELS = pa.map_(pa.string(), pa.float32())

VIDEOS: Final = pa.schema(
    [
        ("video_id", pa.string()),
        ("creator_id", pa.string()),
        ("uploaded_us", pa.int64()),
        ("duration_s", pa.float64()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("category", pa.string()),
        ("language", pa.string()),
        ("countries_allowed", pa.list_(pa.string())),  # empty or null: everywhere
        ("countries_blocked", pa.list_(pa.string())),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("min_age", pa.int32()),
        ("is_premium", pa.bool_()),
        ("moderation", _LABELS),  # label -> score in [0, 1]
        ("status", pa.string()),  # VIDEO_STATUSES; null: active
        ("thumbnail_url", pa.string()),
        ("content_vector", pa.list_(pa.float32())),
    ]
)

USERS: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("signed_up_us", pa.int64()),
        ("age", pa.int32()),
        ("gender", pa.string()),
        ("city", pa.string()),
        ("country", pa.string()),
        ("language", pa.string()),
        ("time_zone", pa.string()),
        ("is_creator", pa.bool_()),
    ]
)

# What a client or an import sends. Intake adds EVENTS_ADDED before the row is on disk.
EVENTS_SENT: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("time_us", pa.int64()),
        ("kind", pa.string()),  # EVENT_KINDS
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("request_id", pa.string()),
        ("video_id", pa.string()),
        ("target_kind", pa.string()),  # TARGET_KINDS, of follow, unfollow, mute, more, less
        ("target_id", pa.string()),
        ("undoes_event_id", pa.string()),
        ("view_id", pa.string()),
        ("surface", pa.string()),
        ("slot", pa.int32()),
        ("watch_s", pa.float64()),  # cumulative per view_id: the maximum counts
        ("query", pa.string()),
        ("text", pa.string()),
        (
            "value",
            pa.float64(),
        ),  # watch: 1 or 0 for the platform's own long_view; survey: its answer
        ("device", pa.string()),
        ("country", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
    ]
)

# Facts stamped on an event when it is accepted, so that state is a function of the log alone.
EVENTS_ADDED: Final = pa.schema(
    [
        ("log_seq", pa.int64()),
        ("received_us", pa.int64()),
        ("is_clamped", pa.bool_()),  # time_us lay after received_us and was set to it
        ("item_id", pa.int64()),  # of video_id; null without one
        ("duration_s", pa.float64()),  # the video's, as known then
        ("undoes_kind", pa.string()),  # of the event that an undo takes back
    ]
)
EVENTS: Final = pa.schema(list(EVENTS_ADDED) + list(EVENTS_SENT))

# Impressions known by order only (no times): the state a viewer starts from. Oldest first per user.
HISTORIES: Final = pa.schema(
    [
        ("user_id", pa.string()),
        ("position", pa.int32()),  # 0 is the oldest
        ("video_id", pa.string()),
        ("item_id", pa.int64()),
        ("is_like", pa.bool_()),
        (
            "is_relevant",
            pa.bool_(),
        ),  # liked, or watched at least half (or the data's own long view)
    ]
)

# One row per slot served.
SLATES: Final = pa.schema(
    [
        ("request_id", pa.string()),
        ("log_seq", pa.int64()),
        ("time_us", pa.int64()),
        ("user_id", pa.string()),
        ("session_id", pa.string()),
        ("page", pa.int32()),
        ("surface", pa.string()),
        ("release_id", pa.string()),
        ("policy_version", pa.string()),
        ("policy", pa.string()),  # the policy's parameters, JSON
        ("draw_key", pa.uint64()),  # the key of the draw, a function of session seed and page
        ("slot", pa.int32()),
        ("video_id", pa.string()),
        ("item_id", pa.int64()),
        ("sources", pa.list_(pa.string())),
        ("source_scores", pa.list_(pa.float32())),
        ("tasks", pa.list_(pa.string())),
        ("predictions", pa.list_(pa.float32())),
        ("value", pa.float32()),
        ("propensity", pa.float64()),
        ("n_eligible", pa.int32()),
        ("reason", pa.string()),
        ("arms", pa.map_(pa.string(), pa.string())),
        ("degraded", pa.list_(pa.string())),
        ("is_repeat", pa.bool_()),
        ("features", pa.list_(pa.float32())),  # the row scored: user columns, then item columns
        # what the request told of its context
        ("logged_in", pa.bool_()),  # null: the record is older than these columns, nothing is known
        ("device", pa.string()),
        ("country", pa.string()),
        ("language", pa.string()),
        ("time_zone", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("current_video_id", pa.string()),
        ("seed", pa.uint64()),  # null: the record is older than this and the next two columns
        ("size", pa.int32()),  # slots asked for
        ("exclude", pa.list_(pa.string())),  # video_ids
    ]
)

TABLES: Final[dict[str, pa.Schema]] = {
    "videos": VIDEOS,
    "users": USERS,
    "events": EVENTS_SENT,
    "histories": HISTORIES,
}
REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "videos": ("video_id",),
    "users": ("user_id",),
    "events": ("time_us", "kind", "user_id"),
    "histories": ("user_id", "position", "video_id"),
}

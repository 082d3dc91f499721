"""What each showing came to: the targets of the ranker's heads.

relevant is liked, or watched at least half (or the data's own long view where no duration is known). A label is NaN where the data
can't know it: watch_s and skip without a watch event, long_view where no watch event of the data carries one. A showing that was
never watched was not completed and not relevant, and is known to be so.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from upnext.core.types import Flag, Float32, UInt16
from upnext.features.config import FeaturesConfig
from upnext.features.feedback_join import join_feedback
from upnext.features.user_state import DEFAULT_CONFIG

LABEL_FLAGS: Final[dict[str, int]] = {
    "relevant": Flag.RELEVANT,
    "click": Flag.CLICK,
    "completed": Flag.COMPLETED,
    "like": Flag.LIKE,
    "follow": Flag.FOLLOW,
    "share": Flag.SHARE,
    "dislike": Flag.DISLIKE,
    "skip": Flag.SKIPPED,
    "not_interested": Flag.NOT_INTERESTED,
    "long_view": Flag.LONG_VIEW,
}
LABELS: Final[tuple[str, ...]] = (*LABEL_FLAGS, "watch_s")
_CONTEXT: Final = (
    "log_seq", "request_id", "session_id", "video_id", "view_id", "surface", "slot", "device",
    "country", "latitude", "longitude", "duration_s",
)  # fmt: skip


def labels_from(
    flags: UInt16, watch_s: Float32, *, has_long_view: bool = True
) -> dict[str, Float32]:
    """{label: float32[m]} of m showings by their flags uint16[m] and watch_s float32[m]; NaN: not known."""
    unwatched = (flags & Flag.WATCHED) == 0
    labels = {name: ((flags & bits) != 0).astype(np.float32) for name, bits in LABEL_FLAGS.items()}
    labels["watch_s"] = watch_s.astype(np.float32)
    for name in ("watch_s", "skip", "long_view"):
        labels[name][unwatched] = np.nan
    if not has_long_view:
        labels["long_view"][:] = np.nan
    return labels


def labels_of(events: pl.DataFrame, config: FeaturesConfig = DEFAULT_CONFIG) -> pl.DataFrame:
    """One row per showing with every label, sorted by user_id, then time.

    `events`: core.columns.EVENTS in the order in which they are to count (of the log, or of time). Columns: user_id, item_id,
    time_us, flags, is_impression, `event` (row in `events` of the impression, or of the feedback that came without one), what
    that event says of the context, and LABELS, NaN where not known."""
    joined = join_feedback(events, None, config)
    labels = labels_from(joined.flags, joined.watch_s, has_long_view=has_long_view(events))
    rows = {
        "user_id": np.array(joined.user_ids, dtype=object)[joined.user],
        "item_id": joined.item_id,
        "time_us": joined.time_us,
        "flags": joined.flags,
        "is_impression": (joined.flags & Flag.IMPRESSION) != 0,
        "event": joined.event,
    }
    frame = pl.DataFrame(rows, schema_overrides={"user_id": pl.String})
    context = events.select(name for name in _CONTEXT if name in events.columns)
    return pl.concat([frame, context[joined.event], pl.DataFrame(labels)], how="horizontal")


def has_long_view(events: pl.DataFrame) -> bool:
    """Whether the data brings a long view of its own: a value on any watch event."""
    if "value" not in events.columns:
        return False
    watched = events.filter(pl.col("kind") == "watch")
    return watched.get_column("value").null_count() < len(watched)

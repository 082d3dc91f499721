"""Every showing of a log with all its feedback, by the very rules of the online state.

The join runs one UserState per viewer over the log, so labels, training rows and the live state can't disagree on which showing
an event belongs to. It is sequential by nature (a row that feedback opened takes the feedback after it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from upnext.core.event import Event
from upnext.core.types import Float32, Int64, UInt16
from upnext.features.config import FeaturesConfig
from upnext.features.event_rows import HistoryRows, events_of, history_rows
from upnext.features.ring import Rows
from upnext.features.user_state import DEFAULT_CONFIG, UserState

JOIN_FIELDS: Final = (
    "item_id", "request_id", "view_id", "watch_s", "value", "duration_s", "undoes_kind",
)  # fmt: skip
NO_EVENT: Final = -1
_ALWAYS: Final = ("event_id", "kind", "user_id", "time_us")
_PIECE: Final = 16_384  # events decoded at a time


@dataclass(frozen=True, slots=True)
class Joined:
    """m showings grouped by viewer (ascending row in user_ids), oldest first inside a viewer."""

    user_ids: tuple[str, ...]  # [u] ascending
    user: Int64  # [m]
    item_id: Int64  # [m]
    time_us: Int64  # [m] 0: a history row
    flags: UInt16  # [m] bits of Flag
    watch_s: Float32  # [m]
    event: Int64  # [m] the row of the event that opened the showing: its impression, where there was one; -1: a history row


def join_feedback(
    events: pl.DataFrame,
    histories: pa.Table | None = None,
    config: FeaturesConfig = DEFAULT_CONFIG,
) -> Joined:
    """The showings of events (core.columns.EVENTS, in the order in which they are to count) and of stored histories."""
    started = dict(history_rows(histories)) if histories is not None else {}
    names = [name for name in (*_ALWAYS, *JOIN_FIELDS) if name in events.columns]
    # One viewer after the other: a viewer's rows stay in the processor's cache.
    by_user = (
        events.select(names)
        .with_row_index("row")
        .filter(pl.col("item_id").is_not_null())
        .sort("user_id", maintain_order=True)
    )
    rows = by_user.get_column("row").to_list()
    parts: dict[str, Rows] = {}
    state, user_id = UserState(config, keep_all=True), None
    for i, event in enumerate(_events(by_user)):
        if event.user_id != user_id:
            if user_id is not None:
                parts[user_id] = state.ring.all_rows()
            user_id = event.user_id
            state = _started(started.pop(user_id, None), config)
        state.ring.mark = rows[i]
        state.apply(event)
    if user_id is not None:
        parts[user_id] = state.ring.all_rows()
    for other, history in started.items():
        parts[other] = _started(history, config).ring.all_rows()
    user_ids = tuple(sorted(parts))
    ordered = [parts[user_id] for user_id in user_ids]
    sizes = np.array([len(part.item_id) for part in ordered], np.int64)
    return Joined(
        user_ids,
        np.repeat(np.arange(len(user_ids)), sizes).astype(np.int64),
        _concatenated([part.item_id for part in ordered], np.dtype(np.int64)),
        _concatenated([part.time_us for part in ordered], np.dtype(np.int64)),
        _concatenated([part.flags for part in ordered], np.dtype(np.uint16)),
        _concatenated([part.watch_s for part in ordered], np.dtype(np.float32)),
        _concatenated([part.opened_by for part in ordered], np.dtype(np.int64)),
    )


def _events(frame: pl.DataFrame) -> Iterator[Event]:
    for start in range(0, len(frame), _PIECE):
        yield from events_of(frame.slice(start, _PIECE).to_arrow())


def _started(history: HistoryRows | None, config: FeaturesConfig) -> UserState:
    state = UserState(config, keep_all=True)
    if history is not None:
        state.ring.mark = NO_EVENT
        state.start_from(history.item_id, history.is_like, history.is_relevant)
    return state


def _concatenated(parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)

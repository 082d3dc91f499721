"""Every showing of a log with all its feedback, by the very rules of the online state.

The join runs one UserState per viewer over the log, so labels, training rows and the live state can't disagree on which showing
an event belongs to. It is sequential by nature (a row that feedback opened takes the feedback after it).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from upnext.core.types import Float32, Int64, UInt16
from upnext.features.config import FeaturesConfig
from upnext.features.event_rows import events_of, history_rows
from upnext.features.user_state import DEFAULT_CONFIG, UserState

JOIN_FIELDS: Final = (
    "item_id", "request_id", "view_id", "watch_s", "value", "duration_s", "undoes_kind",
)  # fmt: skip
NO_EVENT: Final = -1


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
    tables: Iterable[pa.Table],
    histories: pa.Table | None = None,
    config: FeaturesConfig = DEFAULT_CONFIG,
) -> Joined:
    """The showings of events (tables of core.columns.EVENTS, in the order in which they are to count) and of stored histories."""
    states: dict[str, UserState] = {}
    if histories is not None:
        for user_id, rows in history_rows(histories):
            state = states[user_id] = UserState(config, keep_all=True)
            state.ring.mark = NO_EVENT
            state.start_from(rows.item_id, rows.is_like, rows.is_relevant)
    row = 0
    for table in tables:
        for event in events_of(table, JOIN_FIELDS):
            if event.item_id is not None:
                state_of = states.get(event.user_id)
                if state_of is None:
                    state_of = states[event.user_id] = UserState(config, keep_all=True)
                state_of.ring.mark = row
                state_of.apply(event)
            row += 1
    user_ids = tuple(sorted(states))
    parts = [states[user_id].ring.all_rows() for user_id in user_ids]
    sizes = np.array([len(part.item_id) for part in parts], np.int64)
    return Joined(
        user_ids,
        np.repeat(np.arange(len(user_ids)), sizes).astype(np.int64),
        _concatenated([part.item_id for part in parts], np.dtype(np.int64)),
        _concatenated([part.time_us for part in parts], np.dtype(np.int64)),
        _concatenated([part.flags for part in parts], np.dtype(np.uint16)),
        _concatenated([part.watch_s for part in parts], np.dtype(np.float32)),
        _concatenated([part.opened_by for part in parts], np.dtype(np.int64)),
    )


def _concatenated(parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)

"""Every showing of a log with all its feedback, by the very rules of the online state.

The join runs one UserState per viewer over the log, so labels, training rows and the live state can't disagree on which showing
an event belongs to. It is sequential by nature (a row that feedback opened takes the feedback after it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from upnext.core.event import Event
from upnext.core.types import Float32, Int64, UInt16
from upnext.features.config import FeaturesConfig
from upnext.features.event_rows import HistoryRows, history_rows
from upnext.features.past_events import decoded
from upnext.features.ring import Rows
from upnext.features.user_state import DEFAULT_CONFIG, UserState

JOIN_FIELDS: Final = (
    "item_id", "request_id", "view_id", "watch_s", "value", "duration_s", "undoes_kind",
)  # fmt: skip
NO_EVENT: Final = -1
_ALWAYS: Final = ("kind", "user_id", "time_us")
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
    user_ids: list[str] = []
    ordered: list[Rows] = []
    for user_id, rows in _viewers(events, histories, config):
        user_ids.append(user_id)
        ordered.append(rows)
    sizes = np.array([len(part.item_id) for part in ordered], np.int64)
    return Joined(
        tuple(user_ids),
        np.repeat(np.arange(len(user_ids)), sizes).astype(np.int64),
        _concatenated([part.item_id for part in ordered], np.dtype(np.int64)),
        _concatenated([part.time_us for part in ordered], np.dtype(np.int64)),
        _concatenated([part.flags for part in ordered], np.dtype(np.uint16)),
        _concatenated([part.watch_s for part in ordered], np.dtype(np.float32)),
        _concatenated([part.opened_by for part in ordered], np.dtype(np.int64)),
    )


def _viewers(
    events: pl.DataFrame, histories: pa.Table | None, config: FeaturesConfig
) -> Iterator[tuple[str, Rows]]:
    """(user_id, rows) in the order of ids: the viewers of the events merged with those of the histories."""
    stored = history_rows(histories) if histories is not None else iter(())
    upcoming = next(stored, None)
    for user_id, marked in groupby(_by_viewer(events), key=lambda pair: pair[1].user_id):
        while upcoming is not None and upcoming[0] < user_id:
            yield upcoming[0], _started(upcoming[1], config).ring.all_rows()
            upcoming = next(stored, None)
        own = None
        if upcoming is not None and upcoming[0] == user_id:
            own, upcoming = upcoming[1], next(stored, None)
        state = _started(own, config)
        for mark, event in marked:
            state.ring.mark = mark
            state.apply(event)
        yield user_id, state.ring.all_rows()
    while upcoming is not None:
        yield upcoming[0], _started(upcoming[1], config).ring.all_rows()
        upcoming = next(stored, None)


def _by_viewer(events: pl.DataFrame) -> Iterator[tuple[int, Event]]:
    """(row, event) of the events with a video, one viewer after the other: a viewer's rows stay in the processor's cache."""
    needed = events.select(name for name in (*_ALWAYS, *JOIN_FIELDS) if name in events.columns)
    order = (
        events.select("user_id", "item_id")
        .with_row_index("row")
        .filter(pl.col("item_id").is_not_null())
        .select("row", "user_id")
        .sort("user_id", maintain_order=True)
        .get_column("row")
    )
    for start in range(0, len(order), _PIECE):
        rows = order.slice(start, _PIECE)
        yield from zip(rows.to_list(), decoded(needed[rows]))


def _started(history: HistoryRows | None, config: FeaturesConfig) -> UserState:
    state = UserState(config, keep_all=True)
    if history is not None:
        state.ring.mark = NO_EVENT
        state.start_from(history.item_id, history.is_like, history.is_relevant)
    return state


def _concatenated(parts: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)

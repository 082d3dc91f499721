"""The whole log in memory, in order of time, in as few bytes as a replay can do with.

A log of a year has hundreds of millions of rows, so what a row costs decides which machine can train: words are kept once and named by
number (ids of viewers, sessions, requests and views too), columns that only intake needs are left out, and one that is empty costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import polars as pl

from upnext.core.columns import EVENTS
from upnext.core.event import Event
from upnext.features.event_rows import ReadLog, events_of

LEFT_OUT: Final = frozenset(
    {"event_id", "log_seq", "received_us", "is_clamped", "video_id", "undoes_event_id", "text"}
)
COLUMNS: Final = tuple(name for name in EVENTS.names if name not in LEFT_OUT)
_PIECE: Final = 16_384  # events decoded at a time


def events_by_time(log: ReadLog, before_us: int | None = None) -> pl.DataFrame:
    """The whole log (strictly before an instant) as one frame in order of time, ties by log_seq.

    Columns: core.columns.EVENTS but LEFT_OUT, every word as a Categorical."""
    nothing = _words_by_number(pl.DataFrame(pl.from_arrow(EVENTS.empty_table().select(COLUMNS))))
    parts = [nothing.select(pl.lit(None).first().alias(n) for n in COLUMNS).clear()]
    for table in log.scan():
        part = pl.DataFrame(pl.from_arrow(table.select(COLUMNS)))
        if before_us is not None:
            part = part.filter(pl.col("time_us") < before_us)
        parts.append(_without_empty(_words_by_number(part)))
    events = pl.concat(parts, how="vertical_relaxed", rechunk=False)
    del parts
    # the log is scanned in order of log_seq; column by column, so that there are never two frames
    times = events.select(pl.col("time_us").cast(pl.Int64)).with_row_index("row")
    order = times.sort("time_us", maintain_order=True).get_column("row")
    ordered = pl.DataFrame([events.drop_in_place(name).gather(order) for name in COLUMNS])
    return ordered.with_columns(
        pl.lit(None, kind).alias(name)
        for name, kind in nothing.schema.items()
        if ordered.schema[name] == pl.Null
    )


def _words_by_number(events: pl.DataFrame) -> pl.DataFrame:
    item_id = pl.col("item_id").cast(pl.Int32)
    return events.with_columns(pl.col(pl.String).cast(pl.Categorical), item_id)


def _without_empty(events: pl.DataFrame) -> pl.DataFrame:
    """The same columns, those without a value as Null, which has no rows to store."""
    empty = [name for name in COLUMNS if events.get_column(name).null_count() == len(events)]
    return events.with_columns(pl.lit(None).alias(name) for name in empty)


def stream(events: pl.DataFrame) -> Iterator[Event]:
    """The rows as events, in the frame's order; columns that the frame lacks are at their defaults."""
    for start in range(0, len(events), _PIECE):
        yield from decoded(events.slice(start, _PIECE))


def decoded(piece: pl.DataFrame) -> list[Event]:
    """A few rows as events."""
    return events_of(piece.with_columns(pl.col(pl.Categorical).cast(pl.String)).to_arrow())

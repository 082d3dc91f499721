"""What logged slates say of their requests: when they were answered, in what language and time zone, on what, beside which video.

Impressions say less (no language, no time zone, no video being watched) and are a client's word; a replay that joins its showings
with these rows asks what was really asked. An impression that names another viewer's request joins nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final, Protocol

import polars as pl

from upnext.core.columns import SLATES
from upnext.events.slate import SlateRecord

CONTEXT: Final = (
    "logged_in", "device", "country", "language", "time_zone", "latitude", "longitude",
    "current_video_id",
)  # fmt: skip
COLUMNS: Final = ("request_id", "user_id", "time_us", *CONTEXT)
_OF_RECORD: Final = attrgetter(*COLUMNS)
_EMPTY: Final = pl.DataFrame(pl.from_arrow(SLATES.empty_table().select(COLUMNS)))

_SLOT: Final = {
    "item_id": pl.lit(None, pl.Int64),
    "propensity": pl.lit(None, pl.Float64),
}


class SlateScan(Protocol):
    """A log's answers in order (events.SqliteEventLog, events.PastLog)."""

    def scan_slates(
        self, after_seq: int = 0, *, batch_rows: int = 4096
    ) -> Iterator[Sequence[SlateRecord]]: ...


def slate_contexts(log: SlateScan) -> pl.DataFrame:
    """COLUMNS, one row per logged slate in order of the log; empty without any. Features and scores are not kept in memory."""
    parts = [_EMPTY]
    for records in log.scan_slates():
        rows = [_OF_RECORD(record) for record in records]
        parts.append(pl.DataFrame(rows, schema=_EMPTY.schema, orient="row"))
    return pl.concat(parts)


def slate_slots(log: SlateScan) -> pl.DataFrame:
    """COLUMNS, item_id and propensity, one row per logged slot in order of the log; empty without any."""
    parts = [_EMPTY.with_columns(**_SLOT)]
    for records in log.scan_slates():
        rows = [_OF_RECORD(record) for record in records]
        pages = pl.DataFrame(rows, schema=_EMPTY.schema, orient="row").with_columns(
            item_id=pl.Series([record.item_id for record in records], dtype=pl.List(pl.Int64)),
            propensity=pl.Series(
                [record.propensity for record in records], dtype=pl.List(pl.Float64)
            ),
        )
        full = pages.filter(pl.col("item_id").list.len() > 0)
        parts.append(full.explode("item_id", "propensity"))
    return pl.concat(parts)


def one_a_request(slates: pl.DataFrame) -> pl.DataFrame:
    """COLUMNS of the first row of each request of `slates` (core.columns.SLATES, or some of its columns).

    Where `logged_in` is null the slate is from before contexts were kept, and only its time is known."""
    known = slates.select(name for name in COLUMNS if name in slates.columns)
    return pl.concat([_EMPTY, known], how="diagonal").unique(
        "request_id", keep="first", maintain_order=True
    )

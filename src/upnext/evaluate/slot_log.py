"""The log as two frames, slots served and events, a part of the viewers at a time.

Everything that joins feedback to what was shown happens inside one viewer, so a long log is read once per part of its viewers, and no
part needs more memory than about `ROWS_AT_ONCE` rows. Ids of requests, views and events are kept as 64-bit hashes, words as categories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import polars as pl
import pyarrow as pa

from upnext.events.slate import SlateRecord

ROWS_AT_ONCE: Final = 4_000_000  # about 2.5 GB at its peak
NO_RELEASE: Final = "none"
ARM_SEPARATOR: Final = "\x1f"  # between "experiment=arm" and the next, in the column `arms`

SLOTS: Final = pl.Schema(
    {
        "user_id": pl.Categorical(),
        "request": pl.UInt64(),  # hash of request_id
        "item_id": pl.Int64(),
        "time_us": pl.Int64(),
        "surface": pl.Categorical(),
        "release_id": pl.Categorical(),
        "arms": pl.Categorical(),
        "slot": pl.Int32(),
        "propensity": pl.Float64(),
        "n_eligible": pl.Int32(),
        "is_repeat": pl.Boolean(),
        "is_degraded": pl.Boolean(),
        "country": pl.Categorical(),
        "time_zone": pl.Categorical(),
        "device": pl.Categorical(),
    }
)
EVENTS: Final = pl.Schema(
    {
        "user_id": pl.Categorical(),
        "event": pl.UInt64(),  # hash of event_id
        "kind": pl.Categorical(),
        "time_us": pl.Int64(),
        "item_id": pl.Int64(),
        "request": pl.UInt64(),
        "view": pl.UInt64(),
        "undoes": pl.UInt64(),
        "surface": pl.Categorical(),
        "slot": pl.Int32(),
        "watch_s": pl.Float64(),
        "value": pl.Float64(),
        "duration_s": pl.Float64(),
        "country": pl.Categorical(),
        "device": pl.Categorical(),
    }
)
_READ: Final = (
    "user_id", "event_id", "kind", "time_us", "item_id", "request_id", "view_id", "undoes_event_id",
    "surface", "slot", "watch_s", "value", "duration_s", "country", "device",
)  # fmt: skip


class WholeLog(Protocol):
    """What the online metrics read of a log (events.SqliteEventLog has it)."""

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]: ...

    def scan_slates(
        self, after_seq: int = 0, *, batch_rows: int = 4096
    ) -> Iterator[Sequence[SlateRecord]]: ...

    def last_seq(self) -> int: ...


@dataclass(frozen=True)
class LogPart:
    """Some viewers' slots (SLOTS, in order of the log and of slot) and events (EVENTS, in order of the log)."""

    slots: pl.DataFrame
    events: pl.DataFrame


def log_parts(log: WholeLog, *, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[LogPart]:
    """The log, every viewer in one part whole. Raises Unavailable."""
    n_parts = 1 + log.last_seq() // rows_at_once
    for part in range(n_parts):
        yield LogPart(_slots(log, part, n_parts), _events(log, part, n_parts))


def hash_of(column: str) -> pl.Expr:
    """uint64 of a column of strings; null stays null."""
    return pl.when(pl.col(column).is_not_null()).then(pl.col(column).hash(0))


def _mine(part: int, n_parts: int) -> pl.Expr:
    return pl.col("user_id").hash(1) % n_parts == part if n_parts > 1 else pl.lit(value=True)


def _events(log: WholeLog, part: int, n_parts: int) -> pl.DataFrame:
    parts = [EVENTS.to_frame()]
    for table in log.scan():
        rows = pl.DataFrame(pl.from_arrow(table.select(_READ))).filter(_mine(part, n_parts))
        rows = rows.with_columns(
            event=hash_of("event_id"),
            request=hash_of("request_id"),
            view=hash_of("view_id"),
            undoes=hash_of("undoes_event_id"),
        )
        parts.append(rows.select(EVENTS.names()).cast(EVENTS))
    return pl.concat(parts)


def _slots(log: WholeLog, part: int, n_parts: int) -> pl.DataFrame:
    parts = [SLOTS.to_frame()]
    for records in log.scan_slates():
        rows = slot_rows(records).filter(_mine(part, n_parts))
        parts.append(rows.with_columns(request=hash_of("request_id")).select(SLOTS.names()).cast(SLOTS))  # fmt: skip
    return pl.concat(parts)


def slot_rows(records: Sequence[SlateRecord]) -> pl.DataFrame:
    """One row per slot served of each record; SLOTS, with `request_id` in place of `request` and plain words."""
    frame = pl.DataFrame(
        {
            "user_id": [r.user_id for r in records],
            "request_id": [r.request_id for r in records],
            "item_id": [r.item_id for r in records],
            "time_us": [r.time_us for r in records],
            "surface": [r.surface for r in records],
            "release_id": [r.release_id or NO_RELEASE for r in records],
            "arms": [_arms(r) for r in records],
            "slot": [list(range(len(r.item_id))) for r in records],
            "propensity": [r.propensity for r in records],
            "n_eligible": [r.n_eligible for r in records],
            "is_repeat": [r.is_repeat for r in records],
            "is_degraded": [bool(r.degraded) for r in records],
            "country": [r.country for r in records],
            "time_zone": [r.time_zone for r in records],
            "device": [r.device for r in records],
        },
        schema_overrides={
            "item_id": pl.List(pl.Int64),
            "slot": pl.List(pl.Int32),
            "propensity": pl.List(pl.Float64),
            "n_eligible": pl.List(pl.Int32),
            "is_repeat": pl.List(pl.Boolean),
        },
    )
    frame = frame.filter(pl.col("item_id").list.len() > 0)
    return frame.explode("item_id", "slot", "propensity", "n_eligible", "is_repeat")


def _arms(record: SlateRecord) -> str:
    return ARM_SEPARATOR.join(f"{name}={arm}" for name, arm in sorted(record.arms.items()))

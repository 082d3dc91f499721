"""Events out of Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from upnext.core.event import Event


class ReadLog(Protocol):
    """What rebuilding, catching up and replaying need of the log (events.SqliteEventLog has it)."""

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]: ...

    def histories(self) -> pa.Table: ...


def events_of(table: pa.Table) -> list[Event]:
    """The rows of a table with columns of core.columns.EVENTS, in its order; a column that is absent is at its default, event_id ""."""
    names: list[str] = []
    columns: list[list[object]] = []
    if "event_id" not in table.column_names:
        names.append("event_id")
        columns.append([""] * len(table))
    for name in Event.__struct_fields__:
        if name in table.column_names:
            column = table.column(name)
            if column.null_count < len(column):
                names.append(name)
                columns.append(column.to_pylist())
    return [Event(**dict(zip(names, row))) for row in zip(*columns)]


@dataclass(frozen=True, slots=True)
class HistoryRows:
    """One viewer's stored history, oldest first: m aligned rows."""

    item_id: list[int]
    is_like: list[bool]
    is_relevant: list[bool]


def history_rows(table: pa.Table) -> Iterator[tuple[str, HistoryRows]]:
    """(user_id, rows) for every viewer of a table of core.columns.HISTORIES, in the order of their ids; rows without an item_id are left out."""
    if not len(table):
        return
    names = ["item_id", *(n for n in ("is_like", "is_relevant") if n in table.column_names)]
    whole = pl.DataFrame(pl.from_arrow(table.select(["user_id", "position", *names])))
    whole = whole.sort("user_id", "position", maintain_order=True)
    runs = whole.get_column("user_id").rle().struct
    is_known = whole.get_column("item_id").is_not_null().to_numpy()
    nothing = np.zeros(len(whole), np.bool_)
    columns = {name: whole.get_column(name).fill_null(strategy="zero").to_numpy() for name in names}
    start = 0
    for user_id, size in zip(runs.field("value").to_list(), runs.field("len").to_list()):
        mine = np.flatnonzero(is_known[start : start + size]) + start
        start += size
        yield (
            user_id,
            HistoryRows(
                columns["item_id"][mine].tolist(),
                columns.get("is_like", nothing)[mine].tolist(),
                columns.get("is_relevant", nothing)[mine].tolist(),
            ),
        )

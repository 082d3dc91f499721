"""Events out of Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import pyarrow as pa

from upnext.core.event import Event


class ReadLog(Protocol):
    """What rebuilding, catching up and replaying need of the log (events.SqliteEventLog has it)."""

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]: ...

    def histories(self) -> pa.Table: ...


def events_of(table: pa.Table) -> list[Event]:
    """The rows of a table with columns of core.columns.EVENTS, in its order; a column that is absent is at its default."""
    names, columns = [], []
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
    table = table.sort_by([("user_id", "ascending"), ("position", "ascending")])
    names = ("user_id", "item_id", "is_like", "is_relevant")
    columns = [
        table.column(name).to_pylist() if name in table.column_names else [None] * len(table)
        for name in names
    ]
    for user_id, rows in groupby(zip(*columns), key=lambda row: str(row[0])):
        kept = [row for row in rows if row[1] is not None]
        yield (
            user_id,
            HistoryRows(
                [int(row[1]) for row in kept],
                [bool(row[2]) for row in kept],
                [bool(row[3]) for row in kept],
            ),
        )

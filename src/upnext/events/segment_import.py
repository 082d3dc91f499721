"""Bulk rows on their way into segments: cleaned of ids that are known, in the order they came, one row group in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upnext.core.columns import EVENTS, REQUIRED
from upnext.core.errors import expected
from upnext.core.types import Bool
from upnext.events.durable_file import publish_file
from upnext.events.event_body import digest_of
from upnext.events.imported_ids import write_ids
from upnext.events.segments import ROW_GROUP, Segment, SegmentWriter

IMPORTED = pa.schema([field for field in EVENTS if field.name != "log_seq"])
_NEVER_NULL = ("event_id", *REQUIRED["events"])
_FILLED = {"received_us": 0, "is_clamped": False}  # what Event has where nothing was stamped
# (event_ids, digests) -> bool[m]: the log has it already
Known = Callable[[Sequence[str], Sequence[bytes]], Bool]


@dataclass(frozen=True, slots=True)
class ImportCount:
    """What became of the rows of an import."""

    n_new: int
    n_known: int


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in the columns of EVENTS without log_seq, in tables of ROW_GROUP rows, the last one shorter.

    Raises InvalidInput for an unknown column, a type that doesn't fit, or a null where none may be."""
    waiting: list[pa.Table] = []
    n_waiting = 0
    for table in tables:
        waiting.append(_conformed(table))
        n_waiting += len(table)
        if n_waiting < ROW_GROUP:
            continue
        whole = pa.concat_tables(waiting)
        n_full = n_waiting - n_waiting % ROW_GROUP
        yield from (whole.slice(start, ROW_GROUP) for start in range(0, n_full, ROW_GROUP))
        waiting, n_waiting = [whole.slice(n_full)], n_waiting - n_full
    if n_waiting:
        yield pa.concat_tables(waiting)


def _conformed(table: pa.Table) -> pa.Table:
    unknown = set(table.column_names) - set(EVENTS.names)
    if unknown:
        raise expected("imported events", "columns of core.columns.EVENTS", sorted(unknown))
    columns = []
    for field in IMPORTED:
        if field.name not in table.column_names:
            column = pa.chunked_array([pa.nulls(len(table), field.type)])
        else:
            column = _cast(table.column(field.name), field)
        if field.name in _FILLED:
            column = pc.fill_null(column, pa.scalar(_FILLED[field.name], field.type))
        if field.name in _NEVER_NULL and column.null_count:
            raise expected(f"imported events: {field.name}", "no nulls", column.null_count)
        columns.append(column)
    return pa.table(columns, schema=IMPORTED)


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise expected(
            f"imported events: {field.name}", str(field.type), str(column.type)
        ) from error


class SegmentImport:
    """One segment in the making; nothing of it exists until the log lists what `finish` gives."""

    def __init__(self, folder: Path, first_seq: int) -> None:
        self._folder = folder
        self._first_seq = first_seq
        self._digests: dict[bytes, None] = {}  # in row order
        self._writer: SegmentWriter | None = None

    @property
    def n_rows(self) -> int:
        """Rows so far."""
        return len(self._digests)

    def add(self, table: pa.Table, is_known: Known) -> int:
        """Writes the rows that neither the log nor this segment has -> how many those are."""
        event_ids = table.column("event_id").to_pylist()
        digests = [digest_of(event_id) for event_id in event_ids]
        known = is_known(event_ids, digests)
        next_seq = self._first_seq + self.n_rows
        rows = []
        for row, digest in enumerate(digests):
            if not known[row] and digest not in self._digests:
                self._digests[digest] = None
                rows.append(row)
        if not rows:
            return 0
        if len(rows) < len(table):
            table = table.take(pa.array(rows))
        log_seq = pa.array(np.arange(next_seq, next_seq + len(rows)))
        if self._writer is None:
            self._writer = SegmentWriter(self._folder, self._first_seq)
        self._writer.write(table.append_column("log_seq", log_seq).select(EVENTS.names))
        return len(rows)

    def finish(self) -> Segment | None:
        """The segment and its ids, on disk, not yet listed; None without rows."""
        if self._writer is None:
            return None
        ids_file = self._writer.final.with_suffix(".ids")
        temporary = ids_file.with_suffix(".ids.tmp")
        write_ids(temporary, list(self._digests))
        publish_file(temporary, ids_file)
        return self._writer.finish(ids_file)

    def abandon(self) -> None:
        """Removes what was written."""
        if self._writer is not None:
            self._writer.abandon()

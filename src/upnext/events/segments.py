"""Sealed rows: Parquet files of core.columns.EVENTS in order of log_seq, each listed in the database once it is whole.

A segment is written beside its place, made durable, renamed, and only then listed, in one transaction; a file that no row lists is
what a crash left, and the next writer removes it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upnext.core.columns import EVENTS
from upnext.core.errors import Unavailable
from upnext.events.durable_file import publish_file, sha256_of

FOLDER: Final = "segments"
ROW_GROUP: Final = 65_536  # rows written at once
_PARQUET_GROUP: Final = 16_384  # rows that must be read to find one
MAX_ROWS: Final = 1 << 20  # of one segment
_COLUMNS: Final = "first_seq, last_seq, file, n_rows, sha256, ids_file"


@dataclass(frozen=True, slots=True)
class Segment:
    """One listed file."""

    first_seq: int
    last_seq: int
    file: str
    n_rows: int
    sha256: str
    ids_file: str | None


class SegmentWriter:
    """Collects the row groups of one segment; `finish` gives it its name, `abandon` forgets it."""

    def __init__(self, folder: Path, first_seq: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.final = folder / f"events-{first_seq:015d}.parquet"
        self._temporary = self.final.with_suffix(".parquet.tmp")
        self._writer = pq.ParquetWriter(self._temporary, EVENTS, compression="zstd")
        self._first_seq = first_seq
        self._last_seq = 0
        self.n_rows = 0

    def write(self, table: pa.Table) -> None:
        """Adds rows of core.columns.EVENTS, ascending in log_seq."""
        self._writer.write_table(table, row_group_size=_PARQUET_GROUP)
        self._last_seq = table.column("log_seq")[-1].as_py()
        self.n_rows += len(table)

    def finish(self, ids_file: Path | None = None) -> Segment:
        """The segment, on disk under its name, not yet listed."""
        self._writer.close()
        sha256 = sha256_of(self._temporary)
        publish_file(self._temporary, self.final)
        name = ids_file.name if ids_file else None
        return Segment(self._first_seq, self._last_seq, self.final.name, self.n_rows, sha256, name)

    def abandon(self) -> None:
        """Removes what was written."""
        with suppress(OSError):  # a full disk: the end of a file that goes anyway
            self._writer.close()
        self._temporary.unlink(missing_ok=True)


def list_segment(connection: sqlite3.Connection, segment: Segment) -> None:
    """Adds the segment's row, inside the caller's transaction."""
    connection.execute(
        f"INSERT INTO segments({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
        (segment.first_seq, segment.last_seq, segment.file, segment.n_rows, segment.sha256, segment.ids_file),
    )  # fmt: skip


def segments_after(
    connection: sqlite3.Connection, after_seq: int, limit: int = -1
) -> list[Segment]:
    """The segments with rows strictly after `after_seq`, in order; at most `limit` (-1: all)."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM segments WHERE last_seq > ? ORDER BY first_seq LIMIT ?",
        (after_seq, limit),
    )
    return [Segment(*row) for row in rows]


def sweep(folder: Path, connection: sqlite3.Connection) -> None:
    """Removes files that no row lists: what a crash left."""
    if not folder.is_dir():
        return
    listed: set[str | None] = set()
    for segment in segments_after(connection, 0):
        listed |= {segment.file, segment.ids_file}
    for file in folder.iterdir():
        if file.name not in listed:
            file.unlink()


@contextmanager
def reading(file: Path) -> Iterator[pq.ParquetFile]:
    """The opened file. Raises Unavailable, naming it, when it is missing or damaged."""
    try:
        with pq.ParquetFile(file, memory_map=True) as parquet:
            yield parquet
    except Unavailable:
        raise
    except (OSError, pa.ArrowException) as error:
        raise Unavailable(f"event log segment {file}: {error}") from error


def scan_segment(
    file: Path, after_seq: int, batch_rows: int, until_seq: int | None = None
) -> Iterator[pa.Table]:
    """Its rows strictly after `after_seq`, up to `until_seq` (None: all), one row group in memory at a time."""
    with reading(file) as parquet:
        for group in range(parquet.num_row_groups):
            if _last_of(parquet, group) <= after_seq:
                continue
            table = parquet.read_row_group(group)
            if table.column("log_seq")[0].as_py() <= after_seq:
                table = table.filter(pc.field("log_seq") > after_seq)
            if until_seq is not None and table.column("log_seq")[-1].as_py() > until_seq:
                table = table.filter(pc.field("log_seq") <= until_seq)
            for start in range(0, len(table), batch_rows):
                yield table.slice(start, batch_rows)


def row_at(file: Path, log_seq: int) -> dict[str, object]:
    """The row of one log_seq that the segment is known to hold."""
    for table in scan_segment(file, log_seq - 1, 1):
        row: dict[str, object] = table.to_pylist()[0]
        return row
    raise Unavailable(f"event log segment {file}: expected log_seq {log_seq}, got no such row")


def _last_of(parquet: pq.ParquetFile, group: int) -> int:
    place = EVENTS.get_field_index("log_seq")
    return int(parquet.metadata.row_group(group).column(place).statistics.max)

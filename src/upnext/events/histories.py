"""Stored histories: what viewers saw before the log began, known by order only. Parquet files named by number and content."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from upnext.core.columns import HISTORIES, REQUIRED
from upnext.core.errors import expected
from upnext.events.durable_file import publish_file
from upnext.events.segments import reading

FOLDER = "histories"


def add_table(folder: Path, table: pa.Table) -> int:
    """The rows stored: len(table), or 0 when the very same table is there already.

    Raises InvalidInput for a column that is missing, null or of another type."""
    stored = _conformed(table)
    if not len(stored):
        return 0
    buffer = io.BytesIO()
    pq.write_table(stored, buffer, compression="zstd")
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    files = _files(folder)
    if any(file.stem.endswith(digest) for file in files):
        return 0
    final = folder / f"{n_tables(folder) + 1:06d}-{digest}.parquet"
    temporary = final.with_suffix(".parquet.tmp")
    temporary.write_bytes(data)
    publish_file(temporary, final)
    return len(stored)


def n_tables(folder: Path) -> int:
    """The number of the table that was added last, 0 without any."""
    return max((_number(file) for file in _files(folder)), default=0)


def read_tables(folder: Path, until: int | None = None) -> pa.Table:
    """core.columns.HISTORIES by user_id and position; where two tables have the same place, the one added later counts.

    Of the tables numbered up to `until` alone; None: all."""
    parts = []
    for file in _files(folder):
        if until is not None and _number(file) > until:
            continue
        with reading(file) as parquet:
            parts.append(parquet.read())
    if not parts:
        return HISTORIES.empty_table()
    whole = pl.DataFrame(pl.from_arrow(pa.concat_tables(parts)))
    place = ["user_id", "position"]
    whole = whole.unique(place, keep="last", maintain_order=True).sort(place, maintain_order=True)
    return whole.to_arrow().cast(HISTORIES)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _number(file: Path) -> int:
    return int(file.stem.split("-")[0])


def _conformed(table: pa.Table) -> pa.Table:
    columns = []
    for field in HISTORIES:
        if field.name in table.column_names:
            column = table.column(field.name)
        else:
            column = pa.chunked_array([pa.nulls(len(table), field.type)])
        if field.name in REQUIRED["histories"] and column.null_count:
            raise expected(f"histories: {field.name}", "no nulls", column.null_count)
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise expected(f"histories: {field.name}", str(field.type), str(column.type)) from error
    return pa.table(columns, schema=HISTORIES)

"""Stored histories: impressions known by order alone, the state a viewer starts from."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upnext.core.columns import HISTORIES
from upnext.events.segments import write_durable


def read_histories(path: Path, schema: pa.Schema = HISTORIES) -> pa.Table:
    """The table, by user and position; empty without a file."""
    return pq.read_table(path, schema=schema) if path.exists() else schema.empty_table()


def write_histories(path: Path, table: pa.Table) -> int:
    """Adds the users of `table`; one given again is replaced -> rows that were not there before."""
    columns = [
        table.column(f.name).cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type)
        for f in HISTORIES
    ]
    given = pa.table(columns, schema=HISTORIES)
    before = read_histories(path)
    kept = before.filter(
        pc.invert(pc.is_in(before.column("user_id"), given.column("user_id").combine_chunks()))
    )
    merged = pa.concat_tables([kept, given]).sort_by(
        [("user_id", "ascending"), ("position", "ascending")]
    )
    if merged.equals(before.sort_by([("user_id", "ascending"), ("position", "ascending")])):
        return 0
    write_durable(path, lambda temporary: pq.write_table(merged, temporary, compression="zstd"))
    return max(0, len(merged) - len(before))

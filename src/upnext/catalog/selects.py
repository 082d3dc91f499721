"""Whole videos out of SQLite as Arrow tables of core.columns.VIDEOS."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import pyarrow as pa

from upnext.catalog.codes import all_values, find_value
from upnext.catalog.rows import STORED, decode_videos
from upnext.catalog.rules import suggest
from upnext.core.columns import VIDEOS
from upnext.core.errors import expected
from upnext.core.types import Int64

_BATCH = 65_536


def video_rows(connection: sqlite3.Connection, item_ids: Sequence[int]) -> pa.Table:
    """The rows of these videos in ascending item_id, each once; ids that don't exist are left out."""
    select = (
        f"SELECT {', '.join(STORED)} FROM items "
        "WHERE item_id IN (SELECT value FROM json_each(?)) ORDER BY item_id"
    )
    rows = connection.execute(select, (json.dumps(sorted(set(item_ids))),)).fetchall()

    def words(kind: str, codes: Int64) -> pa.Array:
        return pa.array([find_value(connection, kind, c) for c in codes.tolist()], pa.string())

    return decode_videos(rows, list(STORED), words)


def video_table(connection: sqlite3.Connection, columns: Sequence[str] | None) -> pa.Table:
    """All videos in item_id order, row i is item_id i. Raises InvalidInput for a column that doesn't exist."""
    names = list(VIDEOS.names if columns is None else columns)
    stored_by_name = {name: stored for stored, name in STORED.items()}
    for name in names:
        if name not in stored_by_name:
            raise expected(
                "column of videos", f"one that exists{suggest(name, VIDEOS.names)}", name
            )
    stored = [stored_by_name[name] for name in names]
    known: dict[str, pa.Array] = {}

    def words(kind: str, codes: Int64) -> pa.Array:
        if kind not in known:
            known[kind] = all_values(connection, kind)
        return known[kind].take(pa.array(codes, pa.int64()))

    connection.execute("BEGIN")  # one moment of the file: codes never run ahead of the words
    try:
        cursor = connection.execute(f"SELECT {', '.join(stored)} FROM items ORDER BY item_id")
        tables = [decode_videos(cursor.fetchmany(_BATCH), stored, words)]
        while tables[-1].num_rows:
            tables.append(decode_videos(cursor.fetchmany(_BATCH), stored, words))
    finally:
        connection.execute("COMMIT")
    return pa.concat_tables(tables)

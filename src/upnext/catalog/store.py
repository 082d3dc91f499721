"""The catalogue's writer: whole rows in, a dense item_id out, given once and never to another video.

A video that is named before it is known gets a row with status `unknown`; a deleted one keeps its id and comes back under it.
Every call is one transaction, on disk when it returns. Readers follow by `change_seq`, which grows by one per transaction.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from upnext.catalog.codes import encode_words, find_codes
from upnext.catalog.rows import STORED, encode_videos
from upnext.catalog.rules import check, conform, python_value, suggest
from upnext.catalog.schema import open_writer, outage
from upnext.catalog.selects import video_rows
from upnext.core.columns import USERS, VIDEO_STATUSES, VIDEOS
from upnext.core.errors import NotFound, expected
from upnext.core.types import Float64, Int64

_CHUNK = 16_384
_DELETED = VIDEO_STATUSES.index("deleted")
_UNKNOWN = VIDEO_STATUSES.index("unknown")
_NAMES = ("item_id", "change_seq", *STORED)
_PUT_VIDEO = (
    f"INSERT INTO items({', '.join(_NAMES)}) VALUES ({', '.join('?' * len(_NAMES))}) "
    f"ON CONFLICT(item_id) DO UPDATE SET {', '.join(f'{n}=excluded.{n}' for n in _NAMES[1:])}"
)
_PUT_USER = f"INSERT OR REPLACE INTO users VALUES ({', '.join('?' * len(USERS))})"


class Catalog:
    """The one writer of a catalogue file; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        """Opens `path`, made when absent. Raises Unavailable, InvalidInput when it is no catalogue."""
        self.path = path
        self._lock = threading.RLock()
        self._connection = open_writer(path)

    def put_videos(self, rows: pa.Table) -> Int64:
        """int64[n]: the item_id of each row, whole rows written in order (the last of equal ids stays).

        rows: columns of core.columns.VIDEOS; absent ones are null. Raises InvalidInput naming row and field;
        then nothing is written."""
        table = conform(rows, "videos")
        check(table, "videos")
        item_id = np.zeros(table.num_rows, np.int64)
        with self._transaction() as (connection, change_seq):
            self._check_vector_size(connection, table)
            for start in range(0, table.num_rows, _CHUNK):
                chunk = table.slice(start, _CHUNK)
                item_id[start : start + len(chunk)] = _put_chunk(connection, chunk, change_seq)
        return item_id

    def patch_video(self, video_id: str, fields: Mapping[str, object]) -> int:
        """The item_id of a video whose named fields now have these values (None: null); the others stay.

        Raises NotFound for a video that is unknown or deleted, InvalidInput for a field or a value that can't be."""
        with self._lock:
            item_id = int(self.item_ids([video_id])[0])
            row = video_rows(self._connection, [item_id])
            if not row.num_rows or row.column("status")[0].as_py() in ("deleted", "unknown"):
                raise NotFound(f"video {video_id!r}: not in the catalogue")
            patched = _patched(row, fields, f"video {video_id!r}")
            return int(self.put_videos(patched)[0])

    def delete_video(self, video_id: str) -> None:
        """Marks the video deleted; its item_id stays. Raises NotFound when it was never known."""
        with self._transaction() as (connection, change_seq):
            item_id = _find_item(connection, video_id)
            if item_id is None:
                raise NotFound(f"video {video_id!r}: not in the catalogue")
            connection.execute(
                "UPDATE items SET status = ?, change_seq = ? WHERE item_id = ? AND status != ?",
                (_DELETED, change_seq, item_id, _DELETED),
            )

    def put_users(self, rows: pa.Table) -> None:
        """Writes whole rows of core.columns.USERS; absent columns are null. Raises InvalidInput naming row and field."""
        table = conform(rows, "users")
        check(table, "users")
        with self._transaction() as (connection, _):
            for start in range(0, table.num_rows, _CHUNK):
                chunk = table.slice(start, _CHUNK)
                for kind in ("country", "city", "language"):
                    encode_words(connection, kind, chunk.column(kind).combine_chunks())
                columns = [chunk.column(name).to_pylist() for name in USERS.names]
                connection.executemany(_PUT_USER, zip(*columns))

    def patch_user(self, user_id: str, fields: Mapping[str, object]) -> None:
        """Sets the named fields of a user. Raises NotFound, InvalidInput as patch_video does."""
        with self._lock:
            found = self._read("SELECT * FROM users WHERE user_id = ?", (user_id,))
            if not found:
                raise NotFound(f"user {user_id!r}: not in the catalogue")
            values = list(found[0])
            values[-1] = None if values[-1] is None else bool(values[-1])
            row = pa.table([[value] for value in values], schema=USERS)
            self.put_users(_patched(row, fields, f"user {user_id!r}"))

    def delete_user(self, user_id: str) -> None:
        """Removes what the platform said of a user. Raises NotFound."""
        with self._transaction() as (connection, _):
            if not connection.execute("DELETE FROM users WHERE user_id = ?", (user_id,)).rowcount:
                raise NotFound(f"user {user_id!r}: not in the catalogue")

    def count_users(self, user_ids: Sequence[str]) -> int:
        """How many of these users the catalogue knows."""
        select = "SELECT 1 FROM users WHERE user_id = ?"
        return sum(len(self._read(select, (user_id,))) for user_id in user_ids)

    def item_ids(self, video_ids: Sequence[str], *, create: bool = False) -> Int64:
        """int64[n]: the item_id of each video, -1 where unknown; `create` gives those a row with status `unknown`.

        Raises InvalidInput, with create, for an empty or unencodable id."""
        with self._lock, outage(self.path):
            found = {video_id: _find_item(self._connection, video_id) for video_id in video_ids}
        missing = [video_id for video_id, item_id in found.items() if item_id is None]
        if create and missing:
            found.update(self._create(missing))
        ids = (found[video_id] for video_id in video_ids)
        return np.fromiter((-1 if i is None else i for i in ids), np.int64, len(video_ids))

    def durations(self, item_ids: Int64) -> Float64:
        """float64[n]: seconds, NaN where the video or its duration is unknown (also at item_id -1)."""
        unique, inverse = np.unique(item_ids, return_inverse=True)
        with self._lock, outage(self.path):
            select = "SELECT duration_s FROM items WHERE item_id = ?"
            rows = [self._connection.execute(select, (i,)).fetchone() for i in unique.tolist()]
        seconds = np.array([None if row is None else row[0] for row in rows], np.float64)
        return seconds[inverse] if len(seconds) else np.zeros(0)

    def creator_codes(self, creator_ids: Sequence[str], *, create: bool = False) -> Int64:
        """int64[n]: the code of each creator, -1 where unknown; `create` makes missing ones."""
        if not create:
            with self._lock, outage(self.path):
                return find_codes(self._connection, "creator", creator_ids)
        _check_ids(creator_ids, "creator_id")
        with self._transaction() as (connection, _):
            return find_codes(connection, "creator", creator_ids, create=True)

    def close(self) -> None:
        """Closes the file; further calls fail."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        with self._lock, outage(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                row = self._connection.execute("SELECT max(change_seq) FROM items").fetchone()
                yield self._connection, (row[0] or 0) + 1
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:  # left by an error, or the commit failed
                    self._connection.execute("ROLLBACK")

    def _read(self, select: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._lock, outage(self.path):
            try:
                return self._connection.execute(select, values).fetchall()
            except UnicodeEncodeError:
                return []

    def _create(self, video_ids: Sequence[str]) -> dict[str, int]:
        _check_ids(video_ids, "video_id")
        with self._transaction() as (connection, change_seq):
            n_items = _count_items(connection)
            connection.executemany(
                "INSERT INTO items(item_id, video_id, change_seq, status) VALUES (?, ?, ?, ?)",
                ((n_items + i, v, change_seq, _UNKNOWN) for i, v in enumerate(video_ids)),
            )
        return {video_id: n_items + i for i, video_id in enumerate(video_ids)}

    def _check_vector_size(self, connection: sqlite3.Connection, table: pa.Table) -> None:
        vectors = table.column("content_vector").drop_null()
        if not len(vectors):
            return
        size = len(vectors[0])
        connection.execute("INSERT OR IGNORE INTO meta VALUES ('vector_size', ?)", (size,))
        row = connection.execute("SELECT value FROM meta WHERE key = 'vector_size'").fetchone()
        if row[0] != size:
            raise expected("videos, content_vector", f"{row[0]} numbers, as stored ones", size)


def _put_chunk(connection: sqlite3.Connection, chunk: pa.Table, change_seq: int) -> list[int]:
    columns = encode_videos(connection, chunk)
    n_items = _count_items(connection)
    known: dict[str, int] = {}
    for video_id in columns[0]:
        if video_id not in known:
            item_id = _find_item(connection, video_id)
            if item_id is None:
                item_id, n_items = n_items, n_items + 1
            known[video_id] = item_id
    item_ids = [known[video_id] for video_id in columns[0]]
    connection.executemany(_PUT_VIDEO, zip(item_ids, [change_seq] * len(chunk), *columns))
    return item_ids


def _count_items(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT max(item_id) FROM items").fetchone()
    return 0 if row[0] is None else int(row[0]) + 1


def _find_item(connection: sqlite3.Connection, video_id: str) -> int | None:
    try:
        row = connection.execute(
            "SELECT item_id FROM items WHERE video_id = ?", (video_id,)
        ).fetchone()
    except UnicodeEncodeError:  # a lone surrogate: no stored text can equal it
        return None
    return None if row is None else int(row[0])


def _check_ids(ids: Sequence[str], name: str) -> None:
    for value in ids:
        if not value:
            raise expected(name, "a text that isn't empty", value)
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise expected(name, "text that UTF-8 can hold", value) from error


def _patched(row: pa.Table, fields: Mapping[str, object], where: str) -> pa.Table:
    schema = VIDEOS if "video_id" in row.column_names else USERS
    for name, value in fields.items():
        names = schema.names[1:]  # the id can't change
        if name not in names:
            raise expected(where, f"a field that can be set{suggest(name, names)}", name)
        field = schema.field(name)
        place = row.column_names.index(name)
        row = row.set_column(place, field, python_value(field, value, f"{where}, field {name!r}"))
    return row

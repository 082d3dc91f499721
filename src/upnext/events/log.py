"""The append-only log: SQLite for what is live, Parquet for what is sealed, one order of log_seq over both.

A transaction with synchronous=FULL in WAL mode is on the disk when `append` returns: that is the acknowledgement. An event is known by
its event_id and a slate by its request_id; what is known keeps its number and is not written again. Bulk imports go to Parquet
segments directly and become visible with one row of the segments table, so a killed import leaves nothing half done.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upnext.core.columns import EVENTS, HISTORIES, SLATES
from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.events.histories import read_histories, write_histories
from upnext.events.segments import ImportedIds, hash_of, hashes_of, write_hashes, write_segment
from upnext.events.slate import SlateRecord, slates_to_table

SEGMENT_ROWS: Final = 500_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events(log_seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS ids(id BLOB PRIMARY KEY, log_seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slates(log_seq INTEGER PRIMARY KEY, request BLOB UNIQUE NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS segments(
    first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, file TEXT NOT NULL, ids_file TEXT);
CREATE TABLE IF NOT EXISTS counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES ('log_seq', 0);
"""
_EVENT: Final = msgspec.msgpack.Decoder(Event)
_SLATE: Final = msgspec.msgpack.Decoder(SlateRecord)
_ENCODE: Final = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class ImportCount:
    """What a bulk import brought."""

    n_new: int
    n_known: int


class SqliteEventLog:
    """An EventLog on a folder: one writing process, any number of readers. Raises Unavailable when the disk refuses."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._segments = path / "segments"
        self._read_only = read_only
        self._lock = threading.RLock()
        if not read_only:
            with self._guarded():
                self._segments.mkdir(parents=True, exist_ok=True)
        with self._guarded():
            self._db = self._connect()
        self._imported = ImportedIds()
        self._loaded_ids: set[str] = set()
        self._load_ids()
        if not read_only:
            self._remove_leftovers()

    def _connect(self) -> sqlite3.Connection:
        file = self._path / "log.db"
        if self._read_only:
            if not file.exists():
                raise Unavailable(f"log {self._path}: not made yet")
            db = sqlite3.connect(f"file:{file}?mode=ro", uri=True, check_same_thread=False, isolation_level=None)
        else:
            db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(_SCHEMA)
        db.execute("PRAGMA busy_timeout=10000")
        return db

    # writing

    def append(self, events: Sequence[Event], slates: Sequence[SlateRecord] = ()) -> list[int]:
        """The log_seq per event, then per slate, on disk when this returns; known ones keep their number."""
        with self._transaction() as db:
            numbers = self._append_events(db, events)
            return numbers + self._append_slates(db, slates)

    def _append_events(self, db: sqlite3.Connection, events: Sequence[Event]) -> list[int]:
        if not events:
            return []
        hashes = [hash_of(event.event_id) for event in events]
        known = self._known_numbers(db, hashes, events)
        next_seq = self._next(db)
        rows, ids, numbers = [], [], []
        for event, digest in zip(events, hashes, strict=True):
            number = known.get(digest)
            if number is None:
                number = known[digest] = next_seq
                next_seq += 1
                body = _ENCODE.encode(msgspec.structs.replace(event, log_seq=number))
                rows.append((number, body))
                ids.append((digest, number))
            numbers.append(number)
        db.executemany("INSERT INTO events VALUES (?, ?)", rows)
        db.executemany("INSERT INTO ids VALUES (?, ?)", ids)
        self._set_next(db, next_seq)
        return numbers

    def _known_numbers(
        self, db: sqlite3.Connection, hashes: Sequence[bytes], events: Sequence[Event]
    ) -> dict[bytes, int]:
        """{hash: log_seq} of what is in the log; an imported event's number is its segment's first."""
        known: dict[bytes, int] = {}
        for start in range(0, len(hashes), 500):
            part = hashes[start : start + 500]
            marks = ",".join("?" * len(part))
            known.update(db.execute(f"SELECT id, log_seq FROM ids WHERE id IN ({marks})", part))
        if self._loaded_ids:
            imported = self._imported.contains(hashes_of([event.event_id for event in events]))
            for row in np.flatnonzero(imported):
                known.setdefault(hashes[row], 0)
        return known

    def _append_slates(self, db: sqlite3.Connection, slates: Sequence[SlateRecord]) -> list[int]:
        numbers = []
        for slate in slates:
            request = hash_of(slate.request_id)
            found = db.execute("SELECT log_seq FROM slates WHERE request = ?", (request,)).fetchone()
            if found is None:
                number = self._next(db)
                body = _ENCODE.encode(msgspec.structs.replace(slate, log_seq=number))
                db.execute("INSERT INTO slates VALUES (?, ?, ?)", (number, request, body))
                self._set_next(db, number + 1)
                found = (number,)
            numbers.append(int(found[0]))
        return numbers

    def import_sealed(self, tables: Iterable[pa.Table]) -> ImportCount:
        """Bulk rows of core.columns.EVENTS (log_seq is given here) into segments; idempotent by event_id."""
        n_new = n_known = 0
        waiting: list[pa.Table] = []
        n_waiting = 0
        for table in tables:
            waiting.append(table)
            n_waiting += len(table)
            if n_waiting >= SEGMENT_ROWS:
                new, known = self._import_segment(pa.concat_tables(waiting, promote_options="default"))
                n_new, n_known = n_new + new, n_known + known
                waiting, n_waiting = [], 0
        if n_waiting:
            new, known = self._import_segment(pa.concat_tables(waiting, promote_options="default"))
            n_new, n_known = n_new + new, n_known + known
        return ImportCount(n_new, n_known)

    def _import_segment(self, table: pa.Table) -> tuple[int, int]:
        event_ids = table.column("event_id").to_pylist()
        hashes = hashes_of(event_ids)
        _, first = np.unique(hashes, axis=0, return_index=True)
        fresh = np.zeros(len(hashes), np.bool_)
        fresh[first] = True
        fresh &= ~self._imported.contains(hashes)
        with self._lock, self._guarded():
            digests = [hash_of(event_ids[row]) for row in np.flatnonzero(fresh)]
            live = self._live_ids(digests)
        if live:
            rows = np.flatnonzero(fresh)
            fresh[rows[[digest in live for digest in digests]]] = False
        n_new = int(fresh.sum())
        if n_new:
            self._write_import(table.filter(pa.array(fresh)), hashes[fresh])
        return n_new, len(hashes) - n_new

    def _live_ids(self, digests: Sequence[bytes]) -> set[bytes]:
        if self._db.execute("SELECT 1 FROM ids LIMIT 1").fetchone() is None:
            return set()
        live: set[bytes] = set()
        for start in range(0, len(digests), 500):
            part = digests[start : start + 500]
            marks = ",".join("?" * len(part))
            live.update(r[0] for r in self._db.execute(f"SELECT id FROM ids WHERE id IN ({marks})", part))
        return live

    def _write_import(self, table: pa.Table, hashes: np.ndarray) -> None:
        with self._transaction() as db:
            first = self._next(db)
            last = first + len(table) - 1
            name, ids_name = f"{first:014d}-import.parquet", f"{first:014d}-import.ids.npy"
            write_segment(self._segments / name, _numbered(table, first))
            write_hashes(self._segments / ids_name, hashes)
            db.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", (first, last, name, ids_name))
            self._set_next(db, last + 1)
        self._load_ids()

    def seal(self, *, keep_rows: int = 100_000) -> int:
        """Moves live events beyond the latest keep_rows into a segment -> how many; their ids stay known."""
        with self._transaction() as db:
            (n_live,) = db.execute("SELECT count(*) FROM events").fetchone()
            n_old = min(n_live - keep_rows, SEGMENT_ROWS)
            if n_old <= 0:
                return 0
            rows = db.execute(
                "SELECT log_seq, body FROM events ORDER BY log_seq LIMIT ?", (n_old,)
            ).fetchall()
            first, last = rows[0][0], rows[-1][0]
            name = f"{first:014d}-live.parquet"
            write_segment(self._segments / name, _events_table([body for _, body in rows]))
            db.execute("INSERT INTO segments VALUES (?, ?, ?, NULL)", (first, last, name))
            db.execute("DELETE FROM events WHERE log_seq <= ?", (last,))
            return len(rows)

    def add_histories(self, table: pa.Table) -> int:
        """Stores rows of core.columns.HISTORIES; a user given again is replaced -> how many rows are new."""
        with self._lock, self._guarded():
            return write_histories(self._path / "histories.parquet", table)

    # reading

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]:
        """Tables of core.columns.EVENTS in order of log_seq, strictly after `after_seq`: sealed and live."""
        seq = after_seq
        while True:
            step = self._next_part(seq, batch_rows)
            if step is None:
                return
            if isinstance(step, Path):
                for table in _segment_tables(step, seq, batch_rows):
                    yield table
                    seq = max(seq, table.column("log_seq")[-1].as_py())
            else:
                yield step
                seq = step.column("log_seq")[-1].as_py()

    def _next_part(self, seq: int, batch_rows: int) -> Path | pa.Table | None:
        """The segment that holds the next row, else the next live rows up to the next segment, else None."""
        with self._lock, self._guarded():
            self._db.execute("BEGIN")
            try:
                segment = self._db.execute(
                    "SELECT first_seq, file FROM segments WHERE last_seq > ? ORDER BY first_seq LIMIT 1",
                    (seq,),
                ).fetchone()
                limit = segment[0] if segment else 1 << 62
                rows = self._db.execute(
                    "SELECT body FROM events WHERE log_seq > ? AND log_seq < ? ORDER BY log_seq LIMIT ?",
                    (seq, limit, batch_rows),
                ).fetchall()
            finally:
                self._db.execute("COMMIT")
        if rows:
            return _events_table([body for (body,) in rows])
        return self._segments / segment[1] if segment else None

    def known(self, event_ids: Sequence[str]) -> list[Event | None]:
        """The events of these ids where the log can still name them: live or sealed, not imported in bulk."""
        return [self._event(event_id) for event_id in event_ids]

    def _event(self, event_id: str) -> Event | None:
        with self._lock, self._guarded():
            found = self._db.execute(
                "SELECT log_seq FROM ids WHERE id = ?", (hash_of(event_id),)
            ).fetchone()
            if found is None:
                return None
            row = self._db.execute("SELECT body FROM events WHERE log_seq = ?", found).fetchone()
            if row is not None:
                return _EVENT.decode(row[0])
            segment = self._db.execute(
                "SELECT file FROM segments WHERE first_seq <= ? AND last_seq >= ?", found * 2
            ).fetchone()
        if segment is None:
            return None
        table = pq.read_table(self._segments / segment[0], filters=[("log_seq", "=", found[0])])
        row_values = {k: v for k, v in table.to_pylist()[0].items() if v is not None}
        return Event(**row_values)

    def histories(self) -> pa.Table:
        """All rows of core.columns.HISTORIES."""
        with self._guarded():
            return read_histories(self._path / "histories.parquet", HISTORIES)

    def slate(self, request_id: str) -> SlateRecord | None:
        """The logged slate of a request."""
        with self._lock, self._guarded():
            row = self._db.execute(
                "SELECT body FROM slates WHERE request = ?", (hash_of(request_id),)
            ).fetchone()
        return None if row is None else _SLATE.decode(row[0])

    def scan_slates(
        self, after_seq: int = 0, *, batch_rows: int = 4096
    ) -> Iterator[list[SlateRecord]]:
        """Slates in order of log_seq, strictly after `after_seq`."""
        seq = after_seq
        while True:
            with self._lock, self._guarded():
                rows = self._db.execute(
                    "SELECT log_seq, body FROM slates WHERE log_seq > ? ORDER BY log_seq LIMIT ?",
                    (seq, batch_rows),
                ).fetchall()
            if not rows:
                return
            seq = rows[-1][0]
            yield [_SLATE.decode(body) for _, body in rows]

    def slates_table(self) -> pa.Table:
        """Every slot served, in core.columns.SLATES."""
        tables = [slates_to_table(records) for records in self.scan_slates()]
        return pa.concat_tables(tables) if tables else SLATES.empty_table()

    def last_seq(self) -> int:
        """The latest log_seq given out; 0 for an empty log."""
        with self._lock, self._guarded():
            return self._next(self._db) - 1

    def close(self) -> None:
        """Releases the files."""
        with self._lock:
            self._db.close()

    # inside

    def _next(self, db: sqlite3.Connection) -> int:
        (value,) = db.execute("SELECT value FROM counter WHERE name = 'log_seq'").fetchone()
        return int(value) + 1

    def _set_next(self, db: sqlite3.Connection, number: int) -> None:
        db.execute("UPDATE counter SET value = ? WHERE name = 'log_seq'", (number - 1,))

    def _load_ids(self) -> None:
        with self._lock, self._guarded():
            rows = self._db.execute(
                "SELECT ids_file FROM segments WHERE ids_file IS NOT NULL"
            ).fetchall()
        for (name,) in rows:
            if name not in self._loaded_ids:
                self._imported.add(self._segments / name)
                self._loaded_ids.add(name)

    def _remove_leftovers(self) -> None:
        with self._lock, self._guarded():
            rows = self._db.execute("SELECT file, ids_file FROM segments").fetchall()
        kept = {name for row in rows for name in row if name}
        for path in self._segments.iterdir():
            if path.name not in kept:
                path.unlink()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._guarded():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise Unavailable(f"log {self._path}: {error}") from error
        except Unavailable:
            raise
        except OSError as error:
            raise Unavailable(f"log {self._path}: {error.strerror or error}") from error


def _numbered(table: pa.Table, first: int) -> pa.Table:
    """The table with every column of EVENTS, numbered from `first`."""
    n = len(table)
    columns = []
    for field in EVENTS:
        if field.name == "log_seq":
            columns.append(pa.array(np.arange(first, first + n)))
        elif field.name in table.column_names:
            columns.append(table.column(field.name).cast(field.type))
        else:
            columns.append(pa.nulls(n, field.type))
    return pa.table(columns, schema=EVENTS)


def _events_table(bodies: Sequence[bytes]) -> pa.Table:
    events = [_EVENT.decode(body) for body in bodies]
    return pa.table(
        {name: [getattr(event, name) for event in events] for name in EVENTS.names}, schema=EVENTS
    )


def _segment_tables(path: Path, after_seq: int, batch_rows: int) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_rows):
            table = pa.Table.from_batches([batch]).cast(EVENTS)
            first = table.column("log_seq")[0].as_py()
            if first <= after_seq:
                table = table.slice(max(0, after_seq + 1 - first))
                if len(table) and table.column("log_seq")[0].as_py() <= after_seq:
                    table = table.filter(pc.greater(table.column("log_seq"), after_seq))
            if len(table):
                yield table

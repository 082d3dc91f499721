"""The event log in a folder: what was acknowledged is on disk, once, in one order.

    log.db       live events and slates, one sequence of numbers over both
    segments/    sealed and imported events as Parquet
    histories/   what viewers saw before the log began

`append` is one transaction. A retry with the same event_id, even after the row was sealed or came by an import, keeps its
first number. A commit that has events is an fsync, which brings every commit before it to the disk too. One of slates alone is
not: it survives a kill of any process, because the kernel has it, but a power loss may take the slates since the latest fsync
(an append of events, or `checkpoint`). Nobody is promised a slate, and the numbers stay gapless: a loss takes the log's end.

`scan` reads segments and live rows as one gapless sequence, in bounded memory, while the writer goes on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.core.types import Bool
from upnext.events import database, histories, segments
from upnext.events.durable_file import sha256_of
from upnext.events.event_body import (
    decode_event,
    decode_slate,
    encode_event,
    event_of_row,
    events_table,
    key_of,
)
from upnext.events.imported_ids import ImportedIds
from upnext.events.packed_slate import PackedSlate, pack_slate
from upnext.events.segment_import import ImportCount, SegmentImport, row_groups
from upnext.events.slate import SlateRecord, slate_rows

_END: Final = 1 << 62  # after every log_seq
_LIVE: Final = (
    "SELECT log_seq, body FROM events WHERE log_seq > ? AND log_seq < ? ORDER BY log_seq LIMIT ?"
)


class SqliteEventLog:
    """EventLog. One process writes; any number of others read with read_only=True. Safe to call from several threads."""

    def __init__(self, path: Path, *, read_only: bool = False, synced: bool = True) -> None:
        """Opens the folder `path`; a writer makes it and removes what a crash left half-written.

        synced False, for simulations: no append waits for the disk.

        Raises Unavailable when it can't be opened, when another writer has it, or when a reader comes before the first writer."""
        self.path = path
        self._segments = path / segments.FOLDER
        self._histories = path / histories.FOLDER
        self._lock = threading.RLock()
        self._sealing = threading.Lock()
        self._imported = ImportedIds()
        self._imported_until = 0
        self._last_seq: int | None = None  # None: ask the database
        self._writer_lock: int | None = None
        self._synced = synced
        if read_only:
            self._connection = database.open_reader(path)
            return
        self._writer_lock = database.lock_writer(path)
        try:
            self._connection = database.open_writer(path)
            with database.outage(path):
                segments.sweep(self._segments, self._connection)
            self._follow_imports()
        except Unavailable:
            os.close(self._writer_lock)
            raise

    # Writing

    def append(
        self, events: Sequence[Event], slates: Sequence[SlateRecord | PackedSlate] = ()
    ) -> list[int]:
        """The log_seq per event, then per slate, all committed when this returns: one transaction, synced where it has events.

        An event_id or request_id that is known, or comes twice in the batch, keeps its first number and is not written again.
        Raises Unavailable when the disk is full or fails, InvalidInput for a row that can't be stored; then nothing is written."""
        event_bodies = [encode_event(event) for event in events]
        event_keys = [key_of(event.event_id) for event in events]
        packed = [s if isinstance(s, PackedSlate) else pack_slate(s) for s in slates]
        slate_keys = [key_of(slate.request_id) for slate in packed]
        with self._writing() as connection:
            before = self.last_seq()
            self._last_seq = None  # until the commit is certain
            with database.transaction(connection, synced=self._synced and bool(events)):
                known = self._find_events(event_keys)
                fresh = _numbered(event_keys, known, before)
                known |= fresh
                _insert_events(connection, fresh, dict(zip(event_keys[::-1], event_bodies[::-1])))
                known_slates = database.find_keys(connection, "slates", slate_keys)
                fresh_slates = _numbered(slate_keys, known_slates, before + len(fresh))
                known_slates |= fresh_slates
                _insert_slates(connection, fresh_slates, dict(zip(slate_keys[::-1], packed[::-1])))
            self._last_seq = before + len(fresh) + len(fresh_slates)
        return [known[k] for k in event_keys] + [known_slates[k] for k in slate_keys]

    def import_sealed(self, tables: Iterable[pa.Table]) -> ImportCount:
        """Bulk rows (columns of EVENTS, log_seq aside) into segments, numbered in the order they come; by event_id, each once.

        A segment is there whole or not at all, so a killed import is simply run again. Appends wait meanwhile. Memory: one
        row group, and about 100 bytes per row of the segment in the making. Raises InvalidInput for rows that don't conform
        (what whole segments came before stays), Unavailable."""
        n_rows = n_new = 0
        segment: SegmentImport | None = None
        with self._lock:
            try:
                for table in row_groups(tables):
                    n_rows += len(table)
                    with self._writing():
                        if segment is None:
                            segment = SegmentImport(self._segments, self.last_seq() + 1)
                        n_new += segment.add(table, self._known_digests)
                        if segment.n_rows >= segments.MAX_ROWS:
                            self._list_imported(segment)
                            segment = None
                if segment is not None:
                    self._list_imported(segment)
                    segment = None
            finally:
                if segment is not None:
                    segment.abandon()
        return ImportCount(n_new, n_rows - n_new)

    def _list_imported(self, done: SegmentImport) -> None:
        with self._writing() as connection:
            segment = done.finish()
            if segment is None:
                return
            self._last_seq = None
            with database.transaction(connection):
                assert segment.first_seq == database.last_seq(connection) + 1
                segments.list_segment(connection, segment)
            self._follow_imports()

    def seal(self, *, keep_rows: int = 100_000) -> int:
        """Moves all live events but the latest `keep_rows` into segments -> how many; appends go on meanwhile. Raises Unavailable."""
        n_sealed = 0
        with self._sealing, database.outage(self.path):
            with self._reading() as connection:
                row = connection.execute(
                    "SELECT log_seq FROM events ORDER BY log_seq DESC LIMIT 1 OFFSET ?",
                    (keep_rows,),
                ).fetchone()
            while row is not None and (n_rows := self._seal_one(int(row[0]))):
                n_sealed += n_rows
        return n_sealed

    def _seal_one(self, until_seq: int) -> int:
        """One segment of the oldest live rows up to `until_seq`, never across another segment -> its rows, 0: none left."""
        rows, before = self._live_page(0, until_seq + 1, segments.ROW_GROUP)
        if not rows:
            return 0
        writer = segments.SegmentWriter(self._segments, rows[0][0])
        while rows:
            writer.write(events_table(*zip(*rows)))
            after = rows[-1][0]
            room = min(segments.ROW_GROUP, segments.MAX_ROWS - writer.n_rows)
            rows, _ = self._live_page(after, min(before, until_seq + 1), room)
        segment = writer.finish()
        with self._writing() as connection, database.transaction(connection):
            segments.list_segment(connection, segment)
            connection.execute(
                "DELETE FROM events WHERE log_seq BETWEEN ? AND ?",
                (segment.first_seq, segment.last_seq),
            )
        return segment.n_rows

    def add_histories(self, table: pa.Table) -> int:
        """The rows stored (HISTORIES); 0 when this very table is there already. Raises InvalidInput, Unavailable."""
        with self._writing():
            return histories.add_table(self._histories, table)

    # Reading

    def known(self, event_ids: Sequence[str]) -> list[Event | None]:
        """Per id the event, as the log has it (live, sealed or imported), or None. Raises Unavailable."""
        keys = [key_of(event_id) for event_id in event_ids]
        with self._reading():
            self._follow_imports()
            found = self._find_events(keys)
            return [self._event_at(found[key]) if key in found else None for key in keys]

    def _event_at(self, log_seq: int) -> Event:
        """The event of a number that is taken; inside `_reading`."""
        query = "SELECT body FROM events WHERE log_seq = ?"
        row = self._connection.execute(query, (log_seq,)).fetchone()
        if row is not None:
            return decode_event(log_seq, row[0])
        (segment,) = segments.segments_after(self._connection, log_seq - 1, 1)
        return event_of_row(segments.row_at(self._segments / segment.file, log_seq))

    def scan(
        self, after_seq: int = 0, *, batch_rows: int = 65_536, until_seq: int | None = None
    ) -> Iterator[pa.Table]:
        """Tables of core.columns.EVENTS, at most `batch_rows` each, in order of log_seq, after_seq < log_seq <= until_seq.

        None: up to where the log ended when the scan began. Never gives an empty table. Raises Unavailable, naming a damaged segment."""
        until_seq = self.last_seq() if until_seq is None else until_seq
        while True:
            rows, segment = self._next_page(after_seq, until_seq, batch_rows)
            if rows:
                yield events_table(*zip(*rows))
                after_seq = rows[-1][0]
            elif segment is not None and segment.first_seq <= until_seq:
                file = self._segments / segment.file
                yield from segments.scan_segment(file, after_seq, batch_rows, until_seq)
                after_seq = segment.last_seq
            else:
                return

    def _next_page(
        self, after_seq: int, until_seq: int, n_rows: int
    ) -> tuple[list[tuple[int, bytes]], segments.Segment | None]:
        """(live rows that come before the next segment, that segment), of one state of the database."""
        with self._reading() as connection:
            following = segments.segments_after(connection, after_seq, 1)
            segment = following[0] if following else None
            before = min(until_seq + 1, segment.first_seq if segment else _END)
            return connection.execute(_LIVE, (after_seq, before, n_rows)).fetchall(), segment

    def _live_page(
        self, after_seq: int, before_seq: int, n_rows: int
    ) -> tuple[list[tuple[int, bytes]], int]:
        """(the first live rows in between, the first_seq of the segment that follows the first of them)."""
        with self._reading() as connection:
            rows = connection.execute(_LIVE, (after_seq, before_seq, n_rows)).fetchall()
            following = segments.segments_after(connection, rows[0][0], 1) if rows else []
        before = following[0].first_seq if following else _END
        return [row for row in rows if row[0] < before], before

    def slate(self, request_id: str) -> SlateRecord | None:
        """The answer that was logged for a request, None when there is none. Raises Unavailable."""
        query = "SELECT log_seq, body FROM slates WHERE key = ?"
        with self._lock, database.outage(self.path):
            row = self._connection.execute(query, (key_of(request_id),)).fetchone()
        return decode_slate(*row) if row else None

    def slates_of(self, user_id: str, limit: int) -> list[SlateRecord]:
        """A viewer's latest answers, newest first. Raises Unavailable."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT log_seq, body FROM slates WHERE user_id = ? ORDER BY log_seq DESC LIMIT ?",
                (user_id, limit),
            ).fetchall()
        return [decode_slate(*row) for row in rows]

    def scan_slates(
        self, after_seq: int = 0, *, batch_rows: int = 4096
    ) -> Iterator[list[SlateRecord]]:
        """Lists of at most `batch_rows` slates in order of log_seq, strictly after `after_seq`; ends where the log ended."""
        until_seq = self.last_seq()
        query = "SELECT log_seq, body FROM slates WHERE log_seq > ? AND log_seq <= ? ORDER BY log_seq LIMIT ?"
        while True:
            with self._reading() as connection:
                rows = connection.execute(query, (after_seq, until_seq, batch_rows)).fetchall()
            if not rows:
                return
            yield [decode_slate(*row) for row in rows]
            after_seq = rows[-1][0]

    def slates_table(self) -> pa.Table:
        """All slots served: core.columns.SLATES in order of log_seq and slot. Raises Unavailable."""
        parts = [slate_rows(records) for records in self.scan_slates()]
        return pa.concat_tables(parts) if parts else slate_rows([])

    def histories(self, n_tables: int | None = None) -> pa.Table:
        """core.columns.HISTORIES by user_id and position; empty without any. Of the first `n_tables` stored alone. Raises Unavailable."""
        return histories.read_tables(self._histories, n_tables)

    def n_histories(self) -> int:
        """How many tables of histories are stored."""
        return histories.n_tables(self._histories)

    def last_seq(self) -> int:
        """The highest number given out, 0 for an empty log. Raises Unavailable."""
        known = self._last_seq  # the one writer knows, from its latest append on
        if known is not None:
            return known
        with self._reading() as connection:
            return database.last_seq(connection)

    def verify(self) -> None:
        """Reads every segment. Raises Unavailable naming the first that is missing or differs from its checksum."""
        with self._reading() as connection:
            listed = segments.segments_after(connection, 0)
        for segment in listed:
            file = self._segments / segment.file
            with database.outage(file):
                found = sha256_of(file)
            if found != segment.sha256:
                raise Unavailable(
                    f"event log segment {file}: expected sha256 {segment.sha256}, got {found}"
                )

    def checkpoint(self) -> None:
        """Shortens the WAL while appends go on; from any thread. Raises Unavailable."""
        database.checkpoint(self.path)

    def close(self) -> None:
        """Gives the files back."""
        with self._lock:
            self._connection.close()
            if self._writer_lock is not None:
                os.close(self._writer_lock)
                self._writer_lock = None

    # Beneath

    @contextmanager
    def _writing(self) -> Iterator[database.Connection]:
        with self._lock, database.outage(self.path):
            if self._writer_lock is None:
                raise Unavailable(f"event log {self.path}: open for reading only, or closed")
            yield self._connection

    @contextmanager
    def _reading(self) -> Iterator[database.Connection]:
        """One state of the database for several reads."""
        with self._lock, database.outage(self.path):
            if self._connection.in_transaction:
                yield self._connection
                return
            with database.snapshot(self._connection):
                yield self._connection

    def _find_events(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """{key: log_seq} of the events that the log has, live, sealed or imported."""
        if not keys:
            return {}
        found = database.find_keys(self._connection, "ids", keys)
        missing = [key for key in keys if key not in found]
        numbers = self._imported.find([key[8:] for key in missing]).tolist()
        found.update((key, number) for key, number in zip(missing, numbers) if number)
        return found

    def _known_digests(self, event_ids: Sequence[str], digests: Sequence[bytes]) -> Bool:
        """bool[m]: the log has the id already."""
        known = np.asarray(self._imported.find(digests) > 0, np.bool_)
        if self._connection.execute("SELECT 1 FROM ids LIMIT 1").fetchone():
            keys = [key_of(event_id) for event_id in event_ids]
            found = database.find_keys(self._connection, "ids", keys)
            known |= np.fromiter((key in found for key in keys), np.bool_, len(keys))
        return known

    def _follow_imports(self) -> None:
        """Maps the ids of segments imported since the last call."""
        for segment in segments.segments_after(self._connection, self._imported_until):
            if segment.ids_file is not None and segment.first_seq > self._imported_until:
                self._imported.add(self._segments / segment.ids_file, segment.first_seq)
                self._imported_until = segment.last_seq


def _numbered(keys: Sequence[bytes], known: dict[bytes, int], before: int) -> dict[bytes, int]:
    """{key: log_seq} of the keys that are not known, each once, in order."""
    fresh = dict.fromkeys(key for key in keys if key not in known)
    return {key: number for number, key in enumerate(fresh, before + 1)}


def _insert_events(
    connection: database.Connection, fresh: dict[bytes, int], bodies: dict[bytes, bytes]
) -> None:
    if not fresh:
        return
    connection.executemany("INSERT INTO ids(key, log_seq) VALUES (?, ?)", fresh.items())
    connection.executemany(
        "INSERT INTO events(log_seq, body) VALUES (?, ?)",
        [(number, bodies[key]) for key, number in fresh.items()],
    )


def _insert_slates(
    connection: database.Connection, fresh: dict[bytes, int], slates: dict[bytes, PackedSlate]
) -> None:
    connection.executemany(
        "INSERT INTO slates(log_seq, key, user_id, body) VALUES (?, ?, ?, ?)",
        [(number, key, slates[key].user_id, slates[key].body) for key, number in fresh.items()],
    )

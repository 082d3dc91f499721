"""The SQLite side of the log: a WAL, where each transaction says whether its commit waits for the disk (sqlite.org/wal.html).

synchronous=FULL: an fsync of the WAL, and so of every commit in it, before the commit returns. NORMAL: the kernel has the commit,
a later fsync brings it to the disk. After a power loss a WAL is read up to its first torn frame, so what is lost is its end.

One process writes, guarded by a lock file; any number reads, each statement seeing the last commit.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from upnext.core.errors import Unavailable

Connection = sqlite3.Connection
LOG_VERSION: Final = 1
DATABASE: Final = "log.db"
_LOCK: Final = "writer.lock"
_PER_SELECT: Final = 4096  # ids asked for in one statement; SQLite takes 32,766 parameters

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    # every appended event, live or sealed
    "CREATE TABLE IF NOT EXISTS ids(key BLOB PRIMARY KEY, log_seq INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS events(log_seq INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS slates(log_seq INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, "
    "user_id TEXT NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS slates_by_user ON slates(user_id, log_seq)",
    # ids_file: the sorted digests of an imported segment; null where the ids stand in `ids`
    "CREATE TABLE IF NOT EXISTS segments(first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL, "
    "file TEXT NOT NULL, n_rows INTEGER NOT NULL, sha256 TEXT NOT NULL, ids_file TEXT)",
    f"INSERT OR IGNORE INTO meta VALUES ('version', {LOG_VERSION})",
)
_SYNCED: Final = "PRAGMA synchronous=FULL"
_UNSYNCED: Final = "PRAGMA synchronous=NORMAL"
_LAST_SEQ: Final = (
    "SELECT max(coalesce((SELECT max(log_seq) FROM events), 0), "
    "coalesce((SELECT max(log_seq) FROM slates), 0), "
    "coalesce((SELECT max(last_seq) FROM segments), 0))"
)


@contextmanager
def outage(path: Path) -> Iterator[None]:
    """Turns what SQLite or the disk can't do now (full, locked, unreadable, damaged) into Unavailable naming path and reason."""
    try:
        yield
    except Unavailable:
        raise
    except (sqlite3.OperationalError, OSError) as error:
        raise Unavailable(f"event log {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise  # a bug
        raise Unavailable(f"event log {path}: {error}; restore it from a backup") from error


def lock_writer(folder: Path) -> int:
    """A file descriptor that holds the writer's lock until closed or the process dies. Raises Unavailable when another has it."""
    with outage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise Unavailable(
                f"event log {folder}: another writer has it open; read with read_only=True"
            ) from error
    return descriptor


def open_writer(folder: Path) -> sqlite3.Connection:
    """A connection that may write, the tables made. Raises Unavailable."""
    path = folder / DATABASE
    with outage(path):
        connection = _connect(path, "rwc")
        connection.execute("PRAGMA journal_mode=WAL")
        # 80 MB, a backstop: `checkpoint` brings the rows over while commits go on, so that no commit has to
        connection.execute("PRAGMA wal_autocheckpoint=20000")
        connection.execute("PRAGMA journal_size_limit=67108864")
        with transaction(connection):
            for statement in _TABLES:
                connection.execute(statement)
        _check_version(connection, path)
    return connection


def open_reader(folder: Path) -> sqlite3.Connection:
    """A connection that only reads. Raises Unavailable when no writer has made the log yet."""
    path = folder / DATABASE
    if not path.exists():
        raise Unavailable(f"event log {path}: not there yet; its writer makes it")
    with outage(path):
        connection = _connect(path, "rw")  # "ro" can't make the shared memory of a WAL
        connection.execute("PRAGMA query_only=ON")
        _check_version(connection, path)
    return connection


def checkpoint(folder: Path) -> None:
    """Brings what is committed from the WAL into the database file, beside the writer and without stopping it. Raises Unavailable."""
    path = folder / DATABASE
    with outage(path):
        connection = _connect(path, "rw")
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(
        address, uri=True, timeout=10.0, isolation_level=None, check_same_thread=False
    )


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    row = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
    found = row[0] if row else None
    if found != LOG_VERSION:
        raise Unavailable(f"event log {path}: expected version {LOG_VERSION}, got {found}")


@contextmanager
def transaction(connection: sqlite3.Connection, *, synced: bool = True) -> Iterator[None]:
    """All of it, or nothing; `synced`: on disk when this ends, with every transaction before it."""
    connection.execute(_SYNCED if synced else _UNSYNCED)  # takes no effect inside a transaction
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Several reads of one state of the database."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def last_seq(connection: sqlite3.Connection) -> int:
    """The highest log_seq given out, 0 for an empty log."""
    return int(connection.execute(_LAST_SEQ).fetchone()[0])


def find_keys(
    connection: sqlite3.Connection, table: str, keys: Sequence[bytes]
) -> dict[bytes, int]:
    """{key: log_seq} of those that `table` (ids or slates) has."""
    found: dict[bytes, int] = {}
    for start in range(0, len(keys), _PER_SELECT):
        part = keys[start : start + _PER_SELECT]
        marks = ",".join("?" * len(part))
        found.update(
            connection.execute(f"SELECT key, log_seq FROM {table} WHERE key IN ({marks})", part)
        )
    return found

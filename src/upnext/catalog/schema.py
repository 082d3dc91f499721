"""The catalogue's SQLite file: its tables, and how a connection to them is opened.

Everything a request filters or scores on is a plain column (codes for words, masks for country sets), so that a reader fills
its arrays without parsing anything per row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from upnext.core.errors import InvalidInput, NotFound, Unavailable

CATALOG_VERSION: Final = 1
N_TAGS: Final = 8  # tags per video that the dense column keeps; the row keeps all of them
N_COUNTRIES: Final = 256  # bits of a country mask
CODE_KINDS: Final = ("creator", "category", "language", "tag", "country", "city", "moderation")

_TABLES = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS codes(
    kind TEXT NOT NULL, value TEXT NOT NULL, code INTEGER NOT NULL, PRIMARY KEY(kind, value)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS codes_by_code ON codes(kind, code);
CREATE TABLE IF NOT EXISTS items(
    item_id INTEGER PRIMARY KEY,
    video_id TEXT NOT NULL UNIQUE,
    change_seq INTEGER NOT NULL,
    creator INTEGER, uploaded_us INTEGER, duration_s REAL, category INTEGER, language INTEGER,
    latitude REAL, longitude REAL, min_age INTEGER, status INTEGER NOT NULL, is_premium INTEGER,
    tags BLOB,            -- int32 codes, padded with -1 to at least N_TAGS; null: no list
    allowed BLOB,         -- uint64[4] mask of country codes; null: everywhere
    blocked BLOB,         -- uint64[4] mask of country codes; null: nowhere
    moderation BLOB,      -- (int32 label code, float32 score) pairs
    content_vector BLOB,  -- float32[d]
    title TEXT, description TEXT, thumbnail_url TEXT);
CREATE INDEX IF NOT EXISTS items_by_change ON items(change_seq);
CREATE TABLE IF NOT EXISTS users(
    user_id TEXT PRIMARY KEY, signed_up_us INTEGER, age INTEGER, gender TEXT, city TEXT, country TEXT,
    language TEXT, time_zone TEXT, is_creator INTEGER) WITHOUT ROWID;
"""


@contextmanager
def outage(path: Path) -> Iterator[None]:
    """Turns what SQLite can't do now (locked, unreadable, disk full) into Unavailable, a foreign file into InvalidInput."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise Unavailable(f"catalog {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise InvalidInput(f"catalog {path}: not a catalogue: {error}") from error
        raise


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection that may write; makes the file and its tables. Commits are on disk when they return.

    Raises InvalidInput for a file that a newer version wrote, Unavailable when it can't be opened."""
    with outage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        _check_version(connection, path)
        connection.executescript(_TABLES)
        connection.execute(
            "INSERT OR IGNORE INTO meta(key, value) VALUES ('version', ?)", (CATALOG_VERSION,)
        )
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads. Raises NotFound when there is no catalogue at `path`."""
    if not path.exists():
        raise NotFound(f"catalog {path}: no such file")
    with outage(path):
        connection = _connect(path)
        connection.execute("PRAGMA query_only=ON")
        _check_version(connection, path)
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA cache_size=-65536")  # 64 MiB: the index of video ids stays warm
    return connection


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    has_meta = connection.execute("SELECT 1 FROM sqlite_master WHERE name='meta'").fetchone()
    if not has_meta:
        return
    row = connection.execute("SELECT value FROM meta WHERE key='version'").fetchone()
    if row is not None and row[0] != CATALOG_VERSION:
        raise InvalidInput(f"catalog {path}: expected version {CATALOG_VERSION}, got {row[0]}")

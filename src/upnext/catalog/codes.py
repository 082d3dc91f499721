"""Dense codes for words: each (kind, value) gets the next integer from 0, once and for good."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upnext.catalog.schema import CODE_KINDS
from upnext.core.errors import expected
from upnext.core.types import Int64


def find_codes(
    connection: sqlite3.Connection, kind: str, values: Sequence[str], *, create: bool = False
) -> Int64:
    """int64[n]: the code of each value, -1 where unknown; `create` hands out new ones inside the open transaction."""
    check_kind(kind)
    found: dict[str, int] = {}
    n_next = -1
    for value in values:
        if value in found:
            continue
        row = _find(connection, kind, value)
        if row is not None:
            found[value] = row
        elif create:
            n_next = count_codes(connection, kind) if n_next < 0 else n_next + 1
            connection.execute("INSERT INTO codes VALUES (?, ?, ?)", (kind, value, n_next))
            found[value] = n_next
        else:
            found[value] = -1
    return np.fromiter((found[value] for value in values), np.int64, len(values))


def encode_words(connection: sqlite3.Connection, kind: str, words: pa.Array) -> Int64:
    """int64[n]: the code of each string of `words`, made when new; -1 where null."""
    encoded = words.dictionary_encode()
    codes = find_codes(connection, kind, encoded.dictionary.to_pylist(), create=True)
    places = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    with_null: Int64 = np.append(codes, -1)
    return np.asarray(with_null[places], np.int64)


def count_codes(connection: sqlite3.Connection, kind: str) -> int:
    """How many codes the kind has: 0 to count - 1 exist."""
    check_kind(kind)
    row = connection.execute("SELECT max(code) FROM codes WHERE kind = ?", (kind,)).fetchone()
    return 0 if row[0] is None else int(row[0]) + 1


def find_value(connection: sqlite3.Connection, kind: str, code: int) -> str | None:
    """The word of a code; None when there is no such code."""
    row = connection.execute(
        "SELECT value FROM codes WHERE kind = ? AND code = ?", (kind, code)
    ).fetchone()
    return None if row is None else str(row[0])


def all_values(connection: sqlite3.Connection, kind: str, first: int = 0) -> pa.Array:
    """Every word of the kind from code `first` on, string[n_codes - first] by code."""
    select = "SELECT value FROM codes WHERE kind = ? AND code >= ? ORDER BY code"
    rows = connection.execute(select, (kind, first))
    return pa.array([row[0] for row in rows], pa.string())


def check_kind(kind: str) -> None:
    """Raises InvalidInput for a kind that doesn't exist."""
    if kind not in CODE_KINDS:
        raise expected("kind of code", f"one of {', '.join(CODE_KINDS)}", kind)


def _find(connection: sqlite3.Connection, kind: str, value: str) -> int | None:
    try:
        row = connection.execute(
            "SELECT code FROM codes WHERE kind = ? AND value = ?", (kind, value)
        ).fetchone()
    except UnicodeEncodeError:  # a lone surrogate: no stored text can equal it
        return None
    return None if row is None else int(row[0])

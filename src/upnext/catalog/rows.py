"""Videos between Arrow and SQLite: column by column into codes, masks and blobs, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from upnext.catalog.codes import encode_words
from upnext.catalog.rules import flat
from upnext.catalog.schema import N_COUNTRIES, N_TAGS
from upnext.core.columns import VIDEO_STATUSES, VIDEOS
from upnext.core.errors import expected
from upnext.core.types import Array, Int64

# SQLite column -> column of core.columns.VIDEOS, in the order in which rows are written after item_id and change_seq.
STORED: Final[dict[str, str]] = {
    "video_id": "video_id",
    "creator": "creator_id",
    "uploaded_us": "uploaded_us",
    "duration_s": "duration_s",
    "category": "category",
    "language": "language",
    "latitude": "latitude",
    "longitude": "longitude",
    "min_age": "min_age",
    "status": "status",
    "is_premium": "is_premium",
    "tags": "tags",
    "allowed": "countries_allowed",
    "blocked": "countries_blocked",
    "moderation": "moderation",
    "content_vector": "content_vector",
    "title": "title",
    "description": "description",
    "thumbnail_url": "thumbnail_url",
}
SCORE: Final = np.dtype([("label", "<i4"), ("score", "<f4")])
_WORDS: Final = {"creator": "creator", "category": "category", "language": "language"}
Words = Callable[[str, Int64], pa.Array]  # (kind, codes[n] >= 0) -> string[n]


def encode_videos(connection: sqlite3.Connection, table: pa.Table) -> list[list[Any]]:
    """The values of STORED for a checked table, one list per SQLite column; new words get codes."""
    columns: list[list[Any]] = []
    for stored, name in STORED.items():
        column = table.column(name).combine_chunks()
        if stored in _WORDS:
            columns.append(_nullable(encode_words(connection, _WORDS[stored], column)))
        elif stored == "status":
            codes = pc.index_in(pc.fill_null(column, "active"), pa.array(VIDEO_STATUSES))
            columns.append(codes.to_pylist())
        elif stored == "tags":
            columns.append(_tag_blobs(connection, column))
        elif stored in ("allowed", "blocked"):
            columns.append(_country_blobs(connection, column, name))
        elif stored == "moderation":
            columns.append(_score_blobs(connection, column))
        elif stored == "content_vector":
            columns.append(_vector_blobs(column))
        else:
            columns.append(column.to_pylist())
    return columns


def decode_videos(rows: Sequence[tuple[Any, ...]], stored: Sequence[str], words: Words) -> pa.Table:
    """A table with the VIDEOS columns of the SQLite columns `stored`, of rows that a SELECT of them gave."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows)) if rows else [()] * len(stored)
    arrays, fields = [], []
    for name, values in zip(stored, columns):
        field = VIDEOS.field(STORED[name])
        arrays.append(_decode(name, values, field.type, words))
        fields.append(field)
    return pa.table(arrays, schema=pa.schema(fields))


def _decode(name: str, values: Sequence[Any], kind: pa.DataType, words: Words) -> pa.Array:
    if name in _WORDS:
        codes = np.array([-1 if v is None else v for v in values], np.int64)
        return _words_of(_WORDS[name], codes, words)
    if name == "status":
        return pa.array(VIDEO_STATUSES).take(pa.array(values, pa.int32()))
    if name == "is_premium":
        return pa.array(values, pa.int8()).cast(pa.bool_())
    if name == "tags":
        lists = [None if v is None else _known(np.frombuffer(v, "<i4")) for v in values]
        return _word_lists("tag", lists, words)
    if name in ("allowed", "blocked"):
        lists = [None if v is None else countries_of(v) for v in values]
        return _word_lists("country", lists, words)
    if name == "moderation":
        return _decode_scores(values, words)
    if name == "content_vector":
        sizes = [None if v is None else len(v) // 4 for v in values]
        flat_values = np.frombuffer(b"".join(v for v in values if v is not None), "<f4")
        return pa.ListArray.from_arrays(_offsets(sizes), pa.array(flat_values, pa.float32()))
    return pa.array(values, kind)


def countries_of(mask: bytes) -> Int64:
    """The country codes of a mask's bits, ascending."""
    return np.flatnonzero(np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little"))


def scores_of(blob: bytes) -> npt.NDArray[np.void]:
    """The (label, score) pairs of a moderation blob."""
    return np.frombuffer(blob, SCORE)


def _nullable(codes: Int64) -> list[int | None]:
    return [None if code < 0 else code for code in codes.tolist()]


def _bounds(column: pa.Array, parents: Int64) -> list[int]:
    return np.searchsorted(parents, np.arange(len(column) + 1)).tolist()  # type: ignore[no-any-return]


def _slices(data: bytes, width: int, column: pa.Array, parents: Int64) -> list[bytes]:
    bounds = _bounds(column, parents)
    return [data[a * width : b * width] for a, b in pairwise(bounds)]


def _tag_blobs(connection: sqlite3.Connection, column: pa.Array) -> list[bytes | None]:
    words, parents = flat(column)
    codes = encode_words(connection, "tag", words).astype("<i4")
    bounds = np.searchsorted(parents, np.arange(len(column) + 1))
    place = np.arange(len(codes)) - bounds[parents]
    dense = np.full((len(column), N_TAGS), -1, "<i4")
    fits = place < N_TAGS
    dense[parents[fits], place[fits]] = codes[fits]
    data, width = dense.tobytes(), 4 * N_TAGS
    blobs: list[bytes | None] = [data[i : i + width] for i in range(0, len(data), width)]
    for row in np.flatnonzero(np.diff(bounds) > N_TAGS).tolist():
        blobs[row] = codes[bounds[row] : bounds[row + 1]].tobytes()
    return _with_nulls(blobs, column)


def _country_blobs(
    connection: sqlite3.Connection, column: pa.Array, name: str
) -> list[bytes | None]:
    words, parents = flat(column)
    if not len(words):
        return [None] * len(column)
    codes = encode_words(connection, "country", pc.utf8_upper(words))
    if int(codes.max()) >= N_COUNTRIES:
        wanted = f"at most {N_COUNTRIES} different countries in the catalogue"
        raise expected(name, wanted, words[int(codes.argmax())].as_py())
    bits = np.zeros((len(column), N_COUNTRIES), np.uint8)
    bits[parents, codes] = 1
    data = np.packbits(bits, axis=1, bitorder="little").tobytes()
    width = N_COUNTRIES // 8
    has = np.zeros(len(column), np.bool_)
    has[parents] = True
    return [data[i * width : (i + 1) * width] if h else None for i, h in enumerate(has.tolist())]


def _score_blobs(connection: sqlite3.Connection, column: pa.Array) -> list[bytes | None]:
    pairs, parents = flat(column)
    if not len(pairs):
        return [None] * len(column)
    scores = np.zeros(len(pairs), SCORE)
    scores["label"] = encode_words(connection, "moderation", pairs.field(0))
    scores["score"] = pairs.field(1).to_numpy(zero_copy_only=False)
    return [blob or None for blob in _slices(scores.tobytes(), SCORE.itemsize, column, parents)]


def _vector_blobs(column: pa.Array) -> list[bytes | None]:
    values, parents = flat(column)
    if not len(values):
        return [None] * len(column)
    data = values.to_numpy(zero_copy_only=False).astype("<f4").tobytes()
    return [blob or None for blob in _slices(data, 4, column, parents)]


def _with_nulls(blobs: list[bytes | None], column: pa.Array) -> list[bytes | None]:
    for row in np.flatnonzero(pc.is_null(column).to_numpy(zero_copy_only=False)).tolist():
        blobs[row] = None
    return blobs


def _known(codes: Array) -> Int64:
    return codes[codes >= 0].astype(np.int64)


def _words_of(kind: str, codes: Int64, words: Words) -> pa.Array:
    unique, inverse = np.unique(codes, return_inverse=True)
    n_null = int(len(unique) > 0 and unique[0] < 0)
    known = words(kind, unique[n_null:])
    taken = pa.array(inverse - n_null, mask=codes < 0)
    return known.take(taken)


def _offsets(sizes: Sequence[int | None]) -> pa.Array:
    ends = np.cumsum([0] + [size or 0 for size in sizes]).astype(np.int32)
    is_null = np.array([size is None for size in sizes] + [False], np.bool_)
    return pa.array(ends, mask=is_null)


def _word_lists(kind: str, lists: Sequence[Int64 | None], words: Words) -> pa.Array:
    known = [codes for codes in lists if codes is not None]
    flat_codes = np.concatenate(known) if known else np.zeros(0, np.int64)
    values = _words_of(kind, flat_codes, words)
    sizes = [None if codes is None else len(codes) for codes in lists]
    return pa.ListArray.from_arrays(_offsets(sizes), values)


def _decode_scores(values: Sequence[bytes | None], words: Words) -> pa.Array:
    pairs = scores_of(b"".join(v for v in values if v is not None))
    labels = _words_of("moderation", pairs["label"].astype(np.int64), words)
    sizes = [None if v is None else len(v) // SCORE.itemsize for v in values]
    scores = pa.array(np.ascontiguousarray(pairs["score"]), pa.float32())
    return pa.MapArray.from_arrays(_offsets(sizes), labels, scores)

"""Bodies of live rows: events and slates as bytes in SQLite, and back to events or straight to Arrow columns.

An event's body is a msgpack array in the order of BODY_COLUMNS. An array decodes to columns without a Python object per event
and field name, twice as fast as a map and half the size. BODY_COLUMNS only ever grows at its end: an older, shorter body reads
as null in the newer columns. A slate's body is zstd of its msgpack map: its rows repeat the user's features in every slot.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec
import pyarrow as pa

from upnext.core.columns import EVENTS
from upnext.core.errors import InvalidInput
from upnext.core.event import Event
from upnext.events.slate import SlateRecord

BODY_COLUMNS: Final = (
    "event_id", "kind", "user_id", "time_us", "session_id", "request_id", "video_id", "target_kind",
    "target_id", "undoes_event_id", "view_id", "surface", "slot", "watch_s", "query", "text", "value",
    "device", "country", "latitude", "longitude", "received_us", "is_clamped", "item_id", "duration_s",
    "undoes_kind",
)  # fmt: skip
_FIELDS: Final = attrgetter(*BODY_COLUMNS)
_DEFAULTS: Final[dict[str, Any]] = {"received_us": 0, "is_clamped": False}
_CHUNK: Final = (
    2048  # rows decoded at once: stays in the cache, measured 1.7 times faster than 65,536
)
_ENCODER: Final = msgspec.msgpack.Encoder()
_ROWS: Final = msgspec.msgpack.Decoder(list[tuple[Any, ...]])
_SLATE: Final = msgspec.msgpack.Decoder(SlateRecord)
_SIZE: Final = struct.Struct("<I")
_ZSTD_LEVEL: Final = -5  # of level 1: half the time, 1.11 times the bytes; any level reads


def digest_of(identifier: str) -> bytes:
    """16 bytes that stand for an event_id or a request_id (BLAKE2b, Aumasson et al. 2013)."""
    return hashlib.blake2b(identifier.encode(), digest_size=16).digest()


def key_of(identifier: str) -> bytes:
    """24 bytes: the first 8 of the id, then its digest. Time-ordered ids keep their order, so their index stays warm."""
    data = identifier.encode()
    return data[:8].ljust(8, b"\0") + hashlib.blake2b(data, digest_size=16).digest()


def stamped(event: Event, *, log_seq: int) -> Event:
    """The event with its place in the log."""
    return msgspec.structs.replace(event, log_seq=log_seq)


def encode_event(event: Event) -> bytes:
    """Its body; log_seq is the row's. Raises InvalidInput when it can't be written (a lone surrogate, an int over 64 bits)."""
    try:
        return _ENCODER.encode(_FIELDS(event))
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidInput(f"event {event.event_id!r}: can't be stored: {error}") from error


def decode_event(log_seq: int, body: bytes) -> Event:
    """The event as it was appended, with its log_seq."""
    row = msgspec.msgpack.decode(body)
    return Event(log_seq=log_seq, **dict(zip(BODY_COLUMNS, row)))


def event_of_row(row: dict[str, Any]) -> Event:
    """The event of one row of core.columns.EVENTS."""
    values: dict[str, Any] = {k: _DEFAULTS.get(k) if v is None else v for k, v in row.items()}
    return Event(**values)


def events_table(log_seqs: Sequence[int], bodies: Sequence[bytes]) -> pa.Table:
    """m rows of core.columns.EVENTS in the order given."""
    parts = [
        _chunk_table(log_seqs[start : start + _CHUNK], bodies[start : start + _CHUNK])
        for start in range(0, len(bodies), _CHUNK)
    ]
    return pa.concat_tables(parts).combine_chunks() if parts else EVENTS.empty_table()


def _chunk_table(log_seqs: Sequence[int], bodies: Sequence[bytes]) -> pa.Table:
    rows = _ROWS.decode(b"\xdd" + struct.pack(">I", len(bodies)) + b"".join(bodies))
    width = len(BODY_COLUMNS)
    if any(len(row) != width for row in rows):
        rows = [row + (None,) * (width - len(row)) for row in rows]
    columns = {name: _column(name, column) for name, column in zip(BODY_COLUMNS, zip(*rows))}
    columns["log_seq"] = pa.array(log_seqs, pa.int64())
    return pa.table({name: columns[name] for name in EVENTS.names}, schema=EVENTS)


def _column(name: str, values: tuple[Any, ...]) -> pa.Array:
    kind = EVENTS.field(name).type
    if values.count(None) == len(values):
        return pa.nulls(len(values), kind)
    return pa.array(values, kind)


def encode_slate(record: SlateRecord) -> bytes:
    """Its body. Raises InvalidInput when it can't be written."""
    try:
        data = _ENCODER.encode(record)
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidInput(f"slate {record.request_id!r}: can't be stored: {error}") from error
    codec = pa.Codec("zstd", compression_level=_ZSTD_LEVEL)
    packed: bytes = codec.compress(data, asbytes=True)
    return _SIZE.pack(len(data)) + packed


def decode_slate(log_seq: int, body: bytes) -> SlateRecord:
    """The record as it was appended, with its log_seq."""
    (size,) = _SIZE.unpack_from(body)
    data = pa.Codec("zstd").decompress(memoryview(body)[4:], size, asbytes=True)
    return msgspec.structs.replace(_SLATE.decode(data), log_seq=log_seq)

"""A slate on its way to the log: what the log and the state ask of it, beside its body as the log keeps it.

The process that drew the slate checks and packs it; the writer stores the very bytes and never unpacks what may be
hundreds of kilobytes of features.
"""

from __future__ import annotations

import msgspec

from upnext.events.event_body import encode_slate
from upnext.events.slate import SlateRecord, check_aligned


class PackedSlate(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The head of a SlateRecord, k aligned slots, and its body."""

    request_id: str
    log_seq: int  # 0 until the log has given it
    time_us: int
    user_id: str
    session_id: str
    page: int
    degraded: list[str]
    item_id: list[int]
    is_repeat: list[bool]
    body: bytes  # event_body.encode_slate of the whole record


def pack_slate(record: SlateRecord) -> PackedSlate:
    """The record, packed. Raises InvalidInput when its columns are not aligned or it can't be written."""
    check_aligned(record)
    return PackedSlate(
        request_id=record.request_id,
        log_seq=record.log_seq,
        time_us=record.time_us,
        user_id=record.user_id,
        session_id=record.session_id,
        page=record.page,
        degraded=record.degraded,
        item_id=record.item_id,
        is_repeat=record.is_repeat,
        body=encode_slate(record),
    )

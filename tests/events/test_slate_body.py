"""A slate's bytes in the log: whatever wrote them, they read."""

from __future__ import annotations

import struct

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from upnext.events import SlateRecord
from upnext.events.event_body import decode_slate, encode_slate

RECORD = SlateRecord(
    request_id="r", log_seq=0, time_us=77, user_id="u", session_id="s", page=1, surface="home",
    release_id="r1", policy_version="p1", policy="{}", draw_key=2**64 - 1, arms={"exp": "b"},
    degraded=["fresh"], item_id=[4, 5], video_id=["v4", "v5"], sources=[["popular"], []],
    source_scores=[[0.5], []], tasks=["click"], predictions=[[0.25], [0.5]], value=[1.0, 2.0],
    propensity=[0.5, 1.0], n_eligible=[2, 1], reason=["popular", "ranked"], is_repeat=[False, True],
    features=np.arange(6, dtype=np.float32).tobytes(), n_features=3, trace={"shown": 2},
)  # fmt: skip


def stored(data: bytes, level: int) -> bytes:
    """A body as the log keeps it: the size, then zstd."""
    packed: bytes = pa.Codec("zstd", compression_level=level).compress(data, asbytes=True)
    return struct.pack("<I", len(data)) + packed


def test_a_slate_comes_back_whole_with_its_place_in_the_log() -> None:
    assert decode_slate(9, encode_slate(RECORD)) == msgspec.structs.replace(RECORD, log_seq=9)


@pytest.mark.parametrize("level", [-5, 1, 9])
def test_a_body_of_any_level_reads(level: int) -> None:
    body = stored(msgspec.msgpack.encode(RECORD), level)
    assert decode_slate(0, body) == RECORD


def test_a_record_from_before_the_context_was_kept_reads_with_nothing_known_of_it() -> None:
    context = {"logged_in", "device", "country", "language", "time_zone", "latitude", "longitude"}
    context |= {"current_video_id"}
    whole = msgspec.structs.replace(RECORD, logged_in=False, device="tv", latitude=52.5)
    older = {k: v for k, v in msgspec.structs.asdict(whole).items() if k not in context}
    found = decode_slate(0, stored(msgspec.msgpack.encode(older), 1))
    assert found == RECORD
    assert {getattr(found, name) for name in context} == {None}
    assert decode_slate(0, encode_slate(whole)) == whole

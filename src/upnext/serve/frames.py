"""Messages over a unix socket: four bytes of length (little-endian), then msgpack.

Every frame starts with the caller's number, so that many calls share one connection and answers may come in any order. One read of
a socket brings part of a frame, one frame or many; FrameReader cuts them apart, without a copy where a read holds the whole frame.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from upnext.core.errors import Unavailable

MAX_FRAME_BYTES: Final = 256 << 20
_LENGTH: Final = struct.Struct("<I")


def frame(number: int, message: object, encoder: msgspec.msgpack.Encoder) -> bytes:
    """The bytes of one numbered message."""
    body = encoder.encode((number, message))
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into the bodies of its frames."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of the frame that is not whole yet
        self._n_bytes = 0
        self._n_wanted = 0

    @property
    def is_inside(self) -> bool:
        """Whether the stream stands inside a frame: an end here is a break."""
        return bool(self._parts)

    def feed(self, data: bytes) -> list[memoryview]:
        """The bodies that are whole now, in order.

        Raises: Unavailable where a frame is too long."""
        if self._parts:
            self._parts.append(data)
            self._n_bytes += len(data)
            if self._n_bytes < self._n_wanted:
                return []
            data = b"".join(self._parts)
            self._parts = []
        return self._cut(memoryview(data))

    def _cut(self, data: memoryview) -> list[memoryview]:
        bodies: list[memoryview] = []
        start = 0
        wanted = _LENGTH.size
        while len(data) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(data, start)
            if size > MAX_FRAME_BYTES:
                raise Unavailable(f"a frame of {size} bytes; at most {MAX_FRAME_BYTES}")
            wanted = _LENGTH.size + size
            if len(data) - start < wanted:
                break
            bodies.append(data[start + _LENGTH.size : start + wanted])
            start += wanted
            wanted = _LENGTH.size
        if start < len(data):
            self._parts = [bytes(data[start:])]
            self._n_bytes = len(data) - start
            self._n_wanted = wanted
        return bodies

"""Messages over a unix socket: four bytes of length (little-endian), then msgpack.

Every frame starts with the caller's number, so that many calls share one connection and answers may come in any order.
"""

from __future__ import annotations

import asyncio
import struct
from typing import Any, Final

import msgspec

from upnext.core.errors import Unavailable

MAX_FRAME_BYTES: Final = 256 << 20
_LENGTH: Final = struct.Struct("<I")


def frame(number: int, message: Any, encoder: msgspec.msgpack.Encoder) -> bytes:
    """The bytes of one numbered message."""
    body = encoder.encode((number, message))
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The body of the next frame; b"" at the end of the stream.

    Raises: Unavailable where the stream breaks inside a frame or a frame is too long.
    """
    try:
        head = await reader.readexactly(_LENGTH.size)
        (size,) = _LENGTH.unpack(head)
        if size > MAX_FRAME_BYTES:
            raise Unavailable(f"a frame of {size} bytes; at most {MAX_FRAME_BYTES}")
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return b""
        raise Unavailable("the connection broke inside a frame") from error
    except OSError as error:
        raise Unavailable(f"the connection broke: {error}") from error

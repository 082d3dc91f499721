"""One connection to the intake process: frames out, answers in, each to whoever expects its number."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from typing import Final, cast

import msgspec

from upnext.core.errors import Unavailable
from upnext.serve.frames import FrameReader
from upnext.serve.intake_words import Answer

log = logging.getLogger(__name__)
_PUSH_S: Final = 1.0  # a frame larger than the socket's buffer waits for intake to read


class Lost(Exception):
    """The connection broke before the answer."""


class IntakeLine(asyncio.Protocol):
    """A connection is written by the event loop alone (`write`), or by one other thread alone (`push`); the loop hears all answers."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader()
        self._decoder = msgspec.msgpack.Decoder(tuple[int, Answer])
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._transport: asyncio.Transport | None = None
        self._pushing = threading.Lock()
        self._socket: socket.socket | None = (
            None  # the same connection, for a thread beside the loop's
        )

    @classmethod
    async def connect(cls, path: str) -> IntakeLine:
        """A line to the socket at `path`. Raises: Lost where nobody listens."""
        try:
            _, line = await asyncio.get_running_loop().create_unix_connection(cls, path)
        except OSError as error:
            raise Lost from error
        if not line.is_open:
            raise Lost
        return line

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return self._transport is not None and not self._transport.is_closing()

    def expect(self, number: int) -> asyncio.Future[Answer]:
        """The answer to come of that number; from any thread. It fails with Lost where the connection breaks."""
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = answer
        return answer

    def forget(self, number: int) -> None:
        """Nobody waits for that number any more."""
        self._waiting.pop(number, None)

    def write(self, data: bytes) -> None:
        """Sends a frame from the loop; where the connection is just going, the answers fail soon."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def push(self, data: bytes) -> bool:
        """Sends a frame from another thread, at once; whether it went. A line that takes no more is hung up."""
        with self._pushing:
            if self._socket is None:
                return False
            try:
                self._socket.sendall(data)
            except OSError as error:  # a timeout is one
                log.warning("intake connection broke", extra={"error": str(error)})
                _shut_down(self._socket)  # the loop hears of it: half a frame may be out
                return False
        return True

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.close()

    # the transport
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(_PUSH_S)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                number, said = self._decoder.decode(body)
                answer = self._waiting.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(said)
        except (Unavailable, msgspec.MsgspecError) as error:
            log.warning("intake connection broke", extra={"error": str(error)})
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._frames.is_inside:
            log.warning("intake connection broke", extra={"error": "inside a frame"})
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(Lost())
        with self._pushing:  # its peer is gone: who pushes now fails at once
            if self._socket is not None:
                self._socket.close()
                self._socket = None


def _shut_down(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.info("intake connection was gone already")

"""A worker's line to the intake process: one connection, many calls at once.

When intake dies its supervisor starts it again, and every call under way is sent again: works are idempotent by event_id,
request_id and video_id, so sending twice has the effect of sending once. Patience has an end: then Unavailable.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import msgspec

from upnext.core.errors import Unavailable
from upnext.serve.frames import FrameReader, frame
from upnext.serve.intake_words import Answer, Work

log = logging.getLogger(__name__)
PATIENCE_S: Final = 5.0
_AGAIN_S: Final = 0.05


class _Lost(Exception):
    """The connection broke before the answer."""


class IntakeClient:
    """Calls to the intake process from one event loop."""

    def __init__(self, socket_path: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._path = str(socket_path)
        self._patience_s = patience_s
        self._numbers = itertools.count()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[int, Answer])
        self._line: _Line | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._connecting = asyncio.Lock()

    async def call(self, work: Work, *, patience_s: float | None = None) -> Answer:
        """The answer to `work`.

        Raises: Unavailable where intake does not answer within the patience."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._patience_s if patience_s is None else patience_s)
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        return await self._ask(work)
                    except _Lost:
                        await asyncio.sleep(_AGAIN_S)
        except TimeoutError as error:
            raise Unavailable("the intake process does not answer") from error

    async def _ask(self, work: Work) -> Answer:
        line = self._line or await self._connected()
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            line.write(frame(number, work, self._encoder))
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _connected(self) -> _Line:
        async with self._connecting:
            if self._line is None:
                loop = asyncio.get_running_loop()
                try:
                    _, line = await loop.create_unix_connection(
                        lambda: _Line(self._heard, self._lost), self._path
                    )
                except OSError as error:
                    raise _Lost from error
                if not line.is_open:
                    raise _Lost
                self._line = line
            return self._line

    def _heard(self, body: memoryview) -> None:
        number, answer = self._decoder.decode(body)
        future = self._waiting.get(number)
        if future is not None and not future.done():
            future.set_result(answer)

    def _lost(self, line: _Line) -> None:
        if self._line is not line:
            return
        self._line = None
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(_Lost())

    async def close(self) -> None:
        """Hangs up; calls under way fail."""
        if self._line is not None:
            self._line.close()
            self._lost(self._line)


class _Line(asyncio.Protocol):
    """One connection to the intake process: whole answers in, frames out."""

    def __init__(self, heard: Callable[[memoryview], None], lost: Callable[[_Line], None]) -> None:
        self._heard = heard
        self._lost = lost
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                self._heard(body)
        except (Unavailable, msgspec.MsgspecError) as error:
            log.warning("intake connection broke", extra={"error": str(error)})
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._frames.is_inside:
            log.warning("intake connection broke", extra={"error": "inside a frame"})
        self._transport = None
        self._lost(self)

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return self._transport is not None and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Sends a frame; where the connection is just going, `lost` will say so."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.close()

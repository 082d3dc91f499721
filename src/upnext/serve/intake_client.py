"""A worker's line to the intake process: one connection, many calls at once.

When intake dies its supervisor starts it again, and every call under way is sent again: works are idempotent by event_id,
request_id and video_id, so sending twice has the effect of sending once. Patience has an end: then Unavailable.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from pathlib import Path
from typing import Final

import msgspec

from upnext.core.errors import Unavailable
from upnext.serve.frames import frame, read_frame
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
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._connecting = asyncio.Lock()
        self._listener: asyncio.Task[None] | None = None

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
        writer = await self._connected()
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            writer.write(frame(number, work, self._encoder))
            return await answer
        finally:
            self._waiting.pop(number, None)

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is not None and not self._writer.is_closing():
                return self._writer
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError as error:
                raise _Lost from error
            self._writer = writer
            self._listener = asyncio.create_task(self._listen(reader, writer))
            return writer

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while body := await read_frame(reader):
                number, answer = self._decoder.decode(body)
                future = self._waiting.get(number)
                if future is not None and not future.done():
                    future.set_result(answer)
        except Unavailable as error:
            log.warning("intake connection broke", extra={"error": str(error)})
        finally:
            writer.close()
            if self._writer is writer:
                self._writer = None
            waiting, self._waiting = self._waiting, {}
            for future in waiting.values():
                if not future.done():
                    future.set_exception(_Lost())

    async def close(self) -> None:
        """Hangs up; calls under way fail."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)

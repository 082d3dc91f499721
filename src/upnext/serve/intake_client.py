"""A worker's lines to the intake process: many calls at once, from the event loop and from the pipeline's thread.

The event loop has a line, and the pipeline's thread has another: it `post`s a slate the moment it is drawn, without waking the loop,
and goes on with the page while intake writes. The answers of both are heard by the loop.

When intake dies its supervisor starts it again, and every call under way is sent again: works are idempotent by event_id,
request_id and video_id, so sending twice has the effect of sending once. Patience has an end: then Unavailable.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from upnext.core.errors import Unavailable
from upnext.serve.frames import frame
from upnext.serve.intake_line import IntakeLine, Lost
from upnext.serve.intake_words import Answer, Work

PATIENCE_S: Final = 5.0
_AGAIN_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Posted:
    """A work that is on its way."""

    line: IntakeLine
    answer: asyncio.Future[Answer]

    def will_end(self) -> bool:
        """Whether the answer or the line's loss is told; a line that broke just before the post tells nobody."""
        return self.answer.done() or self.line.is_open


class IntakeClient:
    """Calls to the intake process, answered in one event loop."""

    def __init__(self, socket_path: Path, *, patience_s: float = PATIENCE_S) -> None:
        self._path = str(socket_path)
        self._patience_s = patience_s
        self._numbers = itertools.count()
        self._encoder = msgspec.msgpack.Encoder()
        self._line: IntakeLine | None = None
        self._posts: IntakeLine | None = None
        self._connecting = asyncio.Lock()

    async def call(
        self, work: Work, *, posted: Posted | None = None, patience_s: float | None = None
    ) -> Answer:
        """The answer to `work`, which was sent already where it was `posted`.

        Raises: Unavailable where intake does not answer within the patience."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._patience_s if patience_s is None else patience_s)
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        if posted is not None and posted.will_end():
                            return await posted.answer
                        return await self._ask(work)
                    except Lost:
                        posted = None
                        await asyncio.sleep(_AGAIN_S)
        except TimeoutError as error:
            raise Unavailable("the intake process does not answer") from error

    def post(self, work: Work) -> Posted | None:
        """Sends a work from a thread beside the loop's, for `call` to wait for; None where there is no line for it now."""
        line = self._posts
        if line is None or not line.is_open:
            return None
        number = next(self._numbers)
        answer = line.expect(number)
        if not line.push(frame(number, work, self._encoder)):
            return None
        return Posted(line, answer)

    async def _ask(self, work: Work) -> Answer:
        line = await self._connected()
        number = next(self._numbers)
        answer = line.expect(number)
        try:
            line.write(frame(number, work, self._encoder))
            return await answer
        finally:
            line.forget(number)

    async def _connected(self) -> IntakeLine:
        line, posts = self._line, self._posts
        if line is not None and line.is_open and posts is not None and posts.is_open:
            return line
        async with self._connecting:
            if self._line is None or not self._line.is_open:
                self._line = await IntakeLine.connect(self._path)
            if self._posts is None or not self._posts.is_open:
                self._posts = await IntakeLine.connect(self._path)
            return self._line

    async def close(self) -> None:
        """Hangs up; calls under way fail."""
        for line in (self._line, self._posts):
            if line is not None:
                line.close()

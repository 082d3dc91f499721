"""The intake process: the one owner of every writer, behind a unix socket.

One thread does all of it: it reads what has come on every connection, commits that in one transaction, answers, and looks again.
While it waits for the disk the sockets fill, and everything in them is the next commit: a group commit, whose size follows the
load by itself, without a queue or a thread between a message and its commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from upnext.core.errors import InvalidInput, NotFound, Unavailable
from upnext.serve.child import settle_memory
from upnext.serve.frames import FrameReader, frame
from upnext.serve.intake_words import (
    Answer,
    AppendEvents,
    AppendSlate,
    Ask,
    DeleteUser,
    DeleteVideo,
    Done,
    Failed,
    Health,
    LogWork,
    PatchUser,
    PatchVideo,
    PutUsers,
    PutVideos,
    Work,
)
from upnext.serve.json_table import json_table
from upnext.serve.stores import OpenStores

log = logging.getLogger(__name__)
MAX_GROUP: Final = 512
SYNC_EVERY_S: Final = 5.0
SEAL_EVERY_S: Final = 300.0


class IntakeProcess:
    """Serves the writers over a socket."""

    def __init__(self, open_stores: Callable[[], OpenStores], socket_path: Path) -> None:
        self._open_stores = open_stores
        self._socket_path = socket_path
        self._waiting: deque[tuple[Work, int, _Caller]] = deque()
        self._arrived = asyncio.Event()
        self._stores: OpenStores | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Opens the stores (a state that lags is brought up to the log first), then serves until `stop`.

        Raises: Unavailable where a store can't be opened."""
        self._stores = self._open_stores()
        settle_memory()
        self._socket_path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Caller(self._take), str(self._socket_path))
        work = asyncio.create_task(self._commit_forever())
        keep = asyncio.create_task(self._keep_house())
        log.info("intake ready", extra={"socket": str(self._socket_path)})
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({work, keep, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        for task in (work, keep, stopping):
            task.cancel()
        self._stores.close()
        for task in (work, keep):
            if task.done() and not task.cancelled():
                task.result()  # a bug stays loud

    def _take(self, work: Work, number: int, caller: _Caller) -> None:
        """Work for the next commit."""
        self._waiting.append((work, number, caller))
        self._arrived.set()

    # the one writer
    async def _commit_forever(self) -> None:
        """Each turn commits all that the loop has read; the rest that follows sends the answers and reads again."""
        waiting = self._waiting
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while waiting:
                group = [waiting.popleft() for _ in range(min(len(waiting), MAX_GROUP))]
                answers = self._commit([work for work, _, _ in group])
                for (_, number, caller), answer in zip(group, answers, strict=True):
                    caller.answer(number, answer)
                await asyncio.sleep(0)

    def _commit(self, works: Sequence[Work]) -> list[Answer]:
        """The answers in order; runs of log work become one transaction each."""
        assert self._stores is not None
        answers: list[Answer] = []
        run: list[LogWork] = []
        for work in works:
            if isinstance(work, AppendEvents | AppendSlate):
                run.append(work)
                continue
            if run:
                answers += self._stores.writers.commit(run)
                run = []
            answers.append(self._one(work))
        if run:
            answers += self._stores.writers.commit(run)
        return answers

    def _one(self, work: Work) -> Answer:
        assert self._stores is not None
        try:
            return self._change(self._stores, work)
        except InvalidInput as error:
            return Failed("invalid", str(error))
        except NotFound as error:
            return Failed("not_found", str(error))
        except Unavailable as error:
            return Failed("unavailable", str(error))

    def _change(self, stores: OpenStores, work: Work) -> Answer:
        catalog = stores.catalog
        match work:
            case PutVideos(rows=rows):
                return Done(len(catalog.put_videos(json_table(rows, "videos"))))
            case PatchVideo(video_id=video_id, fields=fields):
                catalog.patch_video(video_id, fields)
            case DeleteVideo(video_id=video_id):
                catalog.delete_video(video_id)
            case PutUsers(rows=rows):
                catalog.put_users(json_table(rows, "users"))
                return Done(len(rows))
            case PatchUser(user_id=user_id, fields=fields):
                catalog.patch_user(user_id, fields)
            case DeleteUser(user_id=user_id):
                catalog.delete_user(user_id)
            case Ask():
                return _health(stores)
            case AppendEvents() | AppendSlate():
                raise AssertionError("log work goes through commit")
        return Done()

    # housekeeping
    async def _keep_house(self) -> None:
        """Now and then: state to the disk, old rows of the log into Parquet.

        Raises: Unavailable, which ends the process, where the state is gone: the next one builds it from the log."""
        seal_at = asyncio.get_running_loop().time() + SEAL_EVERY_S
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            seal = asyncio.get_running_loop().time() >= seal_at
            if seal:
                seal_at += SEAL_EVERY_S
            # in another thread: a sync of the state takes a disk's time, and pages wait for this one
            await asyncio.to_thread(self._sync)
            if not self._house(seal):
                raise Unavailable("the state's file is gone; starting again to build it anew")

    def _sync(self) -> None:
        assert self._stores is not None
        try:
            self._stores.sync()
        except Unavailable as error:
            log.warning("sync failed; tried again later", extra={"error": str(error)})

    def _house(self, seal: bool) -> bool:
        """Whether all stands where it should."""
        assert self._stores is not None
        try:
            if not self._stores.is_in_place():
                return False
            if seal:
                self._stores.log.seal()
        except Unavailable as error:
            log.warning("housekeeping failed; tried again later", extra={"error": str(error)})
        return True


def _health(stores: OpenStores) -> Health:
    writers = stores.writers
    return Health(
        last_seq=stores.log.last_seq(),
        watermark=stores.watermark(),
        n_events=writers.n_events,
        n_slates=writers.n_slates,
        n_commits=writers.n_commits,
    )


class _Caller(asyncio.Protocol):
    """One connection: frames in, frames out."""

    def __init__(self, take: Callable[[Work, int, _Caller], None]) -> None:
        self._take = take
        self._frames = FrameReader()
        self._decoder = msgspec.msgpack.Decoder(tuple[int, Work])
        self._encoder = msgspec.msgpack.Encoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for body in self._frames.feed(data):
                number, work = self._decoder.decode(body)
                self._take(work, number, self)
        except (Unavailable, msgspec.MsgspecError) as error:
            log.warning("connection dropped", extra={"error": str(error)})
            if self._transport is not None:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._frames.is_inside:
            log.warning("connection dropped", extra={"error": "it broke inside a frame"})

    def answer(self, number: int, answer: Answer) -> None:
        """Sends the answer to a work; nobody hears it where the caller has gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(number, answer, self._encoder))

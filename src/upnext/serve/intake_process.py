"""The intake process: the one owner of every writer, behind a unix socket.

Work of all connections goes through one queue into one thread. While the thread waits for the disk the queue fills, and
everything in it is the next commit: a group commit, whose size follows the load by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from upnext.core.errors import InvalidInput, NotFound, Unavailable
from upnext.serve.frames import frame, read_frame
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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writers")
        self._queue: asyncio.Queue[tuple[Work, asyncio.Future[Answer]]] = asyncio.Queue()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[int, Work])
        self._stores: OpenStores | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Opens the stores (a state that lags is brought up to the log first), then serves until `stop`.

        Raises: Unavailable where a store can't be opened."""
        self._stores = await self._in_thread(self._open_stores)
        self._socket_path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, str(self._socket_path))
        work = asyncio.create_task(self._commit_forever())
        keep = asyncio.create_task(self._keep_house())
        log.info("intake ready", extra={"socket": str(self._socket_path)})
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({work, keep, stopping}, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        for task in (work, keep, stopping, *self._tasks):
            task.cancel()
        await self._in_thread(self._stores.close)
        for task in (work, keep):
            if task.done() and not task.cancelled():
                task.result()  # a bug stays loud

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # one connection
    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while body := await read_frame(reader):
                number, work = self._decoder.decode(body)
                answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
                self._queue.put_nowait((work, answer))
                task = asyncio.create_task(self._answer(number, answer, writer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (Unavailable, msgspec.MsgspecError) as error:
            log.warning("connection dropped", extra={"error": str(error)})
        finally:
            writer.close()

    async def _answer(
        self, number: int, answer: asyncio.Future[Answer], writer: asyncio.StreamWriter
    ) -> None:
        said = await answer
        if not writer.is_closing():
            writer.write(frame(number, said, self._encoder))

    # the one writer
    async def _commit_forever(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            answers = await self._in_thread(self._commit, [work for work, _ in group])
            for (_, future), answer in zip(group, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

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
            # in another thread: a sync of the state takes a disk's time, and pages wait for the writing thread
            await asyncio.to_thread(self._sync)
            if not await self._in_thread(self._house, seal):
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

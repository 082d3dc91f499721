"""`upnext serve`: one supervisor (which is the dispatcher too), one intake process, N workers.

    supervisor  host:port, HTTP; starts the others again when they die
      intake    unix socket, msgpack: the catalogue, the log, the state
      worker-i  unix socket, HTTP: the pipeline

Whatever is killed comes back by itself: a worker's requests move to the others, intake's calls are sent again, and if the
supervisor itself dies its children follow, because their stdin ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from upnext.core.errors import Unavailable
from upnext.serve.child import errand_for
from upnext.serve.dispatcher import Bounds, Dispatcher
from upnext.serve.event_loop import loop_factory
from upnext.serve.kept_process import KeptProcess
from upnext.serve.upstream import UpstreamWorker
from upnext.settings.settings import Settings

log = logging.getLogger(__name__)
MAX_SOCKET_FOLDER: Final = 90  # a unix socket's whole path has at most 107 bytes
INTAKE: Final = (sys.executable, "-m", "upnext.serve.intake")
WORKER: Final = (sys.executable, "-m", "upnext.serve.worker")
GRACE_S: Final = 10.0
MAX_FAILED_STARTS: Final = 8  # about six seconds: a predecessor's writers may take a moment to end


class Supervisor:
    """The whole system of one data folder."""

    def __init__(
        self,
        settings: Settings,
        sockets: Path,
        *,
        worker_command: Sequence[str] = WORKER,
        intake_command: Sequence[str] = INTAKE,
    ) -> None:
        self.settings = settings
        intake_socket = sockets / "intake.sock"
        self.intake = self._child("intake", intake_command, intake_socket, intake_socket)
        self.workers: list[KeptProcess] = []
        upstreams: list[UpstreamWorker] = []
        for i in range(settings.serve.workers):
            path = sockets / f"worker-{i}.sock"
            upstream = UpstreamWorker(f"worker-{i}", str(path))
            upstreams.append(upstream)
            self.workers.append(
                self._child(upstream.name, worker_command, path, intake_socket, upstream.lost)
            )
        self.dispatcher = Dispatcher(upstreams, _bounds(settings))
        self.port = 0

    def _child(
        self,
        name: str,
        command: Sequence[str],
        socket: Path,
        intake_socket: Path,
        on_exit: Callable[[], None] = lambda: None,
    ) -> KeptProcess:
        errand = errand_for(self.settings, name, socket, intake_socket)
        return KeptProcess(name, command, msgspec.json.encode(errand), socket, on_exit)

    async def start(self) -> None:
        """Listens at once (503 until a worker is ready), then starts intake, then the workers.

        Raises: Unavailable where the address is taken or intake can't start."""
        serve = self.settings.serve
        try:
            self.port = await self.dispatcher.start(serve.host, serve.port)
        except OSError as error:
            where = f"{serve.host}:{serve.port}"
            raise Unavailable(f"can't listen on {where}: {error.strerror or error}") from error
        self.intake.start()
        await self._until(self.intake)
        for worker in self.workers:
            worker.start()

    async def until_ready(self) -> None:
        """Returns when every worker answers.

        Raises: Unavailable where a worker fails again and again."""
        for worker, upstream in zip(self.workers, self.dispatcher.workers, strict=True):
            await self._until(worker)
            while not upstream.is_ready:
                await asyncio.sleep(0.02)

    async def _until(self, child: KeptProcess) -> None:
        listening = asyncio.create_task(child.until_listening())
        while not listening.done():
            await asyncio.wait({listening}, timeout=0.1)
            if child.n_starts > MAX_FAILED_STARTS:
                listening.cancel()
                raise Unavailable(f"{child.name} does not start; its log lines above say why")

    async def stop(self) -> None:
        """Lets what is under way end, then the workers, then intake, which writes what it has."""
        await self.dispatcher.stop(GRACE_S)
        await asyncio.gather(*(worker.stop(GRACE_S) for worker in self.workers))
        await self.intake.stop(GRACE_S)


def _bounds(settings: Settings) -> Bounds:
    serve = settings.serve
    return Bounds(
        cheap_after=serve.max_waiting,
        max_heavy=serve.max_in_flight,
        max_body_bytes=serve.max_body_mb << 20,
    )


def run(
    settings: Settings,
    *,
    worker_command: Sequence[str] = WORKER,
    announce: Callable[[str], None] = lambda url: None,
) -> None:
    """Serves until SIGTERM or SIGINT; `announce` hears the URL once every worker is ready.

    Raises: Unavailable where the folder is served already, the address is taken or a process can't start."""
    _warn_open(settings)
    with (
        claimed(settings.run_path) as sockets,
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        runner.run(_serve(settings, sockets, worker_command, announce))


async def _serve(
    settings: Settings,
    sockets: Path,
    worker_command: Sequence[str],
    announce: Callable[[str], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    supervisor = Supervisor(settings, sockets, worker_command=worker_command)
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(_start(supervisor))
    try:
        await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            host = settings.serve.host
            shown = f"[{host}]" if ":" in host else host
            announce(f"http://{shown}:{supervisor.port}")
            await stopping
    finally:
        starting.cancel()
        await supervisor.stop()


async def _start(supervisor: Supervisor) -> None:
    await supervisor.start()
    await supervisor.until_ready()


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """The folder for sockets, while no other system runs on this data; a short one elsewhere where the path is too long.

    Raises: Unavailable where another system holds it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unavailable(f"{folder}: another `upnext serve` runs on this data") from error
        if len(os.fsencode(folder.resolve())) <= MAX_SOCKET_FOLDER:
            yield folder.resolve()
            return
        short = Path(tempfile.mkdtemp(prefix="upnext-"))
        try:
            yield short
        finally:
            shutil.rmtree(short, ignore_errors=True)
    finally:
        os.close(lock)


def _warn_open(settings: Settings) -> None:
    if not settings.serve.api_keys:
        where = settings.serve.host
        log.warning("no api keys: open to whoever reaches the port", extra={"host": where})
    if settings.serve.clock == "simulated":
        log.warning("the time is what requests say: for simulations alone")

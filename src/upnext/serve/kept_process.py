"""A process that is started again whenever it ends, each time after a longer rest while it keeps failing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from upnext.core.one_thread import ONE_THREAD

log = logging.getLogger(__name__)
FIRST_REST_S: Final = 0.05
LONGEST_REST_S: Final = 5.0
HEALTHY_AFTER_S: Final = 10.0


class KeptProcess:
    """One child of the supervisor."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        first_line: bytes,
        socket_path: Path,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.socket_path = socket_path
        self.n_starts = 0
        self.last_exit: int | None = None
        self._command = list(command)
        self._first_line = first_line
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def start(self) -> None:
        """Starts and keeps it."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        rest_s = FIRST_REST_S
        while True:
            self.socket_path.unlink(missing_ok=True)
            began_s = loop.time()
            await self._run_once()
            if loop.time() - began_s > HEALTHY_AFTER_S:
                rest_s = FIRST_REST_S
            extra = {"child": self.name, "exit": self.last_exit, "rest_s": round(rest_s, 2)}
            log.warning("child ended; starting it again", extra=extra)
            await asyncio.sleep(rest_s)
            rest_s = min(2 * rest_s, LONGEST_REST_S)

    async def _run_once(self) -> None:
        self.n_starts += 1
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, **ONE_THREAD},  # what the parent has, and this
        )
        self._process = process
        assert process.stdin is not None
        process.stdin.write(self._first_line + b"\n")
        self.last_exit = await process.wait()
        self._on_exit()

    async def until_listening(self) -> None:
        """Returns when its socket takes connections."""
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(str(self.socket_path))
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return

    async def stop(self, grace_s: float) -> None:
        """Asks it to end, and kills it after `grace_s`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

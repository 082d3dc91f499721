"""A child process of the supervisor: how its parameters reach it, and how it dies with its parent.

The supervisor writes one line of JSON to the child's stdin and keeps that pipe open. Its end, however the supervisor ended
(a kill -9 too), tells the child to stop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from upnext.settings.settings import Settings, parse


class Errand(msgspec.Struct):
    """What a child is told."""

    name: str  # "intake", "worker-0"
    socket: str  # where it listens
    intake_socket: str
    settings: str  # Settings as JSON, without its root
    root: str
    log_level: int = logging.INFO

    @property
    def socket_path(self) -> Path:
        """Where the child listens."""
        return Path(self.socket)

    def read_settings(self) -> Settings:
        """The settings of the whole system."""
        return parse(msgspec.json.decode(self.settings), "settings", Path(self.root))


def errand_for(settings: Settings, name: str, socket: Path, intake_socket: Path) -> Errand:
    """What the supervisor tells a child."""
    level = logging.getLogger().getEffectiveLevel()
    body = settings.model_dump_json()
    return Errand(name, str(socket), str(intake_socket), body, str(settings.root), level)


def read_errand() -> Errand:
    """The first line of stdin.

    Raises: msgspec.DecodeError where it is no errand."""
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=Errand)


def settle_memory() -> None:
    """What is here stays, and is not looked through again: a full collection over it would stop the process for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def when_orphaned(stop: Callable[[], object]) -> None:
    """Calls `stop` from a thread once stdin ends."""

    stdin = sys.stdin.fileno()  # raw: a buffered read would hold a lock at the interpreter's end

    def watch() -> None:
        while os.read(stdin, 4096):
            pass
        stop()

    threading.Thread(target=watch, name="orphan-watch", daemon=True).start()


def stop_event() -> asyncio.Event:
    """Set by SIGTERM, SIGINT or the end of stdin; for a child with an event loop of its own."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    when_orphaned(lambda: loop.call_soon_threadsafe(stop.set))
    return stop

"""Answers that leave a worker in one piece: what is written in one turn of the event loop becomes one write.

The web server writes an answer's head and its body apart. The dispatcher would be woken for each, and its client too: two system
calls more in every process, and a change of tasks between them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_PASSED: Final = ("data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing")  # fmt: skip


class CorkedHttp(asyncio.Protocol):
    """uvicorn's protocol on a transport that gathers writes."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any
    ) -> None:
        self._http = HttpToolsProtocol(config, server_state, app_state, **more)
        for name in _PASSED:
            setattr(self, name, getattr(self._http, name))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        corked = CorkedTransport(cast(asyncio.Transport, transport))
        self._http.connection_made(cast(asyncio.Transport, corked))


class CorkedTransport:
    """A transport whose writes leave together at the end of the loop's turn; all else is the transport's own."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Bytes for the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        """Ends after what is written."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))

"""A worker as the dispatcher sees it: a unix socket, a pool of persistent connections, and how much is in flight there."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from upnext.core.errors import Unavailable
from upnext.serve.http_message import Headers

MAX_IDLE = 64


class Listener(Protocol):
    """Hears one answer, in this order: head, body*, done; or failed at any point instead."""

    def head(self, status: int, headers: Headers, *, chunked: bool) -> None: ...

    def body(self, data: bytes) -> None: ...

    def flush(self) -> None:
        """All bytes that arrived together were told."""
        ...

    def done(self) -> None: ...

    def failed(self) -> None: ...


class UpstreamWorker:
    """One worker process behind a unix socket."""

    def __init__(self, name: str, socket_path: str) -> None:
        self.name = name
        self.socket_path = socket_path
        self.is_ready = False
        self.n_heavy = 0  # in flight, running the pipeline
        self.n_light = 0
        self.n_answered = 0
        self.idle: list[UpstreamConnection] = []

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return self.n_heavy + self.n_light

    def lost(self) -> None:
        """Forgets every pooled connection; the worker is not asked until it is ready again."""
        self.is_ready = False
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()

    async def connect(self) -> UpstreamConnection:
        """A fresh connection.

        Raises: Unavailable where nobody listens.
        """
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_unix_connection(
                lambda: UpstreamConnection(self), self.socket_path
            )
        except OSError as error:
            raise Unavailable(f"worker {self.name}: {error}") from error
        return connection


class UpstreamConnection(asyncio.Protocol):
    """One persistent connection; one exchange at a time."""

    def __init__(self, worker: UpstreamWorker) -> None:
        self.worker = worker
        self.listener: Listener | None = None
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._chunked = False
        self._keep_alive = False
        self._complete = False

    def send(self, data: bytes, listener: Listener) -> None:
        """Sends a whole request; `listener` hears the answer."""
        self.listener = listener
        if self._transport is None:
            self._fail()
            return
        self._transport.write(data)

    def close(self) -> None:
        """Ends it; whoever listens hears of it."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Takes no more bytes for now: the client reads slowly."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Takes bytes again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self.worker.idle:
            self.worker.idle.remove(self)
        self._fail()

    def data_received(self, data: bytes) -> None:
        listener = self.listener
        if listener is None:  # an answer nobody asked for
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.close()
            return
        listener.flush()
        if self._complete:
            self._finish(listener)

    def _finish(self, listener: Listener) -> None:
        self.listener = None
        reusable = self._keep_alive and len(self.worker.idle) < MAX_IDLE
        self._complete = False
        self._headers = []
        if reusable and self._transport is not None and not self._transport.is_closing():
            self.resume()
            self.worker.idle.append(self)
        else:
            self.close()
        listener.done()

    def _fail(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.failed()

    # httptools callbacks
    def on_message_begin(self) -> None:
        self._headers = []
        self._chunked = False
        self._complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 17 and name.lower() == b"transfer-encoding":
            self._chunked = b"chunked" in value.lower()
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._keep_alive = self._parser.should_keep_alive()
        if self.listener is not None:
            status = self._parser.get_status_code()
            self.listener.head(status, self._headers, chunked=self._chunked)

    def on_body(self, data: bytes) -> None:
        if self.listener is not None:
            self.listener.body(data)

    def on_message_complete(self) -> None:
        self._complete = True


class Collector:
    """A Listener that keeps the whole answer for an awaiting caller."""

    def __init__(self) -> None:
        self.status = 0
        self._parts: list[bytes] = []
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def head(self, status: int, headers: Headers, *, chunked: bool) -> None:
        self.status = status

    def body(self, data: bytes) -> None:
        self._parts.append(data)

    def flush(self) -> None:
        pass

    def done(self) -> None:
        if not self._answer.done():
            self._answer.set_result(b"".join(self._parts))

    def failed(self) -> None:
        if not self._answer.done():
            self._answer.set_exception(Unavailable("the worker went away"))

    async def answer(self) -> bytes:
        """The body, when it is all there."""
        return await self._answer


async def get(
    worker: UpstreamWorker, target: str, timeout_s: float, key: str = ""
) -> tuple[int, bytes]:
    """(status, body) of a GET of the dispatcher's own, on a connection of its own; `key`: its Authorization.

    Raises: Unavailable where the worker does not answer in time.
    """
    connection = await worker.connect()
    collector = Collector()
    head = f"GET {target} HTTP/1.1\r\nhost: worker\r\nx-upnext-peer: 127.0.0.1\r\n"
    head += f"authorization: {key}\r\n\r\n" if key else "\r\n"
    try:
        async with asyncio.timeout(timeout_s):
            connection.send(head.encode(), collector)
            body = await collector.answer()
    except TimeoutError as error:
        raise Unavailable(f"worker {worker.name}: no answer in {timeout_s} s") from error
    finally:
        if connection in worker.idle:
            worker.idle.remove(connection)
        connection.close()
    return collector.status, body

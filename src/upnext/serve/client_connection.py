"""A client's connection to the dispatcher: parses requests, bounds them, and answers them one after the other.

Bodies are read whole (up to a bound) before a worker hears of the request: a slow sender occupies no worker, and a request can
be sent again. Answers stream. A second request that arrives before the first is answered waits in the connection's queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

import httptools

from upnext.serve.http_message import Headers, HttpRequest, error_answer
from upnext.serve.upstream import UpstreamConnection

MAX_HEAD_BYTES = 65_536
MAX_WAITING = 16
LINGER_S = 0.3


class UnderWay(Protocol):
    """A request that is being answered."""

    is_over: bool
    connection: UpstreamConnection | None

    def abandon(self) -> None: ...


class Front(Protocol):
    """What a connection needs of the dispatcher."""

    max_body_bytes: int
    is_closing: bool
    connections: set[ClientConnection]

    def dispatch(self, request: HttpRequest, client: ClientConnection) -> UnderWay | None: ...

    def refused(self, status: int) -> None: ...


class ClientConnection(asyncio.Protocol):
    """One connection, kept alive over many requests."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: UnderWay | None = None
        self._waiting: deque[HttpRequest] = deque()
        self._paused = False
        self._closing = False  # no further request is read
        self._target = b""
        self._headers: Headers = []
        self._body: list[bytes] = []
        self._n_head = 0
        self._n_body = 0
        self.idle_since_s = 0.0
        self.peer = b"127.0.0.1"

    @property
    def is_busy(self) -> bool:
        """True while an answer is owed."""
        return self._exchange is not None

    # the transport
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and peer:
            self.peer = str(peer[0]).encode()
        self.idle_since_s = asyncio.get_running_loop().time()
        self._front.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.connections.discard(self)
        self._transport = None
        self._closing = True
        self._waiting.clear()
        if self._exchange is not None:
            self._exchange.abandon()
            self._exchange = None

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._n_head += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._closing = True  # the request is answered in HTTP/1.1; what follows is not HTTP
        except httptools.HttpParserError:
            self._refuse_input(400, "malformed", "this is not an HTTP/1.1 request")
        if self._n_head > MAX_HEAD_BYTES + self._n_body and not self._closing:
            self._refuse_input(
                431, "headers_too_large", f"at most {MAX_HEAD_BYTES} bytes of headers"
            )

    def eof_received(self) -> bool:
        """Half-closed by the client: what is under way is still answered."""
        self._closing = True
        return self._exchange is not None

    def pause_writing(self) -> None:
        if self._exchange is not None and self._exchange.connection is not None:
            self._exchange.connection.pause()

    def resume_writing(self) -> None:
        if self._exchange is not None and self._exchange.connection is not None:
            self._exchange.connection.resume()

    # httptools callbacks
    def on_message_begin(self) -> None:
        self.idle_since_s = asyncio.get_running_loop().time()
        self._target = b""
        self._headers = []
        self._body = []
        self._n_body = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        limit = self._front.max_body_bytes
        for name, value in self._headers:
            if len(name) == 14 and name.lower() == b"content-length" and int(value) > limit:
                self._refuse_input(413, "body_too_large", f"at most {limit} bytes")
            elif len(name) == 6 and name.lower() == b"expect" and not self._closing:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._n_body += len(data)
        if self._closing:
            return
        if self._n_body > self._front.max_body_bytes:
            limit = self._front.max_body_bytes
            self._refuse_input(413, "body_too_large", f"at most {limit} bytes")
            return
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._n_head = 0
        if self._closing:
            return
        request = HttpRequest(
            self._parser.get_method(),
            self._target,
            self._headers,
            b"".join(self._body),
            self._parser.should_keep_alive(),
            self._parser.get_http_version() == "1.0",
        )
        if self._target[:1] != b"/" and self._target != b"*":
            self._refuse_input(400, "malformed", "the target of a request starts with /")
        elif self._exchange is None and not self._waiting:
            self._begin(request)
        else:
            self._wait(request)

    def _wait(self, request: HttpRequest) -> None:
        self._waiting.append(request)
        if len(self._waiting) >= MAX_WAITING and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _begin(self, request: HttpRequest) -> None:
        exchange = self._front.dispatch(request, self)
        if exchange is not None and not exchange.is_over:  # else it was answered at once
            self._exchange = exchange

    # what the exchange says
    def write(self, data: bytes) -> None:
        """Bytes to the client."""
        if self._transport is not None:
            self._transport.write(data)

    def answered(self, *, keep_alive: bool) -> None:
        """The answer is complete; the next request, if one waits, begins."""
        self._exchange = None
        self.idle_since_s = asyncio.get_running_loop().time()
        if not keep_alive or (self._front.is_closing and not self._waiting):
            self.close()
        elif self._waiting:
            self._begin(self._waiting.popleft())
            self._resume_reading()
        elif self._closing:
            self.close()

    def _resume_reading(self) -> None:
        if self._paused and len(self._waiting) < MAX_WAITING and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def cut(self) -> None:
        """Ends at once, in the middle of an answer."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Ends after what is written."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def reply(self, answer: bytes, *, keep_alive: bool) -> None:
        """A whole answer of the dispatcher's own."""
        self.write(answer)
        self.answered(keep_alive=keep_alive)

    def _refuse_input(self, status: int, code: str, message: str) -> None:
        """Answers what cannot be read on from, then lets the sender finish for a moment: a reset would swallow the answer."""
        if self._closing:
            return
        self._closing = True
        self._front.refused(status)
        if self._exchange is None:
            self.write(error_answer(status, code, message, keep_alive=False))
            asyncio.get_running_loop().call_later(LINGER_S, self.close)

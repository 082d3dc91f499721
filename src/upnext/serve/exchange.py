"""One request's way to a worker and its answer's way back.

A worker that dies before the first byte of its answer costs a second try on another worker, where repeating is safe; after
the first byte the client's connection is cut, so that nobody takes half an answer for a whole one.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from upnext.core.errors import Unavailable
from upnext.serve.http_message import Headers, HttpRequest, answer_head, error_answer
from upnext.serve.upstream import UpstreamConnection, UpstreamWorker


class Client(Protocol):
    """The connection that asked."""

    def write(self, data: bytes) -> None: ...

    def answered(self, *, keep_alive: bool) -> None: ...

    def cut(self) -> None: ...

    def reply(self, answer: bytes, *, keep_alive: bool) -> None: ...


class Route(Protocol):
    """Who chooses workers and counts."""

    def choose(self, *, light: bool, but: UpstreamWorker | None) -> UpstreamWorker | None: ...

    def ended(self, exchange: Exchange, status: int) -> None: ...

    def retried(self, worker: UpstreamWorker) -> None: ...


class Exchange:
    """A request under way; a Listener of the upstream connection."""

    def __init__(
        self, request: HttpRequest, payload: bytes, client: Client, route: Route, started_s: float
    ) -> None:
        self.request = request
        self.payload = payload
        self.client: Client | None = client
        self.route = route
        self.started_s = started_s
        self.is_light = request.is_light()
        self.worker: UpstreamWorker | None = None
        self.connection: UpstreamConnection | None = None
        self._status = 0
        self._chunked = False
        self._mute_body = False
        self._keep_alive = request.keep_alive
        self._parts: list[bytes] = []
        self._n_tries = 0
        self._task: asyncio.Task[None] | None = None
        self._timed_out = False
        self.is_over = False

    def start(self, worker: UpstreamWorker) -> None:
        """Goes to `worker`, on a pooled connection where one is idle."""
        self._occupy(worker)
        if worker.idle:
            self._send(worker.idle.pop())
        else:
            self._task = asyncio.get_running_loop().create_task(self._connect(worker))

    def _occupy(self, worker: UpstreamWorker) -> None:
        self.worker = worker
        self._n_tries += 1
        if self.is_light:
            worker.n_light += 1
        else:
            worker.n_heavy += 1

    def _leave(self) -> None:
        worker = self.worker
        if worker is None:
            return
        if self.is_light:
            worker.n_light -= 1
        else:
            worker.n_heavy -= 1
        self.worker = None

    async def _connect(self, worker: UpstreamWorker) -> None:
        try:
            connection = await worker.connect()
        except Unavailable:
            self._lost(sent=False)
            return
        if self.worker is not worker:  # timed out meanwhile
            connection.close()
            return
        self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        connection.send(self.payload, self)

    def abandon(self) -> None:
        """The client is gone: the worker's answer is read to its end and dropped, so that the worker's load stays true."""
        self.client = None
        if self.connection is not None:
            self.connection.resume()

    def time_out(self) -> None:
        """Ends an exchange that took too long."""
        self._timed_out = True
        if self.connection is not None:
            self.connection.close()
        else:
            self._lost(sent=True)

    # the answer
    def head(self, status: int, headers: Headers, *, chunked: bool) -> None:
        self._status = status
        self._mute_body = self.request.method == b"HEAD"
        self._chunked = chunked and not self.request.is_http_1_0 and not self._mute_body
        if chunked and self.request.is_http_1_0:
            self._keep_alive = False
        head = answer_head(
            status,
            headers,
            chunked=self._chunked,
            keep_alive=self._keep_alive,
            is_http_1_0=self.request.is_http_1_0,
        )
        self._parts.append(head)

    def body(self, data: bytes) -> None:
        if self._mute_body:
            return
        if self._chunked:
            self._parts += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._parts.append(data)

    def flush(self) -> None:
        if self._parts and self.client is not None:
            self.client.write(b"".join(self._parts))
        self._parts = []

    def done(self) -> None:
        if self.worker is not None:
            self.worker.n_answered += 1
        self._leave()
        self.connection = None
        self.is_over = True
        client = self.client
        if client is not None and self._chunked:
            client.write(b"0\r\n\r\n")
        self.route.ended(self, self._status)
        if client is not None:
            client.answered(keep_alive=self._keep_alive)

    def failed(self) -> None:
        self._lost(sent=True)

    def _lost(self, *, sent: bool) -> None:
        worker = self.worker
        self.connection = None
        self._leave()
        client = self.client
        self.is_over = client is None or worker is None or self._status > 0
        if client is None or worker is None:
            self.route.ended(self, self._status)
        elif self._status:  # half an answer went out
            self.route.ended(self, 502)
            client.cut()
        elif self._timed_out:
            self._refuse(client, 504, "timeout", "the worker did not answer in time")
        elif self._n_tries < 3 and (not sent or self.request.may_repeat()):
            self._try_again(worker, client)
        else:
            self._give_up(client)

    def _try_again(self, worker: UpstreamWorker, client: Client) -> None:
        self.route.retried(worker)
        other = self.route.choose(light=self.is_light, but=worker)
        if other is None:
            self._give_up(client)
        else:
            self.start(other)

    def _give_up(self, client: Client) -> None:
        self._refuse(client, 503, "unavailable", "no worker could answer; try again")

    def _refuse(self, client: Client, status: int, code: str, message: str) -> None:
        self.is_over = True
        self.route.ended(self, status)
        keep_alive = self._keep_alive
        answer = error_answer(status, code, message, keep_alive=keep_alive, retry_after_s=1)
        client.reply(answer, keep_alive=keep_alive)

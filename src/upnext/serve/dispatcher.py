"""The dispatcher: one front door, N workers, each request to the least loaded one.

`accept` on a shared socket balances connections, not requests: two keep-alive clients often land on one worker while the other
sleeps. Here every request chooses anew. In flight is bounded per worker: within the first bound a worker answers with
everything it has; beyond it the header `x-upnext-degrade: cheap` asks for the cheaper pipeline; beyond the second bound the answer
is 503 with Retry-After at once. Latency never queues silently. A page that finds no worker busy is told so (`x-upnext-idle`): its ranking may use
the other workers' cores.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Final

from upnext.core.errors import Unavailable
from upnext.serve.client_connection import ClientConnection, UnderWay
from upnext.serve.exchange import Exchange
from upnext.serve.http_message import Headers, HttpRequest, error_answer, whole_answer
from upnext.serve.merged_metrics import DispatcherMetrics, merged
from upnext.serve.time_ordered_id import time_ordered_id
from upnext.serve.upstream import UpstreamConnection, UpstreamWorker, get

log = logging.getLogger(__name__)
READY_EVERY_S: Final = 0.1
SWEEP_EVERY_S: Final = 1.0
READY_TARGET: Final = "/v1/health/ready"
JSON: Final[Headers] = [(b"content-type", b"application/json")]
PROMETHEUS: Final[Headers] = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]


@dataclass(frozen=True)
class Bounds:
    """What one worker may have in flight, and how long things may take."""

    cheap_after: int = 4  # heavy requests in flight on the least loaded worker, from which a cheaper answer is asked for
    max_heavy: int = 10  # beyond: 503
    max_light: int = 256
    max_body_bytes: int = 8 << 20
    answer_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    max_connections: int = 8192


class OwnAnswer:
    """An answer that the dispatcher itself is still making."""

    def __init__(self) -> None:
        self.is_over = False
        self.connection: UpstreamConnection | None = None

    def abandon(self) -> None:
        """Nothing to free."""


class Dispatcher:
    """Accepts clients and passes their requests to workers."""

    def __init__(self, workers: list[UpstreamWorker], bounds: Bounds) -> None:
        self.workers = workers
        self.bounds = bounds
        self.max_body_bytes = bounds.max_body_bytes
        self.is_closing = False
        self.connections: set[ClientConnection] = set()
        self.metrics = DispatcherMetrics()
        self._exchanges: set[Exchange] = set()
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listens; the port it listens on (useful for port 0).

        Raises: OSError where the address is taken.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: ClientConnection(self), host, port, backlog=2048
        )
        self._spawn(self._watch_ready())
        self._spawn(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Accepts nothing more, lets what is under way end for at most `grace_s`, then closes."""
        self.is_closing = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            if not connection.is_busy:
                connection.close()
        ends = asyncio.get_running_loop().time() + grace_s
        while self._exchanges and asyncio.get_running_loop().time() < ends:
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        for connection in list(self.connections):
            connection.cut()
        for worker in self.workers:
            worker.lost()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # one request
    def dispatch(self, request: HttpRequest, client: ClientConnection) -> UnderWay | None:
        """The exchange begun for a request; None where it was answered here."""
        own = self._answer_here(request, client)
        if own:
            return own if isinstance(own, OwnAnswer) else None
        light = request.is_light()
        worker = self.choose(light=light, but=None)
        if worker is None:
            self.refused(503)
            any_ready = any(w.is_ready for w in self.workers)
            code = "overloaded" if any_ready else "not_ready"
            message = "too many requests in flight" if any_ready else "no worker is ready yet"
            keep = request.keep_alive
            answer = error_answer(503, code, message, keep_alive=keep, retry_after_s=1)
            client.reply(answer, keep_alive=keep)
            return None
        cheap = not light and worker.n_heavy >= self.bounds.cheap_after
        if cheap:
            self.metrics.degraded.inc()
        idle = not light and not any(other.n_heavy for other in self.workers)
        payload = request.to_worker(client.peer, time_ordered_id(), cheap=cheap, idle=idle)
        now_s = asyncio.get_running_loop().time()
        exchange = Exchange(request, payload, client, self, now_s)
        self._exchanges.add(exchange)
        exchange.start(worker)
        return exchange

    def choose(self, *, light: bool, but: UpstreamWorker | None) -> UpstreamWorker | None:
        """The ready worker with the least in flight, in turn where they tie; None where none has room.

        `but` is taken only when no other is ready: it may live, and only its connection may have died.
        """
        n = len(self.workers)
        self._turn = (self._turn + 1) % n
        best: UpstreamWorker | None = None
        for i in range(n):
            worker = self.workers[(self._turn + i) % n]
            if not worker.is_ready or worker is but:
                continue
            if best is None or (worker.n_heavy, worker.n_light) < (best.n_heavy, best.n_light):
                best = worker
        if best is None:
            return but
        bounds = self.bounds
        full = best.n_light >= bounds.max_light if light else best.n_heavy >= bounds.max_heavy
        return None if full else best

    def ended(self, exchange: Exchange, status: int) -> None:
        """Counts an exchange that is over."""
        self._exchanges.discard(exchange)
        took_s = asyncio.get_running_loop().time() - exchange.started_s
        self.metrics.observe(status, took_s, light=exchange.is_light)

    def refused(self, status: int) -> None:
        """Counts a request that no worker heard of."""
        self.metrics.refused(status)

    def retried(self, worker: UpstreamWorker) -> None:
        """Counts a worker's loss; it is asked again when it says that it is ready."""
        self.metrics.retried.inc()
        worker.lost()
        log.warning("worker lost a request", extra={"worker": worker.name})

    # what the dispatcher answers itself
    def _answer_here(self, request: HttpRequest, client: ClientConnection) -> OwnAnswer | bool:
        """True: answered; an OwnAnswer: being answered; False: a worker's."""
        path = request.path
        if path == b"/v1/health/live":
            keep = request.keep_alive
            body = whole_answer(200, JSON, b'{"status":"live"}', keep_alive=keep)
            client.reply(body, keep_alive=keep)
            return True
        if path == b"/metrics" and any(worker.is_ready for worker in self.workers):
            own = OwnAnswer()
            self._spawn(self._answer_metrics(request, client, own))
            return own
        return False

    async def _answer_metrics(
        self, request: HttpRequest, client: ClientConnection, own: OwnAnswer
    ) -> None:
        key = b"".join(v for name, v in request.headers if name.lower() == b"authorization")
        refusal, text = await self._metrics_text(key.decode("latin-1"))
        own.is_over = True
        keep = request.keep_alive
        if refusal:
            client.reply(whole_answer(refusal, JSON, text, keep_alive=keep), keep_alive=keep)
        else:
            client.reply(whole_answer(200, PROMETHEUS, text, keep_alive=keep), keep_alive=keep)

    async def _metrics_text(self, key: str) -> tuple[int, bytes]:
        """(0, page) of the dispatcher and every ready worker; (status, body) where a worker refuses the key."""
        texts: dict[str, str] = {}
        for worker in [w for w in self.workers if w.is_ready]:
            try:
                status, body = await get(worker, "/metrics", 2.0, key)
            except Unavailable:
                continue
            if status in (401, 403):
                return status, body
            if status == 200:
                texts[worker.name] = body.decode()
        self.metrics.observe_workers(self.workers)
        return 0, merged(texts, self.metrics.text()).encode()

    # in the background
    async def _watch_ready(self) -> None:
        while True:
            waiting = [w for w in self.workers if not w.is_ready]
            if waiting:
                await asyncio.gather(*(self._ask_ready(worker) for worker in waiting))
            await asyncio.sleep(READY_EVERY_S)

    async def _ask_ready(self, worker: UpstreamWorker) -> None:
        try:
            status, _ = await get(worker, READY_TARGET, 2.0)
        except Unavailable:
            return
        if status == 200 and not self.is_closing:
            worker.is_ready = True
            log.info("worker ready", extra={"worker": worker.name})

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            now_s = asyncio.get_running_loop().time()
            for exchange in list(self._exchanges):
                if now_s - exchange.started_s > self.bounds.answer_timeout_s:
                    exchange.time_out()
            for connection in list(self.connections):
                idle_s = now_s - connection.idle_since_s
                if not connection.is_busy and idle_s > self.bounds.idle_timeout_s:
                    connection.close()

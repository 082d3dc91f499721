"""An open-loop HTTP load: Poisson arrivals, latency counted from the intended send time.

A closed loop hides queueing, because a slow answer delays the next question (coordinated omission). Here arrivals are drawn before the run
and a request that can't be sent on time already waits. Run as a process of its own: `python -m upnext.cli.load`, one JSON line in, one out.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import cast

import httptools
import msgspec
import numpy as np

from upnext.core.randomness import rng_for


class LoadPlan(msgspec.Struct):
    """What to send where."""

    host: str
    port: int
    paths: list[str]  # GET paths, used in turn
    rate: float  # requests a second
    seconds: float
    warm_s: float = 2.0  # sent but not counted
    seed: int = 0
    n_connections: int = 32
    closed_loop: bool = (
        False  # one connection per `n_connections`, next request when the answer is there
    )


class LoadResult(msgspec.Struct):
    """What came back; latencies in ms from the intended send time."""

    latency_ms: list[float]
    statuses: dict[str, int]
    degraded: int
    seconds: float
    generator_cpu_s: float
    generator_late_ms_p99: float
    bytes_p50: float


class _Connection(asyncio.Protocol):
    """One keep-alive connection that carries one request at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, int, bool]] | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._n_bytes, self._degraded = 0, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._n_bytes += len(body)
        if b'"degraded":["' in body:
            self._degraded = True

    def on_message_complete(self) -> None:
        status, answer = self._parser.get_status_code(), self.answer
        n_bytes, degraded = self._n_bytes, self._degraded
        self._reset()
        if answer is not None and not answer.done():
            answer.set_result((status, n_bytes, degraded))

    def connection_lost(self, error: Exception | None) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((0, 0, False))

    def send(self, head: bytes) -> asyncio.Future[tuple[int, int, bool]]:
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(head)
        return self.answer


class _Run:
    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        self.free: deque[_Connection] = deque()
        self.latency_ms: list[float] = []
        self.late_ms: list[float] = []
        self.sizes: list[int] = []
        self.statuses: dict[str, int] = {}
        self.degraded = 0

    async def connection(self) -> _Connection:
        while self.free:
            one = self.free.popleft()
            if not one.transport.is_closing():
                return one
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, self.plan.host, self.plan.port)
        return made

    async def one(self, path: str, intended_s: float, counted: bool) -> None:
        head = f"GET {path} HTTP/1.1\r\nHost: {self.plan.host}\r\nAccept: */*\r\n\r\n".encode()
        connection = await self.connection()
        self.late_ms.append((time.perf_counter() - intended_s) * 1e3)
        status, n_bytes, degraded = await connection.send(head)
        if counted:
            self.latency_ms.append((time.perf_counter() - intended_s) * 1e3)
            self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1
            self.sizes.append(n_bytes)
            self.degraded += degraded
        if status:
            self.free.append(connection)


async def run(plan: LoadPlan) -> LoadResult:
    """Sends the plan and waits for every answer."""
    state = _Run(plan)
    for connection in [await state.connection() for _ in range(plan.n_connections)]:
        state.free.append(connection)
    cpu_s = time.process_time()
    began = time.perf_counter()
    if plan.closed_loop:
        await _closed(state, began)
    else:
        await _open(state, began)
    elapsed_s = time.perf_counter() - began - plan.warm_s
    return LoadResult(
        latency_ms=state.latency_ms,
        statuses=state.statuses,
        degraded=state.degraded,
        seconds=elapsed_s,
        generator_cpu_s=time.process_time() - cpu_s,
        generator_late_ms_p99=float(np.percentile(state.late_ms, 99)) if state.late_ms else 0.0,
        bytes_p50=float(np.median(state.sizes)) if state.sizes else 0.0,
    )


async def _open(state: _Run, began: float) -> None:
    plan = state.plan
    rng = rng_for(plan.seed, "arrivals")
    total_s = plan.warm_s + plan.seconds
    gaps = rng.exponential(1 / plan.rate, int(total_s * plan.rate * 1.5) + 10)
    arrivals = np.cumsum(gaps)
    tasks: list[asyncio.Task[None]] = []
    for i, at_s in enumerate(arrivals[arrivals < total_s]):
        intended = began + float(at_s)
        delay = intended - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        path = plan.paths[i % len(plan.paths)]
        tasks.append(asyncio.create_task(state.one(path, intended, at_s >= plan.warm_s)))
    await asyncio.gather(*tasks)


async def _closed(state: _Run, began: float) -> None:
    plan = state.plan
    count = iter(range(1 << 60))

    async def lane() -> None:
        while (now := time.perf_counter()) - began < plan.warm_s + plan.seconds:
            path = plan.paths[next(count) % len(plan.paths)]
            await state.one(path, now, now - began >= plan.warm_s)

    await asyncio.gather(*(lane() for _ in range(plan.n_connections)))


def main() -> None:
    """Reads one LoadPlan as JSON on stdin, writes one LoadResult as JSON on stdout."""
    import uvloop

    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadPlan)
    result = uvloop.run(run(plan))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()

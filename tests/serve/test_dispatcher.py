"""The dispatcher over trivial workers in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from upnext.serve.dispatcher import Bounds, Dispatcher
from upnext.serve.upstream import UpstreamWorker

WORKER = Path(__file__).with_name("small_worker.py")


class House:
    """A dispatcher over n small workers."""

    def __init__(self, folder: Path, n: int, bounds: Bounds) -> None:
        self.folder = folder
        self.workers = [UpstreamWorker(f"w{i}", str(folder / f"w{i}.sock")) for i in range(n)]
        self.dispatcher = Dispatcher(self.workers, bounds)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.port = 0

    def start_worker(self, i: int) -> None:
        path = self.workers[i].socket_path
        self.kill_worker(i)
        Path(path).unlink(missing_ok=True)
        self.processes[i] = subprocess.Popen([sys.executable, str(WORKER), path])

    def kill_worker(self, i: int) -> None:
        process = self.processes.pop(i, None)
        if process is not None:
            process.kill()
            process.wait()

    async def until_ready(self, n: int) -> None:
        async with asyncio.timeout(20):
            while sum(w.is_ready for w in self.workers) < n:
                await asyncio.sleep(0.02)

    async def raw(self, data: bytes, *, wait_s: float = 5.0) -> bytes:
        """What comes back until the dispatcher closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(wait_s):
            got = await reader.read(-1)
        writer.close()
        return got


@asynccontextmanager
async def house(n: int = 2, **bounds: float):
    with tempfile.TemporaryDirectory(prefix="upn") as folder:
        one = House(Path(folder), n, Bounds(**bounds))
        for i in range(n):
            one.start_worker(i)
        one.port = await one.dispatcher.start("127.0.0.1", 0)
        try:
            await one.until_ready(n)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{one.port}", trust_env=False, timeout=20
            ) as client:
                yield one, client
        finally:
            await one.dispatcher.stop(0.1)
            for i in range(n):
                one.kill_worker(i)


def run(work) -> None:
    asyncio.run(work())


def test_one_connection_reaches_every_worker_evenly() -> None:
    async def work() -> None:
        async with house() as (_, client):
            pids = [(await client.get("/x")).json()["pid"] for _ in range(20)]
            assert sorted(pids.count(p) for p in set(pids)) == [10, 10]

    run(work)


def test_a_busy_worker_is_passed_by() -> None:
    async def work() -> None:
        async with house() as (_, client):
            slow = asyncio.create_task(client.get("/x?sleep=0.6"))
            await asyncio.sleep(0.1)
            quick = [(await client.get("/x")).json()["pid"] for _ in range(6)]
            assert (await slow).json()["pid"] not in quick

    run(work)


def test_bodies_lengths_and_methods_pass_unchanged() -> None:
    async def work() -> None:
        async with house(1) as (one, client):
            body = os.urandom(3_000_001)
            assert (await client.post("/x", content=body)).json()["n"] == len(body)

            async def parts():
                for i in range(0, len(body), 70_001):
                    yield body[i : i + 70_001]

            said = (await client.post("/x", content=parts())).json()
            assert said["n"] == len(body)
            assert said["headers"]["content-length"] == str(len(body))
            streamed = await client.get("/stream?n=5&size=200000")
            assert streamed.content == b"".join(b"%d" % i * 200_000 for i in range(5))
            empty = await client.get("/empty")
            assert (empty.status_code, empty.content) == (204, b"")
            head = await client.head("/x")
            assert head.content == b""
            assert int(head.headers["content-length"]) > 10
            assert (await client.head("/stream")).content == b""
            assert (await client.put("/x", content=b"abc")).json()["method"] == "PUT"
            assert one.workers[0].in_flight == 0

    run(work)


def test_an_old_client_gets_an_unchunked_answer_and_the_end_of_the_connection() -> None:
    async def work() -> None:
        async with house(1) as (one, _):
            got = await one.raw(b"GET /stream?n=3 HTTP/1.0\r\n\r\n")
            head, body = got.split(b"\r\n\r\n", 1)
            assert b"chunked" not in head.lower()
            assert body == b"012"
            closed = await one.raw(b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert b"connection: close" in closed.lower()

    run(work)


def test_requests_sent_without_waiting_are_answered_in_order() -> None:
    async def work() -> None:
        async with house() as (one, _):
            first = b"GET /stream?n=1&every=0.2 HTTP/1.1\r\nhost: a\r\n\r\n"
            live = b"GET /v1/health/live HTTP/1.1\r\nhost: a\r\n\r\n"
            last = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
            got = await one.raw(first + live + last)
            assert got.count(b"HTTP/1.1 200 OK") == 3
            assert got.index(b"chunked") < got.index(b"live") < got.index(b'"pid"')

    run(work)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (
            b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            b"400",
        ),
        (b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999\r\n\r\n", b"413"),
        (b"GET /x HTTP/1.1\r\na: " + b"b" * 80_000, b"431"),
    ],
)
def test_what_is_not_a_request_is_refused_with_a_reason(sent: bytes, status: bytes) -> None:
    async def work() -> None:
        async with house(1) as (one, client):
            got = await one.raw(sent)
            assert got.startswith(b"HTTP/1.1 " + status)
            assert "code" in json.loads(got.split(b"\r\n\r\n", 1)[1])["error"]
            assert (await client.get("/x")).status_code == 200

    run(work)


def test_a_body_that_grows_beyond_the_bound_is_refused() -> None:
    async def work() -> None:
        async with house(1, max_body_bytes=1000) as (one, _):
            chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
            head = b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
            assert (await one.raw(head + chunk)).startswith(b"HTTP/1.1 413")

    run(work)


def test_a_client_that_expects_100_continue_gets_it() -> None:
    async def work() -> None:
        async with house(1) as (one, _):
            head = b"POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
            sent = head + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\nabc"
            got = await one.raw(sent)
            assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")

    run(work)


def test_a_clients_word_never_passes_for_the_dispatchers() -> None:
    async def work() -> None:
        async with house(1) as (_, client):
            sent = {"x-upnext-degrade": "cheap", "x-upnext-peer": "9.9.9.9", "x-forwarded-for": "1.1.1.1",
                    "connection": "keep-alive, x-secret", "x-secret": "1", "accept": "b"}  # fmt: skip
            headers = (await client.get("/x", headers=sent)).json()["headers"]
            assert "x-upnext-degrade" not in headers
            assert headers["x-upnext-peer"] == "127.0.0.1"
            assert headers["x-forwarded-for"] == "1.1.1.1, 127.0.0.1"
            assert "x-secret" not in headers
            assert headers["accept"] == "b"
            assert len(headers["x-upnext-request-id"]) == 32

    run(work)


def test_a_page_is_told_whether_it_found_every_worker_idle() -> None:
    async def work() -> None:
        async with house(2) as (_, client):
            forged = {"x-upnext-idle": "yes"}
            slow = asyncio.create_task(client.get("/x?sleep=0.5"))
            await asyncio.sleep(0.2)
            beside = (await client.get("/x", headers=forged)).json()["headers"]
            assert "x-upnext-idle" not in beside
            assert (await slow).json()["headers"]["x-upnext-idle"] == "yes"
            light = (await client.get("/v1/events")).json()["headers"]
            assert "x-upnext-idle" not in light

    run(work)


def test_beyond_the_first_bound_answers_are_cheap_and_beyond_the_second_there_is_503() -> None:
    async def work() -> None:
        async with house(1, cheap_after=2, max_heavy=4) as (one, client):
            calls = [asyncio.create_task(client.get("/x?sleep=0.5")) for _ in range(6)]
            await asyncio.sleep(0.2)
            assert (
                await client.get("/v1/events")
            ).status_code == 200  # light work has its own bound
            answers = [await call for call in calls]
            assert sorted(a.status_code for a in answers) == [200] * 4 + [503] * 2
            refused = next(a for a in answers if a.status_code == 503)
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "overloaded"
            cheap = [a for a in answers if "x-upnext-degrade" in a.json().get("headers", {})]
            assert len(cheap) == 2
            assert one.workers[0].in_flight == 0
            assert (await client.get("/x")).status_code == 200

    run(work)


def test_a_request_whose_worker_dies_is_answered_by_another() -> None:
    async def work() -> None:
        async with house(2) as (one, client):
            for i in range(2):
                mark = one.folder / f"dead{i}"
                got = await client.get("/x", params={"die_once": str(mark)})
                assert got.status_code == 200
                assert mark.exists()
                dead = next(j for j, w in enumerate(one.workers) if not w.is_ready)
                one.start_worker(dead)
                await one.until_ready(2)

    run(work)


def test_no_request_is_lost_while_workers_are_killed_under_load() -> None:
    async def work() -> None:
        async with house(2) as (one, client):
            statuses: list[int] = []
            going = True

            async def ask() -> None:
                while going:
                    statuses.append((await client.get("/x?sleep=0.005")).status_code)

            lanes = [asyncio.create_task(ask()) for _ in range(8)]
            for i in range(4):
                await asyncio.sleep(0.2)
                one.start_worker(i % 2)  # kills the one before
                await asyncio.sleep(0.2)
                await one.until_ready(2)
            going = False
            await asyncio.gather(*lanes)
            assert set(statuses) == {200}
            assert len(statuses) > 200

    run(work)


def test_an_answer_cut_in_the_middle_is_not_taken_for_a_whole_one() -> None:
    async def work() -> None:
        async with house(2) as (_, client):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/stream?n=2&every=0.05&cut=1")
            assert (await client.get("/x")).status_code == 200

    run(work)


def test_without_a_ready_worker_requests_are_told_to_come_back() -> None:
    async def work() -> None:
        async with house(1) as (one, client):
            one.kill_worker(0)
            got = await client.get("/x")
            assert got.status_code == 503
            assert "retry-after" in got.headers
            assert (await client.get("/v1/health/live")).status_code == 200
            assert (await client.get("/v1/health/ready")).status_code == 503
            one.start_worker(0)
            await one.until_ready(1)
            assert (await client.get("/x")).status_code == 200

    run(work)


def test_a_worker_that_hangs_costs_a_504() -> None:
    async def work() -> None:
        async with house(1, answer_timeout_s=0.2) as (one, client):
            assert (await client.get("/x?sleep=30")).status_code == 504
            assert one.workers[0].in_flight == 0

    run(work)


def test_metrics_of_all_workers_are_summed_and_gauges_keep_their_process() -> None:
    async def work() -> None:
        async with house(2) as (_, client):
            await client.get("/x")
            text = (await client.get("/metrics")).text
            assert "x_total 4.0" in text
            assert 'y{process="w0"} 3.0' in text
            assert 'upnext_http_requests_total{status="200"} 1.0' in text

    run(work)


def test_a_slow_reader_slows_the_worker_and_not_the_memory() -> None:
    async def work() -> None:
        async with house(1) as (one, client):
            _, writer = await asyncio.open_connection("127.0.0.1", one.port, limit=2**16)
            writer.write(b"GET /stream?n=40&size=1000000 HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(0.7)
            connection = next(c for c in one.dispatcher.connections if c.is_busy)
            assert connection._transport.get_write_buffer_size() < 8_000_000
            writer.close()
            await asyncio.sleep(0.1)
            assert (await client.get("/x")).status_code == 200

    run(work)

"""A worker's lines to intake: answers find their callers, and a line that breaks costs a second sending, never an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from upnext.core.errors import Unavailable
from upnext.serve import intake_line
from upnext.serve.frames import FrameReader, frame
from upnext.serve.intake_client import IntakeClient
from upnext.serve.intake_words import Ask, DeleteVideo, Done, Work

ENCODER = msgspec.msgpack.Encoder()
DECODER = msgspec.msgpack.Decoder(tuple[int, Work])
Said = Callable[[asyncio.Transport, int, Work], None]


class Intake:
    """A server that does with every work what `said` does."""

    def __init__(self, folder: Path, said: Said) -> None:
        self.path = folder / "intake.sock"
        self.heard: list[str] = []
        self.said = said
        self.transports: list[asyncio.Transport] = []

    async def __aenter__(self) -> Intake:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_unix_server(lambda: Connection(self), str(self.path))
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        for transport in self.transports:
            transport.abort()
        await asyncio.sleep(0.01)  # both sides hear that they are closed


class Connection(asyncio.Protocol):
    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.frames = FrameReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.intake.transports.append(transport)

    def data_received(self, data: bytes) -> None:
        for body in self.frames.feed(data):
            number, work = DECODER.decode(body)
            self.intake.heard.append(getattr(work, "video_id", "?"))
            self.intake.said(self.transport, number, work)


def say_length(transport: asyncio.Transport, number: int, work: Work) -> None:
    transport.write(frame(number, Done(len(work.video_id)), ENCODER))


async def post(client: IntakeClient, work: Work):
    """Posts from another thread, as the pipeline does."""
    return await asyncio.to_thread(client.post, work)


def test_each_call_gets_its_own_answer_whether_called_or_posted(tmp_path: Path) -> None:
    async def work() -> None:
        async with Intake(tmp_path, say_length) as intake:
            client = IntakeClient(intake.path)
            assert await post(client, DeleteVideo("early")) is None  # no line yet
            called = [client.call(DeleteVideo("v" * n)) for n in (3, 1, 2)]
            assert [a.n for a in await asyncio.gather(*called)] == [3, 1, 2]
            works = [DeleteVideo("p" * n) for n in (5, 4)]
            posted = [await post(client, w) for w in works]
            assert None not in posted
            waited = [client.call(w, posted=p) for w, p in zip(works, posted)]
            assert [a.n for a in await asyncio.gather(*waited)] == [5, 4]
            assert sorted(intake.heard) == ["pppp", "ppppp", "v", "vv", "vvv"]  # each once
            await client.close()

    asyncio.run(work())


def test_a_line_that_breaks_before_its_answer_costs_a_second_sending(tmp_path: Path) -> None:
    def hang_up_first(transport: asyncio.Transport, number: int, work: Work) -> None:
        if intake.heard.count(work.video_id) == 1 and work.video_id != "warm":
            transport.abort()
        else:
            say_length(transport, number, work)

    intake = Intake(tmp_path, hang_up_first)

    async def work() -> None:
        async with intake:
            client = IntakeClient(intake.path)
            await client.call(DeleteVideo("warm"))
            first = DeleteVideo("posted")
            assert (await client.call(first, posted=await post(client, first))).n == 6
            assert (await client.call(DeleteVideo("called"))).n == 6
            again = DeleteVideo("again")  # the line for posts is there anew
            posted = await post(client, again)
            assert posted is not None
            assert (await client.call(again, posted=posted)).n == 5
            await client.close()
        assert intake.heard == ["warm", "posted", "posted", "called", "called", "again", "again"]

    asyncio.run(work())


def test_a_post_that_intake_does_not_read_hangs_up_its_line_and_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_line, "_PUSH_S", 0.2)

    def stop_reading(transport: asyncio.Transport, number: int, work: Work) -> None:
        say_length(transport, number, work)
        if work.video_id == "stop":
            transport.pause_reading()

    async def work() -> None:
        async with Intake(tmp_path, stop_reading) as intake:
            client = IntakeClient(intake.path)
            await client.call(DeleteVideo("warm"))
            stop, large = DeleteVideo("stop"), DeleteVideo("x" * 3_000_000)
            await client.call(stop, posted=await post(client, stop))
            assert await post(client, large) is None
            assert (await client.call(large)).n == 3_000_000
            assert [len(v) for v in intake.heard] == [4, 4, 3_000_000]
            await client.close()

    asyncio.run(work())


def test_without_intake_patience_ends_in_an_outage_and_a_late_intake_is_found(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        client = IntakeClient(tmp_path / "intake.sock")
        with pytest.raises(Unavailable, match="does not answer"):
            await client.call(Ask(), patience_s=0.12)
        waiting = asyncio.create_task(client.call(DeleteVideo("late")))
        await asyncio.sleep(0.12)
        async with Intake(tmp_path, say_length):
            assert (await waiting).n == 4
            await client.close()

    asyncio.run(work())

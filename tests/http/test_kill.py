"""kill -9 of workers and intake under a stream of events: nothing acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from running import FAKE_WORKER, Running, running

from upnext.events.log import SqliteEventLog
from upnext.features.live import StateWriter
from upnext.settings.settings import Settings
from upnext.state.lmdb_state import LmdbState

N_LANES = 6


class Stream:
    """Posts batches on several lanes and remembers what was acknowledged; a failed batch is sent again, as a client does."""

    def __init__(self, system: Running, seed: int) -> None:
        self.system = system
        self.rng = random.Random(seed)
        self.acknowledged: set[str] = set()
        self.n_failed = 0
        self.feeds: Counter[int] = Counter()
        self.going = True

    async def events(self, client: httpx.AsyncClient, lane: int) -> None:
        n = 0
        while self.going:
            rows = [self._event(lane, n + i) for i in range(self.rng.randint(1, 8))]
            n += len(rows)
            while not await self._post(client, rows):
                await asyncio.sleep(0.05)

    async def _post(self, client: httpx.AsyncClient, rows: list[dict]) -> bool:
        try:
            answer = await client.post("/v1/events", json=rows)
        except httpx.TransportError:
            self.n_failed += 1
            return False
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            self.n_failed += 1
            return False
        said = answer.json()
        assert said["accepted"] + said["known"] == len(rows)
        self.acknowledged.update(row["event_id"] for row in rows)
        return True

    def _event(self, lane: int, n: int) -> dict:
        kind = self.rng.choice(["impression", "watch", "like", "not_interested"])
        more = {"watch_s": float(n % 30)} if kind == "watch" else {}
        return {
            "event_id": f"{lane}-{n:06d}", "time_us": time.time_ns() // 1000, "kind": kind,
            "user_id": f"u{n % 7}", "video_id": f"v{self.rng.randrange(60)}", "view_id": f"w{lane}-{n}", **more,
        }  # fmt: skip

    async def feed(self, client: httpx.AsyncClient, lane: int) -> None:
        while self.going:
            answer = await client.get("/v1/feed/home", params={"user_id": f"u{lane}", "n": 5})
            self.feeds[answer.status_code] += 1
            await asyncio.sleep(0.02)


async def storm(system: Running, n_kills: int, seed: int) -> Stream:
    """Kills at random moments while events and feeds flow; ends when the system answers again."""
    stream = Stream(system, seed)
    async with system.async_client() as client:
        tasks = [asyncio.create_task(stream.events(client, lane)) for lane in range(N_LANES)]
        tasks += [asyncio.create_task(stream.feed(client, lane)) for lane in range(2)]
        for i in range(n_kills):
            await asyncio.sleep(stream.rng.uniform(0.3, 0.8))
            system.kill("intake" if i % 2 == 0 else "worker", stream.rng.randrange(2))

            async def whole() -> bool:
                children = system.children()
                return len(children["intake"]) == 1 and len(children["worker"]) == 2

            await system.until(whole)
        n_before = len(stream.acknowledged)

        async def flows() -> bool:
            return len(stream.acknowledged) > n_before + 50 and stream.feeds[200] > 10

        await system.until(flows)
        stream.going = False
        await asyncio.gather(*tasks)

        async def answers() -> bool:
            return (await client.get("/v1/feed/home?n=3")).status_code == 200

        await system.until(answers)
    return stream


def check_truth(root: Path, acknowledged: set[str]) -> int:
    """Every acknowledged event is in the log exactly once, and the state is what a rebuild gives; how many rows there are."""
    settings = Settings(root=root)
    log = SqliteEventLog(settings.events_path, read_only=True)
    ids = [row for table in log.scan() for row in table.column("event_id").to_pylist()]
    assert len(ids) == len(set(ids))
    assert acknowledged <= set(ids)
    live = LmdbState(settings.state_path, read_only=True)
    rebuilt = LmdbState(root / "rebuilt")
    StateWriter(rebuilt, settings.features).rebuild(log)
    assert live.watermark() == log.last_seq()
    assert live.checksum() == rebuilt.checksum()
    for store in (live, rebuilt, log):
        store.close()
    return len(ids)


def storm_of(tmp_path: Path, n_kills: int, seed: int) -> tuple[int, int, set[int]]:
    """(rows in the log and the state alike, events acknowledged, statuses of feeds) after a stream with kills."""
    with running(worker=FAKE_WORKER, root=tmp_path) as system:
        system.fill([{"video_id": f"v{i}", "duration_s": 20.0} for i in range(500)])
        stream = asyncio.run(storm(system, n_kills, seed))
        assert system.stop() == 0
    n_rows = check_truth(tmp_path, stream.acknowledged)
    return n_rows, len(stream.acknowledged), set(stream.feeds)


def test_five_kills_lose_no_acknowledged_event_and_count_none_twice(tmp_path: Path) -> None:
    n_rows, n_acknowledged, statuses = storm_of(tmp_path, 5, seed=1)
    assert n_rows >= n_acknowledged > 50
    assert statuses <= {200, 503}


@pytest.mark.slow
def test_twenty_kills_lose_no_acknowledged_event_and_count_none_twice(tmp_path: Path) -> None:
    n_rows, n_acknowledged, statuses = storm_of(tmp_path, 20, seed=2)
    assert n_rows >= n_acknowledged > 50
    assert statuses <= {200, 503}


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with running(worker=FAKE_WORKER, root=tmp_path) as system:
        pids = [pid for some in system.children().values() for pid in some]
        assert len(pids) == 3
        system.process.kill()
        system.process.wait()
        deadline = time.monotonic() + 15
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        with running(worker=FAKE_WORKER, root=tmp_path) as again, again.client() as client:
            assert client.get("/v1/health/ready").status_code == 200

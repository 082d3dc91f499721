"""What a viewer gets while something is broken: a full disk, a dead intake, a damaged release."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator

import pytest
from running import REAL_WORKER, Running, running
from serve_worlds import videos

from upnext.artifacts.releases import ReleaseStore


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    with running(worker=REAL_WORKER) as one:
        one.fill(videos())
        yield one


def like(event_id: str) -> dict:
    return {
        "event_id": event_id, "time_us": time.time_ns() // 1000, "kind": "like", "user_id": "u",
        "video_id": "v1", "text": "x" * 5000,
    }  # fmt: skip


def test_a_full_disk_acknowledges_nothing_feeds_go_on_and_all_recovers(system: Running) -> None:
    (intake,) = system.children()["intake"]
    size = max(p.stat().st_size for p in system.root.rglob("log.db*"))
    with system.client() as client:
        resource.prlimit(intake, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            refused = client.post("/v1/events", json=[like(f"full-{i}") for i in range(800)])
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "unavailable"
            page = client.get("/v1/feed/home", params={"user_id": "u", "n": 10}).json()
            assert len(page["items"]) == 10
        finally:
            resource.prlimit(intake, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        answer = client.post("/v1/events", json=[like(f"full-{i}") for i in range(800)])
        assert answer.json()["accepted"] == 800  # nothing had been kept
        assert client.post("/v1/events", json=[like("full-1")]).json()["known"] == 1
    assert system.children()["intake"] == [intake]


def test_while_intake_is_away_a_feed_is_served_unlogged_and_events_wait_for_it(
    system: Running,
) -> None:
    (intake,) = system.children()["intake"]
    os.kill(intake, signal.SIGSTOP)
    try:
        with system.client() as client:
            page = client.get("/v1/feed/home", params={"user_id": "w", "n": 10}).json()
            assert len(page["items"]) == 10
            assert "unlogged" in page["degraded"]
            assert client.post("/v1/events", json=[like("away-1")]).status_code == 503
    finally:
        os.kill(intake, signal.SIGCONT)
    with system.client() as client:
        assert client.post("/v1/events", json=[like("away-1")]).status_code == 200
        assert client.get("/v1/feed/home", params={"user_id": "w2"}).json()["degraded"] is not None


def test_a_damaged_release_is_refused_with_the_files_name_and_the_old_pipeline_stays(
    system: Running,
) -> None:
    store = ReleaseStore(system.root / "upnext-data" / "releases")
    folder = store.begin()
    (folder / "weights.bin").write_bytes(b"good")
    release_id = store.publish(
        folder, settings={}, data_window={}, metrics={}, parent=None, promote=False
    )
    damaged = system.root / "upnext-data" / "releases" / release_id / "weights.bin"
    damaged.chmod(0o644)
    damaged.write_bytes(b"evil")
    store.promote(release_id)
    with system.client() as client:
        deadline = time.monotonic() + 10
        while "upnext_refused_releases_total 2.0" not in client.get("/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        said = client.get("/v1/health/ready").json()
        assert said == {"status": "ready", "release_id": "none", "degraded": ["release"]}
        text = client.get("/metrics").text
        assert 'upnext_without_release{process="worker-0"} 1.0' in text
        assert len(client.get("/v1/feed/home", params={"n": 5}).json()["items"]) == 5
    assert "weights.bin" in system.log.read_text()

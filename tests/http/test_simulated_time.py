"""A server whose time is what requests say it is, and one that keeps its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))

from running import REAL_WORKER, Running, running
from serve_worlds import videos

HEADER = "simulated-time-us"
START_US = 1_764_547_200_000_000
HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def simulated() -> Iterator[Running]:
    with running(worker=REAL_WORKER, serve={"clock": "simulated"}) as one:
        one.fill(videos())
        yield one


def _told(time_us: int) -> dict[str, str]:
    return {HEADER: str(time_us)}


def _page(client: httpx.Client, time_us: int, session: str) -> dict:
    given = {"user_id": "ann", "session_id": session, "n": 3}
    answer = client.get("/v1/feed/home", params=given, headers=_told(time_us))
    assert answer.status_code == 200, answer.text
    return answer.json()


def _shown_us(client: httpx.Client, page: dict) -> int:
    video = page["items"][0]["video_id"]
    return client.get(f"/v1/explain/{page['request_id']}/{video}").json()["time_us"]


def test_pages_and_events_carry_the_time_that_was_told_in_every_process(
    simulated: Running,
) -> None:
    with simulated.client() as client:
        for hour in range(6):  # pages go to both workers
            now_us = START_US + hour * HOUR_US
            page = _page(client, now_us, f"t{hour}")
            assert _shown_us(client, page) == now_us
        later_us = now_us + HOUR_US
        watched = {
            "event_id": "w", "kind": "watch", "user_id": "ann", "video_id": "v1", "watch_s": 9.0,
        }  # fmt: skip
        rows = [
            {**watched, "time_us": later_us - 1},
            {**watched, "event_id": "ahead", "time_us": later_us + HOUR_US},
        ]
        answer = client.post("/v1/events", json=rows, headers=_told(later_us)).json()
        assert answer["accepted"] == 2
        assert [(r["index"], r["is_clamped"]) for r in answer["results"]] == [(1, True)]
        health = client.get("/v1/health/ready").json()
        assert health["simulated_time_us"] == later_us


def test_time_never_goes_back_and_a_request_that_tells_none_happens_now(
    simulated: Running,
) -> None:
    with simulated.client() as client:
        far_us = START_US + 1_000 * HOUR_US
        _page(client, far_us, "far")
        assert _shown_us(client, _page(client, START_US, "back")) == far_us
        silent = client.get("/v1/feed/home", params={"user_id": "bob", "n": 2}).json()
        assert _shown_us(client, silent) == far_us


@pytest.mark.parametrize("said", ["yesterday", "-5", "0", str(1 << 62)])
def test_what_is_no_time_is_refused(simulated: Running, said: str) -> None:
    with simulated.client() as client:
        answer = client.get("/v1/feed/home", headers={HEADER: said})
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]


def test_a_server_that_keeps_its_own_time_refuses_to_be_told(system: Running) -> None:
    with system.client() as client:
        answer = client.get("/v1/feed/home", headers=_told(START_US))
        health = client.get("/v1/health/ready").json()
    assert answer.status_code == 422
    assert "keeps its own time" in answer.json()["error"]["message"]
    assert "simulated_time_us" not in health

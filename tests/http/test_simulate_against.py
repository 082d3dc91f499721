"""Viewers of a made-up platform on servers of their own processes: one whose time is what requests say, one that keeps its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))
sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_line import upnext
from running import REAL_WORKER, Running, running

from upnext.core.clock import DAY_US, HOUR_US, SystemClock
from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord
from upnext.simulate.world import END_US

KEY = "a-key-of-the-test"
PLATFORM = ("--viewers", "12", "--videos", "60")
HEADER = "simulated-time-us"


@pytest.fixture(scope="module")
def simulated() -> Iterator[Running]:
    serve = {"clock": "simulated", "api_keys": [{"key": KEY, "scopes": ["read", "write"]}]}
    with running(worker=REAL_WORKER, serve=serve) as one:
        yield one


@pytest.fixture(scope="module")
def later(simulated: Running) -> Iterator[httpx.Client]:
    """A client of that server once days have passed there."""
    against = ("simulate", "--against", simulated.url, *PLATFORM)
    assert upnext(*against, "--days", 1, "--api-key", KEY).code == 0
    with simulated.client(headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


def _logged(system: Running) -> tuple[list[dict], list[SlateRecord]]:
    log = SqliteEventLog(system.root / "upnext-data" / "events", read_only=True)
    events = [row for table in log.scan() for row in table.to_pylist()]
    slates = [slate for part in log.scan_slates() for slate in part]
    log.close()
    return events, slates


def _check_joined(events: list[dict], slates: list[SlateRecord]) -> None:
    by_request = {slate.request_id: slate for slate in slates}
    assert len(by_request) == len(slates)
    fresh = []
    for row in events:
        slate = by_request[row["request_id"]]
        assert slate.video_id[row["slot"]] == row["video_id"]
        if row["kind"] == "impression" and not slate.is_repeat[row["slot"]]:
            fresh.append((row["user_id"], row["video_id"]))
    assert len(fresh) == len(set(fresh)) > 0


# a server that takes its time from requests


def test_it_lives_through_the_days_and_further_ones_follow(simulated: Running) -> None:
    against = ("simulate", "--against", simulated.url, *PLATFORM, "--json")
    refused = upnext(*against)
    assert refused.code == 2
    assert "key_missing" in refused.err
    assert "--api-key" in refused.err
    runs = [upnext(*against, "--days", n_days, "--api-key", KEY) for n_days in (2, 1)]
    assert [run.code for run in runs] == [0, 0], runs
    days = [day for run in runs for day in json.loads(run.out)["days"]]
    events, slates = _logged(simulated)
    assert len(slates) == sum(day["pages"] for day in days) > 20
    shown = [row for row in events if row["kind"] == "impression"]
    assert len(shown) == sum(day["impressions"] for day in days)
    _check_joined(events, slates)
    assert not any(row["is_clamped"] for row in events)
    by_day = [(slate.time_us - END_US) // DAY_US for slate in slates]
    assert [by_day.count(day) for day in range(3)] == [day["pages"] for day in days]


def _page(client: httpx.Client, told_us: int | None, session: str) -> int:
    """Asks for a page -> the time that its slate is logged with."""
    headers = {} if told_us is None else {HEADER: str(told_us)}
    given = {"user_id": "ann", "session_id": session, "n": 3}
    answer = client.get("/v1/feed/home", params=given, headers=headers)
    assert answer.status_code == 200, answer.text
    video = answer.json()["items"][0]["video_id"]
    return client.get(f"/v1/explain/{answer.json()['request_id']}/{video}").json()["time_us"]


def test_pages_and_events_carry_the_time_that_was_told_in_every_process(
    later: httpx.Client,
) -> None:
    start_us = later.get("/v1/health/ready").json()["simulated_time_us"]
    for hour in range(1, 7):  # pages go to both workers
        now_us = start_us + hour * HOUR_US
        assert _page(later, now_us, f"t{hour}") == now_us
    later_us = now_us + HOUR_US
    watched = {
        "event_id": "w", "kind": "watch", "user_id": "ann", "video_id": "v1", "watch_s": 9.0,
    }  # fmt: skip
    rows = [
        {**watched, "time_us": later_us - 1},
        {**watched, "event_id": "ahead", "time_us": later_us + HOUR_US},
    ]
    answer = later.post("/v1/events", json=rows, headers={HEADER: str(later_us)}).json()
    assert answer["accepted"] == 2
    assert [(r["index"], r["is_clamped"]) for r in answer["results"]] == [(1, True)]
    assert later.get("/v1/health/ready").json()["simulated_time_us"] == later_us


def test_time_never_goes_back_and_a_request_that_tells_none_happens_now(
    later: httpx.Client,
) -> None:
    far_us = later.get("/v1/health/ready").json()["simulated_time_us"] + 1_000 * HOUR_US
    assert _page(later, far_us, "far") == far_us
    assert _page(later, END_US, "back") == far_us
    assert _page(later, None, "silent") == far_us


@pytest.mark.parametrize("said", ["yesterday", "-5", "0", str(1 << 62)])
def test_what_is_no_time_is_refused(later: httpx.Client, said: str) -> None:
    answer = later.get("/v1/feed/home", headers={HEADER: said})
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]


# a server that keeps its own time


def test_it_sees_the_days_in_the_minutes_that_they_take(system: Running) -> None:
    before_us = SystemClock().now_us()
    done = upnext("simulate", "--against", system.url, *PLATFORM, "--days", 1, "--json")
    after_us = SystemClock().now_us()
    assert done.code == 0, done.err
    assert "keeps its own time" in done.err
    (day,) = json.loads(done.out)["days"]
    assert day["n_unknown"] > 0  # the catalogue has videos that are not of this world
    events, slates = _logged(system)
    slates = [slate for slate in slates if slate.request_id.startswith("sim-")]
    assert len(slates) == day["pages"] > 5
    _check_joined(events, slates)
    assert all(before_us <= row["time_us"] <= after_us for row in events)
    assert all(before_us <= slate.time_us <= after_us for slate in slates)


def test_it_refuses_to_be_told(system: Running) -> None:
    with system.client() as client:
        answer = client.get("/v1/feed/home", headers={HEADER: str(END_US)})
        health = client.get("/v1/health/ready").json()
    assert answer.status_code == 422
    assert "keeps its own time" in answer.json()["error"]["message"]
    assert "simulated_time_us" not in health


# no server


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "no answer"),
        ("127.0.0.1:9", "expected http://HOST:PORT"),
        ("nonsense", "expected http://HOST:PORT"),
    ],
)
def test_a_url_that_does_not_answer_is_one_clear_line(url: str, said: str) -> None:
    done = upnext("simulate", "--against", url, *PLATFORM)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_what_has_no_effect_against_a_server_is_refused(tmp_path: Path) -> None:
    done = upnext("simulate", tmp_path / "out", "--against", "http://127.0.0.1:9")
    assert done.code == 2
    assert "FOLDER has no effect" in done.err
    assert upnext("simulate", "--rate", 3).code == 2

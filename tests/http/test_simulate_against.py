"""`upnext simulate --against URL`: viewers of a made-up platform on a server of its own processes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "serve"))
sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_line import upnext
from running import REAL_WORKER, Running, running

from upnext.core.clock import DAY_US, SystemClock
from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord
from upnext.simulate.world import END_US

KEY = "a-key-of-the-test"
PLATFORM = ("--viewers", "12", "--videos", "60")


def _logged(system: Running) -> tuple[list[dict], list[SlateRecord]]:
    log = SqliteEventLog(system.root / "upnext-data" / "events", read_only=True)
    events = [row for table in log.scan() for row in table.to_pylist()]
    slates = [slate for part in log.scan_slates() for slate in part]
    log.close()
    return events, slates


def _simulate(url: str, *more: str) -> list[dict]:
    done = upnext("simulate", "--against", url, *PLATFORM, *more, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["days"]


def _check_joined(events: list[dict], slates: list[SlateRecord]) -> None:
    by_request = {slate.request_id: slate for slate in slates}
    assert len(by_request) == len(slates)
    for row in events:
        assert by_request[row["request_id"]].video_id[row["slot"]] == row["video_id"]


def test_a_server_with_simulated_time_lives_through_the_days_and_further_ones_follow() -> None:
    serve = {"clock": "simulated", "api_keys": [{"key": KEY, "scopes": ["read", "write"]}]}
    with running(worker=REAL_WORKER, serve=serve) as system:
        refused = upnext("simulate", "--against", system.url, *PLATFORM)
        assert refused.code == 2
        assert "key_missing" in refused.err
        assert "--api-key" in refused.err
        days = _simulate(system.url, "--days", "2", "--api-key", KEY)
        days += _simulate(system.url, "--days", "1", "--api-key", KEY)
        events, slates = _logged(system)
    assert len(slates) == sum(day["pages"] for day in days) > 20
    shown = [row for row in events if row["kind"] == "impression"]
    assert len(shown) == sum(day["impressions"] for day in days)
    _check_joined(events, slates)
    assert not any(row["is_clamped"] for row in events)
    first, second, third = (
        [s for s in slates if END_US + d * DAY_US <= s.time_us < END_US + (d + 1) * DAY_US]
        for d in range(3)
    )
    assert [len(first), len(second), len(third)] == [day["pages"] for day in days]
    fresh = [
        (s.user_id, v) for s in slates for v, again in zip(s.video_id, s.is_repeat) if not again
    ]
    reported = {(row["user_id"], row["video_id"]) for row in shown}
    assert len([pair for pair in fresh if pair in reported]) == len(
        {pair for pair in fresh if pair in reported}
    )


def test_a_server_with_its_own_time_sees_the_days_in_the_minutes_that_they_take() -> None:
    with running(worker=REAL_WORKER) as system:
        before_us = SystemClock().now_us()
        done = upnext("simulate", "--against", system.url, *PLATFORM, "--days", "1")
        after_us = SystemClock().now_us()
        events, slates = _logged(system)
    assert done.code == 0
    assert "keeps its own time" in done.err
    assert len(events) > 20
    _check_joined(events, slates)
    assert all(before_us <= row["time_us"] <= after_us for row in events)
    assert all(before_us <= slate.time_us <= after_us for slate in slates)


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

"""A few days of a small platform through the system that serves, in this process: every promise is kept, and twice is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from upnext.catalog.view import CatalogView
from upnext.core.clock import DAY_US
from upnext.core.event import Event
from upnext.core.types import Request
from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord
from upnext.features.live import StateWriter
from upnext.settings.settings import Settings, parse
from upnext.simulate.closed_loop import ClosedLoop
from upnext.simulate.day_figures import LoopDay
from upnext.simulate.in_process import InProcess
from upnext.simulate.platform import Platform
from upnext.simulate.world import World
from upnext.state.lmdb_state import LmdbState

N_VIEWERS, N_VIDEOS, N_DAYS = 40, 150, 3


class Listening:
    """Passes everything on to a recommender, and remembers what was sent."""

    def __init__(self, inner: InProcess) -> None:
        self.inner = inner
        self.sent: list[tuple[int, Event]] = []
        self.n_users = self.n_videos = 0

    def put(self, videos: pa.Table, users: pa.Table) -> None:
        self.n_videos += len(videos)
        self.n_users += len(users)
        self.inner.put(videos, users)

    def feed(self, requests: Sequence[Request]) -> list[list[str]]:
        return self.inner.feed(requests)

    def send(self, events: Sequence[Event], time_us: int) -> None:
        self.sent += [(time_us, event) for event in events]
        self.inner.send(events, time_us)


@dataclass(frozen=True)
class Played:
    """A run, with what it left in its folder."""

    platform: Platform
    days: list[LoopDay]
    heard: Listening
    settings: Settings
    events: list[dict]
    slates: list[SlateRecord]


def play(folder: Path, *, seed: int = 3, days: int = N_DAYS, together_s: float = 0.0) -> Played:
    platform = Platform(World.make(N_VIEWERS, N_VIDEOS, seed), days=days)
    settings = parse({}, "test", folder)
    with closing(InProcess(settings, platform.start_us)) as system:
        heard = Listening(system)
        loop = ClosedLoop(platform, heard, together_s=together_s)
        figures = [loop.run_day(day) for day in range(days)]
        loop.finish()
    log = SqliteEventLog(settings.events_path, read_only=True)
    events = [row for table in log.scan() for row in table.to_pylist()]
    slates = [slate for part in log.scan_slates() for slate in part]
    log.close()
    return Played(platform, figures, heard, settings, events, slates)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("loop"))


def test_the_log_holds_the_events_that_were_sent_each_once_and_unchanged(played: Played) -> None:
    sent = {event.event_id: event for _, event in played.heard.sent}
    assert len(sent) == len(played.heard.sent) > 2_000
    logged = {row["event_id"]: row for row in played.events}
    assert len(logged) == len(played.events)
    assert logged.keys() == sent.keys()
    for event_id, event in sent.items():
        row = logged[event_id]
        given = msgspec.structs.asdict(event)
        assert all(row[k] == given[k] for k in ("kind", "user_id", "video_id", "time_us", "slot"))
        assert not row["is_clamped"]


def test_every_event_joins_the_slot_of_a_logged_slate(played: Played) -> None:
    slates = {slate.request_id: slate for slate in played.slates}
    assert len(slates) == len(played.slates) == sum(day.row.pages for day in played.days)
    for row in played.events:
        slate = slates[row["request_id"]]
        assert slate.video_id[row["slot"]] == row["video_id"]
        assert (slate.user_id, slate.session_id) == (row["user_id"], row["session_id"])
        assert row["time_us"] >= slate.time_us
    shown = sum(row["kind"] == "impression" for row in played.events)
    assert shown == sum(day.row.impressions for day in played.days)


def test_no_viewer_is_shown_a_video_twice_but_where_a_slot_says_so(played: Played) -> None:
    repeats = {
        (slate.user_id, video_id)
        for slate in played.slates
        for video_id, is_repeat in zip(slate.video_id, slate.is_repeat)
        if is_repeat
    }
    shown = [(r["user_id"], r["video_id"]) for r in played.events if r["kind"] == "impression"]
    twice = {pair for pair in shown if pair in repeats}
    assert len(shown) - len(set(shown)) <= len(twice)
    fresh = [pair for pair in shown if pair not in repeats]
    assert len(fresh) == len(set(fresh))


def test_time_is_the_simulations_and_goes_forward(played: Played) -> None:
    start_us = played.platform.start_us
    received = [row["received_us"] for row in played.events]
    assert received == sorted(received)
    assert all(row["time_us"] <= row["received_us"] for row in played.events)
    times = [slate.time_us for slate in played.slates]
    assert times == sorted(times)
    assert start_us <= times[0] < start_us + DAY_US // 2
    last_us = start_us + N_DAYS * DAY_US
    assert last_us - DAY_US < times[-1] < last_us


def test_what_a_viewer_did_counts_on_their_next_page(played: Played) -> None:
    """Sent before the next page of the session is asked for: its slate has the higher log_seq."""
    last = {}
    for row in played.events:
        last[row["request_id"]] = row["log_seq"]
    by_session: dict[str, list[SlateRecord]] = {}
    for slate in played.slates:
        by_session.setdefault(slate.session_id, []).append(slate)
    n_followed = 0
    for pages in by_session.values():
        assert [slate.page for slate in pages] == list(range(len(pages)))
        for before, after in pairwise(pages):
            assert last[before.request_id] < after.log_seq
            n_followed += 1
    assert n_followed > 50


def test_uploads_reach_the_catalogue_in_the_night_and_nothing_is_shown_before(
    played: Played,
) -> None:
    platform, world = played.platform, played.platform.world
    published = {world.video_ids[row] for row in platform.published(N_DAYS - 1)}
    assert played.heard.n_videos == len(published)
    assert played.heard.n_users == N_VIEWERS
    with closing(CatalogView(played.settings.catalog_path)) as view:
        assert set(view.video_ids(range(view.n_items))) == published
    assert len(published) > len(platform.world.videos.topic) - 10 > len(platform.published(0)) - 10
    for slate in played.slates:
        day = (slate.time_us - platform.start_us) // DAY_US
        for video_id in slate.video_id:
            uploaded_us = world.videos.uploaded_us[world.row_of[video_id]]
            assert uploaded_us < platform.day_start_us(day)


def test_a_state_built_from_the_log_alone_is_the_one_that_served(
    played: Played, tmp_path: Path
) -> None:
    log = SqliteEventLog(played.settings.events_path, read_only=True)
    with (
        closing(LmdbState(played.settings.state_path, read_only=True)) as served,
        closing(LmdbState(tmp_path / "again")) as again,
    ):
        StateWriter(again, played.settings.features).rebuild(log)
        assert served.watermark() == again.watermark() == log.last_seq()
        assert dict(served.scan(b"")) == dict(again.scan(b""))
    log.close()


def digest(run: Played) -> str:
    """Of all that was decided and done; stage times aside."""
    found = hashlib.sha256()
    for slate in run.slates:
        found.update(msgspec.msgpack.encode(msgspec.structs.replace(slate, trace={})))
    for row in run.events:
        found.update(msgspec.msgpack.encode(row))
    for day in run.days:
        found.update(msgspec.json.encode(day.to_json()))
    return found.hexdigest()


def test_one_seed_gives_the_same_slates_and_events_another_gives_others(
    played: Played, tmp_path: Path
) -> None:
    assert digest(play(tmp_path / "again")) == digest(played)
    assert digest(play(tmp_path / "other", seed=4, days=1)) != digest(played)


def test_steps_taken_together_keep_the_promises(tmp_path: Path) -> None:
    run = play(tmp_path, days=1, together_s=1_800.0)
    assert len(run.slates) > 20
    test_the_log_holds_each_event_at_or_before_its_arrival(run)
    test_every_event_joins_the_slot_of_a_logged_slate(run)
    test_no_viewer_is_shown_a_video_twice_but_where_a_slot_says_so(run)


def test_the_log_holds_each_event_at_or_before_its_arrival(played: Played) -> None:
    assert {row["event_id"] for row in played.events} == {e.event_id for _, e in played.heard.sent}
    assert not any(row["is_clamped"] for row in played.events)

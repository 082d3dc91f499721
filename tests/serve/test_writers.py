"""The writers over real stores: stamping, idempotency, conflicts, a state that equals its rebuild, disks that are full."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from serve_worlds import slate_record

from upnext.core.clock import DAY_US, ManualClock
from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.events.log import SqliteEventLog
from upnext.events.packed_slate import pack_slate
from upnext.features.live import StateWriter
from upnext.serve.intake_words import AppendEvents, AppendSlate, EventsDone, Failed, SlateDone
from upnext.serve.json_table import json_table
from upnext.serve.stores import OpenStores, open_stores
from upnext.settings.settings import Settings
from upnext.state.lmdb_state import LmdbState

NOW = 1_700_000_000_000_000


@pytest.fixture
def stores(tmp_path: Path):
    opened = open_stores(Settings(root=tmp_path), ManualClock(NOW))
    opened.catalog.put_videos(
        json_table([{"video_id": f"v{i}", "duration_s": 10.0 + i} for i in range(8)], "videos")
    )
    yield opened
    opened.close()


def event(i: int, kind: str = "like", **more: object) -> Event:
    given = {"event_id": f"e{i}", "kind": kind, "user_id": "ann", "time_us": NOW - 1000 + i}
    return Event(**{**given, "video_id": f"v{i % 8}", **more})


def post(stores: OpenStores, *events: Event) -> list[str]:
    (answer,) = stores.writers.commit([AppendEvents(list(events))])
    assert isinstance(answer, EventsDone), answer
    return [status.status for status in answer.statuses]


def logged(stores: OpenStores) -> list[dict]:
    return [row for table in stores.log.scan() for row in table.to_pylist()]


def append_slate(*given: object, degraded: tuple[str, ...] = (), **more: object) -> AppendSlate:
    """What a worker sends of serve_worlds.slate_record."""
    record = slate_record(*given, **more)
    return AppendSlate(pack_slate(msgspec.structs.replace(record, degraded=list(degraded))))


def rebuilt_checksum(stores: OpenStores, folder: Path) -> str:
    other = LmdbState(folder)
    StateWriter(other).rebuild(stores.log)
    sum_ = other.checksum()
    other.close()
    return sum_


def test_an_event_is_stamped_with_what_is_known_when_it_arrives(stores: OpenStores) -> None:
    assert post(stores, event(3), event(4, video_id="new")) == ["accepted", "accepted"]
    first, second = logged(stores)
    assert (first["received_us"], first["item_id"], first["duration_s"]) == (NOW, 3, 13.0)
    assert (first["log_seq"], second["log_seq"]) == (1, 2)
    assert (second["item_id"], second["duration_s"]) == (8, None)  # a placeholder row


def test_a_clock_that_is_a_day_ahead_is_set_back_and_one_that_is_40_days_late_is_kept(
    stores: OpenStores,
) -> None:
    ahead, late = event(1, time_us=NOW + DAY_US), event(2, time_us=NOW - 40 * DAY_US)
    (answer,) = stores.writers.commit([AppendEvents([ahead, late])])
    assert [s.is_clamped for s in answer.statuses] == [True, False]
    assert [row["time_us"] for row in logged(stores)] == [NOW, NOW - 40 * DAY_US]
    assert [row["is_clamped"] for row in logged(stores)] == [True, False]


def test_the_same_event_counts_once_in_one_batch_and_over_batches(
    stores: OpenStores, tmp_path: Path
) -> None:
    assert post(stores, event(1), event(1))[0] == "accepted"
    assert post(stores, event(1), event(2)) == ["known", "accepted"]
    assert [row["event_id"] for row in logged(stores)] == ["e1", "e2"]
    assert stores.store.checksum() == rebuilt_checksum(stores, tmp_path / "other")
    assert stores.store.watermark() == stores.log.last_seq() == 2


def test_an_undo_carries_what_it_takes_back_from_the_log_or_its_own_batch(
    stores: OpenStores, tmp_path: Path
) -> None:
    undo = Event(event_id="u1", kind="undo", user_id="ann", time_us=NOW, undoes_event_id="e5")
    assert post(stores, event(5, view_id="w"), undo) == ["accepted", "accepted"]
    row = logged(stores)[1]
    assert (row["undoes_kind"], row["item_id"], row["video_id"]) == ("like", 5, "v5")
    assert (row["view_id"], row["duration_s"]) == ("w", 15.0)
    again = Event(event_id="u2", kind="undo", user_id="ann", time_us=NOW, undoes_event_id="e5")
    assert post(stores, again) == ["accepted"]
    assert stores.store.checksum() == rebuilt_checksum(stores, tmp_path / "other")


def test_an_undo_of_an_unknown_or_foreign_event_is_refused_and_its_neighbours_are_not(
    stores: OpenStores,
) -> None:
    post(stores, event(1, user_id="bob"))
    foreign = Event(event_id="u1", kind="undo", user_id="ann", time_us=NOW, undoes_event_id="e1")
    unknown = Event(event_id="u2", kind="undo", user_id="ann", time_us=NOW, undoes_event_id="zz")
    assert post(stores, foreign, event(2), unknown) == ["refused", "accepted", "refused"]
    assert len(logged(stores)) == 2


def test_a_slate_is_stored_once_and_the_retry_gets_the_first_one(stores: OpenStores) -> None:
    (said,) = stores.writers.commit([append_slate("r1", "ann", "s", [1, 2])])
    assert isinstance(said, SlateDone)
    assert said.status == "stored"
    (again,) = stores.writers.commit([append_slate("r1", "ann", "s", [3, 4])])
    assert (again.status, again.slate.item_id) == ("known", [1, 2])


def test_two_pages_of_one_session_never_share_a_video_even_in_one_commit(
    stores: OpenStores, tmp_path: Path
) -> None:
    works = [
        append_slate("r1", "ann", "s", [1, 2]),
        append_slate("r2", "ann", "s", [2, 3], page=1),
        append_slate("r3", "bob", "s", [2, 3]),
        append_slate("r4", "ann", "s", [4, 5], page=1),
    ]
    assert [a.status for a in stores.writers.commit(works)] == [
        "stored", "conflict", "stored", "stored",
    ]  # fmt: skip
    assert stores.store.checksum() == rebuilt_checksum(stores, tmp_path / "other")


def test_a_page_drawn_without_the_state_is_stored_though_its_videos_were_served(
    stores: OpenStores,
) -> None:
    first = append_slate("r1", "ann", "s", [1, 2])
    again = append_slate("r2", "ann", "s", [2, 3], page=1, degraded=("state",))
    works = [first, again]
    assert [a.status for a in stores.writers.commit(works)] == ["stored", "stored"]


class FullDisk:
    """A log whose disk is full while `full`."""

    def __init__(self, log: SqliteEventLog) -> None:
        self._log = log
        self.full = True

    def append(self, *args):
        if self.full:
            raise Unavailable("disk full")
        return self._log.append(*args)

    def __getattr__(self, name: str):
        return getattr(self._log, name)


def test_a_full_disk_acknowledges_nothing_and_all_is_well_when_there_is_space(
    stores: OpenStores, tmp_path: Path
) -> None:
    stores.writers.log = disk = FullDisk(stores.log)
    works = [AppendEvents([event(1)]), append_slate("r1", "ann", "s", [1])]
    assert all(
        isinstance(a, Failed) and a.kind == "unavailable" for a in stores.writers.commit(works)
    )
    assert logged(stores) == []
    disk.full = False
    assert [type(a) for a in stores.writers.commit(works)] == [EventsDone, SlateDone]
    assert stores.store.checksum() == rebuilt_checksum(stores, tmp_path / "other")


def test_a_state_that_missed_a_commit_is_brought_up_from_the_log_before_the_next(
    stores: OpenStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise Unavailable("map full")

    with monkeypatch.context() as patch:
        patch.setattr(stores.state, "apply", fails)
        (answer,) = stores.writers.commit([AppendEvents([event(1)])])
        assert isinstance(answer, Failed)
    assert len(logged(stores)) == 1  # durable, but not acknowledged
    assert post(stores, event(1), event(2)) == ["known", "accepted"]
    assert stores.store.checksum() == rebuilt_checksum(stores, tmp_path / "other")


def test_a_state_file_that_is_garbage_is_built_anew_from_the_log(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    first = open_stores(settings, ManualClock(NOW))
    post(first, event(1), event(2))
    sum_ = first.store.checksum()
    first.close()
    (settings.state_path / "data.mdb").write_bytes(b"garbage" * 5000)
    second = open_stores(settings, ManualClock(NOW))
    assert second.store.checksum() == sum_
    second.close()


def test_a_power_loss_that_takes_the_latest_slates_leaves_every_event_and_a_state_that_fits(
    tmp_path: Path,
) -> None:
    settings = Settings(root=tmp_path)
    first = open_stores(settings, ManualClock(NOW))
    first.writers.commit([append_slate("r1", "ann", "s", [1, 2])])
    assert post(first, event(1)) == ["accepted"]
    shutil.copytree(settings.events_path, tmp_path / "on disk")  # what that commit's fsync left
    first.writers.commit([append_slate("r2", "ann", "s", [3, 4], page=1)])
    assert first.store.watermark() == 3
    first.close()
    shutil.rmtree(settings.events_path)
    shutil.move(tmp_path / "on disk", settings.events_path)
    second = open_stores(settings, ManualClock(NOW))
    assert [row["event_id"] for row in logged(second)] == ["e1"]
    assert second.store.watermark() == second.log.last_seq() == 2
    assert second.store.checksum() == rebuilt_checksum(second, tmp_path / "other")
    (said,) = second.writers.commit([append_slate("r2", "ann", "s", [3, 4], page=1)])
    assert (said.status, said.log_seq) == ("stored", 3)
    second.close()

"""Group commit: many submitters, one commit; each future tells its own fate."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from upnext.core.errors import InvalidInput, Overloaded, Unavailable
from upnext.core.event import Event
from upnext.events import GroupCommit, SlateRecord, SqliteEventLog


def event(name: str, **fields: object) -> Event:
    return Event(**{"event_id": name, "kind": "click", "user_id": "u", "time_us": 5, **fields})


class SlowLog:
    """A log that waits for a permit before every append, and fails on demand."""

    def __init__(self) -> None:
        self.permits = threading.Semaphore(0)
        self.arrived = threading.Semaphore(0)
        self.groups: list[list[str]] = []
        self.error: Exception | None = None
        self._numbers: dict[str, int] = {}

    def last_seq(self) -> int:
        return len(self._numbers)

    def append(self, events: Sequence[Event], slates: Sequence[SlateRecord] = ()) -> list[int]:
        self.arrived.release()
        assert self.permits.acquire(timeout=10)
        if self.error is not None:
            raise self.error
        if any(e.event_id == "bad" for e in events):
            raise InvalidInput("event 'bad': can't be stored")
        self.groups.append([e.event_id for e in events])
        for e in events:
            self._numbers.setdefault(e.event_id, len(self._numbers) + 1)
        return [self._numbers[e.event_id] for e in events]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    made = SqliteEventLog(tmp_path)
    yield made
    made.close()


def test_what_comes_during_a_commit_shares_the_next() -> None:
    slow = SlowLog()
    commit = GroupCommit(slow)
    first = commit.submit([event("a")])
    assert slow.arrived.acquire(timeout=10)
    rest = [commit.submit([event(name), event("a")]) for name in "bcd"]
    slow.permits.release(2)
    assert first.result(10) == [1]
    assert [future.result(10) for future in rest] == [[2, 1], [3, 1], [4, 1]]
    assert slow.groups == [["a"], ["b", "a", "c", "a", "d", "a"]]
    commit.close()


def test_many_threads_get_their_own_numbers_and_the_state_gets_each_row_once(
    log: SqliteEventLog,
) -> None:
    applied: list[Event] = []
    lasts: list[int] = []

    def on_commit(events: list[Event], slates: list[SlateRecord], last_seq: int) -> None:
        applied.extend(events)
        lasts.append(last_seq)

    commit = GroupCommit(log, on_commit)

    def work(thread: int) -> dict[str, int]:
        mine: dict[str, int] = {}
        for i in range(40):
            names = [f"{thread}-{i}", f"shared-{i}"]
            numbers = commit.submit([event(name) for name in names]).result(10)
            assert {e.log_seq for e in applied[:]} >= set(numbers)  # applied before it is said
            mine |= dict(zip(names, numbers))
        return mine

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(work, range(8)))
    commit.close()
    assert [e.log_seq for e in applied] == list(range(1, 8 * 40 + 40 + 1))
    assert lasts == sorted(lasts)
    stored = {e.event_id: e.log_seq for e in applied}
    for mine in told:
        assert {name: stored[name] for name in mine} == mine


def test_a_bad_row_fails_its_own_submission_only() -> None:
    slow = SlowLog()
    commit = GroupCommit(slow)
    commit.submit([event("a")])
    assert slow.arrived.acquire(timeout=10)
    futures = [commit.submit([event(name)]) for name in ("b", "bad", "c")]
    slow.permits.release(9)
    assert futures[0].result(10) == [2]
    assert futures[2].result(10) == [3]
    with pytest.raises(InvalidInput, match="'bad'"):
        futures[1].result(10)
    commit.close()


def test_an_outage_fails_the_whole_group_and_the_next_one_works() -> None:
    slow = SlowLog()
    commit = GroupCommit(slow)
    slow.error = Unavailable("disk full")
    lost = commit.submit([event("a")])
    slow.permits.release()
    with pytest.raises(Unavailable, match="disk full"):
        lost.result(10)
    slow.error = None
    slow.permits.release()
    assert commit.submit([event("a")]).result(10) == [1]
    commit.close()


def test_rows_that_the_state_could_not_take_are_handed_over_before_anything_is_acknowledged(
    log: SqliteEventLog,
) -> None:
    applied: list[str] = []
    broken = [True, True]

    def on_commit(events: list[Event], slates: list[SlateRecord], last_seq: int) -> None:
        if broken:
            broken.pop()
            raise Unavailable("state is down")
        applied.extend(e.event_id for e in events)

    commit = GroupCommit(log, on_commit)
    for _ in range(
        2
    ):  # the retry finds its event in the log, but is not told so before the state has it
        with pytest.raises(Unavailable, match="state is down"):
            commit.submit([event("a")]).result(10)
    assert commit.submit([event("a"), event("b")]).result(10) == [1, 2]
    assert applied == ["a", "b"]
    commit.close()


def test_a_full_queue_is_overloaded() -> None:
    slow = SlowLog()
    commit = GroupCommit(slow, max_queued_rows=3)
    running = commit.submit([event("a")])
    assert slow.arrived.acquire(timeout=10)
    waiting = commit.submit([event("b"), event("c")])
    with pytest.raises(Overloaded, match="2 rows waiting, at most 3"):
        commit.submit([event("d"), event("e")])
    slow.permits.release(5)
    assert running.result(10) == [1]
    assert waiting.result(10) == [2, 3]
    commit.close()


def test_closing_commits_what_waits_and_refuses_what_comes_later(log: SqliteEventLog) -> None:
    commit = GroupCommit(log)
    futures = [commit.submit([event(str(i))]) for i in range(50)]
    assert futures[-1].cancel() in (True, False)
    commit.close()
    assert [future.result(0) for future in futures[:-1]] == [[i + 1] for i in range(49)]
    with pytest.raises(Unavailable, match="stopped"):
        commit.submit([event("x")])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_is_loud_and_leaves_nobody_waiting() -> None:
    slow = SlowLog()
    slow.error = KeyError("a bug")
    commit = GroupCommit(slow)
    future = commit.submit([event("a")])
    slow.permits.release()
    with pytest.raises(Unavailable, match="stopped on a bug"):
        future.result(10)
    with pytest.raises(Unavailable, match="stopped"):
        commit.submit([event("b")])
    commit.close()

"""What every EventLog must do; each implementation runs through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upnext.core.columns import EVENTS
from upnext.core.event import Event
from upnext.core.protocols import EventLog
from upnext.events import SqliteEventLog

LOGS: dict[str, Callable[[Path], EventLog]] = {"sqlite": SqliteEventLog}


@pytest.fixture(params=sorted(LOGS))
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    made = LOGS[request.param](tmp_path / "log")
    yield made
    made.close()


def event(name: str, **fields: object) -> Event:
    return Event(**{"event_id": name, "kind": "click", "user_id": "u", "time_us": 5, **fields})


def scanned(log: EventLog, after_seq: int = 0, **how: int) -> pa.Table:
    return pa.concat_tables([EVENTS.empty_table(), *log.scan(after_seq, **how)])


def test_an_empty_log_gives_no_table(log: EventLog) -> None:
    assert list(log.scan()) == []
    assert list(log.append([])) == []


def test_numbers_are_given_from_one_without_gaps(log: EventLog) -> None:
    assert list(log.append([event("a"), event("b")])) == [1, 2]
    assert list(log.append([event("c")])) == [3]


def test_a_known_event_keeps_its_number_and_its_row(log: EventLog) -> None:
    log.append([event("a", video_id="first")])
    assert list(log.append([event("b"), event("a", video_id="second"), event("b")])) == [2, 1, 2]
    assert scanned(log).select(["event_id", "video_id"]).to_pylist() == [
        {"event_id": "a", "video_id": "first"},
        {"event_id": "b", "video_id": None},
    ]


def test_a_scan_gives_every_field_back_in_the_columns_of_events(log: EventLog) -> None:
    full = event(
        "a", session_id="s", request_id="r", video_id="v", target_kind="creator", target_id="c",
        undoes_event_id="z", view_id="w", surface="home", slot=3, watch_s=1.5, query="q", text="é😀",
        value=-0.25, device="tv", country="DE", latitude=1.25, longitude=-2.5, received_us=2**60,
        is_clamped=True, item_id=7, duration_s=12.5, undoes_kind="like",
    )  # fmt: skip
    log.append([full, event("b")])
    table = scanned(log)
    assert table.schema == EVENTS
    first, second = (Event(**row) for row in table.to_pylist())
    assert (first.log_seq, second.log_seq) == (1, 2)
    assert {f: getattr(first, f) for f in Event.__struct_fields__ if f != "log_seq"} == {
        f: getattr(full, f) for f in Event.__struct_fields__ if f != "log_seq"
    }
    assert second == event("b", log_seq=2)


def test_a_scan_starts_strictly_after_and_keeps_to_the_size_of_a_batch(log: EventLog) -> None:
    log.append([event(str(i)) for i in range(11)])
    tables = list(log.scan(2, batch_rows=4))
    assert [len(table) for table in tables] == [4, 4, 1]
    assert pa.concat_tables(tables).column("log_seq").to_pylist() == list(range(3, 12))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=st.lists(st.lists(st.integers(0, 20), max_size=6), max_size=8))
def test_numbers_do_not_depend_on_how_events_were_batched(
    log: EventLog, batches: list[list[int]]
) -> None:
    start = max(scanned(log).column("log_seq").to_pylist(), default=0)
    given_out: dict[int, int] = {}
    for batch in batches:
        for n in batch:
            given_out.setdefault(n, start + 1 + len(given_out))
        numbers = log.append([event(f"{start}-{n}") for n in batch])
        assert list(numbers) == [given_out[n] for n in batch]
    assert scanned(log, start).column("event_id").to_pylist() == [f"{start}-{n}" for n in given_out]

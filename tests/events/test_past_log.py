"""The log as it stood at a moment, whatever has come and been sealed since."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from upnext.core.event import Event
from upnext.events import LogEnd, PastLog, SqliteEventLog


def event(name: str) -> Event:
    return Event(event_id=name, kind="click", user_id="u", time_us=5)


def history(video: str) -> pa.Table:
    return pa.table({"user_id": ["u"], "position": [0], "video_id": [video]})


def ids_of(log: PastLog, after_seq: int = 0, batch_rows: int = 2) -> list[str]:
    tables = list(log.scan(after_seq, batch_rows=batch_rows))
    assert all(0 < len(table) <= batch_rows for table in tables)
    return [str(i) for table in tables for i in table.column("event_id").to_pylist()]


@pytest.mark.parametrize("keep_rows", [10, 4, 0])
def test_events_after_the_end_are_not_there_even_in_a_segment_sealed_across_it(
    tmp_path: Path, keep_rows: int
) -> None:
    log = SqliteEventLog(tmp_path)
    log.append([event(f"{i}") for i in range(5)])
    past = PastLog(log, LogEnd(log.last_seq(), log.n_histories()))
    log.append([event(f"late {i}") for i in range(3)])
    log.seal(keep_rows=keep_rows)
    assert ids_of(past) == ["0", "1", "2", "3", "4"]
    assert ids_of(past, 3) == ["3", "4"]
    assert ids_of(past, 5) == ids_of(past, 7) == []
    assert list(PastLog(log, LogEnd(0, 0)).scan()) == []
    log.close()


def test_a_scan_without_an_end_stops_where_the_log_ended_when_it_began_in_a_segment_too(
    tmp_path: Path,
) -> None:
    log = SqliteEventLog(tmp_path)
    log.append([event(f"{i}") for i in range(4)])
    scan = log.scan(batch_rows=2)
    first = next(scan)
    log.append([event("late")])
    log.seal(keep_rows=0)
    assert pa.concat_tables([first, *scan])["log_seq"].to_pylist() == [1, 2, 3, 4]
    log.close()


def test_histories_stored_after_the_end_are_not_there(tmp_path: Path) -> None:
    log = SqliteEventLog(tmp_path)
    assert log.n_histories() == 0
    empty = PastLog(log, LogEnd(0, log.n_histories()))
    log.add_histories(history("first"))
    past = PastLog(log, LogEnd(0, log.n_histories()))
    log.add_histories(history("second"))
    assert len(empty.histories()) == 0
    assert past.histories().column("video_id").to_pylist() == ["first"]
    assert log.histories().column("video_id").to_pylist() == ["second"]
    log.close()

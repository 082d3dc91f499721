"""Slates: what was served comes back whole, by request, by viewer and as rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from upnext.core.columns import SLATES
from upnext.core.errors import InvalidInput
from upnext.core.event import Event
from upnext.events import CandidateRecord, SlateRecord, SqliteEventLog, slate_rows
from upnext.events.database import open_writer, transaction


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    made = SqliteEventLog(tmp_path)
    yield made
    made.close()


def slate(request_id: str, k: int = 3, **fields: Any) -> SlateRecord:
    """k slots, 2 tasks, 5 feature columns, every value different."""
    base = len(request_id)
    plain: dict[str, Any] = {
        "request_id": request_id, "log_seq": 0, "time_us": 77, "user_id": "u", "session_id": "s",
        "page": 1, "surface": "home", "release_id": "r1", "policy_version": "p1", "policy": "{}",
        "draw_key": 2**64 - 1, "arms": {"exp": "b", "other": "a"}, "degraded": ["fresh"],
        "item_id": [10 * base + j for j in range(k)], "video_id": [f"v{j}" for j in range(k)],
        "sources": [["popular"] * j for j in range(k)],
        "source_scores": [[j + i / 4 for i in range(j)] for j in range(k)],
        "tasks": ["click", "watch_s"], "predictions": [[j / 8, j + 0.5] for j in range(k)],
        "value": [j / 2 for j in range(k)], "propensity": [1 / (j + 1) for j in range(k)],
        "n_eligible": [50 - j for j in range(k)], "reason": [f"because {j}" for j in range(k)],
        "is_repeat": [j == 1 for j in range(k)],
        "features": np.arange(5 * k, dtype=np.float32).tobytes(), "n_features": 5,
        "trace": {"stage_ms": {"rank": 1.5}},
    }  # fmt: skip
    return SlateRecord(**{**plain, **fields})


CANDIDATES = CandidateRecord(
    item_id=[1, 2],
    sources={"popular": [0.5, math.nan]},
    value=[1.0, 2.0],
    user_features=np.ones(3, np.float32).tobytes(),
    item_features=np.arange(8, dtype=np.float32).tobytes(),
    n_item_features=4,
    share=0.02,
)


def test_events_and_slates_share_one_sequence(log: SqliteEventLog) -> None:
    event = Event(event_id="a", kind="click", user_id="u", time_us=1)
    assert log.append([event], [slate("r"), slate("rr")]) == [1, 2, 3]
    assert log.append([event], [slate("rr"), slate("rrr"), slate("rrr")]) == [1, 3, 4, 4]
    assert log.last_seq() == 4
    found = log.slate("rr")
    assert found == msgspec.structs.replace(slate("rr"), log_seq=3)
    assert log.slate("nobody") is None


def test_the_logged_candidates_come_back_with_their_gaps(log: SqliteEventLog) -> None:
    log.append([], [slate("r", candidates=CANDIDATES)])
    found = log.slate("r")
    assert found is not None
    assert found.candidates is not None
    assert math.isnan(found.candidates.sources["popular"][1])
    assert found.candidates.items().tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert found.feature_rows().tolist() == np.arange(15).reshape(3, 5).tolist()


def test_slates_are_scanned_in_order_and_found_by_viewer(log: SqliteEventLog) -> None:
    log.append([], [slate(f"r{i}", user_id=f"u{i % 2}") for i in range(7)])
    pages = list(log.scan_slates(2, batch_rows=2))
    assert [[r.log_seq for r in page] for page in pages] == [[3, 4], [5, 6], [7]]
    assert [r.request_id for r in log.slates_of("u1", 2)] == ["r5", "r3"]
    assert list(log.scan_slates(7)) == []


def test_rows_are_one_per_slot_in_the_columns_of_slates(log: SqliteEventLog) -> None:
    log.append([], [slate("r", k=2), slate("empty", k=0), slate("rrrr", k=3)])
    table = log.slates_table()
    assert table.schema == SLATES
    assert table["request_id"].to_pylist() == ["r", "r", "rrrr", "rrrr", "rrrr"]
    assert table["slot"].to_pylist() == [0, 1, 0, 1, 2]
    assert table["log_seq"].to_pylist() == [1, 1, 3, 3, 3]
    row = table.slice(3, 1).to_pylist()[0]
    assert row["item_id"] == 41
    assert row["sources"] == ["popular"]
    assert row["predictions"] == [0.125, 1.5]
    assert row["propensity"] == 0.5
    assert row["is_repeat"] is True
    assert row["features"] == [5.0, 6.0, 7.0, 8.0, 9.0]
    assert row["draw_key"] == 2**64 - 1
    assert dict(row["arms"]) == {"exp": "b", "other": "a"}
    assert slate("r").rows().num_rows == 3


def test_rows_carry_what_the_request_told_and_null_where_nothing_is_known() -> None:
    told = slate("r", k=1, logged_in=False, device="tv", language="de", time_zone="Europe/Berlin",
                 country="AT", latitude=48.25, longitude=16.5, current_video_id="v9")  # fmt: skip
    columns = ["logged_in", "device", "country", "language", "time_zone", "latitude", "longitude",
               "current_video_id"]  # fmt: skip
    first, second = slate_rows([told, slate("rr", k=1)]).select(columns).to_pylist()
    assert list(first.values()) == [False, "tv", "AT", "de", "Europe/Berlin", 48.25, 16.5, "v9"]
    assert set(second.values()) == {None}


def test_no_slates_give_an_empty_table(log: SqliteEventLog) -> None:
    assert log.slates_table().equals(SLATES.empty_table())
    assert slate_rows([slate("r", k=0)]).num_rows == 0


@pytest.mark.parametrize(
    ("fields", "column"),
    [({"value": [1.0]}, "value"), ({"features": b"1234"}, "features"), ({"reason": []}, "reason")],
)
def test_a_slate_with_a_column_of_another_length_is_refused(
    log: SqliteEventLog, fields: dict[str, Any], column: str
) -> None:
    with pytest.raises(InvalidInput, match=f"request 'r': {column}"):
        log.append([], [slate("ok"), slate("r", **fields)])
    assert log.last_seq() == 0


def test_a_commit_with_an_event_waits_for_the_disk_and_one_of_slates_alone_does_not(
    log: SqliteEventLog,
) -> None:
    said: list[str] = []
    log._connection.set_trace_callback(said.append)
    event = Event(event_id="a", kind="click", user_id="u", time_us=1)
    for events, slates, level in (([], [slate("r")], "NORMAL"), ([event], [], "FULL"),
                                  ([], [slate("rr")], "NORMAL"), ([event], [], "FULL"),
                                  ([event], [slate("rrr")], "FULL")):  # fmt: skip
        said.clear()
        log.append(events, slates)
        before = said[: said.index("BEGIN IMMEDIATE")]
        assert [s for s in before if "synchronous" in s] == [f"PRAGMA synchronous={level}"]
        assert said[-1] == "COMMIT"
    log.append([], [slate("r4")])
    said.clear()
    log.seal(keep_rows=0)
    assert [s for s in said if "synchronous" in s] == ["PRAGMA synchronous=FULL"]


def test_each_transaction_runs_at_the_level_that_it_asks_for(tmp_path: Path) -> None:
    connection = open_writer(tmp_path)
    for synced, level in ((False, 1), (True, 2), (False, 1), (True, 2)):  # 1 NORMAL, 2 FULL
        with transaction(connection, synced=synced):
            assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    connection.close()

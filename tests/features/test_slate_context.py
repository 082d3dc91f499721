"""The contexts of logged slates, as a replay reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from upnext.events import LogEnd, PastLog, SlateRecord, SqliteEventLog
from upnext.features.slate_context import COLUMNS, one_a_request, slate_contexts, slate_slots


def slate(request_id: str, time_us: int, **told: object) -> SlateRecord:
    """A page of two slots."""
    return SlateRecord(
        request_id=request_id, log_seq=0, time_us=time_us, user_id="u", session_id="s", page=0,
        surface="home", release_id="r", policy_version="p", policy="{}", draw_key=7, arms={},
        degraded=[], item_id=[1, 2], video_id=["v1", "v2"], sources=[[], []], source_scores=[[], []],
        tasks=[], predictions=[[], []], value=[1.0, 1.0], propensity=[1.0, 1.0], n_eligible=[1, 1],
        reason=["", ""], is_repeat=[False, False], features=b"", n_features=0, trace={}, **told,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    made = SqliteEventLog(tmp_path)
    yield made
    made.close()


def test_every_logged_slate_is_one_row_with_what_its_request_told(log: SqliteEventLog) -> None:
    log.append([], [slate("a", 5, logged_in=False, language="de", current_video_id="v9")])
    log.append([], [slate("b", 9)])
    found = slate_contexts(log)
    assert tuple(found.columns) == COLUMNS
    assert found.select("request_id", "time_us", "logged_in", "language", "device").rows() == [
        ("a", 5, False, "de", None), ("b", 9, None, None, None),
    ]  # fmt: skip
    assert found["current_video_id"].to_list() == ["v9", None]


def test_slates_after_the_end_of_a_past_log_are_not_there(log: SqliteEventLog) -> None:
    log.append([], [slate("a", 5), slate("b", 6)])
    end = LogEnd(log.last_seq(), 0)
    log.append([], [slate("c", 7), slate("d", 8)])
    past = PastLog(log, end)
    assert slate_contexts(past)["request_id"].to_list() == ["a", "b"]
    pages = list(past.scan_slates(batch_rows=3))
    assert [[record.request_id for record in page] for page in pages] == [["a", "b"]]
    assert list(past.scan_slates(2)) == []


def test_a_log_without_slates_gives_no_rows_of_the_same_kind(log: SqliteEventLog) -> None:
    assert slate_contexts(log).rows() == []
    log.append([], [slate("a", 5, latitude=48.25)])
    assert slate_contexts(log).schema == one_a_request(pl.DataFrame()).schema


def test_the_slots_of_a_request_are_one_row_and_columns_that_are_missing_are_null() -> None:
    slots = pl.DataFrame({"request_id": ["b", "a", "a"], "time_us": [4, 5, 6], "slot": [0, 0, 1]})
    found = one_a_request(slots)
    assert found.select("request_id", "time_us", "logged_in").rows() == [
        ("b", 4, None), ("a", 5, None),
    ]  # fmt: skip


def test_every_logged_slot_is_a_row_with_its_propensity(log: SqliteEventLog) -> None:
    assert slate_slots(log).rows() == []
    log.append([], [slate("a", 5), slate("b", 9)])
    found = slate_slots(log)
    assert found.columns == [*COLUMNS, "item_id", "propensity"]
    assert found.select("request_id", "item_id", "propensity").rows() == [
        ("a", 1, 1.0), ("a", 2, 1.0), ("b", 1, 1.0), ("b", 2, 1.0),
    ]  # fmt: skip

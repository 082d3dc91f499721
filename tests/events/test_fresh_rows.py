"""Rows that an append added are applied to the state once; rows that were there are not."""

from __future__ import annotations

from upnext.core.event import Event
from upnext.events.fresh_rows import fresh_rows


def _event(event_id: str) -> Event:
    return Event(event_id=event_id, kind="click", user_id="u", time_us=1)


def test_rows_the_log_had_are_left_out_and_a_row_sent_twice_counts_once() -> None:
    rows = [_event("a"), _event("b"), _event("c"), _event("b")]
    fresh = fresh_rows(rows, [8, 11, 12, 11], before=10)
    assert [(row.event_id, row.log_seq) for row in fresh] == [("b", 11), ("c", 12)]
    assert rows[1].log_seq != 11  # the caller's rows stay as they were


def test_nothing_new_is_nothing_to_apply() -> None:
    assert fresh_rows([_event("a")], [3], before=3) == []
    assert fresh_rows([], [], before=3) == []

"""Events as clients send them: what is taken, what is refused and what is said about it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.serve.event_input import NotABatch, derived_id, read_events

GOOD = {
    "event_id": "e1",
    "time_us": 1_700_000_000_000_000,
    "kind": "like",
    "user_id": "u",
    "video_id": "v",
}


def refusal_of(**changes: object):
    events, (refusal,) = read_events(json.dumps([{**GOOD, **changes}]).encode())
    assert (refusal is None) == (len(events) == 1)
    return refusal


def test_a_batch_is_an_array_or_an_object_with_events() -> None:
    for body in ([GOOD], {"events": [GOOD]}):
        events, refusals = read_events(json.dumps(body).encode())
        assert [e.event_id for e in events] == ["e1"]
        assert refusals == [None]
    assert read_events(b"[]") == ([], [])


@pytest.mark.parametrize("body", [b"", b"{", b"5", b'{"rows": []}', b'"x"', b"\xff\xfe", b"null"])
def test_what_is_no_batch_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(NotABatch, match="expected"):
        read_events(body)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "zap"}, "kind"),
        ({"kind": None}, "kind"),
        ({"time_us": "now"}, "time_us"),
        ({"time_us": 0}, "time_us"),
        ({"time_us": 1.5}, "time_us"),
        ({"user_id": ""}, "user_id"),
        ({"event_id": ""}, "event_id"),
        ({"video_id": None}, "video_id"),
        ({"slot": -1}, "slot"),
        ({"kind": "watch"}, "watch_s"),
        ({"kind": "watch", "watch_s": -1.0}, "watch_s"),
        ({"latitude": 91.0}, "latitude"),
        ({"kind": "search", "query": ""}, "query"),
        ({"kind": "undo"}, "undoes_event_id"),
        ({"kind": "mute", "video_id": None}, "target_id"),
        ({"colour": "red"}, "colour"),
        ({"log_seq": 5}, "log_seq"),  # stamped by us alone
        ({"received_us": 5}, "received_us"),
        ({"user_id": "x" * 3000}, "user_id"),
        ({"target_kind": "planet"}, "target_kind"),
    ],
)
def test_a_broken_rule_names_its_field_and_what_was_expected(changes: dict, field: str) -> None:
    refusal = refusal_of(**changes)
    assert refusal is not None
    assert refusal.field == field
    assert refusal.expected
    assert len(refusal.got) <= 120


def test_one_bad_event_never_holds_up_its_neighbours() -> None:
    rows = [GOOD, 5, {**GOOD, "event_id": "e2", "kind": "zap"}, {**GOOD, "event_id": "e3"}]
    events, refusals = read_events(json.dumps(rows).encode())
    assert [e.event_id for e in events] == ["e1", "e3"]
    assert [r is None for r in refusals] == [True, False, False, True]


def test_ids_of_a_thousand_characters_and_emoji_are_taken() -> None:
    assert refusal_of(user_id="u" * 1000, video_id="🎬" * 1000, event_id="é" * 1000) is None


def test_a_row_without_an_id_gets_one_from_its_content() -> None:
    row = {k: v for k, v in GOOD.items() if k != "event_id"}
    same = {**dict(reversed(row.items())), "slot": None}
    (first, second, other), _ = read_events(json.dumps([row, same, {**row, "slot": 1}]).encode())
    assert first.event_id == second.event_id != other.event_id
    assert derived_id(row) == first.event_id


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@given(
    st.lists(
        json_values | st.dictionaries(st.sampled_from([*GOOD, "slot", "watch_s"]), json_values),
        max_size=4,
    )
)
def test_whatever_json_comes_every_row_is_either_an_event_or_a_refusal(rows: list) -> None:
    body = json.dumps(rows, allow_nan=False) if _finite(rows) else "[]"
    try:
        events, refusals = read_events(body.encode("utf-8", "surrogatepass"))
    except NotABatch:
        return
    assert len(events) == sum(r is None for r in refusals)


def _finite(rows: list) -> bool:
    try:
        json.dumps(rows, allow_nan=False)
    except ValueError:
        return False
    return True

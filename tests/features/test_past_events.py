"""The log in memory: every event as it was, in order of time, in few bytes."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
from feature_world import START_US, MemoryLog, MemoryView, event, log_of, random_day

from upnext.core.event import Event
from upnext.core.types import Profile
from upnext.features.context import Moment
from upnext.features.moments import WORDS, Moments, numbered
from upnext.features.past_events import COLUMNS, LEFT_OUT, events_by_time, stream
from upnext.features.showings import showings_of


def without(one: Event) -> Event:
    """The event as a replay needs it."""
    nothing = {"event_id": "", "log_seq": 0, "received_us": 0, "is_clamped": False}
    nothing |= dict.fromkeys(LEFT_OUT - set(nothing))
    return msgspec.structs.replace(one, **nothing)


def test_every_event_comes_back_in_order_of_time_ties_in_order_of_the_log() -> None:
    events = random_day(4, 400, n_users=5, late=0.3)
    events += [msgspec.structs.replace(events[7], event_id="tie", log_seq=len(events) + 1, slot=3)]
    frame = events_by_time(MemoryLog(events))
    wanted = sorted(events, key=lambda one: (one.time_us, one.log_seq))
    assert list(stream(frame)) == [without(one) for one in wanted]
    assert frame.columns == list(COLUMNS)
    middle_us = wanted[200].time_us
    early = [without(one) for one in wanted if one.time_us < middle_us]
    assert list(stream(events_by_time(MemoryLog(events), middle_us))) == early


def test_an_empty_log_gives_an_empty_frame_of_the_same_columns() -> None:
    for frame in (events_by_time(MemoryLog([])), events_by_time(MemoryLog([]), START_US)):
        assert len(frame) == 0
        assert frame.columns == list(COLUMNS)
    one = events_by_time(log_of(event("impression", "u1", item=1)))
    assert one.schema["request_id"] == pl.Categorical(), "an empty column keeps its type"
    assert one.get_column("item_id").to_list() == [1]


def test_an_impression_with_long_ids_takes_less_than_eighty_bytes() -> None:
    """As text the three ids alone are 36 characters each, 108 bytes."""
    shown = [
        event(
            "impression", f"viewer-{i % 50:029d}", at=i, item=i % 300, slot=i % 30, surface="home",
            request_id=f"request-{i // 30:028d}", session_id=f"session-{i // 300:028d}", device="tv",
        )
        for i in range(6000)
    ]  # fmt: skip
    frame = events_by_time(log_of(*shown))
    assert frame.estimated_size() / len(frame) < 80
    assert frame.get_column("request_id").cast(pl.String)[5999] == shown[-1].request_id


def test_moments_are_made_when_asked_for_and_words_are_kept_once() -> None:
    said = [
        ("home", "tv", None, None, None, None),
        (None, "tv", "DE", "de", "Europe/Berlin", True),
        ("home", "tv", None, None, None, None),
        ("home", None, None, None, None, False),
    ]
    schema = {name: pl.Boolean() if name == "logged_in" else pl.Categorical() for name in WORDS}
    words, contexts = numbered(pl.DataFrame(said, schema, orient="row"))
    assert words.tolist() == [0, 1, 0, 2]
    assert list(contexts) == [said[0], said[1], said[3]]
    ann, bob = Profile(age=30), Profile()
    user, time_us = np.array([0, 0, 1, 1], np.int32), np.arange(4)
    assert list(Moments(user, time_us, words, [ann, bob], contexts)) == [
        Moment(ann, 0, "home", "tv"),
        Moment(ann, 1, "", "tv", "DE", "de", "Europe/Berlin"),
        Moment(bob, 2, "home", "tv"),
        Moment(bob, 3, "home", logged_in=False),
    ]


def test_a_moment_of_a_showing_takes_sixteen_bytes() -> None:
    log = log_of(*(event("impression", f"u{i % 3}", at=i, item=i % 50) for i in range(900)))
    moments = showings_of(log, MemoryView()).moments
    assert isinstance(moments, Moments)
    assert len(moments) == 900
    columns = (moments.user, moments.time_us, moments.words)
    assert sum(column.nbytes for column in columns) == 16 * 900
    assert len(moments.profiles) == 3

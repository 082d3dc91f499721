"""Offline readers and the online state agree on every showing; labels are NaN where nobody can know."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from feature_world import START_US, MemoryLog, MemoryView, event, log_of, random_day, table_of
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.columns import HISTORIES
from upnext.core.event import Event
from upnext.core.types import Flag
from upnext.features.labels import LABELS, labels_of
from upnext.features.search_tokens import tokens_of
from upnext.features.showings import showings_of
from upnext.features.user_state import UserState


def frame(*events: Event) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(table_of(events)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), late=st.sampled_from([0.0, 0.3]))
def test_showings_are_the_rows_of_the_online_state(seed: int, late: float) -> None:
    events = random_day(seed, 250, n_users=3, late=late)
    found = showings_of(MemoryLog(events), MemoryView())
    states: dict[str, UserState] = {}
    for one in sorted(events, key=lambda e: (e.time_us, e.log_seq)):
        states.setdefault(one.user_id, UserState()).apply(one)
    starts = found.starts()
    for row, user_id in enumerate(found.user_ids):
        history = states[user_id].ring.history()
        mine = slice(starts[row], starts[row + 1])
        assert found.item_id[mine].tolist() == history.item_id.tolist()
        assert found.time_us[mine].tolist() == history.time_us.tolist()
        assert found.flags[mine].tolist() == history.flags.tolist()
        assert found.watch_s[mine].tolist() == history.watch_s.tolist()


def test_showings_longer_than_the_ring_are_kept_whole() -> None:
    log = log_of(*(event("impression", at=i, item=i % 50) for i in range(450)))
    found = showings_of(log, MemoryView())
    assert len(found) == 450
    assert (np.diff(found.time_us) >= 0).all()


def test_histories_come_first_without_a_moment_and_moments_are_one_per_instant() -> None:
    stored = pl.DataFrame(
        {"user_id": ["u1", "u1"], "position": [1, 0], "video_id": ["v9", "v8"], "item_id": [9, 8],
         "is_like": [True, False], "is_relevant": [True, False]}
    ).to_arrow().cast(HISTORIES)  # fmt: skip
    log = log_of(
        event("impression", "u1", item=1, surface="home", device="tv"),
        event("impression", "u1", item=2, surface="home", device="tv"),
        event("impression", "u1", at=9, item=3, surface="shorts"),
        event("search", "u1", at=5, query="red cat"),
        event("impression", "u0", item=1, surface="home"),
        stored=stored,
    )
    found = showings_of(log, MemoryView())
    assert found.user_ids == ("u0", "u1")
    assert found.item_id.tolist() == [1, 8, 9, 1, 2, 3]
    assert found.moment.tolist() == [0, -1, -1, 1, 1, 2]
    assert [m.device for m in found.moments] == [None, "tv", None]
    assert found.moments[1].profile.country == "DE"
    times, tokens = found.searches[1]
    assert tokens.tolist() == tokens_of("red cat")
    assert set(times.tolist()) == {START_US + 5_000_000}
    before = showings_of(log, MemoryView(), before_us=START_US + 1)
    assert (len(before), before.searches) == (5, {})


def test_labels_say_what_happened_and_nan_where_nobody_knows() -> None:
    found = labels_of(
        frame(
            event("impression", item=1, request_id="r", slot=4, surface="home"),
            event("impression", item=2),
            event("watch", at=3, item=1, watch_s=6.0, request_id="r"),
            event("like", at=4, item=1),
            event("click", at=5, item=2),
            event("impression", at=6, item=3),
            event("watch", at=7, item=3, watch_s=1.0),
            event("share", at=100_000, item=1),
        )
    )
    assert found.get_column("item_id").to_list() == [1, 2, 3, 1]
    assert found.get_column("is_impression").to_list() == [True, True, True, False]
    assert found.get_column("event").to_list() == [0, 1, 5, 7]
    assert found.get_column("slot").to_list() == [4, None, None, None]
    wanted = {
        "relevant": [1, 0, 0, 0], "click": [0, 1, 0, 0], "like": [1, 0, 0, 0], "share": [0, 0, 0, 1],
        "watch_s": [6, np.nan, 1, np.nan], "skip": [0, np.nan, 1, np.nan], "completed": [0, 0, 0, 0],
        "long_view": [np.nan] * 4,
    }  # fmt: skip
    assert set(wanted) <= set(LABELS)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found.get_column(name).to_numpy(), values, name)


def test_long_view_is_a_label_where_the_data_has_it() -> None:
    found = labels_of(
        frame(
            event("impression", item=1),
            event("watch", at=3, item=1, watch_s=6.0, value=1.0),
            event("impression", at=4, item=2),
            event("watch", at=5, item=2, watch_s=1.0, value=0.0),
            event("impression", at=6, item=3),
        )
    )
    np.testing.assert_array_equal(found.get_column("long_view").to_numpy(), [1, 0, np.nan])


def test_an_undone_like_is_no_label() -> None:
    found = labels_of(
        frame(
            event("impression", item=1),
            event("like", at=1, item=1),
            event("undo", at=2, item=1, undoes_kind="like"),
        )
    )
    assert found.get_column("like").to_list() == [0.0]
    assert found.get_column("flags").to_list() == [Flag.IMPRESSION]


@pytest.mark.parametrize("events", [[], [event("search", query="x")]])
def test_a_log_without_showings_gives_empty_tables(events: list[Event]) -> None:
    assert len(labels_of(frame(*events))) == 0
    assert len(showings_of(log_of(*events), MemoryView())) == 0

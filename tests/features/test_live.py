"""The online state is a function of the log: however it was written, whoever reads it."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from feature_world import START_US, DictStore, MemoryLog, MemoryView, Slate, event, random_day
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.clock import DAY_US, SECOND_US
from upnext.core.columns import HISTORIES
from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.core.types import Request
from upnext.features.config import FeaturesConfig
from upnext.features.live import StateReader, StateWriter

SMALL = FeaturesConfig(n_history=10, n_cached_users=2, n_sessions=2, seen_days=2)


def numbered(*events: Event, after: int = 0) -> list[Event]:
    return [msgspec.structs.replace(e, log_seq=i) for i, e in enumerate(events, start=after + 1)]


def request(user_id: str = "u1", after_s: float = 3600.0, **more: object) -> Request:
    return Request("q", user_id, "home", 5, START_US + int(after_s * SECOND_US), **more)  # type: ignore[arg-type]


def histories() -> pa.Table:
    rows = [
        {"user_id": f"u{u}", "position": p, "video_id": f"v{u + p}", "item_id": u + p,
         "is_like": p == 1, "is_relevant": p > 0}
        for u in (1, 7) for p in (2, 0, 1)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=HISTORIES)


def random_log(seed: int, *, late: float = 0.2) -> MemoryLog:
    """Events and slates in one sequence of numbers, and some histories."""
    rng = np.random.default_rng(seed)
    events, slates, seq = [], [], 0
    for one in random_day(seed, 150, late=late):
        seq += 1
        events.append(msgspec.structs.replace(one, log_seq=seq))
        if rng.random() < 0.2:
            seq += 1
            session = ["", "s1", "s2", "s3"][rng.integers(4)]
            items = rng.choice(40, 3, replace=False).tolist()
            slates.append(
                Slate(
                    f"q{seq}", one.user_id, session, items, int(rng.integers(3)), one.time_us, seq
                )
            )
    return MemoryLog(events, slates, histories())


def live_state(log: MemoryLog, sizes: list[int]) -> DictStore:
    """The state after the log was applied in batches of these sizes."""
    store = DictStore()
    writer = StateWriter(store, SMALL)
    writer.catch_up(MemoryLog(stored=log.stored))
    both = sorted([*log.events, *log.slates], key=lambda row: row.log_seq)
    start = 0
    for size in [*sizes, len(both)]:
        batch = both[start : start + size]
        start += size
        if batch:
            writer.apply(
                [row for row in batch if isinstance(row, Event)],
                [row for row in batch if isinstance(row, Slate)],
                batch[-1].log_seq,
            )
    return store


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(1, 40), max_size=12))
def test_a_rebuild_equals_live_updates_in_any_batches(seed: int, sizes: list[int]) -> None:
    log = random_log(seed)
    rebuilt = DictStore()
    rebuilt.data["left over"] = b"?"  # type: ignore[index]
    StateWriter(rebuilt, SMALL).rebuild(log)
    live = live_state(log, sizes)
    assert live.data == rebuilt.data
    assert live.checksum() == rebuilt.checksum()
    assert live.watermark() == rebuilt.watermark()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), stop=st.integers(0, 170))
def test_a_writer_that_died_catches_up_from_the_log(seed: int, stop: int) -> None:
    log = random_log(seed)
    store = DictStore()
    writer = StateWriter(store, SMALL)
    seen = MemoryLog(
        [e for e in log.events if e.log_seq <= stop],
        [s for s in log.slates if s.log_seq <= stop],
        log.stored,
    )
    writer.catch_up(seen)
    after = StateWriter(store, SMALL)
    assert after.catch_up(log) == len(log.events) + len(log.slates) - len(seen.events) - len(
        seen.slates
    )
    assert after.catch_up(log) == 0
    rebuilt = DictStore()
    StateWriter(rebuilt, SMALL).rebuild(log)
    assert store.data == rebuilt.data


def test_what_was_applied_before_is_not_applied_twice() -> None:
    store = DictStore()
    writer = StateWriter(store)
    events = numbered(event("impression", item=3), event("like", at=1, item=3))
    slate = Slate("q1", "u1", "s", [3, 4], log_seq=3)
    writer.apply(events, [slate], 3)
    before = dict(store.data)
    writer.apply(events, [slate], 3)
    assert store.data == before
    assert store.watermark() == 3


def test_a_store_that_fails_stops_the_writer_until_it_has_caught_up() -> None:
    store, log = (
        DictStore(),
        MemoryLog(numbered(*(event("impression", at=i, item=i) for i in range(4)))),
    )
    writer = StateWriter(store)
    writer.apply(log.events[:1], (), 1)
    store.is_down = True
    with pytest.raises(Unavailable):
        writer.apply(log.events[1:2], (), 2)
    store.is_down = False
    with pytest.raises(Unavailable, match="catch_up"):
        writer.apply(log.events[2:3], (), 3)
    assert writer.catch_up(log) == 3
    rebuilt = DictStore()
    StateWriter(rebuilt).rebuild(log)
    assert store.data == rebuilt.data


def test_a_reader_sees_what_was_applied() -> None:
    store = DictStore()
    writer, reader = StateWriter(store), StateReader(store, MemoryView())
    writer.apply(
        numbered(
            event("impression", item=3),
            event("watch", at=2, item=3, watch_s=9.0),
            event("not_interested", at=9, item=8),
            event("mute", at=10, target_kind="creator", target_id="c5"),
            event("search", at=11, query="red cat"),
            event("impression", at=12, item=5),
        ),
        [
            Slate("q1", "u1", "s", [11, 12], 0, START_US, 7),
            Slate("q2", "u1", "s", [13], 1, START_US, 8),
        ],
        8,
    )
    store.n_gets = 0
    query = reader.hydrate(request(session_id="s"))
    assert store.n_gets == 2
    user = query.user
    assert user.history.item_id.tolist() == [3, 8, 5]
    assert user.seen.tolist() == [3, 5, 8]
    assert user.seen_order.tolist() == [3, 8, 5]
    assert user.not_interested.tolist() == [8]
    assert user.muted_creators.tolist() == [5]
    assert (user.n_impressions, user.n_relevant, len(user.searches)) == (2, 1, 3)
    assert user.profile.age == 22
    assert query.served.tolist() == [11, 12, 13]
    assert reader.hydrate(request(session_id="other")).served.tolist() == []
    assert reader.session("u1", "s").tolist() == [11, 12, 13]
    assert reader.hydrate(request("stranger")).user.history.item_id.tolist() == []


def test_counters_reach_a_reader_when_it_refreshes() -> None:
    store = DictStore()
    writer, reader = StateWriter(store), StateReader(store, MemoryView())
    writer.apply(numbered(event("impression", item=3), event("like", at=1, item=200)), (), 2)
    assert not reader.counters.column("likes_total", START_US).any()
    assert reader.refresh_counters() == 2
    assert reader.counters.column("likes_total", START_US)[200] == 1.0
    assert reader.counters.column("impressions_total", START_US)[3] == 1.0


def test_without_the_store_a_request_goes_on_flagged() -> None:
    store = DictStore()
    reader = StateReader(store, MemoryView())
    store.is_down = True
    query = reader.hydrate(request())
    assert query.degraded == ("state",)
    assert (len(query.user.seen), query.user.profile.country) == (0, "DE")


def test_seen_days_expire_and_their_keys_go() -> None:
    store = DictStore()
    writer, reader = StateWriter(store, SMALL), StateReader(store, MemoryView(), SMALL)
    for i in range(5):
        writer.apply([event("impression", at=i * 86_400, item=i)], (), i + 1)
    assert reader.hydrate(request(after_s=5 * 86_400)).user.seen.tolist() == [3, 4]
    day = START_US // DAY_US
    assert {k for k in store.data if k.startswith(b"seen/")} == {
        b"seen/u1\0%d" % (day + 3), b"seen/u1\0%d" % (day + 4),
    }  # fmt: skip


def test_pages_of_one_session_conflict_when_they_share_a_video() -> None:
    writer = StateWriter(DictStore())
    first = Slate("q1", "u1", "s", [1, 2, 3], 0, START_US, 1)
    assert not writer.conflicts(first)
    writer.apply((), [first], 1)
    assert not writer.conflicts(first)
    assert writer.conflicts(Slate("q2", "u1", "s", [9, 3], 1))
    assert not writer.conflicts(Slate("q2", "u1", "s", [9, 3], 1, is_repeat=[False, True]))
    assert not writer.conflicts(Slate("q2", "u1", "s", [9, 8], 1))
    assert not writer.conflicts(Slate("q2", "u1", "t", [9, 3], 1))
    assert not writer.conflicts(Slate("q2", "u2", "s", [9, 3], 1))


def test_sessions_beyond_the_limit_are_dropped() -> None:
    store = DictStore()
    writer, reader = StateWriter(store, SMALL), StateReader(store, MemoryView(), SMALL)
    slates = [Slate(f"q{i}", "u1", f"s{i}", [i], 0, START_US, i + 1) for i in range(4)]
    writer.apply((), slates, 4)
    assert [reader.session("u1", f"s{i}").tolist() for i in range(4)] == [[], [], [2], [3]]
    assert sum(key.startswith(b"sess/") for key in store.data) == 2


def test_a_dropped_session_may_repeat_only_what_had_no_impression() -> None:
    store = DictStore()
    writer, reader = StateWriter(store, SMALL), StateReader(store, MemoryView(), SMALL)
    slates = [Slate("q0", "u1", "s", [1, 2], 0, START_US, 1)]
    slates += [Slate(f"q{i}", "u1", f"s{i}", [10 + i], 0, START_US, i + 1) for i in (1, 2)]
    writer.apply((), slates, 3)
    writer.apply([event("impression", "u1", item=1, log_seq=4)], (), 4)
    query = reader.hydrate(request(session_id="s"))
    assert query.served.tolist() == []  # two others were served since
    assert query.user.seen.tolist() == [1]  # 2 may come again
    assert reader.hydrate(request(session_id="s2")).user.seen.tolist() == [1]


def test_the_session_served_least_recently_goes_first() -> None:
    store = DictStore()
    writer, reader = StateWriter(store, SMALL), StateReader(store, MemoryView(), SMALL)
    for i, name in enumerate(["long", "b", "long", "c", "long"]):
        writer.apply((), [Slate(f"q{i}", "u1", name, [i], 0, START_US, i + 1)], i + 1)
    assert [reader.session("u1", name).tolist() for name in ("long", "b", "c")] == [
        [0, 2, 4], [], [3],
    ]  # fmt: skip


def test_without_a_session_id_a_rest_begins_a_new_session() -> None:
    store = DictStore()
    writer, reader = StateWriter(store), StateReader(store, MemoryView())
    writer.apply((), [Slate("q1", "u1", "", [1, 2], 0, START_US, 1)], 1)
    soon = START_US + 600 * SECOND_US
    later = soon + 1801 * SECOND_US
    assert writer.conflicts(Slate("q2", "u1", "", [2], 1, soon))
    writer.apply((), [Slate("q3", "u1", "", [3], 1, soon, 2)], 2)
    assert reader.hydrate(request(after_s=700)).served.tolist() == [1, 2, 3]
    assert reader.hydrate(request(after_s=2500)).served.tolist() == []
    assert not writer.conflicts(Slate("q4", "u1", "", [2], 1, later))
    writer.apply((), [Slate("q5", "u1", "", [4], 0, later, 3)], 3)
    assert reader.session("u1", "").tolist() == [4]


def test_ids_of_any_length_and_letters_have_keys_of_their_own() -> None:
    store = DictStore()
    writer, reader = StateWriter(store), StateReader(store, MemoryView())
    names = [
        ("a", "b\0c"),
        ("a\0b", "c"),
        ("x" * 600, "s"),
        ("x" * 601, "s"),
        ("a", "b/c"),
        ("a/b", "c"),
    ]
    for seq, (user_id, session_id) in enumerate(names, start=1):
        writer.apply((), [Slate(f"q{seq}", user_id, session_id, [seq], 0, START_US, seq)], seq)
    assert [reader.session(u, s).tolist() for u, s in names] == [[i] for i in range(1, 7)]
    assert max(len(key) for key in store.data) <= 511

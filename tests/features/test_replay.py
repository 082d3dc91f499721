"""The past lived again: the same features as were served, and nothing of the future in them."""

from __future__ import annotations

import msgspec
import numpy as np
import polars as pl
from feature_world import START_US, DictStore, MemoryLog, MemoryView, event, random_day
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.clock import HOUR_US, SECOND_US
from upnext.core.event import Event
from upnext.core.types import Candidates, Request
from upnext.features.config import FeaturesConfig
from upnext.features.counters import CounterTable
from upnext.features.live import StateReader, StateWriter
from upnext.features.plan import FeaturePlan
from upnext.features.replay import Replayed, replay
from upnext.features.showings import showings_of

VIEW = MemoryView()
STATIC = np.random.default_rng(5).normal(size=(300, 5)).astype(np.float32)
CANDIDATES = Candidates(np.arange(40), {"source:popular": np.linspace(1, 0, 40, dtype=np.float32)})
SMALL = FeaturesConfig(n_history=20, n_cached_users=2, page_slots=1)


def plan_over(counters: CounterTable) -> FeaturePlan:
    return FeaturePlan(VIEW, counters, STATIC, sources=("popular",))


def distinct_times(events: list[Event]) -> list[Event]:
    """The events a second apart at least, so that no two share an instant, without request ids."""
    return [
        msgspec.structs.replace(
            e, time_us=e.time_us + 2 * i * SECOND_US, log_seq=i + 1, request_id=None
        )
        for i, e in enumerate(sorted(events, key=lambda e: (e.time_us, e.log_seq)))
    ]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_replayed_features_equal_served_features(seed: int) -> None:
    events = distinct_times(random_day(seed, 120))
    store = DictStore()
    writer, reader = StateWriter(store, SMALL), StateReader(store, VIEW, SMALL)
    served = {}
    plan = plan_over(reader.counters)
    for one in events:
        if one.kind == "impression":
            request = Request(
                "",
                one.user_id,
                one.surface or "",
                1,
                one.time_us,
                device=one.device,
                country=one.country,
            )
            reader.refresh_counters()
            served[one.time_us] = plan.read(reader.hydrate(request), CANDIDATES)
        writer.apply([one], (), one.log_seq)
    counters = CounterTable()
    again = plan_over(counters)
    n_compared = 0
    for past in replay(MemoryLog(events), VIEW, counters, config=SMALL):
        features = again.read(past.query, CANDIDATES)
        wanted = served[past.query.request.time_us]
        np.testing.assert_array_equal(features.items, wanted.items)
        np.testing.assert_array_equal(features.user, wanted.user)
        n_compared += 1
    assert n_compared > 10


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(10, 140))
def test_no_event_at_or_after_a_request_changes_what_it_read(seed: int, cut: int) -> None:
    """The cheat: everything at or after an instant is replaced by a flood of other events, at that very instant too."""
    events = random_day(seed, 150)
    ordered = sorted(events, key=lambda e: (e.time_us, e.log_seq))
    at_us = ordered[cut].time_us
    past = [e for e in events if e.time_us < at_us]
    flood = [
        event(kind, f"u{user}", item=item, request_id="flood", target_kind="creator", target_id="c3", watch_s=9.0,
              query="cheat", at=(at_us - START_US) / SECOND_US + late)
        for late in (0.0, 1.5)
        for kind in ("like", "impression", "watch", "dislike", "not_interested", "follow", "search")
        for user in range(4)
        for item in (1, 7)
    ]  # fmt: skip
    flood = [
        msgspec.structs.replace(e, log_seq=i + 1) for i, e in enumerate(flood)
    ]  # even logged first
    cheated = [*flood, *(msgspec.structs.replace(e, log_seq=e.log_seq + len(flood)) for e in past)]
    honest, tricked = read_until(events, at_us), read_until(cheated, at_us)
    shared = sorted(set(honest) & set(tricked))
    assert {k for k in honest if k[0] < at_us} == {k for k in tricked if k[0] < at_us}
    for key in shared:
        for mine, theirs in zip(honest[key], tricked[key]):
            np.testing.assert_array_equal(mine, theirs)


def read_until(
    events: list[Event], at_us: int
) -> dict[tuple[int, str, str], tuple[np.ndarray, np.ndarray]]:
    """Features by (time, viewer, surface) of every request up to and at an instant."""
    counters = CounterTable()
    plan = plan_over(counters)
    rows = {}
    for past in replay(MemoryLog(events), VIEW, counters):
        request = past.query.request
        if request.time_us <= at_us:
            features = plan.read(past.query, CANDIDATES)
            n_context = (
                len(features.user_names) - 26
            )  # device and surface come with the request itself
            rows[request.time_us, request.user_id, "any"] = (
                features.items,
                features.user[n_context:],
            )
    return rows


def replayed(*events: Event, slates: pl.DataFrame | None = None, **window: int) -> list[Replayed]:
    numbered = [msgspec.structs.replace(e, log_seq=i) for i, e in enumerate(events, start=1)]
    return list(replay(MemoryLog(numbered), VIEW, CounterTable(), slates=slates, **window))


def test_impressions_of_one_request_are_one_group_with_final_labels() -> None:
    found = replayed(
        event("impression", item=1, request_id="a", slot=0, surface="home"),
        event("impression", at=2, item=2, request_id="a", slot=1, surface="home"),
        event("impression", at=2, item=5, request_id="b", surface="home"),
        event("like", at=50, item=2, request_id="a"),
        event("impression", at=60, item=9, request_id="a", slot=2, surface="home"),
    )
    assert [group.item_id.tolist() for group in found] == [[1, 2, 9], [5]]
    assert found[0].labels["like"].tolist() == [0, 1, 0]
    assert found[0].slot.tolist() == [0, 1, 2]
    assert found[1].slot.tolist() == [-1]
    assert [group.query.request.size for group in found] == [3, 1]
    assert [len(group.query.user.history) for group in found] == [0, 1]


def test_without_a_request_id_what_is_shown_closely_after_another_is_a_page() -> None:
    found = replayed(
        event("impression", item=1, surface="home"),
        event("impression", at=200, item=2, surface="home"),
        event("impression", at=200, item=3, surface="shorts"),
        event("impression", "u2", at=200, item=4, surface="home"),
        event("impression", at=300, item=1, surface="home"),
        event("impression", at=490, item=5, surface="home"),
        event("impression", at=800, item=6, surface="home"),
    )
    groups = [(g.query.request.user_id, g.query.request.surface, g.item_id.tolist()) for g in found]
    assert sorted(groups) == [
        ("u1", "home", [1]), ("u1", "home", [1, 2, 5]), ("u1", "home", [6]), ("u1", "shorts", [3]),
        ("u2", "home", [4]),
    ]  # fmt: skip
    pages = {tuple(g.item_id.tolist()): g.query for g in found}
    assert pages[(1, 2, 5)].request.time_us == START_US
    assert not len(pages[(1, 2, 5)].user.history)  # chosen before its first video was shown


def test_a_page_has_no_more_slots_than_the_settings_say() -> None:
    shown = [event("impression", at=i, item=i, surface="home") for i in range(25)]
    sizes = [len(g.item_id) for g in replayed(*shown)]
    assert sizes == [10, 10, 5]
    each = FeaturesConfig(page_slots=1)
    assert [len(g.item_id) for g in replayed(*shown, config=each)] == [1] * 25


def test_a_slate_gives_its_request_the_time() -> None:
    slates = pl.DataFrame({"request_id": ["a", "a"], "time_us": [START_US - 5 * SECOND_US] * 2})
    found = replayed(
        event("click", at=-5, item=7),
        event("click", at=-6, item=8),
        event("impression", item=1, request_id="a"),
        slates=slates,
    )
    assert found[0].query.request.time_us == START_US - 5 * SECOND_US
    assert found[0].query.user.history.item_id.tolist() == [8]


def test_an_impression_that_names_another_viewer_s_request_takes_nothing_of_its_slate() -> None:
    said = {
        "request_id": ["a"],
        "time_us": [START_US - 5 * SECOND_US],
        "device": ["tv"],
        "logged_in": [True],
    }
    for asker, device, time_us in (
        ("u1", "tv", START_US - 5 * SECOND_US), ("u2", "phone", START_US), (None, "tv", START_US - 5 * SECOND_US),
    ):  # fmt: skip
        slates = pl.DataFrame({**said, "user_id": pl.Series([asker], dtype=pl.String)})
        one = event("impression", item=1, request_id="a", device="phone")
        (found,) = replayed(one, slates=slates)
        assert (found.query.request.device, found.query.request.time_us) == (device, time_us)
        log = MemoryLog([msgspec.structs.replace(one, log_seq=1)])
        showings = showings_of(log, VIEW, slates=slates)
        assert [moment.device for moment in showings.moments] == [device]


def test_the_window_bounds_requests_and_labels_but_not_the_past() -> None:
    events = (
        event("impression", item=1),
        event("impression", at=3600, item=2),
        event("impression", at=7200, item=3),
        event("like", at=9000, item=2),
        event("like", at=3700, item=2),
    )
    found = replayed(*events, after_us=START_US + HOUR_US, before_us=START_US + 2 * HOUR_US)
    assert [group.item_id.tolist() for group in found] == [[2]]
    assert found[0].query.user.history.item_id.tolist() == [1]
    assert found[0].labels["like"].tolist() == [1]
    later = replayed(*events[:4], after_us=START_US + HOUR_US, before_us=START_US + 2 * HOUR_US)
    assert later[0].labels["like"].tolist() == [0]


def test_an_empty_log_gives_nothing() -> None:
    assert replayed() == []
    assert replayed(event("search", query="x")) == []


def test_soon_is_what_the_same_viewer_found_relevant_from_the_request_on() -> None:
    events = [
        event("impression", item=1),
        event("like", at=1, item=1),
        event("impression", at=1000, item=2),
        event("impression", at=2000, item=3),
        event("like", at=9000, item=3),  # relevance counts when it was shown
        event("impression", "u2", at=2000, item=4),
        event("like", "u2", at=2001, item=4),
        event("impression", at=3600, item=5),
        event("like", at=3601, item=5),
        event("impression", at=4601, item=6),
        event("like", at=4602, item=6),
    ]
    soon = {g.item_id[0]: g.soon.tolist() for g in replayed(*events, soon_us=3600 * SECOND_US)}
    assert soon == {1: [1, 3, 5], 2: [3, 5], 3: [3, 5, 6], 4: [4], 5: [5, 6], 6: [6]}
    assert all(not len(g.soon) for g in replayed(*events))
    ended = replayed(*events, soon_us=3600 * SECOND_US, before_us=START_US + 3600 * SECOND_US)
    assert {g.item_id[0]: g.soon.tolist() for g in ended} == {1: [1], 2: [], 3: [], 4: [4]}

"""A replay joined with the logged slates asks what was really asked."""

from __future__ import annotations

import numpy as np
import polars as pl
from feature_world import START_US, MemoryView, event, log_of

from upnext.core.event import Event
from upnext.core.types import Candidates, Query, Request
from upnext.features.counters import CounterTable
from upnext.features.plan import FeaturePlan
from upnext.features.replay import replay
from upnext.features.showings import showings_of

VIEW = MemoryView()
TOLD = {
    "logged_in": False, "device": None, "country": "AT", "language": "l2", "time_zone": "Asia/Tokyo",
    "latitude": 48.25, "longitude": None, "current_video_id": "v14",
}  # fmt: skip
BEFORE_CONTEXTS = dict.fromkeys(TOLD)


def slates(**of_request: dict[str, object]) -> pl.DataFrame:
    """Two slots of each request, with the context given."""
    rows = [{"request_id": name, "time_us": START_US, **told} for name, told in of_request.items()]
    return pl.DataFrame([row for row in rows for _ in range(2)])


def impression(request_id: str | None, at: float = 1.0) -> Event:
    """What a client says, which is not what was asked."""
    return event("impression", item=7, at=at, request_id=request_id, surface="upnext", device="tv",
                 country="FR", latitude=1.0, longitude=2.0)  # fmt: skip


def requests(*events: Event, told: pl.DataFrame | None = None) -> list[Request]:
    found = replay(log_of(*events), VIEW, CounterTable(), slates=told)
    return [one.query.request for one in found]


def context(request: Request) -> dict[str, object]:
    return {name: getattr(request, name) for name in TOLD}


SAID = {**BEFORE_CONTEXTS, "logged_in": True, "device": "tv", "country": "FR", "latitude": 1.0,
        "longitude": 2.0}  # fmt: skip


def test_a_request_has_the_whole_context_of_its_slate_what_it_left_out_too() -> None:
    (found,) = requests(impression("a"), told=slates(a=TOLD, b={**TOLD, "device": "phone"}))
    assert context(found) == TOLD
    assert (found.request_id, found.surface, found.time_us) == ("a", "upnext", START_US)


def test_without_a_slate_s_context_the_impression_s_counts() -> None:
    older = slates(a=BEFORE_CONTEXTS, other=TOLD)
    assert [context(r) for r in requests(impression("a"), told=older)] == [SAID]
    assert [context(r) for r in requests(impression("unknown"), told=older)] == [SAID]
    assert [context(r) for r in requests(impression(None), told=older)] == [SAID]
    assert [context(r) for r in requests(impression("a"))] == [SAID]
    times_alone = older.select("request_id", "time_us")
    assert [context(r) for r in requests(impression("a"), told=times_alone)] == [SAID]
    assert [context(r) for r in requests(impression("a"), told=times_alone.clear())] == [SAID]


def test_up_next_features_replay_as_they_were_served() -> None:
    counters = CounterTable()
    plan = FeaturePlan(VIEW, counters, np.eye(300, 5, dtype=np.float32), sources=("popular",))
    score = np.linspace(1, 0, 40, dtype=np.float32)
    candidates = Candidates(np.arange(40), {"source:popular": score})
    log = log_of(impression("a"))
    (found,) = replay(log, VIEW, counters, slates=slates(a=TOLD))
    asked = Request("a", "u1", "upnext", 1, START_US, **TOLD)
    served = plan.read(Query(asked, found.query.user), candidates)
    again = plan.read(found.query, candidates)
    np.testing.assert_array_equal(again.items, served.items)
    np.testing.assert_array_equal(again.user, served.user)
    (naive,) = replay(log, VIEW, CounterTable())
    assert not np.array_equal(plan.read(naive.query, candidates).items, served.items)


def test_a_moment_has_its_slate_s_context_and_else_its_impression_s() -> None:
    log = log_of(impression("a"), impression("b", 9.0), impression(None, 99.0))
    told = slates(a=TOLD, b=BEFORE_CONTEXTS)
    moments = list(showings_of(log, VIEW, slates=told).moments)
    names = ("device", "country", "language", "time_zone", "logged_in")
    found = [tuple(getattr(moment, name) for name in names) for moment in moments]
    said = ("tv", "FR", None, None, True)
    assert found == [(None, "AT", "l2", "Asia/Tokyo", False), said, said]
    assert {moment.surface for moment in moments} == {"upnext"}
    plain = showings_of(log, VIEW).moments
    assert [tuple(getattr(moment, name) for name in names) for moment in plain] == [said] * 3


def test_a_showing_has_the_propensity_of_its_viewers_own_slot_and_feedback_changes_none() -> None:
    slots = pl.DataFrame(
        {
            "request_id": ["a", "a", "b"], "user_id": ["u1", "u1", "another"], "item_id": [6, 7, 7],
            "time_us": [START_US] * 3, "propensity": [0.5, 0.25, 0.75],
        }
    )  # fmt: skip
    shown = [impression("a"), impression("b", at=2.0), impression(None, at=3.0)]
    found = showings_of(log_of(*shown), VIEW, slates=slots)
    users = [found.user_ids[row] for row in found.user]
    later = event("like", item=7, at=9.0, request_id="a")
    again = showings_of(log_of(*shown, later), VIEW, slates=slots)
    assert found.propensity is not None
    assert users == ["u1"] * 3
    assert np.array_equal(found.propensity, [0.25, np.nan, np.nan], equal_nan=True)
    assert again.propensity is not None
    assert np.array_equal(found.propensity, again.propensity, equal_nan=True)
    early = found.before(int(found.time_us[1]))
    assert early.propensity is not None
    assert early.propensity.tolist() == [0.25]
    assert showings_of(log_of(*shown), VIEW).propensity is None

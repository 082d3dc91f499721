"""Viewers in a closed loop: the law of the truth, one set of events per page, calm before the unknown."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.event import Event
from upnext.core.randomness import rng_for
from upnext.simulate.behaviour import examination
from upnext.simulate.platform import Platform
from upnext.simulate.truth import SURFACES, expected_relevance, rates
from upnext.simulate.viewer import FEEDBACK, HEARTBEAT_S, Page, ViewerBehaviour
from upnext.simulate.world import World


def _page(world: World, surface: str, videos: list[int], name: str = "r1") -> Page:
    ids = [world.video_ids[v] for v in videos]
    return Page(name, "s1", surface, 1_700_000_000_000_000, ids, first_slot=20)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_page_is_answered_slot_by_slot(world: World, surface: str) -> None:
    viewers = ViewerBehaviour(Platform(world))
    events: list[Event] = []
    for i in range(200):
        page = _page(world, surface, list(range(i, i + 12)), f"r{i}")
        answer = viewers.react(3, page, rng_for(1, i))
        impressions = [e for e in answer if e.kind == "impression"]
        assert [e.slot for e in impressions] == list(range(20, 20 + len(impressions)))
        assert [e.video_id for e in impressions] == list(page.video_ids)[: len(impressions)]
        assert len(impressions) == 12 or surface == "shorts"
        assert [e.time_us for e in answer] == sorted(e.time_us for e in answer)
        assert {(e.user_id, e.request_id, e.session_id, e.surface) for e in answer} == {
            ("u000003", f"r{i}", "s1", surface)
        }
        events += answer
    assert len({e.event_id for e in events}) == len(events)
    kinds = {e.kind for e in events}
    assert {"impression", "watch"} <= kinds <= {"impression", "click", "watch", *FEEDBACK}
    assert ("click" in kinds) == (surface != "shorts")


def test_watches_are_cumulative_per_view(world: World) -> None:
    viewers = ViewerBehaviour(Platform(world))
    long = np.argsort(-world.videos.duration_s)[:300].tolist()
    views: dict[str, list[float]] = {}
    for viewer in range(40):
        for event in viewers.react(viewer, _page(world, "home", long), rng_for(viewer)):
            if event.kind == "watch":
                assert event.view_id is not None
                assert event.watch_s is not None
                views.setdefault(f"{viewer}/{event.view_id}", []).append(event.watch_s)
    halves = [w for w in views.values() if len(w) == 2]
    assert halves
    assert all(w[0] == w[1] / 2 and w[1] >= HEARTBEAT_S for w in halves)


def test_follows_name_the_creator(world: World) -> None:
    viewers = ViewerBehaviour(Platform(world))
    follows = []
    for viewer in range(60):
        page = _page(world, "shorts", list(range(30)), f"r{viewer}")
        follows += [e for e in viewers.react(viewer, page, rng_for(viewer)) if e.kind == "follow"]
    assert follows
    for event in follows:
        assert event.video_id is not None
        creator = int(world.videos.creator[world.row_of[event.video_id]])
        assert (event.target_kind, event.target_id) == ("creator", world.creator_id(creator))
        assert event.view_id is None
        assert event.watch_s is None


def test_the_same_draw_gives_the_same_events(world: World) -> None:
    page = _page(world, "home", [5, 6, 7, 8, 9])
    a = ViewerBehaviour(Platform(world)).react(9, page, rng_for("x"))
    viewers = ViewerBehaviour(Platform(world))
    viewers.react(8, page, rng_for("y"))  # pushes nothing of viewer 9's answer
    assert a == viewers.react(9, page, rng_for("x"))


def test_an_unknown_video_is_seen_and_left(world: World) -> None:
    page = Page("r", "s", "home", 10, ["never-heard-of"] * 50)
    kinds = {e.kind for e in ViewerBehaviour(Platform(world)).react(0, page, rng_for(0))}
    assert kinds == {"impression"}
    assert (
        ViewerBehaviour(Platform(world)).react(0, Page("r", "s", "home", 10, []), rng_for(0)) == []
    )


def test_clicks_and_relevance_follow_the_truth(world: World) -> None:
    viewers = ViewerBehaviour(Platform(world))
    n_clicks = n_relevant = 0
    expected_clicks = expected_relevant = 0.0
    rng = rng_for("truth")
    for viewer in range(500):
        rows = rng.choice(2_000, 10, replace=False)
        page = Page(f"r{viewer}", "s", "home", 0, [world.video_ids[v] for v in rows])
        relevant: set[int | None] = set()
        for event in viewers.react(viewer, page, rng):
            n_clicks += event.kind == "click"
            half = event.kind == "watch" and event.view_id is not None
            length = world.videos.duration_s[world.row_of[event.video_id or ""]]
            if event.kind == "like" or (half and (event.watch_s or 0) >= 0.5 * length):
                relevant.add(event.slot)
        n_relevant += len(relevant)
        slots, who = np.arange(10), np.full(10, viewer)
        look = examination(world.knobs, slots, np.zeros(10, np.int64))
        expected_clicks += float((look * rates(world, who, rows, "home").attract).sum())
        expected_relevant += float((look * expected_relevance(world, who, rows)).sum())
    # about 1,300 clicks and 450 relevant of 5,000 showings: four standard errors
    assert abs(n_clicks - expected_clicks) < 4 * np.sqrt(expected_clicks)
    assert abs(n_relevant - expected_relevant) < 4 * np.sqrt(expected_relevant)

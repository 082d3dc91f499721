"""The first viewers of each video in the state (that a rebuild equals live updates, test_live.py says of every key)."""

from __future__ import annotations

from feature_world import START_US, DictStore
from test_live import numbered

from upnext.core.event import Event
from upnext.features.config import FeaturesConfig
from upnext.features.first_viewers import first_viewers
from upnext.features.live import StateWriter

FEW = FeaturesConfig(n_first_viewers=2)


def said(kind: str, user_id: str, second: int, **more: object) -> Event:
    return Event(
        event_id=f"{kind}{user_id}{second}", kind=kind, user_id=user_id, item_id=5,
        time_us=START_US + second * 1_000_000, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def names_after(*events: Event) -> list[str]:
    """Who video 5's first viewers are; each event in a transaction of its own."""
    store = DictStore()
    writer = StateWriter(store, FEW)
    for event in numbered(*events):
        writer.apply([event], [], event.log_seq)
    (viewers,) = first_viewers(store, [5])
    return [viewer.user_id for viewer in viewers]


def test_who_found_a_video_relevant_first_is_kept_in_that_order_and_no_more_than_asked() -> None:
    events = [said("like", user, second) for second, user in enumerate(["b", "a", "c"])]
    assert names_after(*events) == ["b", "a"]
    assert names_after() == []


def test_an_impression_or_a_click_alone_is_no_first_viewing() -> None:
    assert names_after(said("impression", "a", 0), said("click", "a", 1)) == []


def test_a_viewer_counts_once() -> None:
    half = said("watch", "a", 1, watch_s=6.0, duration_s=10.0)
    assert names_after(said("impression", "a", 0), half, said("like", "a", 2)) == ["a"]


def test_who_takes_it_back_makes_room_for_the_next() -> None:
    events = [said("like", "a", 0), said("like", "b", 1)]
    events.append(said("undo", "a", 2, undoes_kind="like"))
    assert names_after(*events) == ["b"]
    assert names_after(*events, said("like", "c", 3)) == ["b", "c"]


def test_the_time_is_that_of_the_showing() -> None:
    store = DictStore()
    writer = StateWriter(store, FEW)
    events = numbered(said("impression", "a", 3), said("like", "a", 50))
    writer.apply(events, [], 2)
    ((viewer,),) = first_viewers(store, [5])
    assert viewer.time_us == START_US + 3_000_000

"""What a viewer's state is after known events, to the last counter."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from feature_world import START_US, MemoryView, event, random_day
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.clock import DAY_US
from upnext.core.event import Event
from upnext.core.types import NO_ITEMS, Flag, Profile
from upnext.features.config import FeaturesConfig
from upnext.features.search_tokens import tokens_of
from upnext.features.user_state import UserState

HOUR = 3600.0


def told(*events: Event, config: FeaturesConfig | None = None) -> tuple[UserState, Counter[str]]:
    """The state after the events, and the sum of every counter."""
    state = UserState(config or FeaturesConfig())
    counts: Counter[str] = Counter()
    for one in events:
        for delta in state.apply(one):
            counts[delta.counter] += delta.amount
    return state, counts


def test_an_impression_opens_a_row_and_feedback_changes_it() -> None:
    state, counts = told(
        event("impression", item=3),
        event("watch", at=5, item=3, watch_s=6.0, view_id="a"),
        event("like", at=9, item=3),
    )
    history = state.ring.history()
    assert history.item_id.tolist() == [3]
    assert history.flags[0] == Flag.IMPRESSION | Flag.WATCHED | Flag.WATCHED_HALF | Flag.LIKE
    assert history.time_us.tolist() == [START_US]
    assert counts == {"impressions": 1, "watches": 1, "watch_s": 6, "relevant": 1, "likes": 1}
    assert (state.n_impressions, state.n_relevant) == (1, 1)


def test_watched_seconds_are_the_maximum_and_deltas_only_what_grew() -> None:
    state = UserState()
    state.apply(event("impression", item=3))
    grew = []
    for i, watch_s in enumerate((1.0, 4.0, 2.0, 4.5)):
        deltas = state.apply(event("watch", at=i, item=3, watch_s=watch_s, view_id="a"))
        grew.append(sum(d.amount for d in deltas if d.counter == "watch_s"))
    assert grew == [1.0, 3.0, 0.0, 0.5]


def test_a_skip_is_taken_back_when_the_viewer_watches_on() -> None:
    skipped, counts = told(event("impression", item=3), event("watch", at=1, item=3, watch_s=1.9))
    assert skipped.ring.flags[0] & Flag.SKIPPED
    assert counts["skips"] == 1
    watched, counts = told(
        event("impression", item=3),
        event("watch", at=1, item=3, watch_s=1.9),
        event("watch", at=2, item=3, watch_s=2.1),
    )
    assert not watched.ring.flags[0] & Flag.SKIPPED
    assert counts["skips"] == 0


@pytest.mark.parametrize(
    ("watch_s", "duration_s", "value", "wanted"),
    [
        (5.0, 10.0, None, Flag.WATCHED_HALF),
        (4.99, 10.0, None, 0),
        (9.5, 10.0, None, Flag.WATCHED_HALF | Flag.COMPLETED),
        (9.49, 10.0, None, Flag.WATCHED_HALF),
        (4.0, None, 1.0, Flag.WATCHED_HALF | Flag.LONG_VIEW),
        (400.0, None, 0.0, 0),
        (4.0, float("nan"), 1.0, Flag.WATCHED_HALF | Flag.LONG_VIEW),
        (4.0, 10.0, 1.0, Flag.LONG_VIEW),
        (None, 10.0, 1.0, Flag.WATCHED_HALF | Flag.LONG_VIEW),
    ],
)
def test_half_and_completed_need_a_duration_or_the_data_s_own_long_view(
    watch_s: float | None, duration_s: float | None, value: float | None, wanted: int
) -> None:
    state, _ = told(
        event("impression", item=1),
        event("watch", at=1, item=1, watch_s=watch_s, duration_s=duration_s, value=value),
    )
    assert state.ring.flags[0] == Flag.IMPRESSION | Flag.WATCHED | wanted


@pytest.mark.parametrize("kind", ["click", "like", "dislike", "share", "comment", "not_interested"])
def test_an_undo_leaves_flags_counters_and_lists_as_they_were(kind: str) -> None:
    before, counts_before = told(event("impression", item=3))
    after, counts = told(
        event("impression", item=3),
        event(kind, at=1, item=3),
        event("undo", at=2, item=3, undoes_kind=kind),
    )
    assert after.ring.flags.tolist() == before.ring.flags.tolist()
    assert +counts == counts_before
    assert not after.not_interested


def test_follows_mutes_and_interests_are_undone_too() -> None:
    creator = {"target_kind": "creator", "target_id": "c5"}
    topic = {"target_kind": "topic", "target_id": "news"}
    state, _ = told(
        event("follow", **creator),
        event("mute", at=1, **topic),
        event("mute", at=2, **creator),
        event("more", at=3, **topic),
        event("less", at=4, target_kind="topic", target_id="cars"),
    )
    user = state.user("u1", Profile(), NO_ITEMS, MemoryView())
    assert (user.followed.tolist(), user.muted_creators.tolist()) == ([5], [5])
    assert (user.muted_topics, user.interests) == (("news",), {"news": 1.0, "cars": -1.0})
    for at, (kind, target) in enumerate(
        [("follow", creator), ("mute", topic), ("mute", creator), ("more", topic)], start=5
    ):
        state.apply(event("undo", at=at, undoes_kind=kind, **target))
    user = state.user("u1", Profile(), NO_ITEMS, MemoryView())
    assert not len(user.followed)
    assert not len(user.muted_creators)
    assert (user.muted_topics, user.interests) == ((), {"cars": -1.0})


def test_a_follow_that_names_only_a_video_follows_its_creator() -> None:
    state, _ = told(event("impression", item=47), event("follow", at=1, item=47))
    assert state.user("u1", Profile(), NO_ITEMS, MemoryView()).followed.tolist() == [7]
    assert state.ring.flags[0] == Flag.IMPRESSION | Flag.FOLLOW


def test_feedback_joins_within_24_hours_and_opens_a_row_after_that() -> None:
    joined, _ = told(event("impression", item=3), event("click", at=24 * HOUR, item=3))
    assert len(joined.ring) == 1
    apart, counts = told(event("impression", item=3), event("click", at=24 * HOUR + 1, item=3))
    assert apart.ring.flags.tolist() == [Flag.IMPRESSION, Flag.CLICK]
    assert counts["impressions"] == 1


def test_a_request_id_decides_which_showing_feedback_belongs_to() -> None:
    state, _ = told(
        event("impression", item=3, request_id="r1"),
        event("impression", at=60, item=3, request_id="r2"),
        event("like", at=90, item=3, request_id="r1"),
        event("click", at=95, item=3),
        event("share", at=48 * HOUR, item=3, request_id="r1"),
    )
    first, second = state.ring.flags.tolist()
    assert first == Flag.IMPRESSION | Flag.LIKE | Flag.SHARE
    assert second == Flag.IMPRESSION | Flag.CLICK


def test_a_second_view_of_the_same_video_is_its_own_row() -> None:
    state, counts = told(
        event("impression", item=3),
        event("watch", at=1, item=3, watch_s=4.0, view_id="a"),
        event("watch", at=60, item=3, watch_s=9.0, view_id="b"),
        event("watch", at=70, item=3, watch_s=4.5, view_id="a"),
    )
    assert state.ring.watch.tolist() == [4.5, 9.0]
    assert counts["watch_s"] == 13.5


def test_an_impression_that_comes_after_its_feedback_completes_the_row() -> None:
    state, counts = told(
        event("watch", at=8, item=3, watch_s=8.0, request_id="r"),
        event("impression", at=0, item=3, request_id="r"),
    )
    assert state.ring.flags.tolist() == [Flag.IMPRESSION | Flag.WATCHED | Flag.WATCHED_HALF]
    assert state.ring.time.tolist() == [START_US]
    assert (counts["impressions"], counts["watches"]) == (1, 1)


def test_late_events_keep_the_ring_in_order_of_time() -> None:
    state, _ = told(
        *(event("impression", at=at, item=i) for i, at in enumerate((10, 30, 20, 5, 20)))
    )
    assert state.ring.item.tolist() == [3, 0, 2, 4, 1]


def test_the_ring_keeps_the_latest_rows() -> None:
    state, counts = told(
        *(event("impression", at=i, item=i) for i in range(7)), config=FeaturesConfig(n_history=4)
    )
    assert state.ring.item.tolist() == [3, 4, 5, 6]
    assert (state.n_impressions, counts["impressions"]) == (7, 7)


def test_searched_tokens_are_uni_and_bigrams_and_their_order_is_hidden() -> None:
    assert len(tokens_of("Red  CAT song")) == 5
    assert tokens_of("red cat")[:2] == tokens_of("Red, Cat!")[:2]
    one, _ = told(event("search", query="red cat"), event("search", at=1, query="blue"))
    two, _ = told(event("search", query="blue"), event("search", at=1, query="red cat"))
    users = [state.user("u1", Profile(), NO_ITEMS, MemoryView()) for state in (one, two)]
    assert users[0].searches.tolist() == users[1].searches.tolist()
    assert len(users[0].searches) == 4


def test_days_of_seen_videos_expire_and_untimed_ones_stay() -> None:
    state = UserState(FeaturesConfig(seen_days=3))
    state.start_from([9], [False], [True])
    day = START_US // DAY_US
    for after in (0, 1, 2, 3, 1):
        state.apply(event("impression", at=after * 24 * HOUR, item=after))
    assert state.days == [0, day + 1, day + 2, day + 3]
    state.apply(event("impression", at=0, item=77))
    assert state.newly_seen is None


def test_a_history_comes_before_everything_and_counts() -> None:
    state, _ = told(event("impression", item=1))
    deltas = state.start_from([7, 8], [False, True], [True, True])
    history = state.ring.history()
    assert history.item_id.tolist() == [7, 8, 1]
    assert history.time_us.tolist() == [0, 0, START_US]
    assert (history.flags[:2] & Flag.LIKE).tolist() == [0, Flag.LIKE]
    assert (state.n_impressions, state.n_relevant) == (3, 2)
    assert all(delta.time_us == 0 for delta in deltas)


def test_kinds_without_a_video_change_nothing_and_do_not_fail() -> None:
    state, counts = told(
        event("upload"), event("survey", value=3.0), event("like"), event("impression")
    )
    assert not len(state.ring)
    assert not counts


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), late=st.sampled_from([0.0, 0.3]))
def test_any_state_survives_being_stored(seed: int, late: float) -> None:
    config = FeaturesConfig(n_history=12)
    live, stored = UserState(config), UserState(config)
    for one in random_day(seed, 120, n_users=1, n_items=15, late=late):
        assert live.apply(one) == stored.apply(one)
        stored = UserState.from_bytes(stored.to_bytes(), config)
        assert live.newly_seen is None or live.newly_seen.item_id == one.item_id
    assert live.to_bytes() == stored.to_bytes()
    assert (np.diff(live.ring.time) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_counters_are_the_sum_of_what_the_rows_say(seed: int) -> None:
    state, counts = told(*random_day(seed, 120, n_users=1, n_items=15))
    flags = np.array(state.ring.flags)
    bits = {"impressions": Flag.IMPRESSION, "clicks": Flag.CLICK, "likes": Flag.LIKE,
            "skips": Flag.SKIPPED, "completions": Flag.COMPLETED, "relevant": Flag.RELEVANT}  # fmt: skip
    for name, bit in bits.items():
        assert counts[name] == ((flags & bit) != 0).sum(), name
    assert counts["watch_s"] == pytest.approx(sum(state.ring.watch))
    assert state.n_relevant == counts["relevant"]

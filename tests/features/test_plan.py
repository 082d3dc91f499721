"""The plan's columns, one by one on worlds with plain answers."""

from __future__ import annotations

import numpy as np
import pytest
from feature_world import START_US, MemoryView

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.types import Candidates, Flag, History, Profile, Query, Request, User
from upnext.features.catalog_block import distance_km
from upnext.features.context import Vocabulary
from upnext.features.counters import CounterTable
from upnext.features.plan import FeaturePlan
from upnext.features.vector_table import VectorTable

SHOWN = Flag.IMPRESSION
LIKED = Flag.IMPRESSION | Flag.LIKE


def history(*rows: tuple[int, int, float]) -> History:
    """(item, flags, watch_s) an hour apart, the last one an hour before the request."""
    n = len(rows)
    times = START_US - HOUR_US * np.arange(n, 0, -1)
    item, flags, watch_s = zip(*rows) if rows else ((), (), ())
    return History(
        np.array(item, np.int64), times, np.array(watch_s, np.float32), np.array(flags, np.uint16)
    )


def ask(past: History, **more: object) -> Query:
    user = User(
        "u1", Profile(language="l1"), past, n_impressions=len(past), last_time_us=START_US - HOUR_US
    )
    return Query(Request("r", "u1", "home", 5, START_US, **more), user)  # type: ignore[arg-type]


def plan(view: MemoryView, counters: CounterTable | None = None, **more: object) -> FeaturePlan:
    return FeaturePlan(view, counters or CounterTable(), **more)  # type: ignore[arg-type]


def test_shapes_names_and_types_agree() -> None:
    view = MemoryView()
    static = np.random.default_rng(0).normal(size=(view.n_items, 6)).astype(np.float32)
    made = plan(
        view, item_static=static, sources=("popular", "relevant"), user_vector=lambda query: np.arange(3.0),
        user_vector_size=3, vocabulary=Vocabulary({"country": ("DE",)}),
    )  # fmt: skip
    features = made.read(ask(history((3, LIKED, 0.0))), Candidates(np.arange(17)))
    assert features.user.shape == (len(made.user_names),)
    assert features.items.shape == (17, len(made.item_names))
    assert features.items.dtype == features.user.dtype == np.float32
    assert np.isfinite(features.items).all()
    assert len(set(made.item_names)) == len(made.item_names)
    assert len(set(made.user_names)) == len(made.user_names)
    assert features.user[-3:].tolist() == [0.0, 1.0, 2.0]
    assert (features.column("static_5") == static[:17, 5]).all()


def test_no_candidates_and_no_history_give_zeros_and_no_failure() -> None:
    view = MemoryView()
    made = plan(view, item_static=np.ones((view.n_items, 2), np.float32))
    query = Query(Request("r", "new", "home", 5, START_US), User("new"))
    assert made.read(query, Candidates(np.zeros(0, np.int64))).items.shape[0] == 0
    features = made.read(query, Candidates(np.arange(9)))
    assert not features.column("category_lift").any()
    assert not features.column("cos_relevant").any()
    assert features.user[features.user_names.index("is_new")] == 1.0


def test_every_row_depends_on_its_candidate_alone() -> None:
    view = MemoryView()
    counters = CounterTable()
    for item in range(60):
        counters.add(item, "impressions", 1.0 + item, START_US - HOUR_US)
        counters.add(item, "clicks", item % 5, START_US - HOUR_US)
    made = plan(
        view,
        counters,
        item_static=np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32),
    )
    query = ask(
        history((3, LIKED, 0.0), (10, SHOWN, 0.0), (17, SHOWN, 3.0)), current_video_id="v24"
    )
    whole = made.read(query, Candidates(np.arange(60))).items
    order = np.random.default_rng(2).permutation(60)[:23]
    assert (made.read(query, Candidates(order)).items == whole[order]).all()


def test_catalogue_columns_say_what_the_catalogue_says() -> None:
    view = MemoryView()
    view.uploaded_us[1] = START_US - 3 * HOUR_US
    view.uploaded_us[2] = START_US - 3 * DAY_US
    view.uploaded_us[3] = START_US + DAY_US  # from the future: age 0
    features = plan(view).read(ask(history()), Candidates(np.array([0, 1, 2, 3])))
    assert features.column("age_missing").tolist() == [1, 0, 0, 0]
    assert features.column("is_day_old").tolist() == [0, 1, 0, 1]
    assert features.column("is_week_old").tolist() == [0, 1, 1, 1]
    assert features.column("log_age_h")[1] == pytest.approx(0.1 * np.log(4.0))
    assert features.column("duration_missing").tolist() == [1, 0, 0, 0]
    assert features.column("has_age_limit").tolist() == [1, 0, 0, 0]
    # languages are item % 3 - 1 and the viewer speaks l1
    assert features.column("language_match").tolist() == [0, 0, 1, 0]
    assert features.column("language_known").tolist() == [0, 1, 1, 0]


def test_distances_are_great_circles() -> None:
    km = distance_km(
        52.52,
        13.405,
        np.array([48.8566, 52.52], np.float32),
        np.array([2.3522, 13.405], np.float32),
    )
    assert km[0] == pytest.approx(878, abs=3)  # Berlin to Paris
    assert km[1] == pytest.approx(0, abs=0.01)


def test_affinity_counts_what_the_viewer_met_and_liked() -> None:
    # categories are item % 7: two showings of category 3, one liked; one of category 4, not liked
    past = history((3, LIKED, 0.0), (10, SHOWN, 0.0), (4, SHOWN, 0.0))
    features = plan(MemoryView()).read(ask(past), Candidates(np.array([24, 11, 5])))
    base = (1 + 1) / (3 + 4)
    assert features.column("category_log_shown") == pytest.approx(0.1 * np.log([3, 2, 1]))
    assert features.column("category_log_relevant") == pytest.approx(0.1 * np.log([2, 1, 1]))
    lifts = [(1 + 2 * base) / 4 - base, (0 + 2 * base) / 3 - base, 0.0]
    assert features.column("category_lift") == pytest.approx(lifts, abs=1e-6)


def test_past_showings_of_the_same_video_are_counted_and_dated() -> None:
    past = history((3, SHOWN, 0.0), (9, SHOWN, 0.0), (3, LIKED, 0.0), (8, SHOWN, 0.0))
    features = plan(MemoryView()).read(ask(past), Candidates(np.array([3, 9, 100])))
    assert features.column("video_log_shown") == pytest.approx(0.1 * np.log([3, 2, 1]))
    assert features.column("video_relevant").tolist() == [1, 0, 0]
    assert features.column("video_log_h_since") == pytest.approx(
        [0.1 * np.log(3), 0.1 * np.log(4), 0]
    )


def test_the_video_being_watched_is_compared() -> None:
    features = plan(MemoryView()).read(
        ask(history(), current_video_id="v40"), Candidates(np.array([47, 80, 41]))
    )
    assert features.column("has_current").tolist() == [1, 1, 1]
    assert features.column("current_same_category").tolist() == [1, 0, 0]  # 40 % 7 == 47 % 7
    assert features.column("current_same_creator").tolist() == [0, 1, 0]  # 40 % 40 == 80 % 40


def test_an_interest_in_a_creator_that_nobody_knows_is_none_in_videos_without_a_creator() -> None:
    view, query = MemoryView(), ask(history())
    view.creator[2] = -1
    user = User("u1", interests={"creator:c77": 1.0, "k77": 1.0})
    features = plan(view).read(Query(query.request, user), Candidates(np.array([2, 3])))
    assert features.column("interest").tolist() == [0, 0]


def test_follows_and_interests_reach_the_candidates() -> None:
    query = ask(history())
    user = User("u1", followed=np.array([2]), interests={"k3": 2.0, "creator:c6": -1.0})
    features = plan(MemoryView()).read(
        Query(query.request, user), Candidates(np.array([2, 42, 24, 6]))
    )
    assert features.column("followed").tolist() == [1, 1, 0, 0]
    assert features.column("interest").tolist() == [0, 0, 2, -1]  # 24 % 7 == 3, 6 % 40 == 6


def test_rates_are_smoothed_by_the_longer_window() -> None:
    counters = CounterTable()
    counters.add(3, "impressions", 80.0, START_US)
    counters.add(3, "clicks", 60.0, START_US)
    features = plan(MemoryView(), counters).read(ask(history()), Candidates(np.array([3, 4])))
    total = (60 + 20 * 0.3) / (80 + 20)
    week = (60 + 20 * total) / (80 + 20)
    assert features.column("rate_clicks_total") == pytest.approx([total, 0.3])
    assert features.column("rate_clicks_7d") == pytest.approx([week, 0.3])
    assert features.column("rate_clicks_1d") == pytest.approx([(60 + 20 * week) / 100, 0.3])
    assert features.column("log_impressions_total") == pytest.approx([0.1 * np.log(81), 0])
    assert features.column("trend_impressions_6h") == pytest.approx([0.1 * np.log(81 / 21), 0])


def test_source_scores_come_with_a_flag_and_a_place() -> None:
    candidates = Candidates.union(
        [
            Candidates.of_source(
                "popular", np.array([5, 7, 9]), np.array([0.9, 0.5, 0.1], np.float32)
            ),
            Candidates.of_source("relevant", np.array([9, 30]), np.array([3.0, -2.0], np.float32)),
        ]
    )
    features = plan(MemoryView(), sources=("relevant", "popular", "fresh")).read(
        ask(history()), candidates
    )
    assert candidates.item_id.tolist() == [5, 7, 9, 30]
    assert features.column("source:relevant").tolist() == [0, 0, 3, -2]
    assert features.column("has:relevant").tolist() == [0, 0, 1, 1]
    assert features.column("place:relevant").tolist() == [0, 0, 1, 0.5]
    assert features.column("place:popular") == pytest.approx([1, 1 / 2, 1 / 3, 0])
    assert features.column("n_sources").tolist() == [1, 1, 2, 1]
    assert not features.column("has:fresh").any()


def test_vectors_are_compared_with_what_the_viewer_liked() -> None:
    static = np.zeros((20, 2), np.float32)
    static[3], static[4], static[5], static[6] = (2, 0), (0, 5), (3, 3), (-1, 0)
    table = VectorTable(static)
    made = plan(MemoryView(), item_static=table)
    features = made.read(
        ask(history((3, LIKED, 0.0), (4, Flag.IMPRESSION | Flag.SKIPPED, 1.0))),
        Candidates(np.array([5, 6, 4, 250])),
    )
    assert features.column("cos_relevant") == pytest.approx([np.sqrt(0.5), -1, 0, 0])
    assert features.column("cos_skipped") == pytest.approx([np.sqrt(0.5), 0, 1, 0])
    table.put(np.array([250]), np.ones((1, 2), np.float32))  # a video that came later
    assert made.read(ask(history()), Candidates(np.array([250]))).column("static_1").tolist() == [1]


def test_the_summary_describes_the_viewer_s_past() -> None:
    view = MemoryView()
    view.duration_s[3] = 10.0
    past = history((3, LIKED | Flag.WATCHED, 4.0), (999, LIKED, 0.0), (10, SHOWN, 0.0))
    features = plan(view).read(ask(past), Candidates(np.array([1])))
    value = dict(zip(features.user_names, features.user.tolist()))
    assert value["mean_watch_share"] == pytest.approx(0.4)
    assert value["history_like"] == pytest.approx(
        0.5
    )  # the video that the catalogue lacks is left out
    assert value["log_h_since_last"] == pytest.approx(np.log(2) / 10)
    assert value["log_session_rows"] == 0.0  # the last showing is an hour old

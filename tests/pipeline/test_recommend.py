"""One request: nothing is lost on the way, outages cost what they must and no more, and the record tells exactly what was drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_world import (
    N_VIDEOS,
    NOW_US,
    Fails,
    Hydrated,
    Says,
    allowed_ids,
    assembled,
    request,
    view_of,
    viewer,
    with_filter,
    with_sources,
)

from upnext.catalog.view import CatalogView
from upnext.core.errors import InvalidInput, Unavailable
from upnext.features.counters import CounterTable
from upnext.policy.config import PolicyConfig
from upnext.policy.plackett_luce import PlackettLucePolicy

IDS = st.lists(st.integers(0, N_VIDEOS - 1), max_size=40)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> CatalogView:
    path: Path = tmp_path_factory.mktemp("catalog")
    return view_of(path)


@settings(max_examples=60, deadline=None)
@given(first=IDS, second=IDS, seen=IDS, served=IDS, out=IDS, size=st.integers(1, 50))
def test_fetched_unique_is_removed_and_not_shown_and_shown(
    view: CatalogView, first: list[int], second: list[int], seen: list[int], served: list[int], out: list[int], size: int
) -> None:  # fmt: skip
    pipeline = assembled(view, Hydrated(viewer(seen), served), {}).pipeline
    pipeline = with_sources(pipeline, Says("one", first), Says("two", second))
    answer = pipeline.recommend(request(size, exclude=tuple(f"v{i}" for i in out)))
    trace = answer.trace
    fresh = allowed_ids() - set(seen) - set(served) - set(out)
    proposed, good = {*first, *second}, ({*first, *second} & fresh)
    if len(good) >= size:
        assert trace.n_unique == len(proposed)
        assert sum(trace.removed.values()) == len(proposed) - len(good)
        assert len(answer.scored.candidates) == min(len(good), max(40, size))
    not_shown = trace.n_unique - sum(trace.removed.values()) - trace.shown
    assert not_shown >= 0
    assert trace.shown == len(answer.slate) == len(answer.record.item_id)
    wanted = allowed_ids() - set(out)
    if fresh:
        assert set(answer.slate.item_id.tolist()) <= fresh
        assert trace.shown == min(size, len(fresh))
    else:
        assert set(answer.slate.item_id.tolist()) <= wanted
        assert bool(trace.shown) == bool(wanted & {*seen, *served})


def test_each_removed_video_is_counted_once_for_the_first_filter_against_it(
    view: CatalogView,
) -> None:
    hydrator = Hydrated(viewer(seen=[5, 13, 20], country="DE", age=15))
    pipeline = with_sources(assembled(view, hydrator, {}).pipeline, Says("one", range(30)))
    trace = pipeline.recommend(request(3, exclude=("v7", "v13"))).trace
    assert trace.removed == {
        "status": 3,  # 0, 13, 26
        "country": 2,  # 10, 20
        "age": 2,  # 11, 22
        "moderation": 0,
        "own_corpus": 0,  # no experiment
        "excluded": 1,  # 7
        "muted": 0,
        "seen": 1,  # 5
    }
    assert trace.n_unique == 30


def test_a_late_source_costs_its_candidates_not_the_request(view: CatalogView) -> None:
    late = Says("late", [9], is_late=True)
    pipeline = with_sources(
        assembled(view, Hydrated(viewer()), {}).pipeline, Says("one", [1, 2, 3]), late
    )
    answer = pipeline.recommend(request(3))
    assert set(answer.slate.item_id.tolist()) == {1, 2, 3}
    assert (answer.trace.late, answer.trace.degraded) == (["late"], ["source:late"])
    assert answer.trace.fetched == {"one": 3, "late": 0}
    assert answer.record.degraded == ["source:late"]


def test_a_source_that_the_release_lacks_is_named_in_every_answer(view: CatalogView) -> None:
    pipeline = with_sources(assembled(view, Hydrated(viewer()), {}).pipeline, Says("one", [1, 2]))
    home = replace(pipeline.surfaces["home"], missing=("sequence",))
    answer = replace(pipeline, surfaces={"home": home}).recommend(request(2))
    assert set(answer.slate.item_id.tolist()) == {1, 2}
    assert answer.record.degraded == ["source:sequence"]


def test_a_late_source_is_named_once_however_often_it_was_asked(view: CatalogView) -> None:
    late = Says("late", [9], is_late=True)
    pipeline = with_sources(assembled(view, Hydrated(viewer()), {}).pipeline, late)
    answer = pipeline.recommend(request(3))
    assert late.n_calls == 2  # the second time deeper
    assert answer.trace.degraded.count("source:late") == 1
    assert len(answer.slate) == 3


def test_a_safety_filter_never_fails_open(view: CatalogView) -> None:
    pipeline = assembled(view, Hydrated(viewer()), {"fresh": 20}).pipeline
    broken = with_filter(pipeline, Fails("law", is_safety=True))
    with pytest.raises(Unavailable):
        broken.recommend(request(3))
    with pytest.raises(Unavailable):
        broken.rank(request(3), [1, 2])


def test_another_filter_that_is_down_is_skipped_and_flagged_once(view: CatalogView) -> None:
    pipeline = assembled(view, Hydrated(viewer()), {"fresh": 2}).pipeline
    answer = with_filter(pipeline, Fails("taste", is_safety=False)).recommend(request(30))
    assert len(answer.slate) == 30
    assert answer.trace.degraded.count("filter:taste") == 1


def test_without_the_state_the_popular_serve_safety_holds_and_all_is_flagged(
    view: CatalogView,
) -> None:
    hydrator = Hydrated(viewer(age=15, country="DE"), degraded=("state",))
    made = assembled(view, hydrator, {"fresh": 30, "followed": 5, "popular": 5}, counted(range(60)))
    answer = made.pipeline.recommend(request(8))
    assert set(answer.trace.fetched) == {"popular"}
    assert {"state", "filter:seen", "filter:muted"} <= set(answer.trace.degraded)
    assert set(answer.slate.item_id.tolist()) <= allowed_ids(15, "DE")
    assert len(answer.slate) == 8


def test_the_cheap_page_asks_popular_and_trending_alone_and_says_so(view: CatalogView) -> None:
    made = assembled(
        view, Hydrated(viewer()), {"fresh": 30, "popular": 30, "trending": 5}, counted(range(60))
    )
    answer = made.pipeline.recommend(request(8), cheap=True)
    assert answer.record.degraded[0] == "cheap"
    assert set(answer.trace.fetched) == {"popular", "trending"}
    assert len(answer.slate) == 8
    assert "cheap" not in made.pipeline.recommend(request(8)).record.degraded


def counted(items: range) -> CounterTable:
    """Every video relevant to somebody, later ones to more."""
    counters = CounterTable()
    for item in items:
        counters.add(item, "relevant", 1.0 + item, NOW_US)
    return counters


@pytest.mark.parametrize("size", [1, 7, 40])
def test_logged_propensities_are_those_that_the_policy_gives_the_slate(
    view: CatalogView, size: int
) -> None:
    pipeline = assembled(view, Hydrated(viewer()), {"fresh": 60, "popular": 30}, counted(range(9)))
    answer = pipeline.pipeline.recommend(request(size))
    policy = pipeline.pipeline.surfaces["home"].policy
    again = policy.propensity(
        answer.query, answer.scored.candidates, answer.scored.value, answer.slate
    )
    assert answer.record.propensity == pytest.approx(again.tolist(), rel=1e-12)
    assert all(0 < p <= 1 for p in answer.record.propensity)
    turned = PlackettLucePolicy(PolicyConfig(temperature=5.0))  # another policy gives others
    other = turned.propensity(
        answer.query, answer.scored.candidates, answer.scored.value, answer.slate
    )
    assert size == 1 or not np.allclose(other, again)


def test_the_record_stands_for_the_slate_slot_by_slot(view: CatalogView) -> None:
    made = assembled(view, Hydrated(viewer()), {"fresh": 40, "popular": 30}, counted(range(30)))
    answer = made.pipeline.recommend(request(6, page=2))
    record, scored = answer.record, answer.scored
    rows = [scored.candidates.item_id.tolist().index(i) for i in record.item_id]
    assert record.item_id == answer.slate.item_id.tolist()
    assert record.video_id == [f"v{i}" for i in record.item_id]
    assert record.value == pytest.approx(scored.value[rows].tolist())
    assert record.predictions == scored.predictions.values[rows].tolist()
    assert (record.page, record.session_id, record.surface) == (2, "s", "home")
    features = np.frombuffer(record.features, np.float32).reshape(6, record.n_features)
    for slot, row in enumerate(rows):
        np.testing.assert_array_equal(features[slot], scored.features.row(row))
        proposers = {
            name
            for name in scored.candidates.sources()
            if not np.isnan(scored.candidates.columns[f"source:{name}"][row])
        }
        assert set(record.sources[slot]) == proposers
    assert record.candidates is None


def test_the_record_keeps_what_the_request_told_of_its_context(view: CatalogView) -> None:
    made = assembled(view, Hydrated(viewer()), {"fresh": 40}).pipeline
    told = {"device": "tv", "country": "AT", "language": "de", "time_zone": "Europe/Vienna",
            "latitude": 48.25, "longitude": 16.5, "logged_in": False, "current_video_id": "v7"}  # fmt: skip
    record = made.recommend(request(3, **told)).record
    assert {name: getattr(record, name) for name in told} == told
    plain = made.recommend(request(3)).record
    assert plain.logged_in is True
    assert {getattr(plain, name) for name in told if name != "logged_in"} == {None}


def test_a_request_gives_the_same_slate_again_and_another_page_another(view: CatalogView) -> None:
    pipeline = assembled(view, Hydrated(viewer()), {"fresh": 60}).pipeline

    def draw(page: int) -> list[int]:
        return pipeline.recommend(request(12, page=page)).record.item_id

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_the_candidate_log_is_a_seeded_share_of_requests(view: CatalogView) -> None:
    hydrator = Hydrated(viewer())
    whole = assembled(view, hydrator, {"fresh": 20}, share=1.0).pipeline.recommend(request(3))
    logged = whole.record.candidates
    assert logged is not None
    assert logged.item_id == whole.scored.candidates.item_id.tolist()
    assert logged.share == 1.0
    items = np.frombuffer(logged.item_features, np.float32)
    np.testing.assert_array_equal(
        items.reshape(-1, logged.n_item_features), whole.scored.features.items
    )
    some = assembled(view, hydrator, {"fresh": 20}, share=0.3).pipeline

    def is_logged(i: int) -> bool:
        return some.recommend(request(1, request_id=f"r{i}")).record.candidates is not None

    first = [is_logged(i) for i in range(200)]
    assert first == [is_logged(i) for i in range(200)]
    assert 40 <= sum(first) <= 80  # 60 expected, standard deviation 6.5


def test_rank_keeps_to_the_callers_videos_and_filters_them(view: CatalogView) -> None:
    pipeline = assembled(view, Hydrated(viewer(seen=[3])), {"fresh": 20}).pipeline
    answer = pipeline.rank(request(10), [1, 2, 3, 13, 1])
    assert set(answer.slate.item_id.tolist()) == {1, 2}
    assert set(answer.slate.reason) == {"given"}
    assert len(pipeline.rank(request(10), []).slate) == 0


def test_an_unknown_surface_names_the_known_ones(view: CatalogView) -> None:
    pipeline = assembled(view, Hydrated(viewer()), {"fresh": 20}).pipeline
    with pytest.raises(InvalidInput, match="home"):
        pipeline.recommend(request(3, surface="zap"))

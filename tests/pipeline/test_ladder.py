"""The rungs: what a page shows when the sources run dry, and what holds on every rung."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_world import (
    N_VIDEOS,
    NOW_US,
    Hydrated,
    Says,
    allowed_ids,
    assembled,
    request,
    view_of,
    viewer,
    with_sources,
)

from upnext.catalog.view import CatalogView
from upnext.features.counters import CounterTable
from upnext.pipeline.ladder import best_of


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> CatalogView:
    path: Path = tmp_path_factory.mktemp("catalog")
    return view_of(path)


def test_a_short_page_asks_the_same_sources_deeper_first(view: CatalogView) -> None:
    pipeline = assembled(view, Hydrated(viewer()), {"fresh": 3}).pipeline
    answer = pipeline.recommend(request(8))
    assert len(answer.slate) == 8
    assert answer.trace.degraded == ["ladder:deeper"]
    assert answer.trace.fetched == {"fresh": 12}


def test_then_come_the_popular_videos_of_the_viewers_language(view: CatalogView) -> None:
    counters = CounterTable()
    for item in (4, 7, 5, 22):  # 4, 7, 22 are in the viewer's language; 5 is wanted most of all
        counters.add(item, "relevant", float(item == 5) * 50 + item, NOW_US)
    pipeline = assembled(view, Hydrated(viewer(language="de")), {}, counters).pipeline
    answer = pipeline.recommend(request(3))
    assert set(answer.slate.item_id.tolist()) == {22, 7, 4}
    assert answer.trace.degraded == ["ladder:deeper", "ladder:popular_at_home"]
    assert set(answer.slate.reason) == {"ladder"}


def test_then_anything_allowed_and_unseen(view: CatalogView) -> None:
    at_home = [i for i in allowed_ids() if i % 3 == 1]
    hydrator = Hydrated(viewer(seen=at_home, language="de"))
    answer = assembled(view, hydrator, {}).pipeline.recommend(request(100))
    assert set(answer.slate.item_id.tolist()) == allowed_ids() - set(at_home)
    assert answer.trace.degraded[-1] == "ladder:anything"
    assert not answer.slate.is_repeat.any()


def test_last_the_least_recently_seen_flagged_and_certain(view: CatalogView) -> None:
    order = sorted(allowed_ids(), key=lambda i: (i * 7) % 61)
    answer = assembled(view, Hydrated(viewer(seen=order)), {"fresh": 10}).pipeline.recommend(
        request(4)
    )
    assert answer.slate.item_id.tolist() == order[:4]
    assert answer.slate.is_repeat.all()
    assert answer.slate.propensity.tolist() == [1.0] * 4
    assert answer.record.is_repeat == [True] * 4
    assert answer.trace.degraded[-1] == "repeat"


def test_what_the_session_was_served_counts_as_seen_later_than_all_before(
    view: CatalogView,
) -> None:
    order = sorted(allowed_ids())
    hydrator = Hydrated(viewer(seen=order[2:]), served=[order[0], order[1], order[2]])
    answer = assembled(view, hydrator, {}).pipeline.recommend(request(100))
    assert answer.slate.item_id.tolist() == [*order[3:], order[0], order[1], order[2]]


@pytest.mark.parametrize("everything_seen", [False, True])
def test_mutes_exclusions_and_safety_hold_on_every_rung(
    view: CatalogView, everything_seen: bool
) -> None:
    muted = view.code("creator", "c3")
    seen = range(N_VIDEOS) if everything_seen else ()
    who = viewer(seen=list(seen), age=15, country="DE", muted=[muted])
    pipeline = assembled(view, Hydrated(who), {"fresh": 5}).pipeline
    answer = pipeline.recommend(request(100, exclude=("v1", "v2"), current_video_id="v4"))
    wanted = {i for i in allowed_ids(15, "DE") if i % 12 != 3} - {1, 2, 4}
    assert set(answer.slate.item_id.tolist()) == wanted
    assert bool(answer.slate.is_repeat.any()) == everything_seen


def test_a_page_is_empty_only_where_nothing_is_allowed(view: CatalogView) -> None:
    out = tuple(f"v{i}" for i in range(N_VIDEOS))
    answer = assembled(view, Hydrated(viewer()), {"fresh": 5}).pipeline.recommend(
        request(5, exclude=out)
    )
    assert len(answer.slate) == 0
    assert answer.record.item_id == []
    assert answer.record.is_repeat == []


def test_an_empty_catalogue_gives_an_empty_page(tmp_path: Path) -> None:
    pipeline = assembled(view_of(tmp_path, 0), Hydrated(), {"popular": 5, "fresh": 5}).pipeline
    assert len(pipeline.recommend(request(5)).slate) == 0


def test_no_rung_is_taken_while_the_sources_fill_the_page(view: CatalogView) -> None:
    pipeline = with_sources(
        assembled(view, Hydrated(viewer()), {}).pipeline, Says("one", [1, 2, 3])
    )
    answer = pipeline.recommend(request(3))
    assert (answer.trace.degraded, set(answer.slate.item_id.tolist())) == ([], {1, 2, 3})


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(1, 12))
def test_the_best_of_equal_a_full_sort(values: list[int], n: int) -> None:
    ids = np.arange(len(values), dtype=np.int64) * 3
    value = np.array(values, np.float64)
    whole = ids[np.lexsort((ids, -value))][:n]
    assert best_of(ids, value, n).tolist() == whole.tolist()

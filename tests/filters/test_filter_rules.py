"""Each filter's rule, on a catalogue of a few videos whose answers are plain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEOS
from upnext.core.errors import Unavailable
from upnext.core.types import Candidates, Profile, Query, Request, User
from upnext.filters.age import Age
from upnext.filters.allowed import Allowed, Screened
from upnext.filters.config import FiltersConfig
from upnext.filters.country import Country
from upnext.filters.excluded import Excluded
from upnext.filters.moderation import Moderation
from upnext.filters.muted import Muted
from upnext.filters.own_corpus import OwnCorpus
from upnext.filters.seen import Seen
from upnext.filters.status import Status


def catalogue(tmp_path: Path, *rows: dict[str, object]) -> tuple[Catalog, CatalogView]:
    catalog = Catalog(tmp_path / "catalog.db")
    named = [{"video_id": f"v{i}", **row} for i, row in enumerate(rows)]
    catalog.put_videos(pa.Table.from_pylist(named, schema=VIDEOS))
    return catalog, CatalogView(tmp_path / "catalog.db")


def ask(user: User | None = None, **request: object) -> Query:
    return Query(Request("r", "u", "home", 5, 10**15, **request), user or User("u"))  # type: ignore[arg-type]


def every(view: CatalogView) -> Candidates:
    return Candidates(np.arange(view.n_items))


def test_only_active_videos_pass_and_a_change_counts_at_once(tmp_path: Path) -> None:
    catalog, view = catalogue(
        tmp_path, {}, {"status": "hidden"}, {"status": "deleted"}, {"status": "active"}
    )
    catalog.item_ids(["placeholder"], create=True)
    view.refresh()
    assert Status(view).keep(ask(), every(view)).tolist() == [True, False, False, True, False]
    catalog.patch_video("v0", {"status": "hidden"})
    view.refresh()
    assert Status(view).keep(ask(), every(view)).tolist() == [False, False, False, True, False]


def test_country_is_the_request_s_then_the_profile_s_and_unknown_is_strict(tmp_path: Path) -> None:
    _, view = catalogue(
        tmp_path,
        {},
        {"countries_allowed": ["DE", "FR"]},
        {"countries_blocked": ["FR"]},
        {"countries_allowed": ["US"]},
    )
    french = User("u", Profile(country="FR"))
    keep = Country(view).keep
    assert keep(ask(french), every(view)).tolist() == [True, True, False, False]
    assert keep(ask(french, country="de"), every(view)).tolist() == [True, True, True, False]
    assert keep(ask(), every(view)).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("age", "wanted"),
    [(None, [True, True, False, False]), (12, [True, False, False, False]),
     (16, [True, True, True, False]), (18, [True] * 4)],
)  # fmt: skip
def test_age_must_reach_min_age(tmp_path: Path, age: int | None, wanted: list[bool]) -> None:
    _, view = catalogue(tmp_path, {}, {"min_age": 13}, {"min_age": 16}, {"min_age": 18})
    viewer = User("u", Profile(age=age))
    assert Age(view, FiltersConfig()).keep(ask(viewer), every(view)).tolist() == wanted


def test_a_score_at_the_threshold_passes_and_above_it_does_not(tmp_path: Path) -> None:
    scores = (
        [("spam", 0.8)],
        [("spam", 0.81)],
        None,
        [("gore", 0.99), ("spam", 0.1)],
        [("gore", 1.0)],
    )
    _, view = catalogue(tmp_path, *({"moderation": score} for score in scores))
    one = Moderation(view, FiltersConfig(moderation_max={"spam": 0.8, "unheard": 0.0}))
    assert one.keep(ask(), every(view)).tolist() == [True, False, True, True, True]
    assert Moderation(view, FiltersConfig()).keep(ask(), every(view)).all()


def test_seen_and_served_are_hidden_and_without_state_it_is_unavailable() -> None:
    user = User("u", seen=np.array([1, 4, 9]))
    query = Query(Request("r", "u", "home", 5, 10**15), user, served=np.array([7, 2]))
    candidates = Candidates(np.array([9, 0, 10, 7, 4, 3]))
    assert Seen().keep(query, candidates).tolist() == [False, True, True, False, False, True]
    down = Query(query.request, User("u"), degraded=("state",))
    with pytest.raises(Unavailable, match="filter 'seen'"):
        Seen().keep(down, candidates)


def test_muted_hides_creators_categories_tags_and_what_is_not_interesting(tmp_path: Path) -> None:
    _, view = catalogue(
        tmp_path, {"creator_id": "a"}, {"creator_id": "b"}, {"category": "news"}, {"tags": ["x", "news"]},
        {"tags": ["x"]}, {"creator_id": "b", "category": "x"},
    )  # fmt: skip
    viewer = User(
        "u",
        muted_creators=np.array([view.code("creator", "b")]),
        muted_topics=("news",),
        not_interested=np.array([4]),
    )
    assert Muted(view).keep(ask(viewer), every(view)).tolist() == [
        True,
        False,
        False,
        False,
        False,
        False,
    ]
    assert Muted(view).keep(ask(), every(view)).all()
    with pytest.raises(Unavailable):
        Muted(view).keep(Query(ask().request, User("u"), degraded=("state",)), every(view))


def test_a_video_without_a_category_is_not_hidden_by_a_topic_nobody_knows(tmp_path: Path) -> None:
    _, view = catalogue(tmp_path, {}, {"category": "news"})
    viewer = User("u", muted_topics=("unheard of",), muted_creators=np.zeros(0, np.int64))
    assert Muted(view).keep(ask(viewer), every(view)).all()


def test_excluded_hides_the_request_s_list_and_the_video_being_watched(tmp_path: Path) -> None:
    _, view = catalogue(tmp_path, {}, {}, {}, {})
    query = ask(exclude=("v1", "stranger"), current_video_id="v3")
    assert Excluded(view).keep(query, every(view)).tolist() == [True, False, True, False]


def test_the_allowed_mask_is_all_static_safety_together_until_the_catalogue_changes(
    tmp_path: Path,
) -> None:
    config = FiltersConfig(moderation_max={"spam": 0.5})
    catalog, view = catalogue(
        tmp_path,
        {},
        {"min_age": 18},
        {"countries_blocked": ["DE"]},
        {"moderation": [("spam", 0.9)]},
        {"status": "hidden"},
    )
    allowed = Allowed(view, config, OwnCorpus(view))
    assert allowed.mask(ask(country="DE")).tolist() == [True, False, False, False, False]
    adult = User("u", Profile(age=30))
    assert allowed.mask(ask(adult, country="FR")).tolist() == [True, True, True, False, False]
    catalog.patch_video("v4", {"status": "active"})
    view.refresh()
    assert allowed.mask(ask(country="DE")) is allowed.mask(ask(country="DE"))
    allowed.clear()
    assert allowed.mask(ask(country="DE")).tolist() == [True, False, False, False, True]


def test_a_screened_filter_says_what_it_would_say_alone_and_is_asked_where_something_is_hidden(
    tmp_path: Path,
) -> None:
    catalog, view = catalogue(tmp_path, {}, {"min_age": 18}, {}, {"status": "hidden"})
    allowed, inner = Allowed(view, FiltersConfig(), OwnCorpus(view)), Status(view)
    one = Screened(inner, allowed)
    assert (one.name, one.is_safety) == (inner.name, inner.is_safety)
    for user in (User("u"), User("u", Profile(age=30))):
        for ids in ([], [0], [2, 0], [0, 1], [3, 0], [0, 4], [-1, 2], [99]):
            query, candidates = ask(user), Candidates(np.array(ids, np.int64))
            wanted = inner.keep(query, candidates).tolist()
            assert one.keep(query, candidates).tolist() == wanted
            assert one.keep(query, candidates).tolist() == wanted  # as remembered
    query, candidates = ask(), Candidates(np.array([0, 2]))
    assert one.keep(query, candidates).all()
    catalog.patch_video("v2", {"status": "deleted"})
    view.refresh()
    allowed.clear()
    assert one.keep(query, candidates).tolist() == [True, False]


def test_settings_refuse_unknown_names_and_scores_beyond_one() -> None:
    with pytest.raises(ValidationError):
        FiltersConfig(moderation={"spam": 0.5})  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        FiltersConfig(moderation_max={"spam": 1.5})

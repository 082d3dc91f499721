"""What every filter owes its caller: a mask, aligned, that depends on each video alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEOS
from upnext.core.protocols import Filter
from upnext.core.types import Candidates, Profile, Query, Request, User
from upnext.filters.age import Age
from upnext.filters.config import FiltersConfig
from upnext.filters.country import Country
from upnext.filters.excluded import Excluded
from upnext.filters.moderation import Moderation
from upnext.filters.muted import Muted
from upnext.filters.seen import Seen
from upnext.filters.status import Status

N = 41
NAMES = ("seen", "excluded", "status", "country", "age", "moderation", "muted")


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> CatalogView:
    path: Path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    rows = [
        {
            "video_id": f"v{i}",
            "creator_id": f"c{i % 5}",
            "category": f"k{i % 4}",
            "tags": [f"t{i % 6}"],
            "countries_blocked": ["DE"] if i % 7 == 0 else None,
            "min_age": 18 if i % 8 == 0 else None,
            "moderation": [("nudity", (i % 10) / 10)],
            "status": "hidden" if i % 9 == 0 else "active",
        }
        for i in range(N)
    ]
    catalog = Catalog(path)
    catalog.put_videos(pa.Table.from_pylist(rows, schema=VIDEOS))
    catalog.close()
    return CatalogView(path)


def one_of(name: str, view: CatalogView) -> Filter:
    config = FiltersConfig(moderation_max={"nudity": 0.6})
    made: dict[str, Filter] = {
        "seen": Seen(),
        "excluded": Excluded(view),
        "status": Status(view),
        "country": Country(view),
        "age": Age(view, config),
        "moderation": Moderation(view, config),
        "muted": Muted(view),
    }
    assert tuple(made) == NAMES
    return made[name]


def busy_query(view: CatalogView) -> Query:
    """A viewer for whom every filter hides something."""
    request = Request("r", "u", "home", 5, 10**15, country="DE", exclude=("v3", "nobody"))
    user = User(
        "u",
        Profile(age=15),
        seen=np.array([2, 5, 6]),
        not_interested=np.array([30]),
        muted_creators=np.array([view.code("creator", "c4")]),
        muted_topics=("k2", "t5", "unheard of"),
    )
    return Query(request, user, served=np.array([17, 11]))


@pytest.mark.parametrize("name", NAMES)
class TestFilter:
    def test_it_gives_one_bool_per_candidate_and_hides_some(
        self, name: str, view: CatalogView
    ) -> None:
        keep = one_of(name, view).keep(busy_query(view), Candidates(np.arange(N)))
        assert (keep.shape, keep.dtype) == ((N,), np.bool_)
        assert 0 < keep.sum() < N

    def test_its_votes_follow_the_candidates_order(self, name: str, view: CatalogView) -> None:
        order = np.random.default_rng(3).permutation(N)[:29]
        one, query = one_of(name, view), busy_query(view)
        keep = one.keep(query, Candidates(np.arange(N)))
        assert one.keep(query, Candidates(order)).tolist() == keep[order].tolist()

    def test_no_candidates_get_no_votes(self, name: str, view: CatalogView) -> None:
        keep = one_of(name, view).keep(busy_query(view), Candidates(np.zeros(0, np.int64)))
        assert (keep.shape, keep.dtype) == ((0,), np.bool_)

    def test_its_mask_can_be_changed_by_the_caller(self, name: str, view: CatalogView) -> None:
        one, query = one_of(name, view), busy_query(view)
        first = one.keep(query, Candidates(np.arange(N)))
        before = first.copy()
        first[:] = False
        assert (one.keep(query, Candidates(np.arange(N))) == before).all()

    def test_a_safety_filter_hides_what_the_catalogue_does_not_know(
        self, name: str, view: CatalogView
    ) -> None:
        one = one_of(name, view)
        keep = one.keep(busy_query(view), Candidates(np.array([1, N, N + 100])))
        assert keep[1:].tolist() == [not one.is_safety] * 2

    def test_it_says_its_name_and_whether_it_is_safety(self, name: str, view: CatalogView) -> None:
        one = one_of(name, view)
        assert one.name == name
        assert one.is_safety == (name in ("status", "country", "age", "moderation"))

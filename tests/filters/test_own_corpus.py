"""Whose videos a viewer sees while creators are in arms: rows by hand, new creators, the mask, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEOS
from upnext.core.types import Candidates, Corpus, Int64, Query, Request, User
from upnext.filters.allowed import Allowed
from upnext.filters.config import FiltersConfig
from upnext.filters.own_corpus import OwnCorpus, Split

ROW = {"ann": 0, "bob": 1, "cy": -1, "dee": 1}
SPLIT = Split("boost", ("control", "boosted"), lambda ids: rows_of(ids))
CREATORS = ("ann", "bob", "cy", None, "bob", "ann")


def rows_of(creator_ids: Sequence[str]) -> Int64:
    return np.array([ROW[one] for one in creator_ids], np.int64)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    one = Catalog(tmp_path / "catalog.db")
    rows = [{"video_id": f"v{i}", "creator_id": who} for i, who in enumerate(CREATORS)]
    one.put_videos(pa.Table.from_pylist(rows, schema=VIDEOS))
    return one


def ask(corpus: Corpus | None) -> Query:
    return Query(Request("r", "u", "home", 5, 10**15), User("u"), corpus=corpus)


def kept(one: OwnCorpus, corpus: Corpus | None, ids: Sequence[int]) -> list[int]:
    keep = one.keep(ask(corpus), Candidates(np.array(ids, np.int64)))
    assert keep.dtype == np.bool_
    return [item for item, is_kept in zip(ids, keep.tolist(), strict=True) if is_kept]


def test_a_viewer_sees_the_creators_of_the_own_arm_and_one_of_no_arm_all_others(
    catalog: Catalog, tmp_path: Path
) -> None:
    one = OwnCorpus(CatalogView(tmp_path / "catalog.db"))
    one.follow(SPLIT)
    everything = [5, 4, 3, 2, 1, 0]
    assert kept(one, SPLIT.corpus({"boost": "control"}), everything) == [5, 0]
    assert kept(one, SPLIT.corpus({"boost": "boosted"}), everything) == [4, 1]
    assert kept(one, SPLIT.corpus({}), everything) == [3, 2]  # one names no creator
    assert kept(one, SPLIT.corpus({"another": "control"}), everything) == [3, 2]
    assert kept(one, SPLIT.corpus({}), [-1, 6, 2, 99]) == [2]  # not in the catalogue (yet)
    assert kept(one, SPLIT.corpus({}), []) == []
    assert kept(one, None, [-1, 4, 99]) == [-1, 4, 99]  # nothing is split
    assert one.name == "own_corpus"


def test_the_mask_is_the_filter_over_the_whole_catalogue_and_kept_per_corpus(
    catalog: Catalog, tmp_path: Path
) -> None:
    view = CatalogView(tmp_path / "catalog.db")
    one = OwnCorpus(view)
    one.follow(SPLIT)
    allowed = Allowed(view, FiltersConfig(), one)
    for arms in ({"boost": "control"}, {"boost": "boosted"}, {}):
        query = ask(SPLIT.corpus(arms))
        keep = one.keep(query, Candidates(np.arange(view.n_items)))
        assert allowed.mask(query).tolist() == one.allowed_mask(query).tolist() == keep.tolist()
        assert allowed.mask(query) is allowed.mask(ask(SPLIT.corpus(arms)))
    assert allowed.mask(ask(None)).all()


def test_a_new_creator_is_nobody_s_until_the_arm_is_known(catalog: Catalog, tmp_path: Path) -> None:
    view = CatalogView(tmp_path / "catalog.db")
    one = OwnCorpus(view)
    one.follow(SPLIT)
    assert not one.extend()
    new = [{"video_id": "v6", "creator_id": "dee"}, {"video_id": "v7", "creator_id": "ann"}]
    catalog.put_videos(pa.Table.from_pylist(new, schema=VIDEOS))
    view.refresh()
    every_arm = ({"boost": "control"}, {"boost": "boosted"}, {})
    before = [kept(one, SPLIT.corpus(arms), [6, 7]) for arms in every_arm]
    assert before == [[7], [], []]
    assert one.extend()
    assert not one.extend()
    assert [kept(one, SPLIT.corpus(arms), [6, 7]) for arms in every_arm] == [[7], [6], []]
    catalog.put_videos(pa.Table.from_pylist([{"video_id": "v7", "creator_id": "bob"}], schema=VIDEOS))  # fmt: skip
    view.refresh()  # a video that changes hands changes arms
    assert kept(one, SPLIT.corpus({"boost": "boosted"}), [6, 7]) == [6, 7]


def test_an_experiment_that_has_ended_hides_nothing(catalog: Catalog, tmp_path: Path) -> None:
    one = OwnCorpus(CatalogView(tmp_path / "catalog.db"))
    late = SPLIT.corpus({"boost": "control"})  # of a request that began before the stop
    one.follow(SPLIT)
    one.follow(None)
    assert kept(one, late, [0, 1, 2]) == [0, 1, 2]
    assert one.allowed_mask(ask(late)).all()
    one.follow(Split("next", ("a", "b"), rows_of))
    assert kept(one, late, [0, 1, 2]) == [0, 1, 2]
    assert not one.extend()

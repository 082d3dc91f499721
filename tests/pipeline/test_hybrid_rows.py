"""The rows beside the merge: what they are made of, that they are exact, and what a release without content can't make."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from learn_world import parts_of
from pipeline_world import NOW_US, Hydrated, Says, allowed_ids, assembled, request, view_of, viewer

from upnext.catalog.view import CatalogView
from upnext.core.protocols import NoProgress
from upnext.core.types import Flag, History, Query
from upnext.evaluate.hybrid_rows import (
    COLLABORATIVE_ONLY,
    CONTENT_ONLY,
    HYBRIDS,
    PARALLEL,
    SEQUENTIAL,
    HybridRows,
    hybrid_rows,
)
from upnext.evaluate.hybrids import parallel
from upnext.evaluate.offline import lists_of
from upnext.features.vector_table import VectorTable
from upnext.pipeline.assemble import Assembled, assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.settings.settings import Settings

N, D = 60, 4
SEEN = (3, 21, 40)
NEAR = (7, 50, 2, 33, 14, 25)  # what item to item says; 13, 26, 39 and 52 are hidden


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> CatalogView:
    return view_of(tmp_path_factory.mktemp("catalog"), N)


def content() -> np.ndarray:
    return np.random.default_rng(8).normal(0, 1, (N, D)).astype(np.float32)


def world(view: CatalogView, static: np.ndarray, liked: tuple[int, ...] = (3, 40)) -> Assembled:
    """A release whose one trained part is content, and a viewer who saw SEEN and liked some of it."""
    flags = [Flag.LIKE if item in liked else Flag.IMPRESSION for item in SEEN]
    history = History(
        np.array(SEEN), np.arange(3), np.zeros(3, np.float32), np.array(flags, np.uint16)
    )
    made = assembled(view, Hydrated(replace(viewer(SEEN), history=history)), {})
    release = SimpleNamespace(static=VectorTable(static), generators={})
    return replace(made, sources={"item_to_item": Says("item_to_item", NEAR)}, release=release)


def asked(made: Assembled, rows: HybridRows) -> dict[str, list[int]]:
    """One viewer's list of each row, through the funnel of the table."""
    beside = replace(made, sources={**made.sources, **rows.sources})
    found = lists_of(beside, [request(size=1)], exclude_seen=True, progress=NoProgress())
    lists = rows.lists({name: found[name] for name in rows.sources})
    return {name: [i for i in ranked[0].tolist() if i >= 0] for name, ranked in lists.items()}


def test_content_ranks_the_whole_catalogue_by_the_mean_of_what_was_liked(view: CatalogView) -> None:
    made = world(view, content())
    rows = hybrid_rows(made, view)
    assert rows.made_of == {COLLABORATIVE_ONLY: "item_to_item", CONTENT_ONLY: "content components"}
    assert rows.missing == {}
    found = asked(made, rows)
    unit = content() / np.linalg.norm(content(), axis=1, keepdims=True)
    profile = 2 ** (-2 / 20) * unit[3] + unit[40]  # a showing is worth half after twenty more
    best = np.argsort(-(unit @ profile), kind="stable")
    assert found[CONTENT_ONLY] == [i for i in best if i in allowed_ids() - set(SEEN)]


def test_the_hybrids_are_made_of_both_lists(view: CatalogView) -> None:
    made = world(view, content())
    found = asked(made, hybrid_rows(made, view))
    assert list(found) == list(HYBRIDS)
    assert found[COLLABORATIVE_ONLY] == list(NEAR)
    order = {item: place for place, item in enumerate(found[CONTENT_ONLY])}
    assert found[SEQUENTIAL] == sorted(NEAR, key=lambda item: order[item]) != list(NEAR)
    padded = np.full((2, 1, N), -1)
    for row, name in enumerate((COLLABORATIVE_ONLY, CONTENT_ONLY)):
        padded[row, 0, : len(found[name])] = found[name]
    joined = [i for i in parallel(*padded)[0].tolist() if i >= 0]
    assert found[PARALLEL] == joined
    assert set(joined) == set(found[CONTENT_ONLY])


def test_a_viewer_who_liked_nothing_keeps_the_collaborative_order(view: CatalogView) -> None:
    made = world(view, content(), liked=())
    found = asked(made, hybrid_rows(made, view))
    assert found[CONTENT_ONLY] == []
    assert found[SEQUENTIAL] == found[PARALLEL] == list(NEAR)


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_where_all_videos_are_alike_the_rows_of_content_are_said_to_be_missing(
    view: CatalogView, noise: float
) -> None:
    made = world(view, (noise * content()).astype(np.float32))
    rows = hybrid_rows(made, view)
    assert list(asked(made, rows)) == [COLLABORATIVE_ONLY]
    assert set(rows.missing) == set(HYBRIDS[1:])
    assert "content" in rows.missing[CONTENT_ONLY]
    without = hybrid_rows(replace(made, release=None), view)
    assert (without.sources, set(without.missing)) == ({}, set(HYBRIDS))


def test_factorisation_alone_lists_no_video_that_it_knows_by_content_only(
    settings: Settings,
) -> None:
    [folder] = (path.parent for path in settings.releases_path.glob("*/manifest.json"))
    factors = folder / "generators" / "factorisation" / "factors.npz"
    with np.load(factors) as stored:
        arrays = dict(stored)
    arrays["is_learned"][10:40] = False  # as if nobody had been shown these
    np.savez(factors, **arrays)
    view, parts = parts_of(settings)
    made = assemble(parts, ReleaseParts.load(folder))
    rows = hybrid_rows(made, view)
    assert rows.made_of == {COLLABORATIVE_ONLY: "factorisation", CONTENT_ONLY: "content_profile"}
    user_ids = view.users().column("user_id").to_pylist()
    listed: dict[str, set[int]] = {"factorisation": set(), COLLABORATIVE_ONLY: set()}
    for user_id in user_ids:
        query: Query = made.pipeline.hydrator.hydrate(
            request(user_id=user_id, time_us=NOW_US + 10**12)
        )
        listed[COLLABORATIVE_ONLY] |= set(
            rows.sources[COLLABORATIVE_ONLY].fetch(query, 90).item_id.tolist()
        )
        listed["factorisation"] |= set(
            made.sources["factorisation"].fetch(query, 90).item_id.tolist()
        )
    unknown = set(np.flatnonzero(~arrays["is_learned"]).tolist())
    assert len(listed["factorisation"] & unknown) >= 20
    assert listed[COLLABORATIVE_ONLY] == listed["factorisation"] - unknown


def test_a_release_folder_holds_what_the_rows_are_made_of(settings: Settings) -> None:
    """Default settings train neither factorisation nor a content profile: item to item and content components are always there."""
    [folder] = (path.parent for path in settings.releases_path.glob("*/manifest.json"))
    release = replace(ReleaseParts.load(folder), generators={}, viewers=None)
    view, parts = parts_of(settings)
    rows = hybrid_rows(assemble(parts, release), view)
    assert rows.made_of == {COLLABORATIVE_ONLY: "item_to_item", CONTENT_ONLY: "content components"}
    assert set(rows.sources) == {COLLABORATIVE_ONLY, CONTENT_ONLY, SEQUENTIAL}

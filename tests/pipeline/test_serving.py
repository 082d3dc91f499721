"""A running pipeline follows its stores: new videos, new releases, damaged ones; a request keeps the release it began with."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "learn"))

from serving_world import TITLE, again, asked, damage, serving_of

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.core.columns import VIDEOS
from upnext.core.errors import DamagedRelease, Unavailable
from upnext.pipeline.assemble import NO_RELEASE
from upnext.pipeline.serving import Serving
from upnext.settings.settings import Settings


def test_a_release_serves_every_surface_from_its_own_sources(settings: Settings) -> None:
    pipeline = serving_of(settings).pipeline
    assert pipeline.release_id == ReleaseStore(settings.releases_path).current()
    for surface in settings.surfaces:
        answer = pipeline.recommend(asked(surface=surface))
        assert len(answer.slate) == 12
        assert answer.trace.fetched["relevant"] > 0
        assert answer.record.release_id == pipeline.release_id


def test_without_a_release_something_serves_and_the_first_release_is_swapped_in(
    settings: Settings,
) -> None:
    pointer = settings.releases_path / "current.json"
    kept = pointer.read_bytes()
    pointer.unlink()
    serving = serving_of(settings)
    before = serving.pipeline
    assert before.release_id == NO_RELEASE
    assert not serving.follow_release()
    assert len(before.recommend(asked()).slate) == 12
    pointer.write_bytes(kept)
    assert serving.follow_release()
    assert serving.pipeline.release_id != NO_RELEASE


def test_a_request_keeps_its_release_while_another_is_swapped_in(settings: Settings) -> None:
    store = ReleaseStore(settings.releases_path)
    serving = serving_of(settings)
    pinned = serving.pipeline
    first = pinned.recommend(asked())
    new = again(store)
    assert serving.follow_release()
    assert not serving.follow_release()
    assert serving.pipeline.release_id == new
    assert serving.pipeline is not pinned
    after = pinned.recommend(asked())  # a request under way
    assert after.record.release_id == first.record.release_id != new
    assert after.record.item_id == first.record.item_id
    assert serving.pipeline.recommend(asked()).record.release_id == new


def test_a_damaged_release_is_refused_once_by_name_and_the_old_one_stays(
    settings: Settings,
) -> None:
    store = ReleaseStore(settings.releases_path)
    serving = serving_of(settings)
    old = serving.pipeline
    bad = again(store)
    damage(settings.releases_path / bad / "retrieval" / "item_vectors.npy")
    with pytest.raises(DamagedRelease, match=r"item_vectors\.npy"):
        serving.follow_release()
    assert serving.pipeline is old
    assert not serving.follow_release()  # said once
    assert serving.refused == bad
    good = again_of(store, old.release_id)
    assert serving.follow_release()
    assert serving.pipeline.release_id == good
    assert serving.refused is None


def test_a_worker_that_starts_on_a_damaged_release_takes_the_latest_whole_one_that_stood_before(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    store = ReleaseStore(settings.releases_path)
    first = store.current() or ""
    whole = again(store)
    rolled_back = again(store)  # whole, but somebody took it back
    store.rollback()
    unpromoted = again(store, promote=False)  # whole, but nobody asked for it
    worse, bad = again(store), again(store)
    for release_id in (worse, bad):
        damage(settings.releases_path / release_id / "retrieval" / "item_vectors.npy")
    started = serving_of(settings)
    assert started.pipeline.release_id == whole not in (first, rolled_back, unpromoted)
    assert started.refused == bad
    assert len(started.pipeline.recommend(asked()).slate) == 12
    said = [record for record in caplog.records if record.message == "an earlier release serves"]
    assert [(r.release_id, r.refused) for r in said] == [(whole, bad)]  # type: ignore[attr-defined]
    assert not started.follow_release()  # left alone until another is promoted
    assert started.refused == bad
    good = again_of(store, first)
    assert started.follow_release()
    assert started.pipeline.release_id == good
    assert started.refused is None


def test_a_rollback_to_the_release_that_serves_in_place_of_a_damaged_one_ends_the_alarm(
    settings: Settings,
) -> None:
    store = ReleaseStore(settings.releases_path)
    first, bad = store.current(), again(store)
    damage(settings.releases_path / bad / "retrieval" / "item_vectors.npy")
    started = serving_of(settings)
    assert (started.pipeline.release_id, started.refused) == (first, bad)
    store.rollback()
    assert not started.follow_release()
    assert started.refused is None


def test_where_every_release_is_damaged_a_worker_starts_without_one(settings: Settings) -> None:
    store = ReleaseStore(settings.releases_path)
    bad = [store.current() or "", again(store)]
    for release_id in bad:
        damage(settings.releases_path / release_id / "retrieval" / "item_vectors.npy")
    started = serving_of(settings)
    assert (started.pipeline.release_id, started.refused) == (NO_RELEASE, bad[1])
    assert len(started.pipeline.recommend(asked()).slate) == 12


def again_of(store: ReleaseStore, release_id: str) -> str:
    """Promotes another release."""
    store.promote(release_id)
    return again(store)


def test_a_pointer_that_cannot_be_read_stops_neither_a_start_nor_a_running_pipeline(
    settings: Settings,
) -> None:
    serving = serving_of(settings)
    running = serving.pipeline
    pointer = settings.releases_path / "current.json"
    kept = pointer.read_bytes()
    pointer.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(Unavailable, match=r"current\.json"):
        serving.follow_release()
    assert serving.pipeline is running
    started = serving_of(settings)
    assert started.pipeline.release_id == NO_RELEASE
    assert len(started.pipeline.recommend(asked()).slate) == 12
    pointer.write_bytes(kept)
    assert started.follow_release()


def put(catalog: Catalog, video_id: str, **fields: object) -> None:
    row = {"video_id": video_id, "title": TITLE, "status": "active", "language": "en", **fields}
    catalog.put_videos(pa.Table.from_pylist([row], schema=VIDEOS))


def test_a_new_video_is_retrievable_by_its_content_at_once_and_a_hidden_one_no_more(
    settings: Settings, catalog: Catalog
) -> None:
    serving = serving_of(settings)
    n_before = serving.view.n_items
    assert len(serving.follow_catalog()) == 0
    put(catalog, "brand-new")
    assert serving.follow_catalog().tolist() == [n_before]
    fetched = relevant_of(serving)
    assert n_before in fetched
    catalog.patch_video("brand-new", {"status": "hidden"})
    serving.follow_catalog()
    assert n_before not in relevant_of(serving)
    assert n_before not in serving.pipeline.recommend(asked(size=90)).record.item_id


def test_a_release_made_before_a_video_knows_it_when_it_is_swapped_in(
    settings: Settings, catalog: Catalog
) -> None:
    serving = serving_of(settings)
    put(catalog, "later")
    item_id = int(serving.follow_catalog()[0])
    again(ReleaseStore(settings.releases_path))
    assert serving.follow_release()
    assert item_id in relevant_of(serving)


def relevant_of(serving: Serving) -> set[int]:
    """What the two-tower source proposes of the whole catalogue."""
    pipeline = serving.pipeline
    query = pipeline.hydrator.hydrate(asked())
    (source,) = [q.source for q in pipeline.surfaces["home"].quotas if q.source.name == "relevant"]
    return set(source.fetch(query, 1_000).item_id.tolist())

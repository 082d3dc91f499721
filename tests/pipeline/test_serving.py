"""A running pipeline follows its stores: new videos, new releases, damaged ones; a request keeps the release it began with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "learn"))

from learn_world import platform, tables_of, train
from pipeline_world import NOW_US, Hydrated, viewer

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.clock import ManualClock
from upnext.core.columns import VIDEOS
from upnext.core.errors import DamagedRelease, Unavailable
from upnext.core.types import Request
from upnext.evaluate.experiments.definition import Arm, Experiment
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.features.counters import CounterTable
from upnext.pipeline.assemble import NO_RELEASE, Parts
from upnext.pipeline.serving import Serving
from upnext.serve.trials import TrialsFollower
from upnext.settings.settings import Settings

TITLE = "Sourdough bread for beginners"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A platform with a small release."""
    settings = platform(tables_of(40, 90, days=3), tmp_path_factory.mktemp("trained"))
    assert train(settings, None).release_id is not None
    return settings


@pytest.fixture
def settings(trained: Settings, tmp_path: Path) -> Settings:
    """A copy of it to change."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    return trained.model_copy(
        update={"root": tmp_path, "data": trained.data.model_copy(update={"folder": "copy"})}
    )


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    one = Catalog(settings.catalog_path)
    yield one
    one.close()


def serving_of(settings: Settings) -> Serving:
    parts = Parts(
        view=CatalogView(settings.catalog_path),
        counters=CounterTable(),
        hydrator=Hydrated(viewer(country="US")),
        surfaces=settings.surfaces,
        pipeline=settings.pipeline,
        filters=settings.filters,
        retrieval=settings.retrieval,
    )
    return Serving(parts, ReleaseStore(settings.releases_path), ManualClock(NOW_US))


def asked(request_id: str = "r", surface: str = "home", size: int = 12) -> Request:
    return Request(request_id, "u", surface, size, NOW_US, session_id="s")


def again(store: ReleaseStore, *, promote: bool = True) -> str:
    """The current release published a second time."""
    current = store.current() or ""
    folder = store.begin()
    for one in store.open(current).path.iterdir():
        if one.name != "manifest.json":
            (shutil.copytree if one.is_dir() else shutil.copy)(one, folder / one.name)
    return store.publish(
        folder, settings={}, data_window={}, metrics={}, parent=current, promote=promote
    )


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


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


def started(settings: Settings, name: str = "exp", layer: str = "default", **wide: object) -> None:
    arms = {"control": Arm(share=50, buckets=b""), "wide": Arm(share=50, buckets=b"", **wide)}  # type: ignore[arg-type]
    draft = Experiment(name=name, layer=layer, salt="", surfaces=["home"], arms=arms, started_us=0)
    ExperimentStore(settings.experiments_path).start(draft)


def follower(settings: Settings, serving: Serving) -> TrialsFollower:
    return TrialsFollower(
        ExperimentStore(settings.experiments_path), ReleaseStore(settings.releases_path), settings, serving
    )  # fmt: skip


def arms_seen(serving: Serving, n: int = 60) -> dict[str, list]:
    """{arm: its answers} of many viewers."""
    found: dict[str, list] = {}
    for i in range(n):
        request = Request(f"r{i}", f"u{i}", "home", 12, NOW_US, session_id=f"s{i}")
        answer = serving.answering.recommend(request)
        found.setdefault(answer.record.arms.get("exp", "none"), []).append(answer)
    return found


def test_arms_share_all_that_is_heavy_and_get_their_own_weights_sources_and_policy(
    settings: Settings,
) -> None:
    changes = {
        "home": {"weights": {"like": 9.0}, "sources": {"fresh": 7}, "policy": {"epsilon": 0.5}}
    }
    started(settings, surfaces=changes)
    serving = serving_of(settings)
    trials = follower(settings, serving)
    assert trials.follow()
    assert not trials.follow()  # nothing changed
    request = next(
        Request("r", f"u{i}", "home", 12, NOW_US) for i in range(99)
        if serving.answering.of(Request("r", f"u{i}", "home", 12, NOW_US)).surface("home").arms == {"exp": "wide"}
    )  # fmt: skip
    base, wide = serving.pipeline, serving.answering.of(request)
    assert serving.answering.of(request) is wide  # made once
    for part in ("features", "ranker", "blend", "filters", "hydrator", "world"):
        assert getattr(wide, part) is getattr(base, part)
    own, ours = wide.surface("home"), base.surface("home")
    assert own.config.weights == {**ours.config.weights, "like": 9.0}
    quotas = {quota.source.name: quota.k for quota in own.quotas}
    assert quotas == {**{q.source.name: q.k for q in ours.quotas}, "fresh": 7}
    assert own.config.policy.epsilon == 0.5
    assert own.policy_version != ours.policy_version
    assert wide.surface("shorts") is base.surface("shorts")
    assert trials.weights("home", {"exp": "wide"})["like"] == 9.0
    assert trials.weights("home", {"exp": "control"}) == settings.surfaces["home"].weights
    assert trials.weights("nowhere", {"exp": "wide"}) == {}
    seen = arms_seen(serving)
    assert set(seen) == {"control", "wide"}
    for answer in seen["wide"]:
        slate, scored = answer.slate, answer.scored
        again = own.policy.propensity(answer.query, scored.candidates, scored.value, slate)
        assert slate.propensity.tolist() == pytest.approx(again.tolist(), rel=1e-9)


def test_an_arm_serves_its_own_release_and_new_videos_reach_both(
    settings: Settings, catalog: Catalog
) -> None:
    store = ReleaseStore(settings.releases_path)
    current, other = store.current(), again(store, promote=False)
    started(settings, release_id=other)
    serving = serving_of(settings)
    follower(settings, serving).follow()
    releases = {
        arm: {a.record.release_id for a in said} for arm, said in arms_seen(serving).items()
    }
    assert releases == {"control": {current}, "wide": {other}}
    catalog.put_videos(
        pa.Table.from_pylist([{"video_id": "brand-new", "title": TITLE}], schema=VIDEOS)
    )
    (item_id,) = serving.follow_catalog().tolist()
    for pipeline in (serving.pipeline, serving.answering.of(wide_request(serving))):
        assert item_id in pipeline.recommend(asked(size=91)).record.item_id
    serving.follow_counters()
    store.promote(other)  # the arm's release becomes everyone's: it is loaded already
    loaded = serving.answering.of(wide_request(serving)).ranker
    assert serving.follow_release()
    assert serving.pipeline.ranker is loaded


def wide_request(serving: Serving) -> Request:
    """Of a viewer in the arm "wide"."""
    requests = (Request("r", f"u{i}", "home", 12, NOW_US, session_id="s") for i in range(99))
    is_wide = {"exp": "wide"}
    return next(r for r in requests if serving.answering.of(r).surface("home").arms == is_wide)


def test_an_experiment_whose_release_is_damaged_is_left_out_and_others_run(
    settings: Settings,
) -> None:
    store = ReleaseStore(settings.releases_path)
    bad = again(store, promote=False)
    started(settings, "broken", layer="b", release_id=bad)
    started(settings, surfaces={"home": {"policy": {"epsilon": 0.5}}})
    damage(settings.releases_path / bad / "retrieval" / "item_vectors.npy")
    (settings.experiments_path / "garbage.json").write_text("{")
    serving = serving_of(settings)
    assert follower(settings, serving).follow()
    assert set(arms_seen(serving)) == {"control", "wide"}
    assert "broken" not in serving.answering.recommend(asked()).record.arms


def test_layers_cross_and_every_combination_is_served(settings: Settings) -> None:
    started(settings, surfaces={"home": {"policy": {"epsilon": 0.5}}})
    started(settings, "other", layer="second", surfaces={"home": {"n_ranked": 50}})
    serving = serving_of(settings)
    follower(settings, serving).follow()
    combinations = set()
    for i in range(60):
        request = Request(f"r{i}", f"u{i}", "home", 3, NOW_US)
        arms = serving.answering.of(request).surface("home").arms
        combinations.add((arms["exp"], arms["other"]))
        config = serving.answering.of(request).surface("home").config
        assert (config.policy.epsilon == 0.5) == (arms["exp"] == "wide")
        assert (config.n_ranked == 50) == (arms["other"] == "wide")
    assert len(combinations) == 4


def test_a_two_sided_experiment_closes_every_corpus_and_propensities_stay_exact(
    settings: Settings, catalog: Catalog
) -> None:
    """Viewers of an arm, on every surface, whatever the source, the ladder or the caller's own candidates; and those of no arm."""
    arms = {"control": Arm(share=30, buckets=b""), "boosted": Arm(share=30, buckets=b"", surfaces={"home": {"sources": {"fresh": 60}}})}  # fmt: skip
    draft = Experiment(
        name="exp", kind="two-sided", layer="default", salt="", surfaces=sorted(settings.surfaces),
        arms=arms, started_us=0,
    )  # fmt: skip
    one = ExperimentStore(settings.experiments_path).start(draft)
    serving = serving_of(settings)
    trials = follower(settings, serving)
    trials.follow()
    new = [
        {"video_id": f"new{i}", "title": TITLE, "creator_id": f"newcomer-{i}"} for i in range(30)
    ]
    catalog.put_videos(pa.Table.from_pylist(new, schema=VIDEOS))
    serving.follow_catalog()
    rows = np.append(one.allocation("creator").rows(serving.view.values_from("creator", 0)), -1)
    everything = list(range(serving.view.n_items))
    crossed = {}
    for i in range(40):
        row = int(one.allocation().rows([f"u{i}"])[0])
        for surface in settings.surfaces:
            request = Request(f"r{i}", f"u{i}", surface, 99, NOW_US, session_id=f"s{i}")
            answer = serving.answering.recommend(request)
            slate = answer.slate
            assert (rows[serving.view.creator[slate.item_id]] == row).all()
            assert answer.record.arms == ({} if row < 0 else {"exp": one.allocation().arms[row]})
            assert "ladder:deeper" in answer.trace.degraded  # an arm has not as many videos
            policy = serving.answering.of(request).surface(surface).policy
            again = policy.propensity(answer.query, answer.scored.candidates, answer.scored.value, slate)  # fmt: skip
            assert slate.propensity.tolist() == pytest.approx(again.tolist(), rel=1e-9)
        given = serving.answering.rank(request, everything)
        assert (rows[serving.view.creator[given.slate.item_id]] == row).all()
        crossed[row] = given.trace.removed["own_corpus"]
    assert set(crossed) == {-1, 0, 1}
    assert min(crossed.values()) > 0  # the trace names the reason
    naive = serving.pipeline.recommend(asked(size=40)).slate  # as it is without the filter
    assert len(set(rows[serving.view.creator[naive.item_id]])) == 3
    ExperimentStore(settings.experiments_path).stop("exp")
    assert trials.follow()
    assert serving.answering.base is serving.pipeline
    after = serving.answering.recommend(asked(size=40))
    assert after.trace.removed["own_corpus"] == 0
    assert len(set(rows[serving.view.creator[after.slate.item_id]])) == 3

"""A training job: it publishes what serves, looks at nothing after its instant, and goes on after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from learn_world import (
    SOURCES,
    TINY,
    UNTIL_US,
    Told,
    digests,
    grow,
    parameters,
    parts_of,
    platform,
    release_folder,
    tables_of,
    train,
)
from rich.console import Console

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.cli import bench_heads
from upnext.core.clock import DAY_US
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput
from upnext.core.types import Query, Request, User
from upnext.events.log import SqliteEventLog
from upnext.features.search_tokens import tokens_of
from upnext.learn.catalogue import fit_catalogue
from upnext.learn.instants import instants_of
from upnext.learn.job import Began
from upnext.learn.train_report import TrainReport
from upnext.pipeline.assemble import Parts, assemble, bring_later
from upnext.pipeline.blend import COLUMNS
from upnext.pipeline.release_parts import ReleaseParts
from upnext.ranking.tasks import TASKS
from upnext.retrieval.interests.generator import InterestsGenerator
from upnext.retrieval.search_history import SearchHistory
from upnext.settings.settings import Settings, load
from upnext.simulate.world import END_US

CHILD = Path(__file__).with_name("train_child.py")


@pytest.fixture(scope="module")
def tables() -> dict[str, pa.Table]:
    return tables_of(80, 160, days=4)


@pytest.fixture(scope="module")
def trained(
    tables: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, TrainReport]:
    """Learned in one go from the events before UNTIL_US of a log that goes on for a day; two videos are not active."""
    settings = platform(tables, tmp_path_factory.mktemp("trained"))
    _hide_two(settings)
    return settings, train(settings)


@pytest.fixture(scope="module")
def stores(trained: tuple[Settings, TrainReport]) -> tuple[CatalogView, Parts]:
    """The trained platform's catalogue, and what a pipeline over it is made of; its state can be open once."""
    return parts_of(trained[0])


def _hide_two(settings: Settings) -> None:
    catalog = Catalog(settings.catalog_path)
    for row, status in ((5, "hidden"), (9, "deleted")):
        [video_id] = CatalogView(settings.catalog_path).video_ids(np.array([row]))
        catalog.patch_video(video_id, {"status": status})
    catalog.close()


def test_a_first_release_faces_popularity_and_says_what_it_learned_from(
    trained: tuple[Settings, TrainReport],
) -> None:
    settings, report = trained
    manifest = ReleaseStore(settings.releases_path).open(report.release_id or "").manifest
    assert ReleaseStore(settings.releases_path).current() == report.release_id
    assert report.judgement.against == "popular_7d"
    assert manifest.parent is None
    assert manifest.data_window["until_us"] == UNTIL_US
    window = manifest.data_window
    assert window["from_us"] < window["ranker_from_us"] < window["ranker_until_us"]
    assert (
        window["ranker_until_us"] == UNTIL_US
    )  # the gate's window, once accepted, is learned from too
    assert manifest.metrics["gate"] == report.judgement.word
    assert not (settings.folder / "training").exists()


def test_every_head_that_had_labels_is_in_the_release_and_the_others_are_named(
    trained: tuple[Settings, TrainReport],
) -> None:
    settings, report = trained
    ranker = ReleaseParts.load(release_folder(settings, report)).ranker
    assert ranker is not None
    dropped = {note.split("'")[1] for note in report.notes if "dropped" in note}
    assert set(ranker.manifest["tasks"]) == {*TASKS, "long_view"} - dropped
    assert {"relevant", "relevant_shown", "click", "watch_s"} <= set(ranker.manifest["tasks"])


def test_heads_stand_beside_boosted_trees_on_what_came_after(
    trained: tuple[Settings, TrainReport], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lightgbm")
    settings, report = trained
    config = settings.root / "upnext.toml"
    out, err = Console(), Console(stderr=True, force_terminal=False)
    bench_heads.run(bench_heads.Asked(config=config, as_json=True), out, err)
    said = json.loads(capsys.readouterr().out)
    assert said["about"]["release_id"] == report.release_id
    assert said["about"]["from_us"] == UNTIL_US
    assert "relevant" not in said["heads"]  # it is asked of lists, not of showings
    auc = said["heads"]["relevant_shown"]["auc"]
    mean, low, high = auc["difference"]
    assert mean == pytest.approx(auc["ours"] - auc["theirs"])
    assert low <= mean <= high
    assert set(said["heads"]["watch_s"]) == {"rmse", "xauc", "gxauc", "mean_ratio"}
    with pytest.raises(InvalidInput, match="--surface: expected one of"):
        bench_heads.run(bench_heads.Asked(config=config, surface="hone"), out, err)


def test_the_blend_has_a_weight_for_every_column(trained: tuple[Settings, TrainReport]) -> None:
    settings, report = trained
    mixing = ReleaseParts.load(release_folder(settings, report)).mixing
    assert set(mixing.n_requests) <= set(settings.surfaces)
    for weights in (mixing.weights, *(mixing.of(surface) for surface in settings.surfaces)):
        assert set(weights) == {*COLUMNS, "factorisation", "content_profile", "interests"}
        assert np.isfinite(list(weights.values())).all()


def test_the_index_holds_exactly_the_active_videos(trained: tuple[Settings, TrainReport]) -> None:
    settings, report = trained
    release = ReleaseParts.load(release_folder(settings, report))
    view = CatalogView(settings.catalog_path)
    query = release.vectors.rows(np.array([0]))
    found, _ = release.index.search(query, view.n_items)
    active = np.flatnonzero(view.status == VIDEO_STATUSES.index("active"))
    assert len(active) == view.n_items - 2
    assert np.array_equal(np.sort(found[found >= 0]), active)


def test_a_release_answers_requests_of_every_surface(
    trained: tuple[Settings, TrainReport], stores: tuple[CatalogView, Parts]
) -> None:
    settings, report = trained
    view, parts = stores
    release = ReleaseParts.load(release_folder(settings, report))
    assembled = assemble(parts, release, report.release_id or "")
    assembled.refresh_lists(END_US)
    user_id = view.users().column("user_id")[0].as_py()
    [video_id] = view.video_ids(np.array([3]))
    for surface in settings.surfaces:
        request = Request("r", user_id, surface, 8, END_US, current_video_id=video_id)
        answer = assembled.pipeline.recommend(request)
        assert len(answer.slate) == 8
        assert len(set(answer.slate.item_id.tolist())) == 8
        assert answer.trace.degraded == []
        assert answer.record.release_id == report.release_id
        assert np.isfinite(answer.record.predictions).all()
        assert not np.isin(answer.slate.item_id, [5, 9]).any()
        assert "relevant" in answer.trace.fetched


def test_sources_that_a_surface_asks_for_are_in_the_release_and_one_that_is_not_is_flagged(
    trained: tuple[Settings, TrainReport], stores: tuple[CatalogView, Parts], tmp_path: Path
) -> None:
    settings, report = trained
    view, parts = stores
    folder = release_folder(settings, report)
    pipeline = assemble(parts, ReleaseParts.load(folder)).pipeline
    fetched: Counter[str] = Counter()
    for user_id in view.users().column("user_id").to_pylist():
        query = parts.hydrator.hydrate(Request("r", user_id, "home", 8, END_US))
        for one in pipeline.surfaces["home"].quotas:
            fetched[one.source.name] += len(one.source.fetch(query, one.k))
    asked = ("search_history", "user_knn", "content_profile", "factorisation", "interests")
    assert all(fetched[name] for name in asked)
    shutil.copytree(folder, tmp_path / "older")
    for part in ("words", "viewers"):
        shutil.rmtree(tmp_path / "older" / part)
    older = assemble(parts, ReleaseParts.load(tmp_path / "older")).pipeline
    answer = older.recommend(Request("r", user_id, "home", 8, END_US))
    assert set(answer.trace.degraded) == {f"source:{name}" for name in asked[:2]}


def test_a_quota_alone_puts_videos_near_several_interests_into_slates(
    trained: tuple[Settings, TrainReport],
    stores: tuple[CatalogView, Parts],
) -> None:
    settings, report = trained
    view, parts = stores
    release = ReleaseParts.load(release_folder(settings, report))
    assert release.ranker is not None
    assert {"score:interests", "source:interests"} <= set(release.ranker.item_names)
    assembled = assemble(parts, release)
    named: Counter[str] = Counter()
    for user_id in view.users().column("user_id").to_pylist():
        record = assembled.pipeline.recommend(Request("r", user_id, "home", 8, END_US)).record
        named.update(name for slot in record.sources for name in slot)
    assert named["interests"] > 20
    query = parts.hydrator.hydrate(Request("r", user_id, "home", 8, END_US))
    found = assembled.sources["interests"].fetch(query, 9)
    medoids = InterestsGenerator(parts.retrieval.interests, release.vectors).vectors(query)
    cosine = release.vectors.rows(found.item_id) @ medoids.T
    assert found.columns["source:interests"] == pytest.approx(cosine.max(1), abs=1e-5)


def test_interests_in_a_space_that_the_release_lacks_are_flagged_and_cost_no_page(
    trained: tuple[Settings, TrainReport],
    stores: tuple[CatalogView, Parts],
) -> None:
    settings, report = trained
    view, parts = stores
    release = ReleaseParts.load(release_folder(settings, report))
    request = Request("r", view.users().column("user_id")[0].as_py(), "home", 8, END_US)
    degraded = {}
    for base in ("two_tower", "factorisation", "sequence"):
        config = parts.retrieval.interests.model_copy(update={"vectors_of": base})
        retrieval = parts.retrieval.model_copy(update={"interests": config})
        pipeline = assemble(replace(parts, retrieval=retrieval), release).pipeline
        answer = pipeline.recommend(request)
        assert len(answer.slate) == 8
        degraded[base] = answer.trace.degraded
    assert degraded == {"two_tower": [], "factorisation": [], "sequence": ["source:interests"]}


def test_a_video_that_came_later_is_found_by_what_was_searched(
    trained: tuple[Settings, TrainReport], tmp_path: Path
) -> None:
    settings, report = trained
    for file in settings.catalog_path.parent.glob(f"{settings.catalog_path.name}*"):
        shutil.copy(file, tmp_path)  # with what SQLite has not put into the file itself yet
    catalog = Catalog(path := tmp_path / settings.catalog_path.name)
    catalog.put_videos(pa.Table.from_pylist([{"video_id": "new", "title": "Zither for beginners"}]))
    catalog.close()
    view, release = CatalogView(path), ReleaseParts.load(release_folder(settings, report))
    bring_later(release, view)
    assert release.words is not None
    user = User("u", searches=np.array(tokens_of("zither beginners"), np.int64))
    asked = Query(Request("r", "u", "home", 8, END_US), user)
    found = SearchHistory(view, release.words).fetch(asked, 5)
    assert found.item_id.tolist() == [view.item_id("new")]


def test_events_at_or_after_the_instant_change_no_byte_of_the_release(
    trained: tuple[Settings, TrainReport], tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    settings, report = trained
    innocent = platform(tables, tmp_path, before_us=UNTIL_US)
    _hide_two(innocent)
    full = SqliteEventLog(settings.events_path, read_only=True)
    short = SqliteEventLog(innocent.events_path, read_only=True)
    assert full.last_seq() > short.last_seq() + 500  # there is a future to peek at
    same = train(innocent)
    assert digests(release_folder(settings, report)) == digests(release_folder(innocent, same))
    assert report.judgement == same.judgement


def test_a_job_killed_in_three_stages_goes_on_to_the_same_bytes(
    trained: tuple[Settings, TrainReport], tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    settings, report = trained
    killed = platform(tables, tmp_path)
    _hide_two(killed)
    _killed(killed, "two-tower network", 0.6)  # in the second epoch of the first pass
    assert (killed.folder / "training" / "generators" / "two_tower.npz").exists()
    assert not (killed.folder / "training" / "generators" / "done.json").exists()
    _killed(killed, "ranker", 0.6, "--resume")  # in the second epoch
    assert (killed.folder / "training" / "ranker" / "checkpoint.safetensors").exists()
    _killed(killed, "two-tower network", 0.6, "--resume")  # of the refit
    assert (killed.folder / "training" / "refit" / "two_tower.npz").exists()
    assert ReleaseStore(killed.releases_path).list() == []
    told = Told()
    done = train(killed, resume=True, progress=told)
    assert told.tasks[0] == "read the log"
    refit = {"two-tower network", "item-to-item neighbours", "matrix factorisation"}
    assert set(told.tasks[1:]) == refit
    assert digests(release_folder(settings, report)) == digests(release_folder(killed, done))
    assert done.metrics == report.metrics
    assert done.judgement == report.judgement


def _killed(settings: Settings, task: str, share: float, *options: str) -> None:
    config = str(settings.root / "upnext.toml")
    command = [sys.executable, str(CHILD), config, task, str(share), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def test_a_job_of_another_instant_settings_or_log_is_not_continued(
    tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    settings = platform(tables, tmp_path)

    class Stop(Exception):
        pass

    class Stopping(Told):
        def start(self, task: str, total: int | None, unit: str) -> None:
            super().start(task, total, unit)
            if task == "tags":
                raise Stop

    with pytest.raises(Stop):
        train(settings, progress=Stopping())
    other = parameters(TINY, seed=7)
    (settings.root / "upnext.toml").write_text(other, "utf-8")
    message = "another log, instant or settings; run without --resume"
    with pytest.raises(InvalidInput, match=message):
        train(load(settings.root / "upnext.toml"), resume=True)
    with pytest.raises(InvalidInput, match=message):
        train(settings, UNTIL_US - DAY_US, resume=True)
    shorter = platform(tables, tmp_path / "shorter", before_us=UNTIL_US - DAY_US)
    shutil.copytree(settings.folder / "training", shorter.folder / "training")
    with pytest.raises(InvalidInput, match=message):
        train(shorter, resume=True)


@pytest.mark.slow  # the job killed in three stages is the quick one
def test_a_killed_job_goes_on_to_the_same_bytes_though_events_videos_and_histories_came_since(
    trained: tuple[Settings, TrainReport], tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    settings, report = trained
    killed = platform(tables, tmp_path)
    _hide_two(killed)
    _killed(killed, "two-tower network", 0.6)
    began = Began.of_job(
        killed.folder / "training", SqliteEventLog(killed.events_path, read_only=True)
    )
    grow(killed)
    _killed(killed, "ranker", 0.6, "--resume")
    done = train(killed, resume=True)
    assert digests(release_folder(settings, report)) == digests(release_folder(killed, done))
    assert done.judgement == report.judgement
    manifest = ReleaseStore(killed.releases_path).open(done.release_id or "").manifest
    assert manifest.data_window["log_seq"] == began.log_seq
    release = ReleaseParts.load(release_folder(killed, done))
    view = CatalogView(killed.catalog_path)
    assert release.n_items == began.n_videos == view.n_items - 3
    new = np.arange(view.n_items - 3, view.n_items)  # to be brought in by whoever serves
    assert np.array_equal(view.changed_since(release.change_seq), new)


def test_too_little_data_is_one_clear_line(tables: dict[str, pa.Table], tmp_path: Path) -> None:
    first_us = tables["events"].column("time_us")[0].as_py()
    settings = platform(tables, tmp_path, before_us=first_us + 3_600_000_000)
    with pytest.raises(InvalidInput) as caught:
        train(settings, None)
    assert "expected at least 200 showings, got" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_instants_stand_in_order_and_no_showing_is_used_twice(
    trained: tuple[Settings, TrainReport],
) -> None:
    from upnext.features.showings import showings_of

    settings, _ = trained
    log = SqliteEventLog(settings.events_path, read_only=True)
    view = CatalogView(settings.catalog_path)
    showings = showings_of(log, view, settings.features, before_us=UNTIL_US)
    at = instants_of(showings, UNTIL_US, settings)
    assert at.t0_us < at.gate_us < at.until_us == UNTIL_US
    last_us = int(showings.time_us.max()) + 1
    assert at.gate_us == last_us - DAY_US
    timed = showings.time_us[(showings.time_us > 0) & (showings.time_us < at.gate_us)]
    n_rows = int((timed >= at.t0_us).sum())
    of_a_day = int((timed >= at.gate_us - DAY_US * settings.learn.ranker_days).sum())
    assert of_a_day > settings.learn.max_ranker_showings
    assert n_rows == pytest.approx(of_a_day, abs=20)


def test_the_sizes_of_text_and_tag_vectors_are_those_of_the_settings(
    trained: tuple[Settings, TrainReport], tables: dict[str, pa.Table], tmp_path: Path
) -> None:
    settings, report = trained
    size = ReleaseParts.load(release_folder(settings, report)).content.size
    changed = platform(
        tables, tmp_path, text=SOURCES + TINY + "\n[content]\ntext_size = 24\ntag_size = 20\n"
    )
    folder = tmp_path / "content"
    folder.mkdir()
    said = fit_catalogue(changed, CatalogView(changed.catalog_path), folder, Told())
    assert said["size"] == size - (64 - 24) - (32 - 20)

"""A fine-tuning job: the release's generators go on with the log's tail; killed, it ends with the same bytes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learn_world import (
    UNTIL_US,
    digests,
    fine_tune,
    platform,
    release_folder,
    tables_of,
)

from upnext.artifacts.manifest import Manifest
from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.clock import DAY_US
from upnext.core.errors import InvalidInput
from upnext.core.protocols import NoProgress
from upnext.events.log import SqliteEventLog
from upnext.learn.catalogue import fit_catalogue
from upnext.learn.instants import Instants
from upnext.learn.ranker_stages import Made, RankerStages
from upnext.learn.stages import Stages, vocabulary_of
from upnext.learn.train_report import TrainReport
from upnext.pipeline.release_parts import ReleaseParts
from upnext.ranking.ranker_checkpoint import read_state
from upnext.settings.settings import Settings, load
from upnext.simulate.world import END_US

CHILD = Path(__file__).with_name("train_child.py")
TEXT = """
[surfaces.home.sources]
relevant = 100
item_to_item = 50
factorisation = 30
[learn]
threads = 1
fine_tune_epochs = 2
[ranking]
experts = 2
expert_hidden = [8, 4]
epochs = 2
teacher_share = 0.0
[retrieval.two_tower]
epochs = 12
embedding_size = 8
input_size = 8
hidden = [16]
content_hidden = 16
batch_size = 64
n_uniform = 32
[retrieval.factorisation]
embedding_size = 8
epochs = 30
"""
Tuned = tuple[Settings, Manifest, TrainReport]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """(settings, the release of what was shown before UNTIL_US, the fine-tuning on the day after it); the folder `before` is from between the two."""
    root = tmp_path_factory.mktemp("tuned")
    settings = platform(tables_of(25, 120, days=8), root / "platform", text=TEXT)
    parent = _published(settings)
    shutil.copytree(settings.root, root / "before")
    return settings, parent, fine_tune(settings)


def _published(settings: Settings) -> Manifest:
    """A release of trained generators and a ranker, without a gate."""
    log = SqliteEventLog(settings.events_path, read_only=True)
    view, releases = CatalogView(settings.catalog_path), ReleaseStore(settings.releases_path)
    stages = Stages(settings, view, log, releases, NoProgress())
    stages.begin(resume=False)
    showings = stages.showings(UNTIL_US)
    job = stages.job({}, resume=False)
    job.stage("content", lambda f: fit_catalogue(settings, view, f, NoProgress()))
    content, words = np.load(job.folder / "content" / "vectors.npy"), vocabulary_of(showings)
    material = stages.material(showings, content, words)
    examples = stages.learn(job, "generators", material, settings)
    folder = releases.begin()
    stages.release_folder(job, "generators", folder, content, words)
    instants = Instants(UNTIL_US - DAY_US, UNTIL_US - 1, UNTIL_US)
    ranker = RankerStages(settings, stages.began, NoProgress())
    job.stage("rows", lambda f: ranker.rows(f, folder, showings, instants))
    job.stage("ranker", lambda f: ranker.learn(f, job.folder / "rows"))
    Made.by_stage(job.folder / "ranker").put(Made.of_release(folder))
    window = stages.window(showings, instants)
    release_id = releases.publish(
        folder, settings=settings.model_dump(mode="json"), metrics={}, parent=None,
        data_window=window | {"examples": examples},
    )  # fmt: skip
    job.finish()
    log.close()
    return releases.open(release_id).manifest


def _before(settings: Settings, root: Path) -> Settings:
    """A copy of the platform as it was before the fine-tuning."""
    shutil.copytree(settings.root.parent / "before", root / "copy")
    return load(root / "copy" / "upnext.toml")


def _manifest(settings: Settings, report: TrainReport) -> Manifest:
    assert report.release_id is not None
    return ReleaseStore(settings.releases_path).open(report.release_id).manifest


def test_a_fine_tuned_release_says_what_it_came_from_and_keeps_merge_and_content(
    tuned: Tuned,
) -> None:
    settings, parent, report = tuned
    manifest = _manifest(settings, report)
    assert ReleaseStore(settings.releases_path).current() == report.release_id
    assert manifest.parent == parent.release_id
    window = manifest.data_window
    assert window["fine_tuned_from_us"] == UNTIL_US
    assert UNTIL_US < window["until_us"] <= END_US
    assert window["ranker_until_us"] == window["until_us"]
    was = digests(settings.releases_path / parent.release_id)
    now = digests(release_folder(settings, report))
    kept = [name for name in was if name.startswith(("blend/", "content/"))]
    assert len(kept) > 3
    assert {name: now[name] for name in kept} == {name: was[name] for name in kept}
    for name in (
        "retrieval/item_vectors.npy", "generators/factorisation/item_vectors.npy",
        "ranker/ranker.onnx", "snapshots/ranker.safetensors",
    ):  # fmt: skip
        assert now[name] != was[name]


def test_the_ranker_goes_on_and_tells_what_moved(tuned: Tuned) -> None:
    settings, parent, report = tuned
    manifests = [
        json.loads((settings.releases_path / release / "ranker" / "ranker.json").read_text())
        for release in (parent.release_id, str(report.release_id))
    ]
    assert manifests[0]["tasks"] == manifests[1]["tasks"]
    assert manifests[0]["window_us"][1] <= manifests[1]["window_us"][0]
    drift = manifests[1]["drift"]
    moved = np.abs(list(drift["columns"].values()))
    assert (np.diff(moved) <= 0).all()
    head = drift["heads"]["relevant_shown"]
    assert head["pcoc"] == pytest.approx(head["prediction"] / head["label"])
    steps = [
        float(_steps(settings.releases_path / release / "snapshots"))
        for release in (parent.release_id, str(report.release_id))
    ]
    assert steps[1] > steps[0] > 0  # the optimiser's own count goes on


def _steps(folder: Path) -> float:
    """Steps that the optimiser of a release's ranker has made."""
    tensors, _ = read_state(folder / "ranker.safetensors")
    return float(tensors["optimiser.0.step"])


def test_a_release_without_a_rankers_state_keeps_its_ranker(tuned: Tuned, tmp_path: Path) -> None:
    settings, parent, _ = tuned
    made = Made.of_release(settings.releases_path / parent.release_id)
    without = replace(made, state=tmp_path / "none")
    log = SqliteEventLog(settings.events_path, read_only=True)
    view = CatalogView(settings.catalog_path)
    stages = Stages(settings, view, log, ReleaseStore(settings.releases_path), NoProgress())
    ranker = RankerStages(settings, stages.began, NoProgress())
    window = (UNTIL_US, UNTIL_US + DAY_US // 4)
    ranker.newest(tmp_path, made.folder, stages.showings(None), *window)
    (tmp_path / "again").mkdir()
    said = ranker.go_on(tmp_path / "again", without, tmp_path)
    assert "kept no state" in said["notes"][0]
    was, now = (digests(folder / "ranker") for folder in (made.folder, tmp_path / "again"))
    assert now == was
    log.close()


def test_a_fine_tuning_learns_from_under_a_tenth_of_the_examples_of_the_training(
    tuned: Tuned,
) -> None:
    settings, parent, report = tuned
    full = parent.data_window["examples"]
    some = _manifest(settings, report).data_window["examples"]
    assert full.keys() == some.keys() == {"two_tower", "factorisation"}
    for name in full:
        assert 0 < some[name] < 0.1 * full[name], name


def test_a_video_that_came_after_the_release_gets_a_trained_vector(tuned: Tuned) -> None:
    settings, parent, report = tuned
    was = ReleaseParts.load(settings.releases_path / parent.release_id)
    now = ReleaseParts.load(release_folder(settings, report))
    new = np.flatnonzero(was.tower.are_new(np.arange(now.n_items)))
    shown = new[~now.tower.are_new(new)]
    assert len(shown) > 0
    assert now.generators["factorisation"].vectors.rows(shown)[:, :8].any(axis=1).all()


def test_a_fine_tuning_that_was_killed_goes_on_to_the_same_bytes(
    tuned: Tuned, tmp_path: Path
) -> None:
    settings, _, report = tuned
    killed = _before(settings, tmp_path)
    _killed(killed, "two-tower network", 0.7)  # in the second pass
    assert (killed.folder / "training" / "generators" / "two_tower.npz").exists()
    assert not (killed.folder / "training" / "generators" / "done.json").exists()
    done = fine_tune(killed, resume=True)
    assert digests(release_folder(killed, done)) == digests(release_folder(settings, report))


def _killed(settings: Settings, task: str, share: float, *options: str) -> None:
    config = str(settings.root / "upnext.toml")
    command = [sys.executable, str(CHILD), config, task, str(share), "--fine-tune", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]


def test_what_can_not_be_fine_tuned_is_named(tuned: Tuned, tmp_path: Path) -> None:
    settings, _, _ = tuned
    before = _before(settings, tmp_path)
    config = before.root / "upnext.toml"
    config.write_text(TEXT.replace("embedding_size = 8", "embedding_size = 9", 1), "utf-8")
    with pytest.raises(InvalidInput, match=r"settings \[retrieval\] are not those of release"):
        fine_tune(load(config))
    config.write_text(TEXT, "utf-8")
    (before.releases_path / "current.json").unlink()
    with pytest.raises(InvalidInput, match="no release yet"):
        fine_tune(load(config))
    with pytest.raises(InvalidInput, match="50 showings since the release, got 0"):
        fine_tune(settings)  # it has learned everything already

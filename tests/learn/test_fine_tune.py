"""A fine-tuning job: the release's generators go on with the log's tail; killed, it ends with the same bytes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from learn_world import (
    UNTIL_US,
    digests,
    fine_tune,
    parts_of,
    platform,
    release_folder,
    tables_of,
    train,
)

from upnext.artifacts.manifest import Manifest
from upnext.artifacts.releases import ReleaseStore
from upnext.core.errors import InvalidInput
from upnext.core.types import Request
from upnext.learn.train_report import TrainReport
from upnext.pipeline.assemble import assemble
from upnext.pipeline.release_parts import ReleaseParts
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
max_ranker_showings = 200
gate_users = 60
refit_epochs = 5
[retrieval.two_tower]
epochs = 6
embedding_size = 8
input_size = 8
hidden = [16]
content_hidden = 16
batch_size = 128
n_uniform = 32
[retrieval.factorisation]
embedding_size = 8
[ranking]
experts = 2
expert_hidden = [16, 8]
head_hidden = 8
epochs = 1
batch_size = 64
"""
Tuned = tuple[Settings, TrainReport, TrainReport]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """(settings, the training before UNTIL_US, the fine-tuning on the day after it); BEFORE is the folder between the two."""
    root = tmp_path_factory.mktemp("tuned")
    settings = platform(tables_of(60, 120, days=8), root / "platform", text=TEXT)
    trained = train(settings)
    shutil.copytree(settings.root, root / "before")
    return settings, trained, fine_tune(settings)


def _before(settings: Settings, root: Path) -> Settings:
    """A copy of the platform as it was before the fine-tuning."""
    shutil.copytree(settings.root.parent / "before", root / "copy")
    return load(root / "copy" / "upnext.toml")


def _manifest(settings: Settings, report: TrainReport) -> Manifest:
    assert report.release_id is not None
    return ReleaseStore(settings.releases_path).open(report.release_id).manifest


def test_a_fine_tuned_release_says_what_it_came_from_and_keeps_ranker_and_blend(
    tuned: Tuned,
) -> None:
    settings, trained, report = tuned
    manifest = _manifest(settings, report)
    assert ReleaseStore(settings.releases_path).current() == report.release_id
    assert manifest.parent == trained.release_id
    assert report.judgement.against == trained.release_id
    assert manifest.data_window["fine_tuned_from_us"] == UNTIL_US
    assert UNTIL_US < manifest.data_window["until_us"] <= END_US
    was, now = (digests(release_folder(settings, one)) for one in (trained, report))
    kept = [name for name in was if name.startswith(("ranker/", "blend/", "content/"))]
    assert len(kept) > 5
    assert {name: now[name] for name in kept} == {name: was[name] for name in kept}
    for name in ("retrieval/item_vectors.npy", "generators/factorisation/item_vectors.npy"):
        assert now[name] != was[name]


def test_a_fine_tuning_learns_from_under_a_tenth_of_the_examples_of_the_training(
    tuned: Tuned,
) -> None:
    settings, trained, report = tuned
    full = _manifest(settings, trained).data_window["examples"]
    some = _manifest(settings, report).data_window["examples"]
    assert full.keys() == some.keys() == {"two_tower", "factorisation"}
    for name in full:
        assert 0 < some[name] < 0.1 * full[name], name


def test_a_video_that_came_after_the_release_gets_a_trained_vector(tuned: Tuned) -> None:
    settings, trained, report = tuned
    was, now = (ReleaseParts.load(release_folder(settings, one)) for one in (trained, report))
    new = np.flatnonzero(was.tower.are_new(np.arange(now.n_items)))
    shown = new[~now.tower.are_new(new)]
    assert len(shown) > 0
    factors = now.generators["factorisation"].vectors.rows(shown)
    assert factors[:, :8].any(axis=1).all()


def test_a_fine_tuned_release_serves(tuned: Tuned) -> None:
    settings, _, report = tuned
    view, parts = parts_of(settings)
    release = ReleaseParts.load(release_folder(settings, report))
    assembled = assemble(parts, release, report.release_id or "")
    assembled.refresh_lists(END_US)
    user_id = view.users().column("user_id")[0].as_py()
    answer = assembled.pipeline.recommend(Request("r", user_id, "home", 8, END_US))
    assert len(answer.slate) == 8
    assert answer.trace.degraded == []


def test_a_fine_tuning_killed_twice_goes_on_to_the_same_bytes(tuned: Tuned, tmp_path: Path) -> None:
    settings, _, report = tuned
    killed = _before(settings, tmp_path)
    _killed(killed, "two-tower network", 0.5)
    assert (killed.folder / "training" / "content" / "done.json").exists()
    assert not (killed.folder / "training" / "generators" / "done.json").exists()
    done = fine_tune(killed, resume=True)
    assert digests(release_folder(killed, done)) == digests(release_folder(settings, report))
    assert done.judgement == report.judgement


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

"""The gate guards the feed: what it lets through, what it refuses and why, and what force does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learn_world import TINY, Told, parameters, platform, serve_pages, tables_of, train

from upnext.artifacts.releases import ReleaseStore
from upnext.cli.main import main
from upnext.core.clock import DAY_US, HOUR_US
from upnext.evaluate.off_policy.gather_pages import PageTask, gathered_part
from upnext.learn.train_report import TrainReport
from upnext.ranking.ranker_learner import RankerLearner
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings
from upnext.simulate.world import END_US


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, TrainReport]:
    """A platform with enough viewers to judge on, and a release that won its gate a day and a half before the log ends."""
    wider = {"embedding_size = 16": "embedding_size = 64", "hidden = [32]": "hidden = [64]",
             "batch_size = 64\nn_uniform = 64": "batch_size = 128\nn_uniform = 128",
             "expert_hidden = [16, 8]": "expert_hidden = [32, 16]", "max_ranker_showings = 300": "max_ranker_showings = 600",
             "epochs = 2\nbatch_size = 64": "epochs = 4\nbatch_size = 64"}  # fmt: skip
    text = parameters(TINY, gate_margin=0.5)  # sixty viewers tell no finer
    for old, new in wider.items():
        assert old in text
        text = text.replace(old, new)
    settings = platform(tables_of(150, 200, days=10), tmp_path_factory.mktemp("guarded"), text=text)
    report = train(settings, END_US - DAY_US - DAY_US // 2, force=False)
    serve_pages(settings, report.release_id or "", 260, from_us=END_US + HOUR_US)
    return settings, report


def test_a_first_release_that_holds_against_popularity_is_promoted(
    guarded: tuple[Settings, TrainReport],
) -> None:
    settings, report = guarded
    assert report.judgement.word == "accepted"
    assert report.judgement.against == "popular_7d"
    metrics = report.judgement.metrics
    assert metrics["ndcg_at_10"] > 0
    assert metrics["ndcg_at_10_against"] > 0
    assert ReleaseStore(settings.releases_path).current() == report.release_id


def test_the_release_that_served_gets_its_own_probabilities_back(
    guarded: tuple[Settings, TrainReport],
) -> None:
    settings, report = guarded
    folder = settings.releases_path / (report.release_id or "")
    found = gathered_part(PageTask(offline_settings(settings), folder, 0, None))
    assert len(found.pages) == 260
    assert not found.left_out
    assert np.abs(found.pages.target / found.pages.logged - 1).max() < 1e-9
    assert (found.pages.predicted > 0).any(axis=(0, 1)).all()  # every reward has a head


def test_a_sabotaged_ranker_is_refused_with_reasons_and_exit_code_3(
    guarded: tuple[Settings, TrainReport],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings, report = guarded
    honest = RankerLearner.export

    def backwards(self: RankerLearner, folder: Path, rows: Any) -> dict[str, Any]:
        assert self.weights is not None
        n_tasks = len(self.weights.tasks)
        self.weights = self.weights.calibrated(
            np.full(n_tasks, -1, np.float32), np.zeros(n_tasks, np.float32)
        )
        return honest(self, folder, rows)

    monkeypatch.setattr(RankerLearner, "export", backwards)
    config = str(settings.root / "upnext.toml")
    monkeypatch.setattr(sys, "argv", ["upnext", "train", "--config", config, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 3
    said = json.loads(printed.out)
    assert said["release_id"] is None
    assert said["gate"]["word"] == "refused"
    assert said["gate"]["against"] == report.release_id
    reasons = said["gate"]["reasons"]
    losses = [r for r in reasons if r.startswith("log loss of ")]
    assert len(losses) >= 3, reasons
    assert all("against the current release, 95 % interval [" in r for r in losses)
    assert all("may be worse by" in r and "margin 50.00%" in r for r in losses)
    assert "--resume --force" in printed.err
    off_policy = said["gate"]["off_policy"]
    assert off_policy["against"] == report.release_id
    assert off_policy["n_pages"] == off_policy["n_logged"] == 260
    home = off_policy["surfaces"]["home"]
    assert home["verdict"] in ("ok", "not identifiable")
    assert (home["depth"] == 0) == (home["verdict"] == "not identifiable")
    assert ("value" in home) == (home["depth"] > 0)
    store = ReleaseStore(settings.releases_path)
    assert store.current() == report.release_id
    assert [m.release_id for m in store.list()] == [report.release_id]


def test_a_refused_release_is_published_by_resume_and_force_alone(
    guarded: tuple[Settings, TrainReport],
) -> None:
    settings, report = guarded  # the refused job of the test before lies here
    if not (settings.folder / "training" / "gate" / "done.json").exists():
        pytest.skip("needs the refused job of the test before")
    told = Told()
    forced = train(settings, None, resume=True, force=True, progress=told)
    assert "ranker" not in told.tasks
    store = ReleaseStore(settings.releases_path)
    assert store.current() == forced.release_id != report.release_id
    metrics = store.open(forced.release_id or "").manifest.metrics
    assert metrics["gate"] == "refused"
    assert metrics["off_policy"]["n_pages"] == 260
    assert store.rollback() == report.release_id

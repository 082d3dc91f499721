"""`upnext evaluate --log`, `upnext bench off-policy` and `upnext bench open-bandit` as a person runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command_line import upnext

from upnext.cli.bench_off_policy import Task, studied

MAPPING = """
[log]
file = "log.csv"
[log.columns]
reward = "clicked"
propensity = "p"
action = "video"
user = "viewer"
[target]
file = "target.csv"
[target.columns]
action = "video"
probability = "p"
"""
LOGGING, TARGET = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7])
CLICKS = np.array([0.1, 0.3, 0.5])  # so the target earns .42, the logging policy .18


def write(folder: Path, n: int = 4_000, shown: int = 3) -> Path:
    """A log of n rows that shows the first `shown` of three videos, its target and the mapping."""
    rng = np.random.default_rng(0)
    p = LOGGING[:shown] / LOGGING[:shown].sum()
    video = rng.choice(shown, n, p=p)
    clicked = rng.random(n) < CLICKS[video]
    lines = [f"{int(c)},{p[v]},v{v},u{i // 4}" for i, (c, v) in enumerate(zip(clicked, video))]
    (folder / "log.csv").write_text("\n".join(["clicked,p,video,viewer", *lines]) + "\n", "utf-8")
    target = [f"v{i},{x}" for i, x in enumerate(TARGET)]
    (folder / "target.csv").write_text("\n".join(["video,p", *target]) + "\n", "utf-8")
    (folder / "mapping.toml").write_text(MAPPING, "utf-8")
    return folder / "mapping.toml"


def test_a_table_tells_what_another_policy_would_have_earned(tmp_path: Path) -> None:
    ran = upnext("evaluate", "--log", write(tmp_path), "--json", "--level", 0.9)
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["verdict"] == "ok"
    assert (found["n_rows"], found["n_clusters"], found["level"]) == (4_000, 1_000, 0.9)
    assert found["logged"]["mean"] == pytest.approx(0.18, abs=0.02)
    for name in ("IPS", "SNIPS", "DM", "DR", "SNDR"):
        line = found["estimators"][name]
        assert line["value"]["mean"] == pytest.approx(0.42, abs=0.06), name
        assert line["difference"]["low"] > 0.1, name
    assert set(found["estimators"]) == {
        "IPS", "clipped IPS", "SNIPS", "DM", "DR", "SNDR", "Switch-DR", "DRos",
    }  # fmt: skip


def test_the_printed_table_names_what_can_t_be_told(tmp_path: Path) -> None:
    good = upnext("evaluate", "--log", write(tmp_path))
    assert "E[w]" in good.out
    assert "not identifiable" not in good.out
    bad = upnext("evaluate", "--log", write(tmp_path, shown=2))
    assert bad.code == 0
    assert "not identifiable: IPS, clipped IPS, SNIPS, DM, DR" in bad.out
    assert "E[w] is 0." in bad.out


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    mapping = write(tmp_path, n=50)
    for arguments, message in (
        (("--log", tmp_path / "none.toml"), "no such file"),
        (
            ("--log", mapping, "--reward-model", "magic"),
            "expected one of tabular, logistic, boosting",
        ),
        (("--log", mapping, "--level", 95), "--level: expected between 0 and 1"),
        (("--log", mapping, "--until", "2030-01-01T00:00Z"), "--until has no effect there"),
        (("--log", "slates", "--level", 0.9), "evaluate --policy: --level has no effect there"),
        (("--reward-model", "logistic"), "without --log: --reward-model has no effect there"),
        (("--users", 0), "--users: expected at least 1, got 0"),
        (("--audit", "--save-split", tmp_path / "s"), "--audit and --save-split or --export-rows"),
    ):
        ran = upnext("evaluate", *arguments)
        assert ran.code == 2
        assert message in ran.err
        assert len(ran.err.strip().splitlines()) == 1


def test_one_world_of_the_study_runs_and_repeats() -> None:
    a, b = (studied(Task("kuairand", 5, seed=3)) for _ in range(2))
    assert a == b
    assert a.unsupported == 1.0
    assert {one.name for one in a.supported.outcomes} >= {"IPS", "SNIPS", "DR", "DM", "DRos, tuned"}


@pytest.mark.slow
def test_the_study_prints_every_world() -> None:
    """Slow: processes of its own, each of which imports and compiles."""
    ran = upnext("bench", "off-policy", "--replications", 20, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert list(found["worlds"]) == ["easy", "adversarial", "kuairand"]
    for one in found["worlds"].values():
        assert one["unsupported"] == 1.0
        assert one["supported"]["n_replications"] == 20


def bandit_folder() -> Path:
    """The Open Bandit Dataset, or a skip."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("UPNEXT_DATA", beside)) / "open-bandit-small"
    if not folder.is_dir():
        pytest.skip("open-bandit-small is not on this machine (UPNEXT_DATA)")
    return folder


def test_each_open_bandit_policy_is_valued_from_the_other_s_log() -> None:
    ran = upnext("bench", "open-bandit", bandit_folder(), "--json")
    assert ran.code == 0, ran.err
    crossings = {
        (c["about"]["logging"], c["about"]["target"]): c for c in json.loads(ran.out)["crossings"]
    }
    forth, back = crossings["random", "bts"], crossings["bts", "random"]
    assert forth["observed"]["mean"] == back["logged"]["mean"] == pytest.approx(0.0069)
    assert back["observed"]["mean"] == forth["logged"]["mean"] == pytest.approx(0.0046)
    for crossing in (forth, back):
        observed = crossing["observed"]
        for name in ("IPS", "SNIPS", "DR", "SNDR"):
            value = crossing["estimators"][name]["value"]
            assert value["verdict"] == "ok"
            # Intervals of 95 % of an estimate and of what was observed, both noisy, meet.
            assert value["low"] < observed["high"], name
            assert value["high"] > observed["low"], name
            support = crossing["estimators"][name]["support"]
            assert abs(support["mean_weight"] - 1) < 0.06
    assert forth["estimators"]["IPS"]["support"]["n_effective"] > 1_000


def test_a_folder_without_the_data_says_what_is_missing(tmp_path: Path) -> None:
    ran = upnext("bench", "open-bandit", tmp_path)
    assert ran.code == 2
    assert "random/<campaign>/<campaign>.csv" in ran.err

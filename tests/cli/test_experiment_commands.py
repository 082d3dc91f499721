"""`upnext experiment` as a person runs it: on a data folder without a server, and what it says to mistakes."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from command_line import Ran, upnext

from upnext.catalog.store import Catalog
from upnext.core.clock import DAY_US
from upnext.core.columns import VIDEOS
from upnext.serve.simulated_clock import SimulatedClock, clock_of
from upnext.serve.stores import open_stores
from upnext.settings.settings import load


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings with empty stores."""
    file = tmp_path / "upnext.toml"
    file.write_text("")
    open_stores(load(file)).close()
    return file


def experiment(config: Path, *words: object) -> Ran:
    return upnext("experiment", *words, "--config", config)


def test_an_experiment_is_started_listed_ramped_reported_and_stopped(config: Path) -> None:
    ran = experiment(
        config, "start", "wide", "--arm", "control:5", "--arm", "wide:5",
        "--set", "wide.surfaces.home.policy.temperature=0.8",
        "--set", "wide.surfaces.shorts.sources.fresh=120",
        "--metric", "watch_s", "--guardrail", "retention_d1:0.02",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "home, shorts" in ran.out
    (listed,) = json.loads(experiment(config, "list", "--json").out)
    assert listed["arms"]["wide"]["surfaces"] == {
        "home": {"policy": {"temperature": 0.8}}, "shorts": {"sources": {"fresh": 120}},
    }  # fmt: skip
    assert listed["metrics"] == ["watch_s"]
    assert listed["guardrails"] == {"retention_d1": 0.02}
    assert experiment(config, "ramp", "wide", 40).out.startswith("wide: control 20 %, wide 20 %")
    report = json.loads(experiment(config, "report", "wide", "--json").out)
    assert report["n_exposed"] == {"control": 0, "wide": 0}
    assert "nothing" not in experiment(config, "report", "wide").err
    assert experiment(config, "stop", "wide").code == 0
    assert "temperature=0.8" in experiment(config, "list").out


def test_a_two_sided_experiment_needs_videos_and_reports_its_creators(config: Path) -> None:
    words = ("start", "both", "--two-sided", "--arm", "control:50", "--arm", "boosted:50")
    refused = experiment(config, *words)
    assert refused.code == 2
    assert "expected at least 100 videos for arm 'control', got 0 of 0" in refused.err
    rows = [{"video_id": f"v{i}", "creator_id": f"c{i % 50}" if i else None, "uploaded_us": 10**15} for i in range(401)]  # fmt: skip
    with closing(Catalog(load(config).catalog_path)) as catalog:
        catalog.put_videos(pa.Table.from_pylist(rows, schema=VIDEOS))
    ran = experiment(config, *words)
    assert ran.code == 0, ran.err
    assert "1 videos are of no arm" in " ".join(ran.out.split())
    (listed,) = json.loads(experiment(config, "list", "--json").out)
    assert (listed["kind"], listed["surfaces"]) == ("two-sided", ["home", "shorts", "upnext"])
    assert set(listed["arms"]["control"]) == {"share", "surfaces", "release_id"}
    said = json.loads(experiment(config, "report", "both", "--json").out)
    assert said["n_exposed"] == {"control": 0, "boosted": 0}
    creators = said["creators"]
    assert sum(one["n_videos"] for one in creators["corpora"]) == 401
    assert creators["n_creators"]["control"] + creators["n_creators"]["boosted"] == 50
    assert creators["cost"] == {"n_control": 0, "n_outside": 0, "watch_s": None}
    shown = " ".join(experiment(config, "report", "both").out.split())
    assert "no difference can be told from chance" in shown
    assert "counts it twice" in shown
    assert experiment(config, "ramp", "both", 100).code == 2
    both = experiment(config, *words, "--interleave")
    assert both.code == 2
    assert "no --two-sided" in both.err


def test_an_interleaving_without_pages_has_a_report(config: Path) -> None:
    words = ("--set", "b.surfaces.home.policy.temperature=0.5", "--interleave")
    assert experiment(config, "start", "mixed", "--arm", "a:5", "--arm", "b:5", *words).code == 0
    report = json.loads(experiment(config, "report", "mixed", "--json").out)
    assert report["preferences"]["value"]["n_pages"] == 0
    assert "neither is preferred" in experiment(config, "report", "mixed").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "nothere"), "experiment 'nothere': not in"),
        (("stop", "../x"), "1 to 64 of a-z"),
        (("start", "x", "--arm", "a:5", "--arm", "b:5", "--metric", "watch"), "unknown; known: value, watch_s"),
        (("start", "x", "--arm", "a:5", "--arm", "b:5", "--guardrail", "value"), "METRIC:MARGIN"),
        (("start", "X", "--arm", "a:5", "--arm", "b:5"), "1 to 64 of a-z"),
        (("start", "x", "--arm", "a:5", "--arm", "b:5", "--surface", "hom"), "one of home, shorts, upnext"),
        (("start", "x", "--arm", "a:5", "--arm", "b:5", "--set", "b.surfaces.home.policy=1"), "surfaces.home.policy"),
        (("start", "x", "--arm", "a:5", "--arm", "b:5", "--set", "b.surfaces.home=1"), "SURFACE.KEY=VALUE"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_line(config: Path, words: tuple[str, ...], said: str) -> None:
    ran = experiment(config, *words)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_an_experiment_on_a_simulated_server_runs_in_the_time_of_its_log(config: Path) -> None:
    config.write_text('[serve]\nclock = "simulated"\n', "utf-8")
    clock = clock_of(load(config))
    assert isinstance(clock, SimulatedClock)
    clock.move_to(5 * DAY_US)
    assert experiment(config, "start", "old", "--arm", "a:5", "--arm", "b:5").code == 0
    clock.move_to(8 * DAY_US)
    assert "runs, started 1970-01-06 00:00 UTC, 3.0 days" in experiment(config, "report", "old").out
    assert "stopped at 1970-01-09" in experiment(config, "stop", "old").out


def test_the_bench_prints_figures(config: Path) -> None:
    ran = upnext("bench", "experiments", "--replications", 100, "--json")
    said = json.loads(ran.out)
    assert said["tests"][0]["lift"] == 0
    assert said["tests"][0]["sequential"] <= 0.1

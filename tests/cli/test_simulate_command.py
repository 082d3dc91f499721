"""`upnext simulate` and the worlds' marginals, as a person would run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import upnext

from upnext.simulate.marginals import reference


def test_simulate_writes_tables_that_import_reads(tmp_path: Path) -> None:
    ran = upnext("simulate", tmp_path / "sim", "--viewers", 20, "--videos", 40, "--days", 2)
    assert ran.code == 0
    assert "upnext import" in ran.err
    config = tmp_path / "upnext.toml"
    config.write_text("", "utf-8")
    read = upnext("import", tmp_path / "sim" / "mapping.toml", "--json", "-c", config)
    tables = json.loads(read.out)
    assert (tables["users"]["new"], tables["videos"]["new"]) == (20, 40)
    assert tables["events"]["bad"] == 0


def test_simulate_without_a_folder_prints_days_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("simulate", "--world", "creators", "--policy", "random", "--viewers", 20)
    ran = upnext(*asked, "--videos", 60, "--days", 3, "--json")
    told = json.loads(ran.out)
    assert [day["day"] for day in told["days"]] == [0, 1, 2]
    assert told["days"][0]["return_d1"] is None
    assert told["totals"]["impressions"] == sum(day["impressions"] for day in told["days"])
    assert json.loads(upnext(*asked, "--videos", 60, "--days", 3, "--json").out) == told
    table = upnext(*asked, "--videos", 60, "--days", 3)
    assert "creators upload for views and likes" in table.out
    assert not list(tmp_path.iterdir())


def test_simulate_lists_every_world_with_what_must_fail_there() -> None:
    worlds = json.loads(upnext("simulate", "--list", "--json").out)
    assert {"easy", "adversarial", "kuairand", "cascade"} <= {world["name"] for world in worlds}
    assert sum(bool(world["falsifies"]) for world in worlds) >= 8
    assert "rabbit_hole" in upnext("simulate", "--list").out


def test_a_world_is_shown_beside_the_real_log_with_distances() -> None:
    size = ("--viewers", "120", "--videos", "900", "--days", "2")
    ran = upnext("simulate", "--world", "kuairand", *size, "--json")
    lines = {line["figure"]: line for line in json.loads(ran.out)["marginals"]}
    real = reference()
    assert list(lines)[: len(real.rates)] == list(real.rates)
    assert lines["watched under 3 s"]["real"] == real.rates["watched under 3 s"]
    assert lines["watch_s"]["kind"] == "KS"
    assert 0 < lines["watch_s"]["distance"] < 0.2
    assert "KuaiRand-Pure" in upnext("simulate", "--world", "kuairand", *size).out

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


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("--viewers", 0), "viewers: expected a whole number from 1 to 10,000,000, got 0"),
        (("--videos", 10**12), "videos: expected a whole number from 1"),
        (("--days", 10**9), "days: expected a whole number from 1 to 3,650"),
        (("--seed", -1), "seed: expected a whole number from 0"),
        (("--seed", 10**24), "seed: expected a whole number from 0"),
        (("--against", "http://localhost:1", "--api-key", "ünï"), "printable ASCII"),
        (("--past-days", 3), "--past-days has no effect there"),
        (("--against", "http://localhost:1", "--train-every", 3), "--train-every has no effect"),
    ],
)
def test_a_size_that_cannot_be_is_one_line_that_names_the_option(
    asked: tuple[object, ...], said: str
) -> None:
    ran = upnext("simulate", *asked)
    assert ran.code == 2
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_world_where_nothing_is_shown_still_has_its_days() -> None:
    asked = ("simulate", "--viewers", 1, "--videos", 1, "--days", 1)
    assert "nothing was shown" in upnext(*asked).out
    assert json.loads(upnext(*asked, "--json").out)["marginals"] == []


def test_a_folder_that_cannot_take_tables_is_told_before_days_are_played(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    for folder, said in ((tmp_path / "file", "got a file"), (tmp_path / "file" / "x", "directory")):
        ran = upnext("simulate", folder, "--viewers", 20, "--videos", 40, "--days", 2)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert said in ran.err
    (tmp_path / "mapping.toml").write_text("# mine", "utf-8")
    ran = upnext("simulate", tmp_path, "--viewers", 20, "--videos", 40, "--days", 2)
    assert ran.code == 2
    assert "a mapping of your own" in ran.err
    assert (tmp_path / "mapping.toml").read_text("utf-8") == "# mine"


def test_a_comparison_leaves_a_folder_of_other_files_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    kept = tmp_path / "full" / "thesis.txt"
    kept.write_text("mine", "utf-8")
    ran = upnext("simulate", "--compare", "full", tmp_path, "--viewers", 20, "--videos", 40)
    assert ran.code == 2
    assert "expected a comparison or an empty folder" in ran.err
    assert kept.exists()
    assert not (tmp_path / "plan.json").exists()

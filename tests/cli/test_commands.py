"""Every command on a platform's own CSV files, from `init` to `release rollback`, as a person would run them."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from command_line import SMALL, UNTIL, Ran, one_error_line, upnext, write_films

from upnext.settings.settings import Settings, load

GENERATORS = (
    "relevant", "item_to_item", "popular", "trending", "local", "fresh", "followed",
    "interests", "factorisation", "user_knn",
)  # fmt: skip
LISTS = (*GENERATORS, "merged", "ranked", "popular_1d", "popular_7d", "popular_30d")
LIST_FIGURES = (
    "recall@10", "recall@100", "recall@500", "ndcg@10", "map@10", "precision@1", "precision@5",
    "precision@10", "coverage@10", "gini@10", "diversity@10",
)  # fmt: skip
DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Platform:
    """A folder in which everything was run once."""

    root: Path
    config: Path
    mapping: Path
    imported: Ran
    trained: Ran


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    root = tmp_path_factory.mktemp("films")
    mapping = write_films(root / "films")
    config = root / "upnext.toml"
    config.write_text(SMALL, "utf-8")
    imported = upnext("import", mapping, "--config", config, "--json")
    trained = upnext("train", "--until", UNTIL, "--force", "--json", "--config", config)
    assert imported.code == trained.code == 0, imported.err + trained.err
    return Platform(root, config, mapping, imported, trained)


@pytest.fixture(scope="module")
def lists_of_others(platform: Platform) -> Path:
    """A folder with "by_id": the films that a viewer was not shown, by their ids."""
    rows = platform.root / "rows"
    ran = upnext("evaluate", "--export-rows", rows, "--json", "--config", platform.config)
    assert ran.code == 0, ran.err
    asked = pl.read_parquet(rows / "asked.parquet")
    films = pl.read_parquet(rows / "items.parquet")["item"].sort().to_list()
    assert set(asked["split"]) == {json.loads(ran.out)["sha256"]}
    items = [[film for film in films if film not in seen] for seen in asked["seen"].to_list()]
    (platform.root / "lists").mkdir()
    lists = asked.select("split", "setting", "user", items=pl.Series(items))
    lists.write_parquet(platform.root / "lists" / "by_id.parquet")
    return platform.root / "lists"


@pytest.fixture(scope="module")
def report(platform: Platform, lists_of_others: Path) -> dict[str, Any]:
    ran = upnext("evaluate", "--lists", lists_of_others, "--json", "--config", platform.config)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_init_writes_settings_that_read_back_as_the_defaults_and_a_schema(tmp_path: Path) -> None:
    ran = upnext("init", tmp_path / "new")
    assert ran.code == 0
    text = (tmp_path / "new" / "upnext.toml").read_text("utf-8")
    assert set(tomllib.loads(text)) <= set(Settings.model_fields)
    assert load(tmp_path / "new" / "upnext.toml").model_dump() == Settings().model_dump()
    schema = json.loads((tmp_path / "new" / "upnext.schema.json").read_text("utf-8"))
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Settings.model_fields) - {"root"}
    again = upnext("init", tmp_path / "new")
    assert again.code == 2
    assert "--force overwrites it" in again.err
    assert upnext("init", tmp_path / "new", "--force").code == 0


def test_validate_reads_everything_and_writes_nothing(tmp_path: Path) -> None:
    mapping = write_films(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    ran = upnext("validate", mapping, "--json")
    assert ran.code == 0
    events = json.loads(ran.out)["events"]
    assert events["rows"] == 4801
    assert events["duplicates"] == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_import_again_adds_nothing(platform: Platform) -> None:
    again = upnext("import", platform.mapping, "--config", platform.config, "--json")
    first, second = (json.loads(ran.out) for ran in (platform.imported, again))
    assert again.code == 0
    assert first["events"]["new"] == sum(first["events"]["events_by_kind"].values()) > 10_000
    assert second["events"]["new"] == 0
    assert second["events"]["known"] == first["events"]["new"]


def test_validate_and_import_refuse_a_broken_table_and_say_where(tmp_path: Path) -> None:
    """The first rows are the bad ones: none before them is right."""
    mapping = write_films(tmp_path / "films")
    ratings = tmp_path / "films" / "ratings.csv"
    lines = ratings.read_text("utf-8").splitlines()
    lines[1:200] = [f"u{k},,4.0,yesterday,1" for k in range(199)]
    ratings.write_text("\n".join(lines), "utf-8")
    said = upnext("validate", mapping)
    assert "ratings.csv, row 2: got" in said.out
    config = tmp_path / "upnext.toml"
    config.write_text(SMALL, "utf-8")
    refused = upnext("import", mapping, "--config", config)
    assert "1.0%" in one_error_line(refused).replace(" ", "")


def test_train_says_what_the_gate_found_and_publishes(platform: Platform) -> None:
    said = json.loads(platform.trained.out)
    assert said["gate"]["against"] == "popular_7d"
    assert said["gate"]["metrics"]["gate_viewers"] >= 30
    assert said["release_id"]
    assert any("follow" in note for note in said["notes"])  # no such events in these files
    assert {"click.auc", "relevant_shown.log_loss", "watch_s.rmse"} <= set(said["metrics"])


def test_evaluate_measures_every_list_with_intervals_in_both_settings(
    report: dict[str, Any],
) -> None:
    assert set(report) == {"version", "about", "retrieval", "ranker", "audit"}
    assert set(report["retrieval"]) == {"seen_excluded", "nothing_excluded"}
    for setting in report["retrieval"].values():
        assert set(LISTS) <= set(setting["rows"])
        assert setting["baseline"] == "popular_7d"
        for name in ("relevant", "item_to_item", "popular", "merged", "ranked", "popular_1d"):
            figures = setting["rows"][name]["figures"]
            assert set(LIST_FIGURES) <= set(figures), name
            for figure in (figures[f] for f in LIST_FIGURES):
                assert set(figure) == {"mean", "low", "high", "n", "verdict"}
                assert figure["verdict"] == "ok"
                assert figure["low"] <= figure["mean"] + 1e-9
                assert figure["mean"] <= figure["high"] + 1e-9
        assert set(setting["rows"]["ranked"]["versus_baseline"]) >= {"ndcg@10"}
        assert setting["rows"]["relevant"]["figures"]["recall@500"]["mean"] == 1.0  # 150 films


def test_lists_of_others_stand_beside_ours_and_are_compared_with_each(
    report: dict[str, Any],
) -> None:
    for setting in report["retrieval"].values():
        others = setting["rows"]["by_id"]["figures"]
        assert others["recall@500"]["mean"] == 1.0  # 150 films
        versus = setting["against"]["by_id"]
        assert set(versus) == set(setting["rows"]) - {"by_id"}
        for name, figures in versus.items():
            own = setting["rows"][name]["figures"]
            for metric in ("recall@100", "ndcg@10"):
                difference = own[metric]["mean"] - others[metric]["mean"]
                assert figures[metric]["mean"] == pytest.approx(difference), name


def test_the_merge_stands_beside_plain_hybrids_in_every_group(report: dict[str, Any]) -> None:
    rows = {"collaborative only", "content only", "parallel hybrid", "sequential hybrid", "merged"}
    for setting in report["retrieval"].values():
        hybrids = setting["hybrids"]
        assert hybrids["missing"] == {}
        assert hybrids["made_of"]["collaborative only"] == "factorisation"
        assert set(hybrids["groups"]) == {"overall", "new videos", "niche viewers"}
        whole = hybrids["groups"]["overall"]
        assert set(whole["rows"]) == rows
        assert not rows - {"merged"} & set(setting["rows"])
        for row, name in (("merged", "merged"), ("collaborative only", "factorisation")):
            for metric, figure in whole["rows"][row].items():
                same = setting["rows"][name]["figures"][metric]
                assert figure["mean"] == pytest.approx(same["mean"])
        less = whole["less"]["merged"]["parallel hybrid"]["ndcg@10"]
        gap = [whole["rows"][row]["ndcg@10"]["mean"] for row in ("parallel hybrid", "merged")]
        assert less["mean"] == pytest.approx(gap[0] - gap[1])
        niche = hybrids["groups"]["niche viewers"]["rows"]["merged"]["ndcg@10"]
        segment = setting["rows"]["merged"]["segments"]["taste=niche"]["ndcg@10"]
        for part in ("mean", "low", "high", "n"):
            assert niche[part] == pytest.approx(segment[part])


def test_every_list_has_its_looks_its_segments_and_random_lists_beside_it(
    report: dict[str, Any],
) -> None:
    for name, setting in report["retrieval"].items():
        rows = setting["rows"]
        looks = {"popularity_lift@10", "arp@10", "novelty@10", "category_diversity@10"}
        assert looks <= set(rows["random"]["figures"]), name
        counts = setting["about"]["counts"]
        assert counts["viewers_judged"] == setting["n_users"] == counts["lists_drawn"]
        for row in rows.values():
            parts = row["segments"]
            deciles = [part for key, part in parts.items() if key.startswith("popularity")]
            assert sum(part["n_pairs"]["mean"] for part in deciles) == setting["n_pairs"]
            assert parts["country=SE"]["n_pairs"]["mean"] == setting["n_pairs"]
            assert {"viewer=new", "viewer=known", "language=en", "video=shown"} <= set(parts)
        better = rows["relevant"]["versus_baseline"]["ndcg@10"]
        assert better["low"] <= better["mean"] <= better["high"]


def test_the_audit_and_the_split_are_to_be_had_without_a_measurement(platform: Platform) -> None:
    audited = upnext("evaluate", "--audit", "--json", "--config", platform.config)
    assert audited.code == 0, audited.err
    findings = json.loads(audited.out)["findings"]
    assert findings["repeated_event_ids"]["mean"] == 0
    assert findings["learned_after_instant"]["verdict"] == "ok"
    text = (DOCS / "evaluate.md").read_text("utf-8")
    assert [name for name in findings if f"`{name}`" not in text] == []
    printed = upnext("evaluate", "--audit", "--config", platform.config)
    assert "order_lost" in printed.out
    path = platform.root / "split.parquet"
    saved = upnext("evaluate", "--save-split", path, "--json", "--config", platform.config)
    assert len(json.loads(saved.out)["sha256"]) == 64
    both = one_error_line(
        upnext("evaluate", "--split-file", path, "--from", UNTIL, "-c", platform.config)
    )
    assert "leave --from" in both
    path.write_bytes(b"no")
    assert "not a readable Parquet file" in one_error_line(
        upnext("evaluate", "--split-file", path, "-c", platform.config)
    )


@pytest.mark.slow  # each replays the log in two processes: half a minute
def test_a_split_file_leave_last_out_and_every_target_are_judged_through_the_pipeline(
    platform: Platform, report: dict[str, Any], lists_of_others: Path
) -> None:
    path = platform.root / "kept.parquet"
    upnext("evaluate", "--save-split", path, "--config", platform.config)
    same = ("--split-file", path, "--lists", lists_of_others, "--baseline", "popular_7d")
    ran = upnext("evaluate", *same, "--json", "--config", platform.config)
    again = json.loads(ran.out)
    assert again["retrieval"] == report["retrieval"]
    assert again["about"]["split_file"] == str(path)
    both = upnext("evaluate", "--split", "both", "--json", "--config", platform.config)
    settings = json.loads(both.out)["retrieval"]
    rows = settings["seen_excluded"]["rows"]
    assert rows == {n: report["retrieval"]["seen_excluded"]["rows"][n] for n in rows}
    last = settings["last_out_seen_excluded"]
    assert last["n_pairs"] == last["n_lists"] == last["n_users"]
    assert last["about"]["split"] == "last"
    each = upnext("evaluate", "--target", "successive", "--json", "--config", platform.config)
    successive = json.loads(each.out)["retrieval"]["seen_excluded"]
    assert successive["n_lists"] == successive["n_pairs"] > successive["n_users"]
    assert successive["rows"]["ranked"]["figures"]["ndcg@10"]["n"] == successive["n_users"]


def test_evaluate_measures_every_head(report: dict[str, Any], platform: Platform) -> None:
    heads = report["ranker"]["heads"]
    assert {"relevant_shown", "click", "like", "watch_s"} <= set(heads)
    for name in ("relevant_shown", "click", "like"):
        figures = heads[name]["figures"]
        assert {"auc", "gauc", "log_loss", "ece", "pcoc"} <= set(figures)
        # a toy world's AUC is noise: what counts here is that it is measured, with its interval
        assert 0 < figures["auc"]["low"] < figures["auc"]["mean"] < figures["auc"]["high"] <= 1
    watch = heads["watch_s"]["figures"]
    assert {"rmse", "mae", "xauc", "mean_ratio"} <= set(watch)
    assert 0.2 < watch["mean_ratio"]["mean"] < 5


def test_every_figure_of_the_report_is_documented(report: dict[str, Any]) -> None:
    text = (DOCS / "evaluate.md").read_text("utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    documented = set(re.findall(r"`([^`]+)`", prose))
    names = {*report, *LISTS} - {*GENERATORS, "merged", "ranked"}
    for setting in report["retrieval"].values():
        names |= set(setting)
        for row in setting["rows"].values():
            names |= set(row["figures"])
    names |= set(report["ranker"])
    for head in report["ranker"]["heads"].values():
        names |= set(head["figures"])
    missing = {n for n in names - documented if f'"{n}"' not in text}
    assert missing == set()


def test_bench_interests_compares_ways_of_making_query_vectors_on_what_came_later(
    platform: Platform,
) -> None:
    ran = upnext(
        "bench", "interests", "--users", "40", "--k", "20", "--json", "--config", platform.config
    )
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert (said["viewers"], said["k"]) == (40, 20)
    single = {"two-tower network", "history: mean"}
    several = {
        "history: last video", "history: 3 k-means centres", "interests: top 3 medoids",
        "interests: 3 sampled medoids",
    }  # fmt: skip
    assert set(said["rows"]) == single | several
    for name, row in said["rows"].items():
        assert 0 <= row["recall@20"]["low"] <= row["recall@20"]["mean"] <= 1
        assert 0 < row["coverage@20"]["mean"] <= 1
        assert ("videos it lacks" in row) == (name in several)
        assert name in single or row["videos it lacks"]["mean"] > 0


def test_recommend_explains_each_slot(platform: Platform) -> None:
    ran = upnext("recommend", "u3", "--explain", "-n", 5, "--config", platform.config)
    assert ran.code == 0
    for word in ("sources (score)", "predictions", "value", "propensity", "eligible", "reason"):
        assert word in ran.out
    assert len(re.findall(r"│ m\d", ran.out)) == 5
    assert "…" not in ran.out
    assert "relevant_shown 0." in ran.out
    assert "removed: " in ran.out


def test_recommend_json_has_sources_predictions_value_propensity_and_reason(
    platform: Platform,
) -> None:
    ran = upnext("recommend", "u3", "--json", "-n", 5, "--config", platform.config)
    said = json.loads(ran.out)
    assert said["degraded"] == []
    assert [slot["slot"] for slot in said["slots"]] == [0, 1, 2, 3, 4]
    for slot in said["slots"]:
        assert set(slot["sources"]) <= set(GENERATORS)
        assert slot["sources"]
        assert {"relevant", "click", "watch_s"} <= set(slot["predictions"])
        assert slot["value"] == pytest.approx(sum(slot["contributions"].values()), abs=1e-5)
        assert 0 < slot["propensity"] <= 1
        assert slot["reason_text"]
        assert slot["title"]


def test_a_viewer_nobody_knows_gets_a_full_page(platform: Platform) -> None:
    ran = upnext("recommend", "nobody", "--json", "-n", 7, "--config", platform.config)
    assert len(json.loads(ran.out)["slots"]) == 7


def test_releases_are_listed_promoted_and_rolled_back(platform: Platform) -> None:
    first = json.loads(platform.trained.out)["release_id"]
    [only] = json.loads(upnext("release", "list", "--json", "-c", platform.config).out)
    assert only["release_id"] == first
    assert only["is_current"]
    assert upnext("release", "rollback", "-c", platform.config).code == 2
    from upnext.artifacts.releases import ReleaseStore

    store = ReleaseStore(load(platform.config).releases_path)
    folder = store.begin()
    (folder / "a").write_text("b", "utf-8")
    second = store.publish(
        folder, settings={}, data_window={}, metrics={}, parent=first, promote=False
    )
    assert upnext("release", "promote", second, "-c", platform.config).code == 0
    assert store.current() == second
    shown = upnext("release", "list", "-c", platform.config).out
    assert re.search(rf"\* *│ {second}", shown)
    back = upnext("release", "rollback", "-c", platform.config)
    assert back.out.strip() == f"current release: {first}"
    assert store.current() == first
    (store.path / second / "a").write_text("c", "utf-8")
    damaged = upnext("release", "promote", second, "-c", platform.config)
    assert damaged.code == 2
    assert "/a" in damaged.err
    assert store.current() == first


ON_THE_PLATFORM = [
    (("train", "--until", "soon"), "expected an ISO time"),
    (("train", "--until", "2020-01-01T00:00+00:00"), "expected at least 200 showings, got 0"),
    (("train", "--resume"), "no job in"),
    (("evaluate", "--from", "2030-01-01T00:00+00:00"), "no viewer has a relevant video"),
    (
        ("evaluate", "--until", "2000-01-01T00:00+00:00"),
        "end; say --from an earlier instant, or `upnext train --until`",
    ),
    (("evaluate", "--release", "nope"), "release 'nope'"),
    (("evaluate", "--split", "last", "--target", "first"), "--target is of the time split"),
    (("evaluate", "--split", "both", "--save-split", "x.parquet"), "are of one split"),
    (("evaluate", "--split", "both", "--export-rows", "x"), "are of one split"),
    (("evaluate", "--lists", "x.parquet"), "x.parquet: not a readable Parquet file"),
    (("evaluate", "--target", "first", "--export-rows", "x"), "got the target first"),
    (("evaluate", "--lists", ".", "--audit"), "a run of its own"),
    (("evaluate", "--save-split", "nowhere/x.parquet"), "a file in a folder that exists"),
    (("recommend", "u1", "--surface", "nope"), "expected one of home, shorts, upnext"),
    (("recommend", "u1", "-n", "0"), "expected at least 1"),
    (("import", "nope.toml"), "no such file"),
    (("import", ".", "--layout", "nope"), "expected one of kuairand, movielens"),
]


@pytest.mark.parametrize(("command", "said"), ON_THE_PLATFORM, ids=lambda v: "".join(v)[:30])
def test_a_wrong_argument_isone_error_line(
    command: tuple[str, ...], said: str, platform: Platform
) -> None:
    assert said in one_error_line(upnext(*command, "--config", platform.config))

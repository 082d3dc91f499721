"""The written history: ordinary tables with sane marginals, equal bytes for equal seeds, nothing out of time."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from upnext.core.clock import DAY_US
from upnext.core.columns import EVENT_KINDS, REQUIRED, TABLES
from upnext.core.protocols import NoProgress
from upnext.intake.doctor import validate
from upnext.intake.mapping import read_mapping
from upnext.intake.plan import plan_of
from upnext.simulate.history import simulate_history
from upnext.simulate.knobs import Knobs
from upnext.simulate.tables import write_tables
from upnext.simulate.world import World


@pytest.fixture(scope="session")
def events(history: dict[str, pa.Table]) -> pl.DataFrame:
    frame = pl.from_arrow(history["events"])
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.fixture(scope="session")
def videos(history: dict[str, pa.Table]) -> pl.DataFrame:
    frame = pl.from_arrow(history["videos"].drop_columns(["moderation"]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _gini(counts: np.ndarray) -> float:
    ordered = np.sort(counts)
    n = len(ordered)
    return float(2 * (np.arange(1, n + 1) * ordered).sum() / (n * ordered.sum()) - (n + 1) / n)


def test_every_table_passes_its_schema(history: dict[str, pa.Table]) -> None:
    assert set(history) == {"videos", "users", "events"}
    for name, table in history.items():
        for field in table.schema:
            assert field.type == TABLES[name].field(field.name).type, (name, field.name)
        for column in REQUIRED[name]:
            assert table.column(column).null_count == 0
        table.validate(full=True)


def test_one_seed_gives_equal_bytes_and_another_does_not(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        world = World.make(30, 80, seed=seed)
        write_tables(simulate_history(world, days=3), tmp_path / folder)
    for name in ("videos.parquet", "users.parquet", "events.parquet", "mapping.toml"):
        first = (tmp_path / "a" / name).read_bytes()
        assert first == (tmp_path / "b" / name).read_bytes()
        assert (first == (tmp_path / "c" / name).read_bytes()) == (name == "mapping.toml")


def test_the_demo_world_has_the_size_and_rates_of_a_platform(
    events: pl.DataFrame, videos: pl.DataFrame
) -> None:
    count = dict(events.group_by("kind").len().iter_rows())
    assert 100_000 < count["impression"] < 150_000
    assert set(count) <= set(EVENT_KINDS)
    home = dict(events.filter(pl.col("surface") == "home").group_by("kind").len().iter_rows())
    assert 0.2 < home["click"] / home["impression"] < 0.6
    assert 0.02 < count["like"] / count["watch"] < 0.2
    assert min(count[k] for k in ("dislike", "share", "follow", "not_interested", "search")) > 100
    for kind in ("impression", "watch"):
        shown = events.filter(pl.col("kind") == kind).group_by("video_id").len()
        per_video = videos.select("video_id").join(shown, on="video_id", how="left")["len"]
        assert _gini(per_video.fill_null(0).to_numpy()) > 0.5
        assert per_video.null_count() < 60  # chance shows nearly every video to somebody


def test_a_longer_video_is_watched_for_a_smaller_share_and_more_seconds(
    events: pl.DataFrame, videos: pl.DataFrame
) -> None:
    watched = events.filter(pl.col("kind") == "watch").join(
        videos.select("video_id", "duration_s"), on="video_id"
    )
    watched = watched.sort("duration_s").with_row_index()
    thirds = watched.group_by((pl.col("index") * 3) // watched.height).agg(
        (pl.col("watch_s") / pl.col("duration_s")).mean().alias("share"), pl.col("watch_s").mean()
    )
    thirds = thirds.sort("index")
    assert thirds["share"].is_sorted(descending=True)
    assert thirds["watch_s"].is_sorted()
    assert (watched["watch_s"] <= watched["duration_s"] + 0.01).all()


def test_nothing_happens_out_of_time(
    world: World, events: pl.DataFrame, videos: pl.DataFrame
) -> None:
    assert events["time_us"].is_sorted()
    assert events["time_us"].max() < world.end_us  # type: ignore[operator]
    assert events["time_us"].min() > world.end_us - 14 * DAY_US - DAY_US // 24  # type: ignore[operator]
    shown = events.filter(pl.col("kind") == "impression").join(
        videos.select("video_id", "uploaded_us"), on="video_id"
    )
    assert (shown["time_us"] > shown["uploaded_us"]).all()
    first = (
        events.filter(pl.col("video_id").is_not_null())
        .group_by("request_id", "slot")
        .agg(pl.col("kind").first(), pl.col("video_id").n_unique())
    )
    assert (first["kind"] == "impression").all()  # feedback follows its impression
    assert (first["video_id"] == 1).all()
    assert events["event_id"].n_unique() == events.height


def test_a_page_shows_each_video_once_and_only_to_whom_it_may(
    world: World, events: pl.DataFrame
) -> None:
    shown = events.filter(pl.col("kind") == "impression")
    assert not shown.select("request_id", "video_id").is_duplicated().any()
    viewer = shown["user_id"].str.slice(1).cast(pl.Int64).to_numpy()
    video = np.array([world.row_of[v] for v in shown["video_id"]])
    assert world.allowed(np.arange(world.n_viewers))[viewer, video].all()


def test_titles_speak_many_scripts_and_some_are_missing(videos: pl.DataFrame) -> None:
    titles = videos["title"]
    assert 0 < titles.null_count() < 60
    for pattern in (r"\p{Arabic}", r"\p{Han}", r"\p{Emoji_Presentation}", r"[a-z]"):
        assert titles.str.contains(pattern).sum() > 50
    assert 0.02 < videos["tags"].is_null().mean() < 0.12  # type: ignore[operator]


def test_a_log_without_requests_has_neither_request_nor_slot() -> None:
    world = World.make(20, 50, seed=2)
    with_them = simulate_history(world, days=4)["events"]
    without = simulate_history(world, days=4, with_requests=False)["events"]
    for name in ("request_id", "slot"):
        assert without.column(name).null_count == len(without)
        assert with_them.column(name).null_count < len(with_them)
    assert without.column("video_id").equals(with_them.column("video_id"))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_mapping_beside_the_tables_names_every_column(tmp_path: Path, kind: str) -> None:
    tables = simulate_history(World.make(20, 50, seed=2), days=2)
    path = write_tables(tables, tmp_path, kind=kind)  # type: ignore[arg-type]
    mapping = read_mapping(path)
    assert mapping.videos[0].columns["tags"].split == (None if kind == "parquet" else "|")
    written = tomllib.loads(path.read_text())
    for name, table in tables.items():
        assert list(written[name][0]["columns"]) == table.column_names
        assert (tmp_path / written[name][0]["file"]).is_file()


def test_a_world_without_sessions_has_an_empty_history() -> None:
    tables = simulate_history(World.make(1, 1, knobs=Knobs(sessions_level=-30.0)), days=1)
    assert tables["events"].num_rows == 0
    assert tables["videos"].num_rows == 1


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_data_doctor_finds_nothing_wrong(tmp_path: Path, kind: str) -> None:
    world = World.make(20, 50, seed=2)
    tables = simulate_history(world, days=3)
    path = write_tables(tables, tmp_path, kind=kind)  # type: ignore[arg-type]
    report = validate(plan_of(path), NoProgress(), now_us=world.end_us)
    for name, table in tables.items():
        found = report.tables[name]  # type: ignore[index]
        assert (found.n_rows, found.n_kept) == (table.num_rows, table.num_rows)
        assert not found.warnings

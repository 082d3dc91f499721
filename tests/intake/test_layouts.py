"""The public layouts on small folders by hand, and on the real files where they are."""

from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from upnext.catalog import CatalogView
from upnext.core.errors import InvalidInput
from upnext.core.protocols import NoProgress
from upnext.intake import Plan, Report, Stores, import_tables, kuairand, movielens

NOW_US = 2_000_000_000_000_000
DATA = Path(os.environ.get("UPNEXT_DATA", Path(__file__).parents[3] / "shared" / "data"))
LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,"
    "long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
)


def run(plan: Plan, stores: Stores, tmp_path: Path) -> Report:
    return import_tables(
        plan, stores, NoProgress(), now_us=NOW_US, rejected=tmp_path / "rejected.jsonl"
    )


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"no data at {DATA / name}; set UPNEXT_DATA")
    return DATA / name


def test_kuairand_rows_emit_what_happened_in_them(tmp_path: Path, stores: Stores, log: Any) -> None:
    data = tmp_path / "KuaiRand" / "data"
    data.mkdir(parents=True)
    start_ms = 1_650_816_000_000  # 2022-04-25T00:00 in Beijing
    (data / "log_standard_4_22_to_5_08_pure.csv").write_text(
        LOG
        + f"1,10,20220425,0,{start_ms + 5000},1,1,1,1,1,1,1,2500,5000,0,0,0,0,3\n"
        + f"1,10,20220425,0,{start_ms + 5000},0,0,0,0,0,0,0,1,5000,0,0,0,0,3\n"
        + f"1,11,20220425,0,{start_ms + 6000},0,0,0,0,0,0,0,0,0,0,0,0,0,3\n"
        + f"2,11,20220425,0,{start_ms + 7000},0,0,0,0,0,0,0,100,8000,0,0,0,0,1\n"
    )
    (data / "log_random_4_22_to_5_08_pure.csv").write_text(
        LOG + f"2,10,20220425,0,{start_ms + 6500},0,0,0,0,0,0,0,100,5000,0,0,0,1,1\n"
    )
    (data / "video_features_basic_pure.csv").write_text(
        "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,tag\n"
        '10,77,NORMAL,2022-04-10,Web,1,5000.0,"20,43"\n11,78,AD,2022-04-11,Web,1,,\n'
    )
    (data / "video_features_statistic_pure.csv").write_text("never,read\n")
    (data / "user_features_pure.csv").write_text(
        "user_id,is_video_author,register_days\n1,1,2\n2,0,0\n"
    )
    report = run(kuairand.layout(tmp_path / "KuaiRand"), stores, tmp_path)
    events = log.events()
    kinds = ["impression", "watch", "click", "like", "comment", "share", "dislike", "follow"]
    assert [e["kind"] for e in events[:8]] == kinds
    assert [(e["kind"], e["surface"]) for e in events[8:]] == [
        ("impression", "rand:tab1"), ("watch", "rand:tab1"), ("impression", "tab1"), ("watch", "tab1"),
    ]  # fmt: skip
    assert (events[1]["watch_s"], events[1]["value"], events[1]["duration_s"]) == (2.5, 1.0, 5.0)
    assert (events[7]["target_kind"], events[7]["target_id"]) == ("creator", "77")
    assert events[-1]["duration_s"] == 8.0  # the row's, where the catalogue has none
    assert {e["country"] for e in events} == {"CN"}
    table = report.tables["events"]
    assert (table.n_rows, table.n_duplicates, table.dropped) == (5, 1, {"duration is 0": 1})
    view = CatalogView(tmp_path / "catalog.db")
    video = view.videos(np.array([0]))[0]
    assert (video["tags"], video["category"], video["creator_id"]) == (["20", "43"], "20", "77")
    profile = view.profile("1")
    assert profile is not None
    assert (profile.signed_up_us, profile.is_creator) == ((start_ms - 2 * 86_400_000) * 1000, True)


def test_stored_sequences_are_matched_from_their_ends() -> None:
    assert kuairand.matched([1, 2, 2, 3], [2, 3]) == [False, False, True, True]
    assert kuairand.matched([1, 2, 3], [9, 8, 2]) == [
        False,
        True,
        False,
    ]  # 9 and 8 lie before the window
    assert kuairand.matched([1, 2], []) == [False, False]
    assert kuairand.matched([], [1]) == []


def test_a_folder_without_the_layouts_files_says_which_it_needs(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="log_standard"):
        kuairand.layout(tmp_path)
    with pytest.raises(InvalidInput, match=r"ratings.csv"):
        movielens.layout(tmp_path)


def test_the_1m_layout_brings_viewers_and_their_ratings(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    (tmp_path / "ratings.dat").write_text("1::10::4::978300760\n1::20::3::978300700\n")
    (tmp_path / "movies.dat").write_bytes(
        "10::Amélie (2001)::Comedy|Romance\n20::Solo::Drama\n".encode("latin-1")
    )
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    run(movielens.layout(tmp_path), stores, tmp_path)
    assert [(e["kind"], e["value"]) for e in log.events()] == [
        ("impression", None), ("click", None), ("survey", 3.0),
        ("impression", None), ("click", None), ("survey", 4.0), ("like", None),
    ]  # fmt: skip
    view = CatalogView(tmp_path / "catalog.db")
    film, solo = view.videos(np.arange(2))
    assert (film["title"], film["uploaded_us"]) == ("Amélie (2001)", 978_307_200_000_000)
    assert (film["tags"], film["category"], solo["uploaded_us"]) == (
        ["Comedy", "Romance"],
        "Comedy",
        None,
    )
    young, old = view.profile("1"), view.profile("2")
    assert young is not None
    assert old is not None
    assert (young.gender, young.age, old.gender, old.age) == ("female", 17, "male", 56)


def test_the_sasrec_file_becomes_histories_with_titles(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    (tmp_path / "ml-1m.txt.gz").write_bytes(gzip.compress(b"1 2\n1 1\n2 1\n"))
    (tmp_path / "movies.dat").write_text(
        "10::First (1999)::War\n20::Second (1998)::Drama\n30::Out (1997)::War\n"
    )
    (tmp_path / "sas_to_original_items.txt").write_text("1 20\n2 10\n")
    run(movielens.layout(tmp_path), stores, tmp_path)
    view = CatalogView(tmp_path / "catalog.db")
    titles = {v["video_id"]: v["title"] for v in view.videos(np.arange(view.n_items))}
    assert titles == {"2": "First (1999)", "1": "Second (1998)"}
    assert [(k, r["video_id"], r["is_relevant"]) for k, r in log.history.items()] == [
        (("1", 0), "2", True), (("1", 1), "1", True), (("2", 0), "1", True),
    ]  # fmt: skip


def test_kuairand_window_gives_the_reference_split_t_a(
    tmp_path: Path, stores: Stores, log: Any
) -> None:
    """147,247 showings to 3 May and 29,982 after, by the owner's date and by the instant alike."""
    folder = real("kuairand-pure")
    plan = dataclasses.replace(kuairand.layout(folder), histories=(), users=())
    report = run(plan, stores, tmp_path)
    events = pl.concat(
        [
            pl.DataFrame(pl.from_arrow(t)).select("kind", "user_id", "video_id", "time_us")
            for t in log.tables
        ]
    )
    assert events["time_us"].is_sorted()
    shown = events.filter(pl.col("kind") == "impression")
    split_us = 1_651_593_600_000_000  # 2022-05-04T00:00+08:00
    is_test = shown["time_us"] >= split_us
    assert ((~is_test).sum(), is_test.sum()) == (147_247, 29_982)
    table = report.tables["events"]
    assert (table.n_rows, table.n_duplicates, table.dropped) == (
        185_061,
        5_039,
        {"duration is 0": 2_793},
    )
    assert table.n_bad == 0
    assert table.kinds["watch"] == table.kinds["impression"] == table.n_kept
    assert report.tables["videos"].n_kept == 7_583


def test_kuairand_histories_find_every_like_inside_their_window() -> None:
    source = kuairand.layout(real("kuairand-pure")).histories[0]
    rows = pl.concat([batch.frame for batch in source.read(list(source.spec.columns))])
    assert rows.height == 817_187
    assert rows["is_like"].sum() == 16_130  # 8,494 of short histories, 7,636 of longer ones
    assert (
        291_496 <= rows["is_relevant"].sum() <= 291_496 + 16_130
    )  # every long watch, and the likes


def test_movielens_small_gives_every_rating(tmp_path: Path, stores: Stores, log: Any) -> None:
    report = run(movielens.layout(real("ml-latest-small")), stores, tmp_path)
    kinds = report.tables["events"].kinds
    assert (kinds["impression"], kinds["survey"], kinds["like"]) == (100_836, 100_836, 48_580)
    assert report.tables["videos"].n_kept == 9_742
    assert report.tables["events"].n_new == 351_088

"""Exported rows hold what may be learned from and no more; lists made of them come into the table, and wrong ones are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.evaluate.exported_rows import write_rows
from upnext.evaluate.given_lists import check_names, lists_by_name, read_lists
from upnext.evaluate.split_file import split_sha256
from upnext.evaluate.window import Window

from .worlds import showings_of

HIT, MISS = Flag.IMPRESSION | Flag.WATCHED_HALF, Flag.IMPRESSION
ROWS = [
    (0, 1, 0, MISS), (0, 1, 100, HIT | Flag.LIKE), (0, 1, 250, HIT), (0, 2, 260, HIT),
    (1, 3, 150, MISS), (1, 0, 270, HIT), (2, 4, 280, HIT),
]  # fmt: skip
VIDEOS = pl.Series(["a", "b", "c", "d", "e"])


@pytest.fixture
def view(tmp_path: Path) -> CatalogView:
    catalog = Catalog(tmp_path / "catalog.db")
    rows = {"video_id": VIDEOS.to_list(), "duration_s": [10.0, 20.0, None, 40.0, 50.0]}
    status = ["active", "active", "active", "active", "hidden"]
    catalog.put_videos(pa.table({**rows, "status": status}))
    catalog.close()
    return CatalogView(tmp_path / "catalog.db")


def window(**options: object) -> Window:
    return Window(showings_of(ROWS, 3), 200, **options)  # type: ignore[arg-type]


def exported(tmp_path: Path, view: CatalogView, **options: object) -> dict[str, pl.DataFrame]:
    write_rows(tmp_path / "rows", window(**options), view)
    names = ("rows", "items", "asked")
    return {name: pl.read_parquet(tmp_path / "rows" / f"{name}.parquet") for name in names}


def test_the_rows_are_what_was_shown_before_the_instant_in_order(
    tmp_path: Path, view: CatalogView
) -> None:
    files = exported(tmp_path, view)
    rows = files["rows"]
    told = rows.select("user", "item", "time_us", "is_relevant", "is_like", "duration_s").rows()
    assert told == [
        ("user0", "b", None, False, False, 20.0),  # a stored history has no time
        ("user0", "b", 100, True, True, 20.0),
        ("user1", "d", 150, False, False, 40.0),
    ]
    assert rows["is_impression"].all()
    assert files["items"].rows() == [
        ("a", 10.0, True), ("b", 20.0, True), ("c", None, True), ("d", 40.0, True), ("e", 50.0, False),
    ]  # fmt: skip


def test_those_asked_carry_the_split_and_what_is_to_be_left_out_but_not_the_truth(
    tmp_path: Path, view: CatalogView
) -> None:
    asked = exported(tmp_path, view)["asked"]
    assert set(asked["split"]) == {split_sha256(window(), VIDEOS)}
    assert asked.drop("split").rows() == [
        ("seen_excluded", "user0", 200, ["b"]),
        ("seen_excluded", "user1", 200, ["d"]),
        ("seen_excluded", "user2", 200, []),
        ("nothing_excluded", "user0", 200, []),
        ("nothing_excluded", "user1", 200, []),
        ("nothing_excluded", "user2", 200, []),
    ]


def test_leave_last_out_is_exported_with_its_own_rows(tmp_path: Path, view: CatalogView) -> None:
    files = exported(tmp_path, view, kind="last")
    own = files["rows"].filter(pl.col("user") == "user0")
    assert own["time_us"].to_list() == [None, 100, 250]  # all but the last
    assert set(files["asked"]["user"]) == {"user0"}


def test_targets_that_know_part_of_the_window_are_refused(
    tmp_path: Path, view: CatalogView
) -> None:
    with pytest.raises(InvalidInput, match="got the target successive"):
        exported(tmp_path, view, target="successive")


def test_a_folder_that_can_t_be_one_is_refused(tmp_path: Path, view: CatalogView) -> None:
    (tmp_path / "rows").write_text("a file")
    with pytest.raises(InvalidInput, match="--export-rows: expected a folder"):
        exported(tmp_path, view)


def lists(tmp_path: Path, view: CatalogView, change: Callable[..., object] | None = None) -> Path:
    """A file of good lists, or one that `change` (frame -> frame) spoils."""
    asked = exported(tmp_path, view)["asked"]
    best = {"user0": ["c", "a"], "user1": ["a", "b", "c"], "user2": []}
    items = pl.Series([best[user] for user in asked["user"]], dtype=pl.List(pl.String))
    frame = asked.select("split", "setting", "user").with_columns(items=items)
    path = tmp_path / "als.parquet"
    (frame if change is None else change(frame)).write_parquet(path)  # type: ignore[attr-defined]
    return path


def found(path: Path, setting: str = "seen_excluded", **options: object) -> dict[str, np.ndarray]:
    one = window(**options)
    return lists_by_name(read_lists([path]), one, VIDEOS, setting, split_sha256(one, VIDEOS))


def test_lists_come_back_as_item_ids_of_the_split_s_viewers(
    tmp_path: Path, view: CatalogView
) -> None:
    shuffled = lists(tmp_path, view, lambda f: f.sample(fraction=1, shuffle=True, seed=3))
    ranked = found(shuffled)["als"]
    assert ranked.tolist() == [[2, 0, -1], [0, 1, 2], [-1, -1, -1]]
    folder = found(tmp_path / "rows" / "..")  # beside them: no other Parquet file
    assert folder["als"].tolist() == ranked.tolist()


def test_viewers_who_were_not_drawn_are_passed_over(tmp_path: Path, view: CatalogView) -> None:
    path = lists(tmp_path, view)
    ranked = found(path, max_users=2)["als"]
    drawn = window(max_users=2).split(exclude_seen=True)
    every = {"user0": [2, 0], "user1": [0, 1, 2], "user2": []}
    for row, user in zip(ranked.tolist(), drawn.user_ids(), strict=True):
        assert [item for item in row if item >= 0] == every[user]


def test_a_file_of_one_setting_stands_in_that_table_alone(
    tmp_path: Path, view: CatalogView
) -> None:
    path = lists(tmp_path, view, lambda f: f.filter(pl.col("setting") == "seen_excluded"))
    assert list(found(path)) == ["als"]
    assert found(path, "nothing_excluded") == {}


def put(user: str, items: list[str | None]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    new = pl.lit(pl.Series([items], dtype=pl.List(pl.String)))
    return lambda f: f.with_columns(
        items=pl.when(pl.col("user") == user).then(new).otherwise(pl.col("items"))
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.with_columns(split=pl.lit("0" * 64)), r"of the split 000000000000\.\.\., this"),
        (lambda f: f.filter(pl.col("user") != "user1"), "1 of 3 viewers have no list, such as 'user1'"),
        (lambda f: pl.concat([f, f[:1]]), "seen_excluded: user 'user0' has more than one list"),
        (lambda f: pl.concat([f, f[:1].with_columns(user=pl.lit("x"))]), "user 'x' is not asked"),
        (put("user1", ["a", "z"]), "user 'user1': item 'z' is not in the catalogue"),
        (put("user1", ["a", None]), "user 'user1': item None is not in the catalogue"),
        (put("user0", ["c", "c"]), "user 'user0': item 'c' is listed twice"),
        (put("user1", ["a", "d"]), "user 'user1': item 'd' was shown to the viewer before"),
        (lambda f: f.with_columns(setting=pl.lit("all")), r"more than one list"),
        (lambda f: f[:3].with_columns(setting=pl.lit("all")), r"settings of \['seen_excluded'"),
        (lambda f: f.with_columns(user=pl.lit(None, pl.String)), "expected a value in every column"),
        (lambda f: f.drop("split"), "expected the columns split String, setting"),
        (lambda f: f.with_columns(user=pl.lit(5)), r"got .split String.*user Int32"),
    ],
)  # fmt: skip
def test_lists_that_can_t_be_judged_are_one_line(
    tmp_path: Path, view: CatalogView, change: Callable[..., object], message: str
) -> None:
    path = lists(tmp_path, view, change)
    with pytest.raises(InvalidInput, match=message) as refusal:
        found(path)
    assert len(str(refusal.value).splitlines()) == 1


def test_files_that_are_no_lists_are_refused(tmp_path: Path, view: CatalogView) -> None:
    path = lists(tmp_path, view)
    (tmp_path / "empty").mkdir()
    text = tmp_path / "text.txt"
    text.write_text("no", "utf-8")
    for paths, message in (
        ([tmp_path / "none.parquet"], "not a readable Parquet file"),
        ([text], "not a readable Parquet file"),
        ([tmp_path / "empty"], "a Parquet file or a folder of them"),
        ([path, path], "two files are named 'als'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read_lists(paths)


def test_names_that_are_ours_and_baselines_that_are_none_are_refused() -> None:
    given = {"als": np.zeros((1, 1), np.int64)}
    check_names(["merged", "popular_7d"], given, "als")
    with pytest.raises(InvalidInput, match="'als' is the name of one of our own lists"):
        check_names(["als", "popular_7d"], given, "als")
    with pytest.raises(InvalidInput, match="--baseline: expected one of"):
        check_names(["merged"], given, "best")

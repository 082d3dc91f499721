"""Split files: what was written is what is read, and anything else is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.evaluate.split_file import read_split, write_split
from upnext.evaluate.window import Window

from .worlds import showings_of

HIT, MISS = Flag.IMPRESSION | Flag.WATCHED_HALF, Flag.IMPRESSION
ROWS = [(0, 1, 100, HIT), (0, 1, 250, HIT), (0, 2, 260, HIT), (1, 3, 150, MISS), (1, 0, 270, HIT)]
VIDEOS = pl.Series(["a", "b", "c", "d"])


def window(rows: list[tuple[int, int, int, int]] = ROWS, **options: object) -> Window:
    return Window(showings_of(rows, 2), 200, **options)  # type: ignore[arg-type]


def test_a_split_comes_back_with_its_rows_and_how_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    sha256 = write_split(path, window(), VIDEOS)
    held = read_split(path)
    assert held.sha256 == sha256
    assert (held.made.from_us, held.made.until_us) == (200, None)
    assert (held.made.split, held.made.target) == ("time", "all")
    assert sorted(held.rows.rows(), key=str) == sorted(
        [
            ("train", "user0", "b", None),
            ("train", "user1", "d", None),
            ("test_seen_excluded", "user0", "c", 200),
            ("test_seen_excluded", "user1", "a", 200),
            ("test_nothing_excluded", "user0", "b", 200),
            ("test_nothing_excluded", "user0", "c", 200),
            ("test_nothing_excluded", "user1", "a", 200),
        ],
        key=str,
    )
    held.check(held.made.window(showings_of(ROWS, 2), 10), VIDEOS)


@pytest.mark.parametrize(
    "options", [{"kind": "last"}, {"target": "successive"}, {"until_us": 265}], ids=str
)
def test_every_kind_of_split_checks_against_its_own_data(
    tmp_path: Path, options: dict[str, object]
) -> None:
    path = tmp_path / "split.parquet"
    sha256 = write_split(path, window(**options), VIDEOS)
    held = read_split(path)
    again = held.made.window(showings_of(ROWS, 2), 10)
    held.check(again, VIDEOS)
    assert write_split(path, again, VIDEOS) == sha256


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    write_split(path, window(), VIDEOS)
    table = pq.read_table(path)
    pq.write_table(table.slice(1).replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(InvalidInput, match="edited or damaged"):
        read_split(path)


def test_other_data_are_refused_with_an_example(tmp_path: Path) -> None:
    path = tmp_path / "split.parquet"
    write_split(path, window(), VIDEOS)
    held = read_split(path)
    later = window([*ROWS, (1, 2, 280, HIT)])
    with pytest.raises(
        InvalidInput, match=r"0 rows are in the file alone, 2 in the log alone .*'c'"
    ):
        held.check(later, VIDEOS)
    fewer = window(ROWS[:-1])
    with pytest.raises(InvalidInput, match=r"2 rows are in the file alone, 0 .*user 'user1'"):
        held.check(fewer, VIDEOS)


def test_files_that_are_no_splits_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "split.txt"
    text.write_text("no", "utf-8")
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        read_split(text)
    with pytest.raises(InvalidInput, match="not a readable Parquet file"):
        read_split(tmp_path / "none.parquet")
    other = tmp_path / "other.parquet"
    pl.DataFrame({"user": ["a"]}).write_parquet(other)
    with pytest.raises(InvalidInput, match="--save-split"):
        read_split(other)
    with pytest.raises(InvalidInput, match="folder that exists"):
        write_split(tmp_path / "none" / "split.parquet", window(), VIDEOS)
    with pytest.raises(InvalidInput, match="folder that exists"):
        write_split(tmp_path, window(), VIDEOS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"from_us": "soon"}, "from_us: .*integer.*, got 'soon'"),
        ({"split": "half"}, "split: .*'time' or 'last', got 'half'"),
        ({"target": None}, "target: .*got None"),
        ({"version": 2}, "version: .*got 2"),
        ({"more": 1}, "more: Extra inputs"),
    ],
)
def test_metadata_that_can_t_be_are_refused_by_key(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "split.parquet"
    write_split(path, window(), VIDEOS)
    table = pq.read_table(path)
    told = json.loads(table.schema.metadata[b"upnext_split"])
    texts = [(json.dumps({**told, **change}), message), ("{", "its metadata"), ("[1]", "metadata")]
    for text, wanted in texts:
        pq.write_table(table.replace_schema_metadata({"upnext_split": text}), path)
        with pytest.raises(InvalidInput, match=wanted):
            read_split(path)

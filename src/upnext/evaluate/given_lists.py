"""Lists that others made from a split's rows, checked and turned into the table's numbers.

Parquet with the columns of asked.parquet (exported_rows.py) but `items` for what was known: split, setting, user, items (best first). One file
is one row of the table, named as the file; it stands in the table of each setting of which it has rows. A setting is answered for every
viewer who is asked, and by videos that may be listed: figures over fewer viewers, or with seen videos, would not be paired with ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Int64
from upnext.evaluate.exported_rows import SETTINGS
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window

_COLUMNS: Final = {
    "split": pl.String, "setting": pl.String, "user": pl.String, "items": pl.List(pl.String),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GivenLists:
    """One file: the row's name, and split, setting, user, items."""

    name: str
    path: Path
    rows: pl.DataFrame


def read_lists(paths: Sequence[Path]) -> list[GivenLists]:
    """The lists of files and of folders of files (*.parquet, by name).

    Raises InvalidInput for a path without any, another kind of file, a value that is missing, a list that is there twice."""
    files: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not found:
            raise expected("--lists", "a Parquet file or a folder of them", str(path))
        files += found
    given = [GivenLists(path.stem, path, _read(path)) for path in files]
    names = [lists.name for lists in given]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"--lists: two files are named {name!r}: rename one")
    return given


def lists_by_name(
    given: Sequence[GivenLists], window: Window, video_ids: pl.Series, setting: str, sha256: str
) -> dict[str, Int64]:
    """{name: int64[u, K]} for the u viewers of the window's split in a setting, -1 pads; files without that setting are left out.

    video_ids: String[n_items]; sha256: of the whole split. Raises InvalidInput for a file of another split, a viewer without a
    list or with one who was not asked, a video that is unknown, listed twice or to be left out: says which."""
    if not given:
        return {}
    exclude_seen = SETTINGS[setting]
    judged = window.split(exclude_seen=exclude_seen)
    everybody = set(window.whole_split(exclude_seen=exclude_seen).user_ids())
    item_row = pl.DataFrame({"item": video_ids, "item_id": np.arange(len(video_ids))})
    found = {}
    for lists in given:
        for other in lists.rows["split"].unique().to_list():
            if other != sha256:
                raise InvalidInput(
                    f"lists {lists.path}: they are of the split {other[:12]}..., this one is {sha256[:12]}...: "
                    "export the rows again and make the lists from those"
                )
        rows = lists.rows.filter(pl.col("setting") == setting)
        if len(rows):
            where = f"lists {lists.path}, {setting}"
            _check_users(where, rows["user"], judged.user_ids(), everybody)
            found[lists.name] = _ranked(where, rows, judged, item_row)
    return found


def _read(path: Path) -> pl.DataFrame:
    try:
        frame = pl.DataFrame(pl.from_arrow(pq.read_table(path)))
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInput(f"lists {path}: not a readable Parquet file: {error}") from None
    if dict(frame.schema) != dict(_COLUMNS):
        wanted = ", ".join(f"{name} {dtype}" for name, dtype in _COLUMNS.items())
        got = ", ".join(f"{name} {dtype}" for name, dtype in frame.schema.items())
        raise expected(f"lists {path}", f"the columns {wanted}", got)
    frame = frame.select(list(_COLUMNS))
    empty = frame.filter(pl.any_horizontal(pl.all().is_null()))
    if len(empty):
        raise expected(f"lists {path}", "a value in every column", empty.row(0, named=True))
    twice = frame.filter(frame.select("setting", "user").is_duplicated())
    if len(twice):
        setting, user = twice.select("setting", "user").row(0)
        raise InvalidInput(f"lists {path}, {setting}: user {user!r} has more than one list")
    odd = frame.filter(~pl.col("setting").is_in(list(SETTINGS)))
    if len(odd):
        raise expected(f"lists {path}", f"settings of {list(SETTINGS)}", odd["setting"][0])
    return frame


def _check_users(where: str, users: pl.Series, judged: Sequence[str], everybody: set[str]) -> None:
    listed = set(users.to_list())
    missing = [user for user in judged if user not in listed]
    if missing:
        raise InvalidInput(
            f"{where}: {len(missing):,} of {len(judged):,} viewers have no list, such as {missing[0]!r}"
        )
    unasked = sorted(listed - everybody)
    if unasked:
        raise InvalidInput(f"{where}: user {unasked[0]!r} is not asked in this split")


def _ranked(where: str, rows: pl.DataFrame, judged: Split, item_row: pl.DataFrame) -> Int64:
    cases = pl.DataFrame({"user": judged.user_ids(), "case": np.arange(len(judged.user))})
    rows = rows.join(cases, on="user").select("user", "case", "items")
    n_listed = rows["items"].list.len()
    long = rows.filter(n_listed > 0).explode("items").rename({"items": "item"})
    long = long.join(item_row, on="item", how="left", maintain_order="left")
    _refuse(where, long.filter(pl.col("item_id").is_null()), "is not in the catalogue")
    _refuse(where, long.filter(long.select("case", "item_id").is_duplicated()), "is listed twice")
    case, item_id = long["case"].to_numpy(), long["item_id"].to_numpy()
    if judged.is_seen_excluded:
        was_seen = pl.Series(judged.seen.contains(case, item_id))
        _refuse(
            where, long.filter(was_seen), "was shown to the viewer before, and is to be left out"
        )
    lengths = n_listed.filter(n_listed > 0).to_numpy().astype(np.int64)
    ranked = np.full((len(judged.user), int(lengths.max(initial=1))), -1, np.int64)
    place = np.arange(len(case)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    ranked[case, place] = item_id
    return ranked


def _refuse(where: str, wrong: pl.DataFrame, what: str) -> None:
    """Raises InvalidInput when there are rows (user, item): what is wrong with the first."""
    if len(wrong):
        user, item = wrong.select("user", "item").row(0)
        raise InvalidInput(f"{where}: user {user!r}: item {item!r} {what}")


def check_names(own: Sequence[str], given: Mapping[str, Int64], baseline: str) -> None:
    """Raises InvalidInput where a given list has the name of one of ours, or no list has the baseline's."""
    for name in given:
        if name in own:
            raise InvalidInput(
                f"--lists: {name!r} is the name of one of our own lists: rename the file"
            )
    if baseline not in own and baseline not in given:
        raise expected("--baseline", f"one of {sorted([*own, *given])}", baseline)

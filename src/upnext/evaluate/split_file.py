"""A split as a file that others can read, and that says when it is not the same split any more.

Parquet with the columns user, item (the platform's own ids), part and asked_us. Parts: "train", the distinct pairs shown before;
"test_seen_excluded" and "test_nothing_excluded", the pairs to find in either setting, asked_us being the instant before which everything may
be known. The metadata key "upnext_split" holds how it was made and the sha256 of the sorted lines "part, user, item, asked_us" (tabs between).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from upnext.core.errors import InvalidInput, Unavailable, expected
from upnext.evaluate.split import Target
from upnext.evaluate.user_items import UserItems
from upnext.evaluate.window import Kind, Window
from upnext.features.showings import Showings
from upnext.intake.mapping import Strict

VERSION: Final = 1
_KEY = b"upnext_split"
_COLUMNS = ("part", "user", "item", "asked_us")
_SETTINGS = {"test_seen_excluded": True, "test_nothing_excluded": False}
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class SplitMade:
    """How a split was made: what it takes to make it again."""

    from_us: int
    until_us: int | None
    split: Kind
    target: Target

    @staticmethod
    def of(window: Window) -> SplitMade:
        """Of a window; its viewers are not drawn yet."""
        return SplitMade(window.from_us, window.until_us, window.kind, window.target)

    def window(self, showings: Showings, max_users: int) -> Window:
        """The window over the showings of a log."""
        return Window(
            showings, self.from_us, self.until_us, max_users, kind=self.split, target=self.target
        )


class _Told(Strict):
    """The metadata of a file."""

    version: Literal[1]
    from_us: int
    until_us: int | None
    split: Kind
    target: Target
    sha256: str


@dataclass(frozen=True, slots=True)
class SplitFile:
    """A split that was read: how it was made, and its rows, which give the checksum that it carries."""

    path: Path
    made: SplitMade
    sha256: str
    rows: pl.DataFrame

    def check(self, window: Window, video_ids: pl.Series) -> None:
        """Raises InvalidInput, with counts and an example, when the window of a log does not give the split's rows."""
        now = _frame(window, video_ids)
        if _sha256(now) == self.sha256:
            return
        only_file = self.rows.join(now, on=_COLUMNS, how="anti", nulls_equal=True)
        only_log = now.join(self.rows, on=_COLUMNS, how="anti", nulls_equal=True)
        example, where = (only_file, "file") if len(only_file) else (only_log, "log")
        part, user, item, _ = example.sort(_COLUMNS).row(0)
        raise InvalidInput(
            f"split file {self.path}: it is of other data: {len(only_file):,} rows are in the file alone, "
            f"{len(only_log):,} in the log alone (such as user {user!r}, item {item!r} of {part}, in the {where} alone)"
        )


def split_sha256(window: Window, video_ids: pl.Series) -> str:
    """The checksum of a window's whole split in both settings. Raises InvalidInput when nothing is left to judge."""
    return _sha256(_frame(window, video_ids))


def write_split(path: Path, window: Window, video_ids: pl.Series) -> str:
    """Writes the whole split in both settings; returns its sha256. video_ids: String[n_items].

    Raises InvalidInput when nothing is left to judge or the folder does not exist."""
    if not path.parent.is_dir() or path.is_dir():
        raise expected("--save-split", "a file in a folder that exists", str(path))
    frame = _frame(window, video_ids)
    sha256 = _sha256(frame)
    made = {"version": VERSION, **asdict(SplitMade.of(window)), "sha256": sha256}
    table: pa.Table = frame.to_arrow()
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(made).encode()}
    try:
        pq.write_table(table.replace_schema_metadata(metadata), path)
    except OSError as error:
        raise Unavailable(f"--save-split: {path}: {error.strerror or error}") from error
    return sha256


def read_split(path: Path) -> SplitFile:
    """The split of a file. Raises InvalidInput for another kind of file or rows that don't give the checksum."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInput(f"split file {path}: not a readable Parquet file: {error}") from None
    told = (table.schema.metadata or {}).get(_KEY)
    if told is None or set(table.column_names) != set(_COLUMNS):
        raise expected(
            f"split file {path}", "a file of `upnext evaluate --save-split`", table.column_names
        )
    try:
        made = _Told.model_validate_json(told)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "its metadata"
        raise InvalidInput(
            f"split file {path}: {place}: {first['msg']}, got {first['input']!r}"
        ) from None
    frame = pl.DataFrame(pl.from_arrow(table)).select(_COLUMNS)
    found = _sha256(frame)
    if found != made.sha256:
        raise InvalidInput(
            f"split file {path}: its rows give the checksum {found[:12]}..., it carries {made.sha256[:12]}...: "
            "it was edited or damaged"
        )
    how = SplitMade(made.from_us, made.until_us, made.split, made.target)
    return SplitFile(path, how, made.sha256, frame)


def _frame(window: Window, video_ids: pl.Series) -> pl.DataFrame:
    whole = {part: window.whole_split(exclude_seen=seen) for part, seen in _SETTINGS.items()}
    users = pl.Series(window.showings.user_ids, dtype=pl.String)
    train = next(iter(whole.values())).train
    pairs = UserItems.of_pairs(train.user, train.item_id, len(users))
    parts = [_rows("train", users.gather(pairs.users()), video_ids.gather(pairs.item_id), None)]
    for part, split in whole.items():
        case = split.truth.users()
        user, item = users.gather(split.user[case]), video_ids.gather(split.truth.item_id)
        parts.append(_rows(part, user, item, split.asked_us[case]))
    return pl.concat(parts)


def _rows(part: str, user: pl.Series, item: pl.Series, asked_us: np.ndarray | None) -> pl.DataFrame:
    time = pl.lit(None, pl.Int64) if asked_us is None else pl.Series(asked_us, dtype=pl.Int64)
    frame = pl.DataFrame({"user": user, "item": item})
    return frame.with_columns(part=pl.lit(part), asked_us=time).select(_COLUMNS)


def _sha256(frame: pl.DataFrame) -> str:
    words = [pl.col(name).cast(pl.String).fill_null("") for name in _COLUMNS]
    lines = frame.select(line=pl.concat_str(words, separator="\t"))["line"].sort()
    digest = hashlib.sha256()
    for start in range(0, len(lines), _PIECE):
        digest.update("".join(f"{line}\n" for line in lines.slice(start, _PIECE)).encode())
    return digest.hexdigest()

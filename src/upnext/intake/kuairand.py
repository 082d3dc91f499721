"""The public KuaiRand layout (Gao et al. 2022: every impression of a short-video app, some of it shown at random).

Reads the published folders of KuaiRand-Pure, -1K and -27K, and a window of them kept as Parquet with stored histories. The files of
video statistics are never read: they count the whole month, test days included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.errors import expected
from upnext.core.types import Int64
from upnext.intake.files import BATCH_ROWS, Batch, Source, format_of, read_csv, read_parquet
from upnext.intake.mapping import TableSpec
from upnext.intake.plan import Plan

_BEIJING_US: Final = 8 * HOUR_US
_CREATOR: Final = "author_id of the video"  # joined to the log rows that follow
_SHOWN_MS = "shown_ms"  # added to the rows as they are read
_BEIJING_MS = 8 * 3_600_000
_VIDEOS: Final = TableSpec.model_validate({
    "columns": {
        "video_id": "video_id",
        "creator_id": "author_id",
        "uploaded_us": {"column": "upload_dt", "time": "%Y-%m-%d", "time_zone": "Asia/Shanghai"},
        "duration_s": {"column": "video_duration", "scale": 0.001, "null": ["0", "0.0"]},
        "tags": {"column": "tag", "split": ","},
        "category": {"column": "tag", "extract": "^([^,]+)"},
    },
})  # fmt: skip
_HISTORIES: Final = TableSpec.model_validate({
    "columns": {name: name for name in ("user_id", "position", "video_id", "is_like", "is_relevant")},
})  # fmt: skip


def layout(folder: Path) -> Plan:
    """The plan of a KuaiRand folder (or of its `data` subfolder). Raises InvalidInput without its files."""
    home = folder if _found(folder, "log_standard_*") else folder / "data"
    logs, random_logs = _found(home, "log_standard_*"), _found(home, "log_random_*")
    videos = _found(home, "video_features_basic_*.csv")
    users = _found(home, "user_features_*")
    if not logs:
        raise expected(f"KuaiRand folder {folder}", "files log_standard_*.csv or .parquet", "none")
    if not videos:
        raise expected(f"KuaiRand folder {folder}", "a file video_features_basic_*.csv", "none")
    authors = _Authors(videos)
    events = [_log(path, "tab", authors) for path in logs]
    events += [_log(path, "rand:tab", authors) for path in random_logs]
    histories = [
        Source(str(p), _history_reader(p), _HISTORIES) for p in _found(home, "user_history_*")
    ]
    start_us = _first_day_us([*logs, *random_logs])
    return Plan(
        folder,
        videos=tuple(Source(str(path), _reader(path), _VIDEOS) for path in videos),
        users=tuple(Source(str(p), _user_reader(p, start_us), _users_spec()) for p in users),
        histories=tuple(histories),
        events=tuple(events),
    )


def _log(path: Path, prefix: str, authors: _Authors) -> Source:
    feedback = {
        "click": "is_click", "like": "is_like", "comment": "is_comment", "share": "is_forward",
        "dislike": "is_hate",
    }  # fmt: skip
    emit: list[dict[str, Any]] = [
        {"kind": "impression"},
        {
            "kind": "watch",
            "watch_s": {"column": "play_time_ms", "scale": 0.001},
            "value": "long_view",
        },
    ]
    emit += [{"kind": k, "when": {"column": c, "eq": 1}} for k, c in feedback.items()]
    emit.append({
        "kind": "follow", "when": {"column": "is_follow", "eq": 1},
        "target_kind": {"constant": "creator"}, "target_id": _CREATOR,
    })  # fmt: skip
    spec = TableSpec.model_validate({
        "columns": {
            "user_id": "user_id",
            "video_id": "video_id",
            "time_us": {"column": _SHOWN_MS, "unit": "ms"},
            "surface": {"column": "tab", "prefix": prefix},
            "duration_s": {"column": "duration_ms", "scale": 0.001},
            "country": {"constant": "CN"},
        },
        "unique": ["user_id", "video_id", "time_ms"],
        "drop": [{"when": {"column": "duration_ms", "le": 0}, "reason": "duration is 0"}],
        "emit": emit,
    })  # fmt: skip
    read = _reader(path)

    def read_with_creators(wanted: Sequence[str]) -> Iterator[Batch]:
        stored = [name for name in wanted if name not in (_CREATOR, _SHOWN_MS)]
        for batch in read(list(dict.fromkeys([*stored, "date", "time_ms"]))):
            frame = _with_time(authors.join(batch.frame))
            yield Batch(batch.file, frame, batch.row, batch.unreadable)

    return Source(str(path), read_with_creators, spec)


def _with_time(frame: pl.DataFrame) -> pl.DataFrame:
    """Adds when a row was shown, ms: time_ms, or within the first second of the owner's `date` where that is later.

    A few rows of the last hour of a day carry the next day's date. The published splits go by date, and with this an instant does too."""
    day = pl.col("date").cast(pl.String).str.to_date("%Y%m%d", strict=False)
    began_ms = day.cast(pl.Datetime("ms")).dt.epoch("ms") - _BEIJING_MS
    time_ms = pl.col("time_ms").cast(pl.Int64, strict=False)
    early_ms = began_ms - time_ms  # up to an hour; pressed into the first second, in the same order
    pressed = began_ms + 1_000 - early_ms // 3_600
    later = pl.when(early_ms > 0).then(pressed).otherwise(time_ms)
    return frame.with_columns(later.alias(_SHOWN_MS))


class _Authors:
    """Each video's author, looked up for the rows that follow someone; read when first needed."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._sorted: tuple[Int64, Int64] | None = None

    def join(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows with the author's id as text where is_follow is 1."""
        follows = (frame.get_column("is_follow").cast(pl.Int64, strict=False) == 1).fill_null(False)
        places = np.flatnonzero(follows.to_numpy())
        names: list[str | None] = [None] * frame.height
        if len(places):
            videos, authors = self._read()
            wanted = frame.get_column("video_id").gather(places).cast(pl.Int64, strict=False)
            ids = wanted.fill_null(-1).to_numpy()
            at = np.minimum(np.searchsorted(videos, ids), len(videos) - 1)
            for place, i, is_known in zip(places.tolist(), at.tolist(), videos[at] == ids):
                names[place] = str(authors[i]) if is_known else None
        return frame.with_columns(pl.Series(_CREATOR, names, dtype=pl.String))

    def _read(self) -> tuple[Int64, Int64]:
        if self._sorted is None:
            frames = [
                batch.frame.select(pl.all().cast(pl.Int64, strict=False)).drop_nulls()
                for path in self._paths
                for batch in _reader(path)(["video_id", "author_id"])
            ]
            rows = pl.concat(frames).sort("video_id")
            self._sorted = rows["video_id"].to_numpy(), rows["author_id"].to_numpy()
        return self._sorted


def _users_spec() -> TableSpec:
    return TableSpec.model_validate({
        "columns": {
            "user_id": "user_id",
            "signed_up_us": "signed_up_us",
            "is_creator": {"column": "is_video_author", "map": {"1": True, "0": False, "-124": False}},
            "country": {"constant": "CN"},
        },
    })  # fmt: skip


def _user_reader(path: Path, start_us: int) -> Any:
    """Users with the day they signed up: register_days before the log's first day."""

    def read(wanted: Sequence[str]) -> Iterator[Batch]:
        names = ["register_days" if name == "signed_up_us" else name for name in wanted]
        for batch in _reader(path)(names):
            days = batch.frame.get_column("register_days").cast(pl.Int64, strict=False)
            frame = batch.frame.with_columns((start_us - days * DAY_US).alias("signed_up_us"))
            yield Batch(batch.file, frame, batch.row, batch.unreadable)

    return read


def _history_reader(path: Path) -> Any:
    """Rows of HISTORIES from each user's sequences: watched in order, the liked and the long watched among them."""

    def read(wanted: Sequence[str]) -> Iterator[Batch]:
        frame = pl.read_parquet(path)
        rows: dict[str, list[Any]] = {name: [] for name in _HISTORIES.columns}
        lines: list[int] = []
        for line, user in enumerate(frame.iter_rows(named=True), 1):
            watched = user["watch_seq"] or []
            likes = matched(watched, user["like_seq"] or [])
            longs = matched(watched, user["long_watch_seq"] or [])
            rows["user_id"] += [str(user["user_id"])] * len(watched)
            rows["position"] += range(len(watched))
            rows["video_id"] += [str(video) for video in watched]
            rows["is_like"] += likes
            rows["is_relevant"] += [a or b for a, b in zip(likes, longs)]
            lines += [line] * len(watched)
        whole, numbers = pl.DataFrame(rows), np.array(lines, np.int64)
        for start in range(0, whole.height, BATCH_ROWS):
            part = slice(start, start + BATCH_ROWS)
            yield Batch(str(path), whole.slice(start, BATCH_ROWS).select(wanted), numbers[part])

    return read


def matched(sequence: Sequence[int], part: Sequence[int]) -> list[bool]:
    """bool per element of `sequence`: also an element of `part`, walking both in order from their ends.

    From the ends, because each list keeps its own last 50: the liked videos reach further back than the watched ones."""
    marks = [False] * len(sequence)
    place = len(part) - 1
    for i in range(len(sequence) - 1, -1, -1):
        if place >= 0 and part[place] == sequence[i]:
            marks[i], place = True, place - 1
    return marks


def _found(folder: Path, pattern: str) -> list[Path]:
    names = (p for p in folder.glob(pattern) if p.name.endswith((".csv", ".csv.gz", ".parquet")))
    return sorted(names)


def _reader(path: Path) -> Any:
    if format_of(path) == "parquet":
        return lambda wanted: read_parquet(path, wanted)
    return lambda wanted: read_csv(path, wanted)


def _first_day_us(paths: Sequence[Path]) -> int:
    """The Beijing midnight before the first rows of the logs (each file is in order of time)."""
    firsts = []
    for path in paths:
        batch = next(iter(_reader(path)(["time_ms"])), None)
        if batch is not None and batch.frame.height:
            firsts.append(batch.frame["time_ms"].cast(pl.Int64, strict=False).min())
    known = [int(first) * 1000 for first in firsts if isinstance(first, int)]
    if not known:
        raise expected("KuaiRand logs", "rows with time_ms", "none")
    return (min(known) + _BEIJING_US) // DAY_US * DAY_US - _BEIJING_US

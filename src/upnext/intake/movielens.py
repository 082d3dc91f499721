"""The public MovieLens layouts (Harper and Konstan 2015): latest-small and 20M as CSV, 1M with `::`, and the SASRec file.

A rating is an impression, a click and a survey answer; 4 or more is also a like. The SASRec file (Kang and McAuley 2018) has the
order of a viewer's films but no times, so it becomes histories, every row relevant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from upnext.core.errors import expected
from upnext.intake.files import BATCH_ROWS, Batch, Source, read_csv
from upnext.intake.mapping import TableSpec
from upnext.intake.plan import Plan

_RATING: Final = ("userId", "movieId", "rating", "timestamp")
_FILM: Final = ("movieId", "title", "genres")
_NO_GENRES: Final = "(no genres listed)"
# The 1M README gives age groups by their lower end; its 1 is "under 18".
_AGES: Final = {"1": 17, "18": 18, "25": 25, "35": 35, "45": 45, "50": 50, "56": 56}


def layout(folder: Path) -> Plan:
    """The plan of a MovieLens folder, whichever layout it has. Raises InvalidInput when it has none of them."""
    if ratings := _first(folder, "ratings.csv", "ratings.csv.gz"):
        return _csv_layout(folder, ratings)
    if ratings := _first(folder, "ratings.dat", "ratings.dat.gz"):
        return _dat_layout(folder, ratings)
    if order := _first(folder, "ml-1m.txt", "ml-1m.txt.gz"):
        return _sasrec_layout(folder, order)
    raise expected(
        f"MovieLens folder {folder}", "ratings.csv, ratings.dat or ml-1m.txt (or .gz)", "none"
    )


def _csv_layout(folder: Path, ratings: Path) -> Plan:
    movies = _first(folder, "movies.csv", "movies.csv.gz")
    videos = () if movies is None else (_csv(movies, _films_spec()),)
    return Plan(folder, videos=videos, events=(_csv(ratings, _ratings_spec()),))


def _dat_layout(folder: Path, ratings: Path) -> Plan:
    movies, users = _first(folder, "movies.dat"), _first(folder, "users.dat")
    return Plan(
        folder,
        videos=() if movies is None else (_dat(movies, _FILM, _films_spec()),),
        users=() if users is None else (_viewers(users),),
        events=(_dat(ratings, _RATING, _ratings_spec()),),
    )


def _sasrec_layout(folder: Path, order: Path) -> Plan:
    """Users and items numbered as in the SASRec file; its sas_to_original files bring titles and viewers."""
    items, people = (
        _first(folder, "sas_to_original_items.txt"),
        _first(folder, "sas_to_original_users.txt"),
    )
    movies, users = _first(folder, "movies.dat"), _first(folder, "users.dat")
    videos = () if items is None or movies is None else (_dat(movies, _FILM, _films_spec(), items),)
    viewers = () if people is None or users is None else (_viewers(users, people),)
    spec = TableSpec.model_validate({
        "columns": {
            "user_id": "user", "video_id": "item", "position": "position",
            "is_relevant": {"constant": True}, "is_like": {"constant": False},
        },
    })  # fmt: skip
    source = Source(str(order), _ordered_reader(order), spec)
    return Plan(folder, videos=videos, users=viewers, histories=(source,))


def _films_spec() -> TableSpec:
    return TableSpec.model_validate({
        "columns": {
            "video_id": "movieId",
            "title": "title",
            "uploaded_us": {"column": "title", "extract": r"\((\d{4})\)\s*$", "time": "%Y"},
            "tags": {"column": "genres", "split": "|", "null": [_NO_GENRES]},
            "category": {"column": "genres", "extract": r"^([^|]+)", "null": [_NO_GENRES]},
        },
    })  # fmt: skip


def _ratings_spec() -> TableSpec:
    return TableSpec.model_validate({
        "columns": {
            "user_id": "userId", "video_id": "movieId",
            "time_us": {"column": "timestamp", "unit": "s"},
        },
        "emit": [
            {"kind": "impression"},
            {"kind": "click"},
            {"kind": "survey", "value": "rating"},
            {"kind": "like", "when": {"column": "rating", "ge": 4.0}},
        ],
    })  # fmt: skip


def _viewers(path: Path, numbers: Path | None = None) -> Source:
    spec = TableSpec.model_validate({
        "columns": {
            "user_id": "userId",
            "gender": {"column": "gender", "map": {"F": "female", "M": "male"}},
            "age": {"column": "age", "map": _AGES},
        },
    })  # fmt: skip
    return _dat(path, ("userId", "gender", "age", "occupation", "zip"), spec, numbers)


def _csv(path: Path, spec: TableSpec) -> Source:
    return Source(str(path), lambda wanted: read_csv(path, wanted), spec)


def _dat(path: Path, header: Sequence[str], spec: TableSpec, numbers: Path | None = None) -> Source:
    """A `::` file; with `numbers`, only the ids that the SASRec file has, under its numbers."""

    def read(wanted: Sequence[str]) -> Iterator[Batch]:
        for batch in read_csv(path, wanted, "::", header, "latin-1"):
            if numbers is None:
                yield batch
                continue
            frame = batch.frame.with_columns(pl.Series("__row", batch.row))
            pairs = _pairs(numbers)
            joined = frame.join(
                pairs, left_on=header[0], right_on="original", maintain_order="left"
            )
            renamed = joined.with_columns(pl.col("number").alias(header[0])).select(wanted)
            yield Batch(batch.file, renamed, joined["__row"].to_numpy(), batch.unreadable)

    return Source(str(path), read, spec)


def _pairs(path: Path) -> pl.DataFrame:
    batches = read_csv(path, ("number", "original"), " ", ("number", "original"))
    return pl.concat([batch.frame for batch in batches])


def _ordered_reader(path: Path) -> Any:
    """Rows with each viewer's own count from 0 as position."""

    def read(wanted: Sequence[str]) -> Iterator[Batch]:
        batches = list(read_csv(path, ("user", "item"), " ", ("user", "item")))
        rows = pl.concat([batch.frame for batch in batches])
        lines = np.concatenate([batch.row for batch in batches])
        counted = rows.with_columns(pl.int_range(pl.len()).over("user").alias("position"))
        for start in range(0, counted.height, BATCH_ROWS):
            part = counted.slice(start, BATCH_ROWS).select(wanted)
            yield Batch(str(path), part, lines[start : start + BATCH_ROWS])

    return read


def _first(folder: Path, *names: str) -> Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)

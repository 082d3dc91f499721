"""Commands run in this process, as the installed `upnext` runs them; and a platform's own CSV files."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.cli.main import main

START_S = 1_760_000_000
DAYS = 12
N_VIEWERS, N_FILMS, N_TASTES = 120, 150, 5
UNTIL = "2025-10-19T09:00:00+00:00"  # ten days after the first rating; two days follow
GENRES = ("Action", "Comedy", "Drama", "Horror", "Sci-Fi")
MAPPING = """
[[videos]]
file = "movies.csv"
[videos.columns]
video_id = "movieId"
title = "title"
tags = {column = "genres", split = "|"}
duration_s = {column = "minutes", scale = 60}
language = {constant = "en"}

[[users]]
file = "people.csv"
[users.columns]
user_id = "userId"
age = "age"
country = {constant = "SE"}

[[events]]
file = "ratings.csv"
unique = ["userId", "movieId", "timestamp"]
[events.columns]
user_id = "userId"
video_id = "movieId"
time_us = {column = "timestamp", unit = "s"}
surface = {constant = "home"}
[[events.emit]]
kind = "impression"
[[events.emit]]
kind = "click"
when = {column = "rating", ge = 3.0}
[[events.emit]]
kind = "watch"
watch_s = {column = "watched_ms", scale = 0.001}
when = {column = "rating", ge = 3.0}
[[events.emit]]
kind = "like"
when = {column = "rating", ge = 4.0}
[[events.emit]]
kind = "dislike"
when = {column = "rating", le = 1.0}
"""
SMALL = """
[learn]
threads = 1
max_ranker_showings = 500
[retrieval.two_tower]
epochs = 1
embedding_size = 16
input_size = 16
hidden = [32]
batch_size = 64
n_uniform = 64
[ranking]
experts = 2
expert_hidden = [16, 8]
epochs = 2
batch_size = 64
"""


@dataclass(frozen=True)
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str


def upnext(*arguments: object) -> Ran:
    """Runs `upnext ARGUMENTS`; an exception that escapes it is the test's failure."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["upnext", *(str(a) for a in arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Ran(code, out.getvalue(), err.getvalue())


def write_films(folder: Path) -> Path:
    """movies.csv, people.csv, ratings.csv and a mapping of viewers who like one genre -> the mapping's path."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    taste = rng.integers(0, N_TASTES, N_VIEWERS)
    genre = rng.integers(0, N_TASTES, N_FILMS)
    minutes = rng.integers(2, 9, N_FILMS)
    films = [
        [f"m{i}", f"The {GENRES[g]} number {i}", f"{GENRES[g]}|Films", m]
        for i, (g, m) in enumerate(zip(genre, minutes, strict=True))
    ]
    _write(folder / "movies.csv", ["movieId", "title", "genres", "minutes"], films)
    people = [[f"u{i}", int(age)] for i, age in enumerate(rng.integers(18, 70, N_VIEWERS))]
    _write(folder / "people.csv", ["userId", "age"], people)
    ratings = []
    for viewer in range(N_VIEWERS):
        for film in rng.permutation(N_FILMS)[:40]:
            good = rng.random() < (0.8 if genre[film] == taste[viewer] else 0.15)
            rating = rng.choice([4.0, 4.5, 5.0] if good else [0.5, 1.0, 2.0, 3.0])
            watched_ms = int(minutes[film] * 60_000 * (rng.uniform(0.6, 1) if good else 0.1))
            time_s = START_S + int(rng.uniform(0, DAYS * 86_400))
            ratings.append([f"u{viewer}", f"m{film}", rating, time_s, watched_ms])
    ratings.append(ratings[0])  # a row that stands there twice
    _write(
        folder / "ratings.csv", ["userId", "movieId", "rating", "timestamp", "watched_ms"], ratings
    )
    (folder / "mapping.toml").write_text(MAPPING, "utf-8")
    return folder / "mapping.toml"


def _write(path: Path, header: list[str], rows: list[list[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def one_error_line(ran: Ran) -> str:
    """The last line of stderr, which alone is an error; what stands before is progress."""
    assert ran.code == 2
    assert "Traceback" not in ran.err
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ran.err
    assert ran.err.rstrip().endswith(errors[0])
    return errors[0]

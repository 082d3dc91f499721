"""`upnext bench factorisation FOLDER`: seconds an iteration of our alternating least squares beside `implicit`'s, at equal quality.

ML-1M in the order of the file (Kang and McAuley 2018): each viewer's last film is to be found among all they have not rated, from all the others. Both
minimise the same loss (`implicit`'s convention) from the same first factors by three steps of conjugate gradients a row, and take turns: one
iteration each, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from rich.console import Console

from upnext.cli.evaluate_tables import draw
from upnext.core.errors import InvalidInput, expected
from upnext.core.one_thread import children_with_one_thread
from upnext.core.randomness import rng_for
from upnext.core.types import Float32
from upnext.evaluate.full_ranking import VectorModel, full_ranking
from upnext.evaluate.retrieval_report import Cases, Catalogue, Judging, evaluate_retrieval
from upnext.evaluate.user_items import UserItems
from upnext.retrieval.factorisation.interactions import Interactions
from upnext.retrieval.factorisation.least_squares import Side, Weighting, loss_of, sides_of
from upnext.retrieval.factorisation.solvers import solve_by_cg

FILES: Final = ("ml-1m.txt", "ml-1m.txt.gz")
METRICS: Final = ("hr@10", "ndcg@10", "recall@100")
ALPHA, REG, CG_STEPS = 10.0, 50.0, 3
DEPTH: Final = 100


@dataclass(frozen=True)
class Ratings:
    """The file, split."""

    train: UserItems
    test: UserItems
    n_items: int


def run(
    folder: Path, factors: str, iterations: int, threads: int, as_json: bool, out: Console
) -> None:
    """Prints one row per number of factors and library."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise expected(f"folder {folder}", " or ".join(FILES), "neither")
    sizes = _sizes(factors)
    spawn = multiprocessing.get_context("spawn")
    with children_with_one_thread(), ProcessPoolExecutor(1, mp_context=spawn) as pool:
        rows = pool.submit(measured, path, sizes, iterations, threads).result()
    if as_json:
        out.file.write(
            json.dumps({"threads": threads, "iterations": iterations, "rows": rows}) + "\n"
        )
        return
    draw(
        f"alternating least squares, {threads} threads, {iterations} iterations",
        [_shown(row) for row in rows],
        out,
    )
    if all(row["library"] != "implicit" for row in rows):
        out.print(
            "implicit is not installed here (pip install 'implicit>=0.7'): there is nothing to compare with"
        )


def _sizes(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise expected("--factors", "numbers of factors such as 64,128,256", text)
    return [int(part) for part in parts]


def measured(path: Path, sizes: list[int], iterations: int, threads: int) -> list[dict[str, Any]]:
    """One row per number of factors and library."""
    ratings = read_ratings(path)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        ours = _Ours(ratings, size, threads)
        runs: list[_Ours | _Implicit] = [ours]
        if _has_implicit():
            runs.append(_Implicit(ratings, ours.first, size, threads))
        ours.warm_up()
        seconds: dict[str, list[float]] = {run.library: [] for run in runs}
        for iteration in range(iterations):
            for run in runs if iteration % 2 == 0 else runs[::-1]:
                seconds[run.library].append(run.iterate())
        best = {library: statistics.median(found) for library, found in seconds.items()}
        for run in runs:
            users, items = run.factors()
            row = {"factors": size, "library": run.library, "seconds": best[run.library]}
            if "implicit" in best:
                row["ratio"] = best[run.library] / best["implicit"]
            row["loss"] = loss_of(ours.sides[0], ours.sides[1], users, items, 1.0)
            rows.append(row | _quality(users, items, ratings))
    return rows


def read_ratings(path: Path) -> Ratings:
    """Every viewer's last row is the test, the rest trains; ids are numbered from 0. Raises InvalidInput for rows that are not two numbers."""
    try:
        table = pl.read_csv(
            path, separator=" ", has_header=False, new_columns=["user", "item"],
            schema_overrides=[pl.Int64, pl.Int64],
        )  # fmt: skip
    except pl.exceptions.PolarsError as error:
        raise InvalidInput(
            f"{path}: expected rows of user and item, numbers with a blank between"
        ) from error
    if table.width != 2 or not len(table) or table.null_count().sum_horizontal()[0]:
        raise expected(
            str(path), "rows of user and item", f"{table.width} columns, {len(table)} rows"
        )
    user = table["user"].rank("dense").to_numpy().astype(np.int64) - 1
    item = table["item"].rank("dense").to_numpy().astype(np.int64) - 1
    last = np.zeros(int(user.max()) + 1, np.int64)
    np.maximum.at(last, user, np.arange(len(user)))
    is_last = np.zeros(len(user), np.bool_)
    is_last[last] = True
    n_users, n_items = len(last), int(item.max()) + 1
    train = UserItems.of_pairs(user[~is_last], item[~is_last], n_users)
    return Ratings(train, UserItems.of_pairs(user[is_last], item[is_last], n_users), n_items)


class _Ours:
    """This project's solver."""

    library = "upnext"

    def __init__(self, ratings: Ratings, size: int, threads: int) -> None:
        train = ratings.train
        confidence = np.full(len(train), ALPHA, np.float32)
        pairs = Interactions(train.indptr, train.item_id, confidence)
        self.sides = sides_of(pairs, ratings.n_items, Weighting(1.0, "unobserved", REG, 0.0))
        rng = rng_for("bench", size)
        self.first = _drawn(rng, train.n_users, size), _drawn(rng, ratings.n_items, size)
        self._users, self._items = self.first[0].copy(), self.first[1].copy()
        self._threads = threads

    def warm_up(self) -> None:
        """Compiles."""
        nothing = np.zeros((0, self._users.shape[1]), np.float32)
        none = np.zeros(0, np.float32)
        side = Side(np.zeros(1, np.int64), np.zeros(0, np.int32), none, none, none)
        solve_by_cg(side, self._items, 1.0, nothing, CG_STEPS, 1)

    def iterate(self) -> float:
        """Seconds of one iteration."""
        began = time.perf_counter()
        of_users, of_items = self.sides
        solve_by_cg(of_users, self._items, 1.0, self._users, CG_STEPS, self._threads)
        solve_by_cg(of_items, self._users, 1.0, self._items, CG_STEPS, self._threads)
        return time.perf_counter() - began

    def factors(self) -> tuple[Float32, Float32]:
        """(viewers', films')."""
        return self._users, self._items


class _Implicit:
    """`implicit`'s, on the CPU, as it comes."""

    library = "implicit"

    def __init__(
        self, ratings: Ratings, first: tuple[Float32, Float32], size: int, threads: int
    ) -> None:
        sparse = importlib.import_module("scipy.sparse")
        train = ratings.train
        shape = (train.n_users, ratings.n_items)
        ones = np.ones(len(train), np.float32)
        self._ratings = sparse.csr_matrix((ones, train.item_id, train.indptr), shape)
        self._model = importlib.import_module("implicit.cpu.als").AlternatingLeastSquares(
            factors=size, regularization=REG, alpha=ALPHA, iterations=1, num_threads=threads
        )
        self._model.user_factors, self._model.item_factors = first[0].copy(), first[1].copy()

    def iterate(self) -> float:
        """Seconds of one iteration, as the library itself counts them."""
        seconds: list[float] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model.fit(
                self._ratings, show_progress=False, callback=lambda _, spent, *rest: seconds.append(spent)
            )  # fmt: skip
        return seconds[0]

    def factors(self) -> tuple[Float32, Float32]:
        """(viewers', films')."""
        return self._model.user_factors, self._model.item_factors


def _has_implicit() -> bool:
    try:
        importlib.import_module("implicit.cpu.als")
    except ImportError:
        return False
    return True


def _drawn(rng: np.random.Generator, n_rows: int, size: int) -> Float32:
    drawn: Float32 = (0.1 / np.sqrt(size) * rng.standard_normal((n_rows, size))).astype(np.float32)
    return drawn


def _quality(users: Float32, items: Float32, ratings: Ratings) -> dict[str, float]:
    ranked = full_ranking(VectorModel(users, items), ratings.test, DEPTH, excluded=ratings.train)
    judging = Judging(metrics=METRICS, depth=DEPTH, n_resamples=2)
    report = evaluate_retrieval(
        {"all": ranked}, Cases(ratings.test), Catalogue(ratings.n_items), judging
    )
    return {name: report.rows["all"].figures[name].mean for name in METRICS}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    cells = {
        "factors": str(row["factors"]),
        "library": row["library"],
        "seconds an iteration": f"{row['seconds']:.3f}",
    }
    if "ratio" in row:
        cells["times implicit"] = f"{row['ratio']:.2f}"
    return cells | {"loss": f"{row['loss']:,.0f}"} | {name: f"{row[name]:.4f}" for name in METRICS}

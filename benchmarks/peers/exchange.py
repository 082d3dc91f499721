"""The rows of `upnext evaluate --export-rows` as arrays, a validation day cut from them, and lists written for `upnext evaluate --lists`.

A peer is a function (rows, users int64[c]) -> scores float32[c, n_items]. Its settings are chosen on the last day before the instant:
it learns from everything before that day and is judged on what viewers found relevant and had not been shown. Then it learns from all rows.
Nothing here knows what is to be found in the window. Viewers without a past get the popular videos (a score of 0 everywhere says so).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

DAY_US = 86_400_000_000
DEPTH = 500
BLOCK = 256
HALF_LIFE_D = 1.0


@dataclass(frozen=True)
class Rows:
    """m showings to learn from, by viewer, oldest first."""

    user: np.ndarray  # int64[m]
    item: np.ndarray  # int64[m]
    time_us: np.ndarray  # int64[m]; 0: a stored history
    is_relevant: np.ndarray  # bool[m]
    n_users: int
    n_items: int
    until_us: int

    def before(self, time_us: int) -> Rows:
        """The showings strictly before an instant."""
        keep = self.time_us < time_us
        columns = (self.user, self.item, self.time_us, self.is_relevant)
        return Rows(*(c[keep] for c in columns), self.n_users, self.n_items, time_us)

    def counts(self) -> sparse.csr_matrix:
        """float32[n_users, n_items]: how often each video was shown to each viewer."""
        shape = (self.n_users, self.n_items)
        ones = np.ones(len(self.user), np.float32)
        return sparse.csr_matrix((ones, (self.user, self.item)), shape)

    def pairs(self) -> sparse.csr_matrix:
        """The same, each pair once with the value 1."""
        shown = self.counts()
        shown.data[:] = 1
        return shown

    def popularity(self, half_life_d: float = HALF_LIFE_D) -> np.ndarray:
        """float64[n_items]: relevant showings, each worth 2^(-age / half_life_d); stored histories count nothing."""
        is_counted = self.is_relevant & (self.time_us > 0)
        age_d = (self.until_us - self.time_us[is_counted]) / DAY_US
        return np.bincount(self.item[is_counted], 0.5 ** (age_d / half_life_d), self.n_items)


@dataclass(frozen=True)
class Day:
    """The last day before the instant: what may be learned from, who is asked, and what is to be found."""

    rows: Rows
    users: np.ndarray  # int64[c] ascending
    case: np.ndarray  # int64[p] the rows of `users` ...
    item: np.ndarray  # int64[p] ... that are to find these
    seen: sparse.csr_matrix  # [c, n_items]

    def judge(self, scores: np.ndarray) -> tuple[float, float]:
        """(recall@100, NDCG@10) of scores float32[c, n_items]; equals of a relevant video stand before it."""
        starts = range(0, len(self.users), BLOCK)
        places = np.concatenate([self._places(scores, start) for start in starts])
        n_relevant = np.bincount(self.case, minlength=len(self.users))
        found = np.bincount(self.case, places < 100, len(self.users))
        discount = 1 / np.log2(np.arange(2, 12))
        gain = np.where(places < 10, discount[np.minimum(places, 9)], 0.0)
        ideal = np.cumsum(discount)[np.minimum(n_relevant, 10) - 1]
        ndcg = np.bincount(self.case, gain, len(self.users)) / ideal
        return float((found / n_relevant).mean()), float(ndcg.mean())

    def _places(self, scores: np.ndarray, start: int) -> np.ndarray:
        stop = min(start + BLOCK, len(self.users))
        block = np.asarray(scores[start:stop], np.float32)
        low, high = np.searchsorted(self.case, (start, stop))
        case, item = self.case[low:high] - start, self.item[low:high]
        own = block[case, item]
        before = np.count_nonzero(block[case] >= own[:, None], axis=1) - 1
        seen = self.seen[start:stop]
        user, shown = np.repeat(np.arange(stop - start), np.diff(seen.indptr)), seen.indices
        # of those before it, the ones that the viewer had been shown are in no list
        place = np.searchsorted(user, np.arange(stop - start + 1))
        n_seen = np.diff(place)[case]
        pair = np.repeat(np.arange(len(case)), n_seen)
        each = np.arange(len(pair)) - np.repeat(np.cumsum(n_seen) - n_seen, n_seen)
        column = shown[place[case][pair] + each]
        is_before = block[case[pair], column] >= own[pair]
        return before - np.bincount(pair, is_before, len(case)).astype(np.int64)


@dataclass(frozen=True)
class Exchange:
    """A folder of exported rows, and where scores and lists go."""

    folder: Path
    rows: Rows
    items: pl.Series
    is_active: np.ndarray  # bool[n_items]
    asked: pl.DataFrame
    asked_users: np.ndarray  # int64[a] everybody of whom any list is asked, ascending
    user_of: pl.DataFrame  # user, row

    def day(self) -> Day:
        """The validation day."""
        from_us = self.rows.until_us - DAY_US
        before = self.rows.before(from_us)
        late = self.rows.is_relevant & (self.rows.time_us >= from_us)
        shape = (self.rows.n_users, self.rows.n_items)
        truth = sparse.csr_matrix((late[late], (self.rows.user[late], self.rows.item[late])), shape)
        shown = before.pairs()
        truth = (truth > shown.multiply(truth)).tocsr()
        truth.eliminate_zeros()
        users = np.flatnonzero(np.diff(truth.indptr))
        case, item = truth[users].sorted_indices().nonzero()
        return Day(before, users, case, item, shown[users])

    def has(self, name: str) -> bool:
        """Whether lists of this name stand there already, of the same rows."""
        path = self.folder / "lists" / f"{name}.parquet"
        if not path.exists():
            return False
        return pl.read_parquet(path, columns=["split"])["split"][0] == self.asked["split"][0]

    def own_folder(self, name: str) -> Path:
        """Where a peer keeps what it has learned of these rows; made where it is not there."""
        folder = self.folder / f"{name}-{self.asked['split'][0][:12]}"
        folder.mkdir(exist_ok=True)
        return folder

    def save_scores(self, name: str, part: str, scores: np.ndarray) -> None:
        """Keeps scores of a part ("day", "asked") for blends."""
        (self.folder / "scores").mkdir(exist_ok=True)
        np.save(self.folder / "scores" / f"{name}-{part}.npy", scores.astype(np.float32))

    def scores(self, name: str, part: str) -> np.ndarray:
        """What save_scores kept."""
        return np.load(self.folder / "scores" / f"{name}-{part}.npy", mmap_mode="r")

    def write_lists(self, name: str, scores: np.ndarray) -> None:
        """Writes the best 500 of scores float32[a, n_items] of asked_users, for every setting."""
        place = self.user_of.with_columns(
            case=pl.Series(np.searchsorted(self.asked_users, self.user_of["row"]))
        )
        asked = self.asked.join(place, on="user", maintain_order="left")
        item_row = dict(zip(self.items.to_list(), range(len(self.items)), strict=True))
        ranked = self.popular()
        tables = []
        for part in asked.iter_slices(BLOCK):
            block = np.array(scores[part["case"].to_numpy()], np.float32)
            block[~block.any(axis=1)] = ranked
            block[:, ~self.is_active] = -np.inf
            seen = part["seen"].to_list()
            for row, left_out in enumerate(seen):
                block[row, [item_row[i] for i in left_out]] = -np.inf
            best = top(block, DEPTH)
            names = self.items.gather(best.ravel())
            lists = pl.Series(names).reshape(best.shape).arr.to_list()
            tables.append(part.select("split", "setting", "user", items=lists))
        (self.folder / "lists").mkdir(exist_ok=True)
        path = self.folder / "lists" / f"{name}.parquet"
        pl.concat(tables).write_parquet(path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)

    def popular(self) -> np.ndarray:
        """float64[n_items]: positive, higher for videos that were relevant to more people lately."""
        every = np.bincount(self.rows.item, minlength=self.rows.n_items)
        return 1 + self.rows.popularity() + every / (1 + every.sum())


def read(folder: Path) -> Exchange:
    """The exchange of a folder whose subfolder `rows` was exported."""
    rows = pl.read_parquet(folder / "rows" / "rows.parquet")
    items = pl.read_parquet(folder / "rows" / "items.parquet")
    asked = pl.read_parquet(folder / "rows" / "asked.parquet")
    names = pl.concat([rows["user"], asked["user"]]).unique(maintain_order=True)
    user_of = pl.DataFrame({"user": names, "row": np.arange(len(names))})
    item_of = pl.DataFrame({"item": items["item"], "item_row": np.arange(len(items))})
    coded = rows.join(user_of, on="user", maintain_order="left")
    coded = coded.join(item_of, on="item", maintain_order="left")
    arrays = Rows(
        coded["row"].to_numpy(),
        coded["item_row"].to_numpy(),
        rows["time_us"].fill_null(0).to_numpy(),
        rows["is_relevant"].to_numpy(),
        len(names),
        len(items),
        int(asked["asked_us"].min()),
    )
    everybody = asked.join(user_of, on="user")["row"].unique().sort().to_numpy()
    active = items["is_active"].to_numpy()
    return Exchange(folder, arrays, items["item"], active, asked, everybody, user_of)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """int64[c, k]: the columns of the k best scores, best first."""
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
    return np.take_along_axis(best, order, 1)


def run_peer(
    exchange: Exchange,
    name: str,
    options: list[dict[str, object]],
    score: Callable[..., np.ndarray],
) -> None:
    """Chooses one of the options on the validation day (by recall@100), learns from all rows with it and writes the lists.

    score(rows, users, **option) -> float32[c, n_items]. Lists that stand there are left alone."""
    if exchange.has(name):
        say(f"{name}: there already")
        return
    day = exchange.day()
    best, chosen = -1.0, options[0]
    for option in options:
        began = time.monotonic()
        scores = score(day.rows, day.users, **option)
        recall, ndcg = day.judge(scores)
        say(f"{name} {option}: day {recall:.4f} / {ndcg:.4f}, {time.monotonic() - began:.1f} s")
        if recall > best:
            best, chosen = recall, option
            exchange.save_scores(name, "day", scores)
    scores = score(exchange.rows, exchange.asked_users, **chosen)
    exchange.save_scores(name, "asked", scores)
    exchange.write_lists(name, scores)
    say(f"{name}: {chosen}")


def say(line: str) -> None:
    """Prints at once."""
    print(line, file=sys.stderr, flush=True)

"""The catalogue as a request reads it: dense columns in memory, words and whole rows from SQLite.

One background thread calls `refresh`, which reads only rows that changed; requests read at any time. Ids and words are looked
up through SQLite's index behind a bounded cache, so that ten million ids need no dictionary in memory.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from upnext.catalog.codes import all_values, check_kind, count_codes, find_codes, find_value
from upnext.catalog.dense import SELECT_CHANGED, DenseColumns
from upnext.catalog.schema import CODE_KINDS, open_reader, outage
from upnext.catalog.selects import video_rows, video_table
from upnext.core.columns import USERS
from upnext.core.errors import NotFound
from upnext.core.types import Bool, Float32, Int64, Profile

_BATCH = 65_536
_N_CACHED = 131_072
_NO_LIMIT = 1 << 62
_K = TypeVar("_K")
_V = TypeVar("_V")


class CatalogView:
    """A reader of one catalogue file; arrays only grow, and all are views of length n_items."""

    def __init__(self, path: Path) -> None:
        """Reads everything. Raises NotFound without a file, Unavailable when it can't be read."""
        self.path = path
        self._reader = open_reader(path)
        self._reading = threading.RLock()
        self._refresher = open_reader(path)
        self._refreshing = threading.Lock()
        self._applying = threading.RLock()
        self._dense = DenseColumns()
        self._change_seq = 0
        self._limit = _NO_LIMIT
        self._n_codes = dict.fromkeys(CODE_KINDS, 0)
        self._ids: dict[str, int] = {}
        self._codes: dict[tuple[str, str], int] = {}
        self._values: dict[tuple[str, int], str] = {}
        self.refresh()

    def refresh(self) -> Int64:
        """int64[m], ascending: the item_ids that are new or changed since the last call, now in the arrays."""
        changed: list[Int64] = []
        where = "WHERE change_seq > ? AND item_id < ? ORDER BY change_seq, item_id"
        with self._refreshing, outage(self.path):
            seq = self._change_seq
            self._refresher.execute("BEGIN")  # rows and codes of one moment
            try:
                counts = {kind: count_codes(self._refresher, kind) for kind in CODE_KINDS}
                cursor = self._refresher.execute(f"{SELECT_CHANGED} {where}", (seq, self._limit))
                while rows := cursor.fetchmany(_BATCH):
                    with self._applying:
                        changed.append(self._dense.apply(rows, self._country_code))
                    seq = rows[-1][1]
            finally:
                self._refresher.execute("COMMIT")
            self._n_codes = counts
            self._change_seq = seq
        return np.unique(np.concatenate(changed)) if changed else np.zeros(0, np.int64)

    def keep_first(self, n_items: int) -> None:
        """From now on there are only the first `n_items` videos, whatever is added: what a job that began earlier knew of."""
        self._limit = n_items
        self._dense.n_items = min(self._dense.n_items, n_items)

    @property
    def change_seq(self) -> int:
        """The number of the latest change that the arrays hold."""
        return self._change_seq

    def changed_since(self, change_seq: int) -> Int64:
        """int64[m], ascending: the item_ids in the arrays that are new or changed after a change's number."""
        select = "SELECT item_id FROM items WHERE change_seq > ? ORDER BY item_id"
        with closing(open_reader(self.path)) as own, outage(self.path):
            rows = own.execute(select, (change_seq,)).fetchall()
        ids = np.array([row[0] for row in rows], np.int64)
        return ids[ids < self.n_items]

    @property
    def n_items(self) -> int:
        """Ids 0 to n_items - 1 exist."""
        return self._dense.n_items

    @property
    def creator(self) -> Int64:
        """int64[n_items]: creator code, -1 missing."""
        return self._dense.column("creator")

    @property
    def uploaded_us(self) -> Int64:
        """int64[n_items]: microseconds, 0 missing."""
        return self._dense.column("uploaded_us")

    @property
    def duration_s(self) -> Float32:
        """float32[n_items]: seconds, NaN missing."""
        return self._dense.column("duration_s")

    @property
    def category(self) -> npt.NDArray[np.int32]:
        """int32[n_items]: category code, -1 missing."""
        return self._dense.column("category")

    @property
    def language(self) -> npt.NDArray[np.int32]:
        """int32[n_items]: language code, -1 missing."""
        return self._dense.column("language")

    @property
    def tags(self) -> npt.NDArray[np.int32]:
        """int32[n_items, 8]: codes of the first 8 tags, -1 pads."""
        return self._dense.column("tags")

    @property
    def min_age(self) -> npt.NDArray[np.int32]:
        """int32[n_items]: years, 0 without a limit."""
        return self._dense.column("min_age")

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """uint8[n_items]: index in core.columns.VIDEO_STATUSES."""
        return self._dense.column("status")

    @property
    def is_premium(self) -> Bool:
        """bool[n_items], False where missing."""
        return self._dense.column("is_premium")

    @property
    def latitude(self) -> Float32:
        """float32[n_items]: degrees, NaN missing."""
        return self._dense.column("latitude")

    @property
    def longitude(self) -> Float32:
        """float32[n_items]: degrees, NaN missing."""
        return self._dense.column("longitude")

    def moderation(self, label: str) -> Float32:
        """float32[n_items]: the score of one moderation label, 0 where absent."""
        return self._dense.scores(self.code("moderation", label))

    def allowed_in(self, country: str | None) -> Bool:
        """bool[n_items]: what may be shown there; a missing or malformed country: only what is allowed everywhere."""
        with self._applying:
            return self._dense.allowed_in((country or "").upper(), self._country_code)

    def code(self, kind: str, value: str | None) -> int:
        """The code of a word, -1 when unknown. Raises InvalidInput for a kind that doesn't exist."""
        if value is None:
            return -1
        value = value.upper() if kind == "country" else value
        found = self._codes.get((kind, value))
        if found is None:
            with self._reading, outage(self.path):
                found = int(find_codes(self._reader, kind, [value])[0])
            if found >= 0:  # an unknown word may become known
                _remember(self._codes, (kind, value), found)
        return found

    def value_of(self, kind: str, code: int) -> str:
        """The word of a code. Raises NotFound."""
        found = self._values.get((kind, code))
        if found is None:
            check_kind(kind)
            with self._reading, outage(self.path):
                found = find_value(self._reader, kind, int(code))
            if found is None:
                raise NotFound(f"catalog: no {kind} has code {code}")
            _remember(self._values, (kind, code), found)
        return found

    def n_codes(self, kind: str) -> int:
        """Codes 0 to n_codes - 1 exist, as of the last refresh."""
        check_kind(kind)
        return self._n_codes[kind]

    def values_from(self, kind: str, first: int) -> list[str]:
        """The words of codes `first` to n_codes - 1. Raises InvalidInput for a kind that doesn't exist."""
        n = max(0, self.n_codes(kind) - first)
        if not n:
            return []
        with closing(open_reader(self.path)) as own, outage(self.path):
            words: list[str] = all_values(own, kind, first).slice(0, n).to_pylist()
        return words

    def item_id(self, video_id: str) -> int:
        """The item_id of a video, -1 when unknown."""
        return int(self.item_ids([video_id])[0])

    def item_ids(self, video_ids: Sequence[str]) -> Int64:
        """int64[n]: -1 where unknown (also for a video that came after the last refresh)."""
        missing = [video_id for video_id in video_ids if video_id not in self._ids]
        found: dict[str, int] = {}
        if missing:
            n_items = self.n_items
            with self._reading, outage(self.path):
                for video_id in missing:
                    item_id = self._find(video_id)
                    if 0 <= item_id < n_items:
                        found[video_id] = item_id
            for video_id, item_id in found.items():
                _remember(self._ids, video_id, item_id)
        known = self._ids
        ids = (found.get(v, -1) if v in found else known.get(v, -1) for v in video_ids)
        return np.fromiter(ids, np.int64, len(video_ids))

    def video_ids(self, item_ids: Int64) -> list[str]:
        """The platform's id of each item. Raises NotFound."""
        wanted = np.asarray(item_ids).tolist()
        select = (
            "SELECT item_id, video_id FROM items WHERE item_id IN (SELECT value FROM json_each(?))"
        )
        with self._reading, outage(self.path):
            found = dict(self._reader.execute(select, (str(wanted),)).fetchall())
        for item_id in wanted:
            if item_id not in found:
                raise NotFound(f"catalog: no video has item_id {item_id}")
        return [found[item_id] for item_id in wanted]

    def videos(self, item_ids: Int64) -> list[dict[str, object]]:
        """Whole rows with the names of core.columns.VIDEOS, aligned with item_ids; moderation is a dict. Raises NotFound."""
        wanted = np.asarray(item_ids).tolist()
        with self._reading, outage(self.path):
            table = video_rows(self._reader, wanted)
        rows: list[dict[str, object]] = table.to_pylist(maps_as_pydicts="strict")
        by_id = dict(zip(sorted(set(wanted)), rows))
        if len(rows) != len(set(wanted)):
            raise NotFound(f"catalog: one of the item_ids {wanted[:5]}... doesn't exist")
        return [by_id[item_id] for item_id in wanted]

    def shown(self, item_ids: Int64) -> list[dict[str, object]]:
        """What a feed shows of each video (title, creator_id, duration_s, thumbnail_url, category); a tenth of the cost of whole rows.

        Raises NotFound."""
        wanted = np.asarray(item_ids).tolist()
        select = (
            "SELECT item_id, title, creator, duration_s, thumbnail_url, category FROM items "
            "WHERE item_id IN (SELECT value FROM json_each(?))"
        )
        with self._reading, outage(self.path):
            rows = self._reader.execute(select, (json.dumps(wanted),)).fetchall()
        found: dict[int, dict[str, object]] = {}
        for item_id, title, creator, duration_s, thumbnail_url, category in rows:
            found[item_id] = {
                "title": title,
                "creator_id": self._word("creator", creator),
                "duration_s": duration_s,
                "thumbnail_url": thumbnail_url,
                "category": self._word("category", category),
            }
        if len(found) != len(set(wanted)):
            raise NotFound(f"catalog: one of the item_ids {wanted[:5]}... doesn't exist")
        return [found[item_id] for item_id in wanted]

    def _word(self, kind: str, code: int | None) -> str | None:
        return None if code is None or code < 0 else self.value_of(kind, code)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All videos as core.columns.VIDEOS (or some columns of it), row i is item_id i."""
        with (
            closing(open_reader(self.path)) as own,
            outage(self.path),
        ):  # requests don't wait for it
            return video_table(own, columns).slice(0, self._limit)

    def profile(self, user_id: str) -> Profile | None:
        """What the platform says of a viewer; None when it said nothing."""
        names = ", ".join(USERS.names[1:])
        with self._reading, outage(self.path):
            try:
                select = f"SELECT {names} FROM users WHERE user_id = ?"
                row = self._reader.execute(select, (user_id,)).fetchone()
            except UnicodeEncodeError:  # a lone surrogate: no stored id can equal it
                return None
        if row is None:
            return None
        signed_up_us, age, gender, city, country, language, time_zone, is_creator = row
        return Profile(
            signed_up_us, age, gender, city, country, language, time_zone, bool(is_creator)
        )

    def users(self, limit: int = -1) -> pa.Table:
        """All users (or the first `limit`) as core.columns.USERS, by user_id."""
        with closing(open_reader(self.path)) as own, outage(self.path):
            rows = own.execute("SELECT * FROM users ORDER BY user_id LIMIT ?", (limit,)).fetchall()
        columns = [list(column) for column in zip(*rows)] if rows else [[] for _ in USERS]
        columns[-1] = [None if value is None else bool(value) for value in columns[-1]]
        return pa.table(columns, schema=USERS)

    def close(self) -> None:
        """Closes the file; the arrays stay readable."""
        with self._refreshing, self._reading:
            self._reader.close()
            self._refresher.close()

    def _find(self, video_id: str) -> int:
        try:
            select = "SELECT item_id FROM items WHERE video_id = ?"
            row = self._reader.execute(select, (video_id,)).fetchone()
        except UnicodeEncodeError:  # a lone surrogate: no stored id can equal it
            return -1
        return -1 if row is None else int(row[0])

    def _country_code(self, country: str) -> int:
        return self.code("country", country)


def _remember(cache: dict[_K, _V], key: _K, value: _V) -> None:
    if len(cache) >= _N_CACHED:  # start over: simpler than an order of use, and as bounded
        cache.clear()
    cache[key] = value

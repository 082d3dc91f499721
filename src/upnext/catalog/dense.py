"""The catalogue as numpy columns indexed by item_id: they grow by doubling and are updated in place.

Country sets are few and shared, so a video keeps the number of its (allowed, blocked) pair; who may see it is then one gather
from a bool per pair.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from upnext.catalog.rows import SCORE, countries_of, scores_of
from upnext.catalog.schema import N_TAGS
from upnext.core.types import Array, Bool, Float32, Int64

_FILLS: Final[dict[str, tuple[Any, Any]]] = {
    "creator": (np.int64, -1),
    "uploaded_us": (np.int64, 0),
    "duration_s": (np.float32, np.nan),
    "category": (np.int32, -1),
    "language": (np.int32, -1),
    "latitude": (np.float32, np.nan),
    "longitude": (np.float32, np.nan),
    "min_age": (np.int32, 0),
    "status": (np.uint8, 3),
    "is_premium": (np.bool_, False),
}
_NULL_AS: Final = {
    "creator": -1,
    "uploaded_us": 0,
    "category": -1,
    "language": -1,
    "min_age": 0,
    "is_premium": 0,
}
_NO_TAGS: Final = b"\xff" * (4 * N_TAGS)
SELECT_CHANGED: Final = (
    "SELECT item_id, change_seq, "
    + ", ".join(f"ifnull({n}, {_NULL_AS[n]})" if n in _NULL_AS else n for n in _FILLS)
    + f", substr(tags, 1, {4 * N_TAGS}), allowed, blocked, moderation FROM items"
)
_COUNTRY = re.compile("[A-Z]{2}")
_N_COUNTRIES_CACHED: Final = 64  # each costs a byte per video


class DenseColumns:
    """Arrays of one catalogue. One thread applies rows; readers take `column(name)[:n_items]`."""

    def __init__(self) -> None:
        self.n_items = 0
        self._capacity = 1024
        self._columns = {n: np.full(1024, fill, kind) for n, (kind, fill) in _FILLS.items()}
        self._columns["tags"] = np.full((1024, N_TAGS), -1, np.int32)
        self._columns["countries"] = np.zeros(1024, np.int32)  # row of _rules
        self._scores: dict[int, Float32] = {}  # moderation label code -> [capacity]
        self._rules: list[tuple[bytes | None, bytes | None]] = [(None, None)]
        self._rule_rows: dict[tuple[bytes | None, bytes | None], int] = {(None, None): 0}
        self._allowed: dict[str, Bool] = {}  # country -> [capacity], filled on first use

    def column(self, name: str) -> Array:
        """The live rows of a column, read only; a view that later updates write through."""
        return _read_only(self._columns[name], self.n_items)

    def scores(self, label_code: int) -> Float32:
        """float32[n_items] of one moderation label, 0 where absent."""
        known = self._scores.get(label_code)
        if known is None:
            return np.zeros(self.n_items, np.float32)
        return _read_only(known, self.n_items)

    def allowed_in(self, country: str, code_of: Callable[[str], int]) -> Bool:
        """bool[n_items]; `country` "" or no two letters: only what is allowed everywhere."""
        country = country if _COUNTRY.fullmatch(country) else ""
        known = self._allowed.get(country)
        if known is None:
            if len(self._allowed) >= _N_COUNTRIES_CACHED:
                self._allowed.clear()
            passes = self._rules_that_pass(country, code_of)
            known = self._allowed[country] = passes[self._columns["countries"]]
        return _read_only(known, self.n_items)

    def apply(self, rows: Sequence[tuple[Any, ...]], code_of: Callable[[str], int]) -> Int64:
        """int64[n]: the item_ids of rows that SELECT_CHANGED gave, now in the arrays."""
        columns = list(zip(*rows))
        item_id = np.array(columns[0], np.int64)
        n_items = max(self.n_items, int(item_id.max()) + 1)
        self._reserve(n_items)
        for name, values in zip(_FILLS, columns[2:]):
            self._columns[name][item_id] = np.array(values, _FILLS[name][0])
        tags, allowed, blocked, moderation = columns[-4:]
        packed = b"".join(_NO_TAGS if tag is None else tag for tag in tags)
        self._columns["tags"][item_id] = np.frombuffer(packed, "<i4").reshape(-1, N_TAGS)
        rules = [self._rule_row(pair) for pair in zip(allowed, blocked)]
        self._columns["countries"][item_id] = np.array(rules, np.int32)
        self._apply_scores(item_id, moderation)
        for country, known in self._allowed.items():
            known[item_id] = self._rules_that_pass(country, code_of)[rules]
        self.n_items = n_items  # last: a reader never slices past what is filled
        return item_id

    def _apply_scores(self, item_id: Int64, blobs: Sequence[bytes | None]) -> None:
        for scores in self._scores.values():
            scores[item_id] = 0.0
        has = np.array([blob is not None for blob in blobs], np.bool_)
        if not has.any():
            return
        pairs = scores_of(b"".join(blob for blob in blobs if blob is not None))
        sizes = [len(blob) // SCORE.itemsize for blob in blobs if blob is not None]
        owner = np.repeat(item_id[has], sizes)
        for label in np.unique(pairs["label"]).tolist():
            if label not in self._scores:
                self._scores[label] = np.zeros(self._capacity, np.float32)
            mine = pairs["label"] == label
            self._scores[label][owner[mine]] = pairs["score"][mine]

    def _rule_row(self, pair: tuple[bytes | None, bytes | None]) -> int:
        row = self._rule_rows.get(pair)
        if row is None:
            row = self._rule_rows[pair] = len(self._rules)
            self._rules.append(pair)
        return row

    def _rules_that_pass(self, country: str, code_of: Callable[[str], int]) -> Bool:
        known_country = bool(_COUNTRY.fullmatch(country))
        code = code_of(country) if known_country else -1
        passes = [
            _passes(allowed, blocked, known_country, code) for allowed, blocked in self._rules
        ]
        return np.array(passes, np.bool_)

    def _reserve(self, n_items: int) -> None:
        if n_items <= self._capacity:
            return
        while self._capacity < n_items:
            self._capacity *= 2
        fills: dict[str, Any] = {name: fill for name, (_, fill) in _FILLS.items()}
        fills |= {"tags": -1, "countries": 0}
        self._columns = {n: _grown(c, self._capacity, fills[n]) for n, c in self._columns.items()}
        self._scores = {k: _grown(c, self._capacity, 0.0) for k, c in self._scores.items()}
        self._allowed = {k: _grown(c, self._capacity, False) for k, c in self._allowed.items()}


def _passes(allowed: bytes | None, blocked: bytes | None, known_country: bool, code: int) -> bool:
    if not known_country:
        return allowed is None and blocked is None
    is_in = allowed is None or code in countries_of(allowed)
    return is_in and not (blocked is not None and code in countries_of(blocked))


def _grown(column: Array, capacity: int, fill: object) -> Array:
    bigger = np.full((capacity, *column.shape[1:]), fill, column.dtype)
    bigger[: len(column)] = column
    return bigger


def _read_only(column: Array, n_rows: int) -> Array:
    view = column[:n_rows]
    view.setflags(write=False)
    return view

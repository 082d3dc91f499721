"""The nouns: frozen values that every room speaks.

Letters of array shapes: n candidates, k slots, t tasks, d dimensions, h history rows, f features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from upnext.core.distinct import distinct, place
from upnext.core.errors import expected
from upnext.core.id_set import IdSet

Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
UInt16 = npt.NDArray[np.uint16]
Array = npt.NDArray[Any]

NO_ITEMS: Final[Int64] = np.zeros(0, np.int64)
NO_ITEMS.setflags(write=False)


class Flag:
    """Bits of `History.flags`: what a viewer did with one video at one showing."""

    IMPRESSION: Final = 1
    CLICK: Final = 2
    WATCHED_HALF: Final = 4
    COMPLETED: Final = 8
    LIKE: Final = 16
    DISLIKE: Final = 32
    SHARE: Final = 64
    COMMENT: Final = 128
    FOLLOW: Final = 256
    NOT_INTERESTED: Final = 512
    SKIPPED: Final = 1024
    LONG_VIEW: Final = 2048
    WATCHED: Final = 4096  # a watch event came, of any length
    RELEVANT: Final = LIKE | WATCHED_HALF


@dataclass(frozen=True, slots=True)
class Request:
    """One ask for one page of one surface."""

    request_id: str
    user_id: str
    surface: str
    size: int
    time_us: int
    session_id: str = ""
    page: int = 0
    seed: int = 0
    device: str | None = None
    country: str | None = None
    language: str | None = None
    time_zone: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    logged_in: bool = True
    current_video_id: str | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise expected("size", "at least 1", self.size)


@dataclass(frozen=True, slots=True)
class Profile:
    """What the platform says of a viewer; any field may be missing."""

    signed_up_us: int | None = None
    age: int | None = None
    gender: str | None = None
    city: str | None = None
    country: str | None = None
    language: str | None = None
    time_zone: str | None = None
    is_creator: bool = False


@dataclass(frozen=True, slots=True)
class History:
    """A viewer's latest showings, oldest first: h aligned rows, one per (video, view)."""

    item_id: Int64  # [h]
    time_us: Int64  # [h] when it was shown; 0 where the order alone is known
    watch_s: Float32  # [h] seconds
    flags: UInt16  # [h] bits of Flag

    def __len__(self) -> int:
        return len(self.item_id)

    def where(self, mask: Bool) -> History:
        """The rows where mask bool[h] holds."""
        return History(self.item_id[mask], self.time_us[mask], self.watch_s[mask], self.flags[mask])

    def last(self, n_rows: int) -> History:
        """The latest n_rows rows."""
        if n_rows <= 0:
            return EMPTY_HISTORY
        cut = slice(-n_rows, None)
        return History(self.item_id[cut], self.time_us[cut], self.watch_s[cut], self.flags[cut])


EMPTY_HISTORY: Final = History(NO_ITEMS, NO_ITEMS, np.zeros(0, np.float32), np.zeros(0, np.uint16))


@dataclass(frozen=True, slots=True)
class User:
    """A viewer as known strictly before the request's time."""

    user_id: str
    profile: Profile = Profile()
    history: History = EMPTY_HISTORY
    seen: Int64 = field(
        default_factory=lambda: NO_ITEMS
    )  # sorted unique: impressions and not-interested
    seen_order: Int64 = field(
        default_factory=lambda: NO_ITEMS
    )  # the same ids, least recently seen first
    not_interested: Int64 = field(default_factory=lambda: NO_ITEMS)  # sorted unique
    followed: Int64 = field(default_factory=lambda: NO_ITEMS)  # sorted creator codes
    muted_creators: Int64 = field(default_factory=lambda: NO_ITEMS)  # sorted creator codes
    muted_topics: tuple[str, ...] = ()
    interests: Mapping[str, float] = field(
        default_factory=dict
    )  # topic -> weight, of more and less
    searches: Int64 = field(
        default_factory=lambda: NO_ITEMS
    )  # hashed uni- and bigrams, order hidden
    n_impressions: int = 0
    n_relevant: int = 0
    last_time_us: int = 0


@dataclass(frozen=True, slots=True)
class Corpus:
    """Whose videos a viewer may see while viewers and creators are put into arms together."""

    experiment: str
    row: int  # of the viewer's arm, whose creators they are; -1: the creators of no arm


@dataclass(frozen=True, slots=True)
class Query:
    """A request with its viewer; read only."""

    request: Request
    user: User
    arms: Mapping[str, str] = field(default_factory=dict)
    served: Int64 = field(default_factory=lambda: NO_ITEMS)  # every slot served in this session
    degraded: tuple[str, ...] = ()  # what could not be read while hydrating
    corpus: Corpus | None = None  # None: creators are not split
    left_out: IdSet = field(init=False, repr=False, compare=False)  # seen or served

    def __post_init__(self) -> None:
        met = self.user.seen
        if len(self.served):
            met = np.concatenate([met, self.served])
            met.sort()
        object.__setattr__(self, "left_out", IdSet(met))

    def with_arms(self, arms: Mapping[str, str], corpus: Corpus | None = None) -> Query:
        """The same, of a viewer in these arms, who may see that corpus."""
        changed = copy(self)  # `left_out` need not be made again
        object.__setattr__(changed, "arms", arms)
        object.__setattr__(changed, "corpus", corpus)
        return changed


@dataclass(frozen=True, slots=True)
class Candidates:
    """Videos that may be shown, with aligned columns; unique ids; operations return new objects.

    A source's score stands in the column `source:<name>`, NaN where that source did not propose the video.
    """

    item_id: Int64  # [n]
    columns: Mapping[str, Array] = field(default_factory=dict)  # {name: array[n]}

    def __post_init__(self) -> None:
        n = len(self.item_id)
        for name, column in self.columns.items():
            if len(column) != n:
                raise expected(f"candidates column {name!r}", f"{n} rows", len(column))

    def __len__(self) -> int:
        return len(self.item_id)

    def take(self, rows: Array) -> Candidates:
        """The rows selected by a bool[n] mask or by positions int64[m]."""
        if rows.dtype == np.bool_:  # a mask is searched once, not once per column
            rows = np.flatnonzero(rows)
            if len(rows) == len(self):
                return self
        return Candidates(
            self.item_id.take(rows), {k: v.take(rows, axis=0) for k, v in self.columns.items()}
        )

    def with_columns(self, **columns: Array) -> Candidates:
        """The same videos with more columns."""
        return Candidates(self.item_id, {**self.columns, **columns})

    @staticmethod
    def of_source(name: str, item_id: Int64, score: Float32) -> Candidates:
        """What one source proposed, best first; duplicates keep their first place."""
        first, _ = distinct(np.asarray(item_id, np.int64))
        if len(first) < len(item_id):
            item_id, score = item_id[first], score[first]
        return Candidates.of_unique(name, item_id, score)

    @staticmethod
    def of_unique(name: str, item_id: Int64, score: Float32) -> Candidates:
        """The same of a source that says each video once."""
        return Candidates(
            item_id.astype(np.int64, copy=False),
            {f"source:{name}": score.astype(np.float32, copy=False)},
        )

    @staticmethod
    def union(parts: Sequence[Candidates]) -> Candidates:
        """All videos of the parts, in order of first appearance; a column missing in a part is NaN there."""
        parts = [p for p in parts if len(p)]
        if not parts:
            return Candidates(NO_ITEMS)
        everything = np.concatenate([p.item_id for p in parts])
        first, rows = distinct(everything)
        names = list(dict.fromkeys(name for part in parts for name in part.columns))
        columns = dict(zip(names, np.full((len(names), len(first)), np.nan, np.float32)))
        start = 0
        for part in parts:
            part_rows = rows[start : start + len(part)]
            for name, column in part.columns.items():
                place(columns[name], part_rows, column)
            start += len(part)
        return Candidates(everything.take(first), columns)

    def sources(self) -> tuple[str, ...]:
        """The names of the sources that have a column here."""
        return tuple(k[7:] for k in self.columns if k.startswith("source:"))


@dataclass(frozen=True, slots=True)
class Features:
    """What the ranker reads: one row of user columns, n rows of item columns, as the plan laid them."""

    user: Float32  # [f_user]
    items: Float32  # [n, f_item]
    user_names: tuple[str, ...]
    item_names: tuple[str, ...]

    def column(self, name: str) -> Float32:
        """The item column of that name, float32[n], a view."""
        return self.items[:, self.item_names.index(name)]

    def row(self, i: int) -> Float32:
        """The whole row of candidate i as it is logged: user columns, then item columns."""
        return np.concatenate([self.user, self.items[i]])


@dataclass(frozen=True, slots=True)
class Predictions:
    """Calibrated head outputs: a probability, or seconds for watch_s."""

    tasks: tuple[str, ...]
    values: Float32  # [n, t]

    def task(self, name: str) -> Float32:
        """float32[n] of one task."""
        return self.values[:, self.tasks.index(name)]


@dataclass(frozen=True, slots=True)
class Slate:
    """k slots in order. propensity[j] = P(slot j holds this video, given the slots before it)."""

    item_id: Int64  # [k]
    value: Float32  # [k]
    propensity: Float64  # [k], in (0, 1]
    n_eligible: Int64  # [k], size of each slot's eligible set
    reason: tuple[str, ...]  # [k]
    draw_key: int = 0
    is_repeat: Bool = field(default_factory=lambda: np.zeros(0, np.bool_))  # [k] or empty: none
    team: Int64 = field(
        default_factory=lambda: NO_ITEMS
    )  # [k] which of two interleaved rankings picked it, 0 or 1; or empty: there is one ranking

    def __len__(self) -> int:
        return len(self.item_id)


@dataclass(slots=True)
class Trace:
    """What one request did: fetched unique = removed + not shown + shown."""

    fetched: dict[str, int] = field(default_factory=dict)  # per source
    n_unique: int = 0
    removed: dict[str, int] = field(default_factory=dict)  # per filter, first that voted against
    shown: int = 0
    late: list[str] = field(default_factory=list)
    degraded: list[str] = field(default_factory=list)
    stage_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; the verdict may be "not identifiable"."""

    mean: float
    low: float
    high: float
    n_effective: float
    verdict: str = "ok"

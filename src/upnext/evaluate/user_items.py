"""A set of videos for each of u viewers, in compressed rows: the truth of a test window, or what a viewer has seen."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from upnext.core.errors import expected
from upnext.core.types import Bool, Int64

_BLOCK = 1 << 22  # list cells looked at in one go: 32 MiB of int64


@dataclass(frozen=True, slots=True)
class UserItems:
    """u sets of videos; p pairs in all. Row i holds item_id[indptr[i]:indptr[i + 1]], ascending, each id once."""

    indptr: Int64  # [u + 1]
    item_id: Int64  # [p]

    def __post_init__(self) -> None:
        if len(self.indptr) < 1 or self.indptr[0] != 0 or self.indptr[-1] != len(self.item_id):
            raise expected("indptr", f"0 .. {len(self.item_id)}", self.indptr)

    @staticmethod
    def of_pairs(user: Int64, item_id: Int64, n_users: int) -> UserItems:
        """The sets of aligned pairs user int64[m] in 0 .. n_users-1, item_id int64[m] >= 0; repeated pairs count once.

        Raises InvalidInput when a user or an id lies outside."""
        user, item_id = np.asarray(user, np.int64), np.asarray(item_id, np.int64)
        if len(user) and (user.min() < 0 or user.max() >= n_users):
            raise expected("user", f"rows 0 .. {n_users - 1}", (int(user.min()), int(user.max())))
        if len(item_id) and item_id.min() < 0:
            raise expected("item_id", "ids of at least 0", int(item_id.min()))
        order = np.lexsort((item_id, user))
        user, item_id = user[order], item_id[order]
        first = np.ones(len(user), np.bool_)
        first[1:] = (user[1:] != user[:-1]) | (item_id[1:] != item_id[:-1])
        counts = np.bincount(user[first], minlength=n_users)
        return UserItems(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), item_id[first])

    @property
    def n_users(self) -> int:
        """u."""
        return len(self.indptr) - 1

    def __len__(self) -> int:
        """p, the number of pairs."""
        return len(self.item_id)

    def counts(self) -> Int64:
        """int64[u]: the size of each set."""
        return np.diff(self.indptr)

    def users(self) -> Int64:
        """int64[p]: the viewer row of each pair."""
        return np.repeat(np.arange(self.n_users, dtype=np.int64), self.counts())

    def take(self, rows: Int64) -> UserItems:
        """The sets of the viewers rows int64[m], in that order."""
        counts = self.counts()[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        offsets = np.arange(int(indptr[-1])) - np.repeat(indptr[:-1], counts)
        return UserItems(indptr, self.item_id[np.repeat(self.indptr[rows], counts) + offsets])

    def where(self, mask: Bool) -> UserItems:
        """The pairs where mask bool[p] holds, for the same u viewers (a set may become empty)."""
        return UserItems.of_pairs(self.users()[mask], self.item_id[mask], self.n_users)

    def contains(self, user: Int64, item_id: Int64) -> Bool:
        """bool[m]: whether each aligned pair (user row, item id) is in the sets."""
        if not len(self):
            return np.zeros(len(user), np.bool_)
        top = 1 + max(int(self.item_id.max()), int(np.max(item_id, initial=0)))
        known = self.users() * top + self.item_id
        asked = np.asarray(user, np.int64) * top + item_id
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.asarray(known[place] == asked, np.bool_)

    def without(self, other: UserItems) -> UserItems:
        """The pairs that `other`, sets of the same viewers, does not hold."""
        return self.where(~other.contains(self.users(), self.item_id))

    def places(self, ranked: Int64) -> Int64:
        """int64[p]: the first place, from 0, of each pair's video in its viewer's list; K where it is not listed.

        ranked int64[u, K], best first, -1 pads at the end. Raises InvalidInput when ranked has another number of rows."""
        if ranked.ndim != 2 or len(ranked) != self.n_users:
            raise expected("ranked", f"int64[{self.n_users}, K]", ranked.shape)
        width = ranked.shape[1]
        places = np.full(len(self), width, np.int64)
        users, step = self.users(), max(1, _BLOCK // max(1, width))
        for start in range(0, len(self) if width else 0, step):
            part = slice(start, start + step)
            is_same = ranked[users[part]] == self.item_id[part, None]
            places[part] = np.where(is_same.any(1), is_same.argmax(1), width)
        return places

    def checksum(
        self, user_ids: Sequence[str] | None = None, video_ids: Sequence[str] | None = None
    ) -> str:
        """sha256, in hex, of the sorted lines "user<tab>video": equal splits have equal checksums.

        user_ids[u] names the rows and video_ids the item ids; without them the numbers stand."""
        lines = pl.DataFrame(
            {"user": _named(self.users(), user_ids), "video": _named(self.item_id, video_ids)}
        ).select(line=pl.concat_str("user", pl.lit("\t"), "video", pl.lit("\n")))
        digest = hashlib.sha256()
        for piece in lines["line"].sort().to_frame().iter_slices(_BLOCK):
            digest.update("".join(piece["line"].to_list()).encode())
        return digest.hexdigest()


def _named(rows: Int64, names: Sequence[str] | None) -> pl.Series:
    """String[m]: the names of rows int64[m], the numbers themselves without names."""
    if names is None:
        return pl.Series(rows).cast(pl.String)
    return pl.Series(names, dtype=pl.String).gather(rows)

"""Inverted lists under filters: every search reads as many lists as it takes to meet so many *usable* vectors.

Inverted files (IVF; Jégou et al. 2011) read a fixed number of lists, `nprobe`. Under a filter that is the wrong unit: where one in fifty is allowed the k nearest
allowed videos lie in fifty times as many lists, and where the allowed ones are a language far from the viewer the nearest lists hold none of them. Here the
lists are walked from the nearest, lists without a usable vector are passed over, and the walk ends when the lists together hold `n_met` usable
vectors, calibrated against exact search (calibrate.py). What a viewer has seen is left out too: only a vector that is among the best so far is looked up
among it, and the walk meets as many vectors more, so someone who has seen the surroundings is taken further out. (Striking what was seen off
the filter, and back, took longer than the walk.)

Vectors lie in the order of their lists, so "row" is a place in that order: a filter becomes bits by row, read in sequence. A walk reads int16 vectors, or codes
of 8 or 4 bits (codes.py); what codes got wrong is re-ranked by the int16 vectors, which may then stay on disk. Those answer exactly where a filter
leaves few.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.id_set import IdSet, holds
from upnext.core.types import Array, Bool, Float32, Int64
from upnext.retrieval.calibrate import Effort, K, met_for
from upnext.retrieval.codes import Codes, Passed, replace_least, scan_codes, scan_vectors
from upnext.retrieval.products import best, products, products_of_own_rows, products_of_rows

_N_FILTERS: Final = 64  # kept; each costs a bit per video and a count per list
_ROWS_PER_PRODUCT: Final = 4  # rows whose bits are read in the time of one product
_BINS: Final = 512  # of centroid scores, to find the nearest lists without sorting all
_NONE: Final = IdSet(np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class StoredLists:
    """What building makes. r rows in the order of the lists."""

    centroids: Float32  # [lists, d]
    starts: Int64  # [lists + 1]: first row of each list
    vectors: Array  # int16[r, d]
    scale: float  # vectors * scale are the vectors
    codes: Codes | None  # what a walk reads; None: the vectors
    item_id: Int64  # [r]
    row_of: Array  # int32[n_ids], by item_id; -1: not here
    depth: float  # candidates re-ranked per result, where there are codes
    effort: tuple[Effort, ...]


@dataclass(slots=True)
class Filtered:
    """What a filter leaves of the rows."""

    bits: Array  # uint8[r / 8]: usable, by row
    counts: Array  # int32[lists]: usable rows
    n_usable: int
    rows: Array | None  # int32: the usable ones, where so few that exact search is faster


class InvertedLists:
    """Searches what was built. Not for two threads at once: a search may keep what a filter leaves, and burying changes it."""

    def __init__(self, stored: StoredLists) -> None:
        self._stored, self._starts = stored, stored.starts
        bits = np.packbits(np.ones(len(stored.item_id), np.bool_), bitorder="little")
        self._all = self._filtered(bits, np.diff(self._starts).astype(np.int32))
        # by id of a mask that nobody can change: the mask and what it leaves
        self._known: dict[int, tuple[weakref.ref[Bool], Filtered]] = {}

    def __len__(self) -> int:
        """Vectors that can be found."""
        return self._all.n_usable

    def search(
        self, queries: Float32, k: int, allowed: Bool | None, without: IdSet | None
    ) -> tuple[Int64, Float32]:
        """(ids int64[b, k], scores float32[b, k]) as VectorIndex.search."""
        usable = self.filtered(allowed)
        left_out = _NONE if without is None else without
        if usable.rows is not None:
            rows, scores = self._exact(queries, k, usable, usable.rows, left_out)
        else:
            n_met = int(self._n_met(usable) * max(1.0, k / K))
            rows, scores = self.probe(queries, k, usable, n_met, left_out)
        return np.where(rows >= 0, self._stored.item_id[rows], -1), scores

    def probe(
        self, queries: Float32, k: int, usable: Filtered, n_met: int, left_out: IdSet = _NONE
    ) -> tuple[Int64, Float32]:
        """(rows int64[b, k], scores float32[b, k]) of lists that hold n_met usable vectors together and as many more as are left out, fewer where there are no more."""
        scale = np.float32(self._stored.scale)
        n_met += len(left_out)
        if self._stored.codes is None:
            rows, scores = self.walk(queries, k, usable, n_met, left_out)
            return rows, scores * scale
        more = (self._stored.depth - 1) * max(k, K)  # as many as codes misplace, also near the top
        rows, _ = self.walk(queries, k + int(np.ceil(more)), usable, n_met, left_out)
        return best(rows, products_of_own_rows(queries, self._stored.vectors, rows) * scale, k)

    def walk(
        self, queries: Float32, k: int, usable: Filtered, n_met: int, left_out: IdSet = _NONE
    ) -> tuple[Int64, Float32]:
        """As probe, in the order of what the walk reads, not re-ranked, and of n_met vectors in all."""
        stored = self._stored
        passed = Passed(usable.bits, stored.item_id, left_out.table)
        nearness = products(queries, stored.centroids)
        chosen = _nearest_lists(nearness, usable.counts, n_met)
        if stored.codes is None:
            found = scan_vectors(queries, stored.vectors, chosen, stored.starts, passed, k)
        else:
            nearness = np.take_along_axis(nearness, np.maximum(chosen, 0), 1)
            found = scan_codes(queries, stored.codes, chosen, nearness, stored.starts, passed, k)
        return best(*found, k)

    def lists_read(self, queries: Float32, allowed: Bool | None) -> float:
        """How many lists a search of one query reads, on average; 0 where search is exact."""
        usable = self.filtered(allowed)
        if usable.rows is not None:
            return 0.0
        nearness = products(queries, self._stored.centroids)
        chosen = _nearest_lists(nearness, usable.counts, self._n_met(usable))
        return float((chosen >= 0).sum(axis=1).mean())

    def of_rows(self, is_usable: Bool) -> Filtered:
        """What a filter bool[r] by row leaves."""
        total = np.concatenate([[0], np.cumsum(is_usable)])
        counts = np.diff(total[self._starts]).astype(np.int32)
        return self._filtered(np.packbits(is_usable, bitorder="little"), counts)

    def filtered(self, allowed: Bool | None) -> Filtered:
        """What a mask bool[n_items] by item_id leaves; that of one which nobody can change any more is kept, for it costs more than a search."""
        if allowed is None:
            return self._all
        known = self._known.get(id(allowed))
        if known is not None and known[0]() is allowed:
            return known[1]
        bits, counts = _usable_rows(self._stored.item_id, allowed, self._all.bits, self._starts)
        found = self._filtered(bits, counts)
        if allowed.flags.owndata and not allowed.flags.writeable:
            if len(self._known) >= _N_FILTERS:
                self._known = {}
            self._known[id(allowed)] = (weakref.ref(allowed), found)
        return found

    def bury(self, item_id: Int64) -> None:
        """Never finds these ids again."""
        rows = self.rows_of(item_id)
        for usable in (self._all, *(found for _, found in self._known.values())):
            usable.n_usable -= _clear(usable.bits, usable.counts, rows, self._starts)

    def rows_of(self, item_id: Int64) -> Int64:
        """Rows of those ids that are here."""
        inside = item_id[(item_id >= 0) & (item_id < len(self._stored.row_of))]
        rows = self._stored.row_of[inside]
        return rows[rows >= 0].astype(np.int64)

    def is_exact(self, usable: Filtered, n_met: int, times: int = 1) -> bool:
        """Whether multiplying all usable rows, were there so many times as many, is less than a walk that meets n_met: it reads the bits of many more."""
        n_reached = int(np.diff(self._starts)[usable.counts > 0].sum())
        n_usable = times * usable.n_usable
        n_read = n_met * n_reached / max(1, n_usable)
        return n_usable <= n_met + n_read / _ROWS_PER_PRODUCT

    def _filtered(self, bits: Array, counts: Array) -> Filtered:
        found = Filtered(bits, counts, int(counts.sum()), None)
        if self.is_exact(found, self._n_met(found)):
            found.rows = _rows_of_bits(bits, found.n_usable)
        return found

    def _n_met(self, usable: Filtered) -> int:
        return met_for(self._stored.effort, usable.n_usable / max(1, len(self._stored.item_id)))

    def _exact(
        self, queries: Float32, k: int, usable: Filtered, rows: Array, left_out: IdSet
    ) -> tuple[Int64, Float32]:
        """As probe, exactly: those of the rows that are usable still."""
        rows = rows[(usable.bits[rows >> 3] >> (rows & 7)) & 1 > 0]
        scores = products_of_rows(queries, self._stored.vectors, rows)
        scores *= np.float32(self._stored.scale)
        found, scores = _largest(rows, scores, self._stored.item_id, left_out.table, k)
        return best(found, scores, k)


@compiled
def _nearest_lists(nearness: Float32, counts: Array, n_met: int) -> Int64:
    """int64[b, p]: for each query the nearest lists that hold n_met usable rows together, nearest first, then -1."""
    b, n_lists = nearness.shape
    chosen = np.full((b, n_lists), -1, np.int64)
    width = 0
    met = np.empty(_BINS, np.int64)
    for q in range(b):
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for i in range(n_lists):
            if counts[i] > 0:
                low, high = min(low, nearness[q, i]), max(high, nearness[q, i])
        if high < low:
            continue
        per_score = (_BINS - 1) / max(high - low, np.float32(1e-12))
        met[:] = 0
        for i in range(n_lists):
            met[int((high - nearness[q, i]) * per_score) if counts[i] > 0 else 0] += counts[i]
        last, total = 0, met[0]
        while total < n_met and last < _BINS - 1:
            last += 1
            total += met[last]
        near = np.empty(n_lists, np.int64)
        n_near = 0
        for i in range(n_lists):
            if counts[i] > 0 and int((high - nearness[q, i]) * per_score) <= last:
                near[n_near] = i
                n_near += 1
        near = near[:n_near]
        order = np.argsort(-nearness[q][near], kind="mergesort")
        total, p = 0, 0
        while p < n_near and total < n_met:
            chosen[q, p] = near[order[p]]
            total += counts[near[order[p]]]
            p += 1
        width = max(width, p)
    return chosen[:, :width].copy()


@compiled
def _usable_rows(item_id: Int64, allowed: Bool, alive: Array, starts: Int64) -> tuple[Array, Array]:
    """(bits uint8[r / 8], counts int32[lists]) of rows that are alive and allowed."""
    bits = np.zeros(len(alive), np.uint8)
    counts = np.zeros(len(starts) - 1, np.int32)
    for i in range(len(counts)):
        for row in range(starts[i], starts[i + 1]):
            one = item_id[row]
            if one < len(allowed) and allowed[one]:
                bit = alive[row >> 3] & np.uint8(1 << (row & 7))
                bits[row >> 3] |= bit
                counts[i] += bit > 0
    return bits, counts


@compiled
def _rows_of_bits(bits: Array, n: int) -> Array:
    """int32[n]: places of the n bits that are set."""
    rows = np.empty(n, np.int32)
    at = 0
    for i in range(len(bits)):
        if bits[i]:
            for j in range(8):
                if bits[i] >> j & 1:
                    rows[at] = 8 * i + j
                    at += 1
    return rows


@compiled
def _largest(
    rows: Array, scores: Float32, item_id: Int64, left_out: Int64, k: int
) -> tuple[Int64, Float32]:
    """(rows int64[b, k], scores float32[b, k]): of n rows with scores float32[b, n] those of the largest whose id the table `left_out` does not hold."""
    found = np.full((len(scores), k), -1, np.int64)
    largest = np.full((len(scores), k), -np.inf, np.float32)
    for q in range(len(scores)):
        for i in range(len(rows)):
            if scores[q, i] > largest[q, 0] and not holds(left_out, item_id[rows[i]]):
                replace_least(found[q], largest[q], rows[i], scores[q, i])
    return found, largest


@compiled
def _clear(bits: Array, counts: Array, rows: Int64, starts: Int64) -> int:
    """Strikes the rows off -> how many of them were set."""
    n = 0
    for row in rows:
        bit = np.uint8(1 << (row & 7))
        if bits[row >> 3] & bit:
            bits[row >> 3] ^= bit
            counts[np.searchsorted(starts, row, side="right") - 1] -= 1
            n += 1
    return n

"""From showings to batches of sequences: what each step reads, what is to be found after it, and what it may not be confused with.

A user's rows are cut into windows of at most length + 1 rows; where a user has more, the cut lies elsewhere in every epoch. In a window the
target of step p is the row after it (the shifted sequence: every position teaches). Showings of one instant are not before each
other, so all of them are targets of the last step before that instant. Windows of like length share a batch, so little is padded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Bool, Flag, Float32, Int64
from upnext.features.context import ContextEncoder
from upnext.features.showings import Showings
from upnext.retrieval.material import Material
from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.sequence.recent import Recent
from upnext.retrieval.sequence.steps import (
    N_CLOCK,
    N_FEEDBACK,
    clock_rows,
    feedback_rows,
    gap_buckets,
)
from upnext.retrieval.training_rows import is_first_showing, strictly_before

NOISE = 8.0  # rows by which two windows of a batch may differ in length besides


@dataclass(frozen=True)
class Pairs:
    """For each of t targets the videos that are no alternatives to it: item_id[start[r] : start[r + 1]]."""

    start: Int64  # [t + 1]
    item_id: Int64  # [p]


@dataclass(frozen=True)
class SequenceBatch:
    """b sequences of h steps, and t targets sorted by the instant of their popularity columns."""

    item_id: Int64  # [b, h], 0 in padding
    feedback: Float32  # [b, h, N_FEEDBACK]
    clock: Float32  # [b, h, N_CLOCK]
    gaps: Array | None  # int64[b, h + 1, h + 1]
    place: Int64  # [t] b * (h + 1) + step: where in the flattened hidden states its query is
    target: Int64  # [t] item_id
    weight: Float32  # [t]
    context: Float32  # [t, c]
    instant: Int64  # [t] ascending
    seen: Pairs


@dataclass(frozen=True)
class Steps:
    """What h steps of b sequences read, left-aligned; padding is 0."""

    item_id: Int64  # [b, h]
    time_us: Int64  # [b, h]
    feedback: Float32  # [b, h, N_FEEDBACK]
    clock: Float32  # [b, h, N_CLOCK]

    def gaps(self, n: Int64, asked_us: Int64) -> Array:
        """int64[b, h + 1, h + 1]: gap_buckets of sequences of n int64[b] steps, the last of which asks at asked_us int64[b]."""
        asked = np.pad(self.time_us, ((0, 0), (0, 1)))
        asked[np.arange(len(n)), n] = asked_us
        return gap_buckets(np.pad(self.time_us, ((0, 0), (1, 0))), asked)


def read_steps(showings: Showings, duration_s: Float32, first: Int64, n: Int64) -> Steps:
    """The n int64[b] rows from row `first` int64[b] of each sequence; duration_s float32[i] by item_id."""
    step = np.arange(int(n.max(initial=0)))
    is_there = step < n[:, None]
    flat = (first[:, None] + step)[is_there]
    item_id, time_us = np.zeros((2, *is_there.shape), np.int64)
    item_id[is_there], time_us[is_there] = showings.item_id[flat], showings.time_us[flat]
    feedback = np.zeros((*is_there.shape, N_FEEDBACK), np.float32)
    feedback[is_there] = feedback_rows(
        showings.flags[flat], showings.watch_s[flat], duration_s[showings.item_id[flat]]
    )
    clock = clock_rows(time_us.ravel()).reshape(*is_there.shape, N_CLOCK)
    return Steps(item_id, time_us, feedback, clock)


class SequenceReader:
    """Cuts batches out of material."""

    def __init__(self, material: Material, recent: Recent, config: SequenceConfig) -> None:
        self._showings, self._config = material.showings, config
        self._encoder: ContextEncoder = material.context
        self._duration_s = material.videos.duration_s
        self._since_us = material.since_us
        self.is_target, self.weight = targets_of(material.showings, config, material.since_us)
        self._n_before = np.concatenate([[0], np.cumsum(self.is_target)])
        self._before = strictly_before(material.showings)
        self._instant = recent.at(material.showings.time_us)
        starts = material.showings.starts()
        self._first, self._n = starts[:-1], np.diff(starts)

    def n_targets(self) -> int:
        """Rows that are to be found."""
        return int(self.is_target.sum())

    def epoch(self, number: int) -> Iterator[SequenceBatch]:
        """The batches of epoch `number`: cuts and order depend on the seed and the number alone."""
        rng = rng_for("sequence", self._config.seed, number)
        size = self._config.length + 1
        if self._since_us:  # the newest rows with the most before them, the same in every epoch
            first, n = _latest(self._first, self._n, size)
        else:
            first, n = _windows(self._first, self._n, size, rng)
        has_targets = self._n_before[first + n] > self._n_before[first]
        first, n = first[has_targets], n[has_targets]
        order = np.argsort(n + rng.uniform(0, NOISE, len(n)), kind="stable")
        step = self._config.batch_size
        groups = [order[start : start + step] for start in range(0, len(order), step)]
        for group in rng.permutation(len(groups)):
            chosen = groups[group]
            batch = self.batch(first[chosen], n[chosen])
            if len(batch.target):
                yield batch

    def batch(self, first: Int64, n: Int64) -> SequenceBatch:
        """The windows of n int64[b] rows from row `first` int64[b]; the last row of each is a target alone."""
        steps = read_steps(self._showings, self._duration_s, first, n - 1)
        gaps = None
        if self._config.time_bias:
            rows = np.minimum(first + n, len(self._showings)) - 1
            gaps = steps.gaps(n - 1, self._showings.time_us[rows])
        return SequenceBatch(
            steps.item_id, steps.feedback, steps.clock, gaps, *self._targets(first, n)
        )

    def _targets(
        self, first: Int64, n: Int64
    ) -> tuple[Int64, Int64, Float32, Float32, Int64, Pairs]:
        window, inside = _spread(n)
        row = first[window] + inside
        step = self._before[row] - first[window]  # how many steps lie strictly before the row
        is_start = self._first[self._showings.user[row]] == first[window]
        good = self.is_target[row] & ((step > 0) | ((step == 0) & is_start))
        row, step, window = row[good], step[good], window[good]
        order = np.argsort(self._instant[row], kind="stable")
        row, step, window = row[order], step[order], window[order]
        width = int(n.max())
        return (
            window * width + step,
            self._showings.item_id[row],
            self.weight[row],
            self._context(row),
            self._instant[row],
            self._seen(first[window], step),
        )

    def _seen(self, first: Int64, step: Int64) -> Pairs:
        if not self._config.exclude_seen:
            return Pairs(np.zeros(len(step) + 1, np.int64), np.zeros(0, np.int64))
        target, inside = _spread(step)
        start = np.concatenate([[0], np.cumsum(step)]).astype(np.int64)
        return Pairs(start, self._showings.item_id[first[target] + inside])

    def _context(self, row: Int64) -> Float32:
        """float32[t, c]: zeros for untimed showings."""
        if not self._config.context:
            return np.zeros((len(row), 0), np.float32)
        moment = self._showings.moment[row]
        known, place = np.unique(moment, return_inverse=True)
        moments = [self._showings.moments[m] for m in known.tolist() if m >= 0]
        rows = np.zeros((len(known), self._encoder.size), np.float32)
        rows[known >= 0] = self._encoder.encode(moments)
        return rows[place]


def targets_of(
    showings: Showings, config: SequenceConfig, since_us: int = 0
) -> tuple[Bool, Float32]:
    """(which rows are to be found bool[m], weights float32[m] with mean 1 over those); since_us: rows of earlier showings are not."""
    is_timed = showings.time_us > 0
    weight = np.ones(len(showings))
    weight[(showings.flags & np.uint16(Flag.RELEVANT)) != 0] = config.relevant_weight
    weight[~is_timed] *= config.untimed_weight
    if config.half_life_d and is_timed.any():
        newest, oldest = showings.time_us.max(), showings.time_us[is_timed].min()
        time_us = np.where(is_timed, showings.time_us, oldest - DAY_US)
        weight *= np.exp2(-(newest - time_us) / DAY_US / config.half_life_d)
    is_target = weight > 0
    if since_us:
        is_target &= showings.time_us >= since_us
    if config.exclude_seen:
        is_target &= is_first_showing(showings)
    mean = weight[is_target].mean() if is_target.any() else 1.0
    return is_target, (weight / mean).astype(np.float32)


def _windows(first: Int64, n: Int64, size: int, rng: np.random.Generator) -> tuple[Int64, Int64]:
    """(first rows, numbers of rows) of windows that cut users' rows, n int64[u] from row `first` int64[u], every `size` rows."""
    offset = np.where(n > size, rng.integers(1, size + 1, len(n)), size)
    pieces = np.maximum(1, 1 + -(-(n - offset) // size))
    user, number = _spread(pieces * (n > 0))
    start = np.where(number == 0, 0, offset[user] + (number - 1) * size)
    end = np.minimum(n[user], offset[user] + number * size)
    kept = (end - start >= 2) | (start == 0)
    return (first[user] + start)[kept], (end - start)[kept]


def _latest(first: Int64, n: Int64, size: int) -> tuple[Int64, Int64]:
    """_windows with the last one of each user whole: whatever is short is the first."""
    pieces = -(-n // size)
    user, number = _spread(pieces)
    end = n[user] - (pieces[user] - 1 - number) * size
    start = np.maximum(end - size, 0)
    return first[user] + start, end - start


def _spread(n: Int64) -> tuple[Int64, Int64]:
    """(which int64[n.sum()], 0 to n - 1 in each): every place of ranges of n int64[r] places."""
    which = np.repeat(np.arange(len(n)), n)
    inside = np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n)
    return which, inside.astype(np.int64)

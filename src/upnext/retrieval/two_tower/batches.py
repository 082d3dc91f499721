"""Batches of examples as numpy arrays, with every video that a batch touches named once.

A batch holds at most some thousand distinct videos, so the network computes each one's input vector once and pools by local
number: a step costs the same in a catalogue of ten thousand videos and of ten million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Flag, Float32, Int64
from upnext.features.showings import Showings
from upnext.retrieval.material import Material
from upnext.retrieval.training_rows import Labels
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.user_inputs import (
    N_AGE,
    Group,
    age_columns,
    groups_of,
    token_rows,
    windows,
)


@dataclass(frozen=True)
class Batch:
    """b examples. Videos stand as local numbers: places in `items`."""

    items: Int64  # [v] the distinct videos, ascending item_id
    history: Mapping[str, tuple[Int64, Bool]]  # group -> (local [b, n_last], is_there [b, n_last])
    searched: tuple[Int64, Bool]  # (token table row [b, s], is_there [b, s])
    context: Float32  # [b, c]
    age: Float32  # [b, 3]
    candidate: Int64  # local [b + n_uniform]; the first b are the examples' own positives
    weight: Float32  # [b]
    is_positive: Float32  # [b] 0: an explicit dislike
    user: Int64  # [b] whose example it is
    skipped: Int64  # local [b]: a video shown and not watched, where has_skipped
    has_skipped: Float32  # [b] of a relevant showing, with such a video behind it


class BatchReader:
    """Cuts shuffled batches out of showings."""

    def __init__(
        self,
        material: Material,
        labels: Labels,
        config: TwoTowerConfig,
        pool: Int64,
    ) -> None:
        """pool int64[p]: the videos that uniform negatives are drawn from. One that nobody was ever shown is no evidence against its
        content, and as a negative would teach that new videos are bad."""
        self._showings = showings = material.showings
        self._labels = labels
        self._config = config
        self._n_items = material.n_items
        self._encoder = material.context
        self._pool = pool
        self._members = {group.name: _members(showings, group) for group in groups_of(config)}

    def n_batches(self) -> int:
        """Steps of one epoch; a last batch of fewer than two examples is left out."""
        size = self._config.batch_size
        whole, rest = divmod(len(self._labels), size)
        return whole + (rest >= 2)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`: order and negatives depend on the seed and the number alone."""
        rng = rng_for("two_tower", self._config.seed, number)
        order = rng.permutation(len(self._labels))
        size = self._config.batch_size
        for step in range(self.n_batches()):
            yield self.batch(order[step * size : (step + 1) * size], rng)

    def batch(self, chosen: Int64, rng: np.random.Generator) -> Batch:
        """The examples at places `chosen` of the labels, with fresh uniform negatives."""
        labels, config = self._labels, self._config
        start, end, row = labels.start[chosen], labels.end[chosen], labels.row[chosen]
        history: dict[str, tuple[Int64, Bool]] = {}
        for group in groups_of(config):
            rows, before = self._members[group.name]
            place, is_there = windows(start, end, group.n_last, before)
            source = rows[place] if len(rows) else np.zeros_like(place)
            history[group.name] = (self._showings.item_id[source], is_there)
        uniform = self._pool[rng.integers(0, len(self._pool), config.n_uniform)]
        skipped, has_skipped = self._skipped(chosen)
        n = len(row)
        named = np.concatenate([self._showings.item_id[row], uniform, skipped])
        items, history, named = _localised(history, named, self._n_items)
        return Batch(
            items,
            history,
            self._searches(row),
            self._context(row),
            self._age(chosen),
            named[: n + len(uniform)],
            labels.weight[chosen],
            labels.is_positive[chosen].astype(np.float32),
            self._showings.user[row],
            named[n + len(uniform) :],
            has_skipped,
        )

    def _skipped(self, chosen: Int64) -> tuple[Int64, Float32]:
        """(item_id int64[b], has_skipped float32[b]); where there is none, or no term asks for it, the row's own video."""
        labels, showings = self._labels, self._showings
        row, skipped = labels.row[chosen], labels.skipped[chosen]
        is_relevant = (showings.flags[row] & np.uint16(Flag.RELEVANT)) != 0
        has = (skipped >= 0) & is_relevant & (self._config.hard_weight > 0)
        return showings.item_id[np.where(has, skipped, row)], has.astype(np.float32)

    def _age(self, chosen: Int64) -> Float32:
        """float32[b, 3]; zeros, as when serving, where the example's age is no input."""
        if not self._config.example_age:
            return np.zeros((len(chosen), N_AGE), np.float32)
        return age_columns(self._labels.age_d[chosen], self._labels.is_history[chosen])

    def _context(self, row: Int64) -> Float32:
        """float32[b, c]: zeros for untimed showings. Encoded batch by batch: a long log's table would not fit."""
        moment = self._showings.moment[row]
        context = np.zeros((len(row), self._encoder.size), np.float32)
        timed = np.flatnonzero(moment >= 0)
        moments = [self._showings.moments[m] for m in moment[timed].tolist()]
        context[timed] = self._encoder.encode(moments)
        return context

    def _searches(self, row: Int64) -> tuple[Int64, Bool]:
        """Tokens searched strictly before each label; untimed labels have none."""
        n, config = self._config.n_searches, self._config
        if not self._showings.searches:
            return np.zeros((len(row), 1), np.int64), np.zeros((len(row), 1), bool)
        table_row = np.zeros((len(row), n), np.int64)
        is_there = np.zeros((len(row), n), bool)
        for i, (user, time_us) in enumerate(
            zip(self._showings.user[row].tolist(), self._showings.time_us[row].tolist())
        ):
            if user in self._showings.searches:
                times, tokens = self._showings.searches[user]
                known = tokens[: np.searchsorted(times, time_us)]
                found = token_rows(known, config.search_buckets, n)
                table_row[i, : len(found)] = found
                is_there[i, : len(found)] = True
        return table_row, is_there


def _members(showings: Showings, group: Group) -> tuple[Int64, Int64]:
    """(rows of the group's showings int64[g], how many of them lie before each row int64[m + 1])."""
    if group.flags:
        is_member = (showings.flags & np.uint16(group.flags)) != 0
    else:
        is_member = np.ones(len(showings), bool)
    before = np.concatenate([[0], np.cumsum(is_member)])
    return np.flatnonzero(is_member), before.astype(np.int64)


def _localised(
    history: Mapping[str, tuple[Int64, Bool]], candidate: Int64, n_items: int
) -> tuple[Int64, dict[str, tuple[Int64, Bool]], Int64]:
    """Renames every video by its place among the batch's distinct videos."""
    is_present = np.zeros(n_items, bool)
    is_present[candidate] = True
    for ids, is_there in history.values():
        is_present[ids[is_there]] = True
    items = np.flatnonzero(is_present)
    local = np.zeros(n_items, np.int64)
    local[items] = np.arange(len(items))
    renamed = {name: (local[ids], is_there) for name, (ids, is_there) in history.items()}
    return items, renamed, local[candidate]

"""Batches of whole histories: every showing of one is an action to learn from, so the recurrent state is computed once for all of them.

A long history is cut into windows of `n_history` showings, each beginning in the middle of the one before, whose actions are those of
its later half: every action has at least half a window before it. An action's state is that of the showings strictly before it:
slots of one page at one time don't know each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Float32, Int64
from upnext.features.context import ContextEncoder
from upnext.features.showings import Showings
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.config import OffPolicyConfig
from upnext.retrieval.off_policy.step import idle_column, step_columns
from upnext.retrieval.training_rows import is_first_showing, strictly_before


@dataclass(frozen=True)
class Batch:
    """b windows of at most h showings, and the t actions in them. Videos stand as places in `items`."""

    items: Int64  # [v] the distinct videos, ascending item_id
    history: Int64  # [b, h] places
    steps: Float32  # [b, h, N_STEP]
    window: Int64  # [t] the action's window
    n_before: Int64  # [t] how many of the window's showings are strictly before it
    action: Int64  # [t] places
    row: Int64  # [t] in the showings
    context: Float32  # [t, c + 1] context, and hours since the last showing
    candidate: Int64  # [s] places; the actions and uniform draws, or every video once
    is_seen: Bool  # [t, v] the video is in the window before the action, and not the action's own


class HistoryReader:
    """Cuts shuffled batches out of a material's showings."""

    def __init__(self, material: Material, is_action: Bool, config: OffPolicyConfig) -> None:
        """is_action bool[m]: the showings to learn from (actions_of)."""
        self._showings = material.showings
        self._encoder: ContextEncoder = material.context
        self._n_items = material.n_items
        self._config = config
        self._is_action = is_action
        self._before = strictly_before(material.showings)
        first, last, since = _windows(material.showings, config.n_history)
        n_actions = np.concatenate([[0], np.cumsum(is_action)])
        kept = n_actions[last] > n_actions[since]
        self._first, self._last, self._since = first[kept], last[kept], since[kept]

    @property
    def scores_all(self) -> bool:
        """Whether the catalogue is so small that every video is a candidate."""
        return self._n_items <= self._config.n_uniform

    def n_batches(self) -> int:
        """Steps of one epoch."""
        return -(-len(self._first) // self._config.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`; order and negatives depend on the seed and the number alone."""
        rng = rng_for("off_policy", self._config.seed, number)
        size = self._config.batch_size
        length = self._last - self._first
        # windows of about one length share a batch: little padding, and which ones is another draw each time
        order = np.argsort(length * rng.uniform(0.8, 1.25, len(length)), kind="stable")
        for part in rng.permutation(self.n_batches()).tolist():
            yield self.batch(order[part * size : (part + 1) * size], rng)

    def batch(self, chosen: Int64, rng: np.random.Generator) -> Batch:
        """The windows at places `chosen`, with fresh uniform negatives."""
        showings = self._showings
        first, last = self._first[chosen], self._last[chosen]
        place = first[:, None] + np.arange(int((last - first).max()))
        is_there = place < last[:, None]
        place = np.where(is_there, place, first[:, None])
        is_target = is_there & self._is_action[place] & (place >= self._since[chosen][:, None])
        window, column = np.nonzero(is_target)
        row = place[window, column]
        n_before = np.maximum(self._before[row] - first[window], 0)
        history = showings.item_id[place]
        candidate = self._candidates(showings.item_id[row], rng)
        items, renamed = self._renamed(history, showings.item_id[row], candidate)
        steps = step_columns(showings.flags[place], showings.watch_s[place])
        is_seen = _seen(renamed[0], renamed[1], (window, n_before), len(items))
        return Batch(
            items, renamed[0], steps, window, n_before, renamed[1], row,
            self._context(row, first[window] + n_before - 1, n_before), renamed[2], is_seen,
        )  # fmt: skip

    def _candidates(self, action: Int64, rng: np.random.Generator) -> Int64:
        if self.scores_all:
            return np.arange(self._n_items)
        return np.concatenate([action, rng.integers(0, self._n_items, self._config.n_uniform)])

    def _renamed(self, *ids: Int64) -> tuple[Int64, list[Int64]]:
        """(the distinct videos, each array of item ids as places in them)."""
        is_present = np.zeros(self._n_items, np.bool_)
        for part in ids:
            is_present[part] = True
        items = np.flatnonzero(is_present)
        local = np.zeros(self._n_items, np.int64)
        local[items] = np.arange(len(items))
        return items, [local[part] for part in ids]

    def _context(self, row: Int64, last_row: Int64, n_before: Int64) -> Float32:
        """float32[t, c + 1]: zeros for untimed showings."""
        showings = self._showings
        context = np.zeros((len(row), self._encoder.size + 1), np.float32)
        moment = showings.moment[row]
        known, which = np.unique(moment, return_inverse=True)
        moments = [showings.moments[m] for m in known[known >= 0].tolist()]
        encoded = np.zeros((len(known), self._encoder.size), np.float32)
        encoded[known >= 0] = self._encoder.encode(moments)
        context[:, :-1] = encoded[which]
        last_us = np.where(n_before > 0, showings.time_us[np.maximum(last_row, 0)], 0)
        context[:, -1] = idle_column(showings.time_us[row], last_us)
        return context


def actions_of(showings: Showings, config: OffPolicyConfig, since_us: int = 0) -> Bool:
    """bool[m]: what there is to learn from: the first showing of a video to its viewer, as serving passes over what was seen.

    since_us: none of earlier showings."""
    chosen = is_first_showing(showings) & (showings.time_us >= since_us)
    return chosen if config.label_histories else chosen & (showings.time_us > 0)


def _windows(showings: Showings, n_history: int) -> tuple[Int64, Int64, Int64]:
    """(first row, row behind the last, row from which on there are actions) of every window."""
    starts = showings.starts()
    length = np.diff(starts)
    stride = n_history // 2
    n_windows = np.where(length > 0, 1 + np.maximum(-(-(length - n_history) // stride), 0), 0)
    user = np.repeat(np.arange(len(length)), n_windows)
    number = np.arange(len(user)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    first = starts[user] + number * stride
    last = np.minimum(first + n_history, starts[user + 1])
    since = np.where(number > 0, first + n_history - stride, first)
    return first, last, since


def _seen(history: Int64, action: Int64, at: tuple[Int64, Int64], n_items: int) -> Bool:
    """bool[t, v]: which videos stand before each action in its window; its own never."""
    window, n_before = at
    is_seen = np.zeros((len(action), n_items), np.bool_)
    row, column = np.nonzero(np.arange(history.shape[1]) < n_before[:, None])
    is_seen[row, history[window[row], column]] = True
    is_seen[np.arange(len(action)), action] = False
    return is_seen

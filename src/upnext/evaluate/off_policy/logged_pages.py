"""Logged pages seen through another release: how likely it would have shown each slot, and what it expects of it.

Each page is asked for again as it was drawn (features/slate_replay.py), and the target's whole pipeline runs up to the value: its own sources,
filters, features, ranker and settings. Its policy then gives, for every slot and given what the page showed in the slots before, the
probability of the video that was shown (0 where the target would not have it among its candidates) and the whole distribution, over
which its ranker's predictions are averaged. Both sides of a slot are probabilities given the same earlier slots, so their ratio is exact
whatever retrieval, caps and diversity do.

A page counts where its propensities are what the log says they are and the target could be asked the same: not a page of repeats (nothing
was drawn), not one made without its sources, state or ranker, not the caller's own candidates, and not one whose session was served
another page in the meantime. Those are left out and counted. A page down the ladder counts: its propensities are as exact as any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from upnext.catalog.view import CatalogView
from upnext.core.randomness import key_of
from upnext.core.types import Array, Bool, Candidates, Float64, Int64, Predictions, Query, Slate
from upnext.events.slate import SlateRecord
from upnext.features.slate_replay import ReplayedSlate
from upnext.pipeline.recommend import Pipeline, Scored, Surface
from upnext.policy.plackett_luce import draw_key_of
from upnext.ranking.value import contributions

REWARDS: Final = ("click", "relevant", "watch_s", "like", "value")
N_DRAWS: Final = 4  # of the target's own page, for the direct method
_HEAD_OF: Final = {"relevant": "relevant_shown"}  # the head on the scale of what is shown


class AlreadyUploaded:
    """A Filter for the past: what was uploaded after a request could not be shown to it."""

    name: Final = "uploaded"
    is_safety: Final = False

    def __init__(self, view: CatalogView) -> None:
        self._view = view

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]."""
        uploaded_us = self._view.uploaded_us[candidates.item_id]
        return np.asarray(uploaded_us <= query.request.time_us)


@dataclass(frozen=True)
class Pages:
    """n logged pages of at most k slots; where a page has no such slot, probabilities are 1 and the rest 0."""

    request_id: tuple[str, ...]  # [n]
    user_id: tuple[str, ...]  # [n]
    surface: tuple[str, ...]  # [n]
    time_us: Int64  # [n]
    n_slots: Int64  # [n]
    item_id: Int64  # [n, k] -1: no such slot
    logged: Float64  # [n, k] the logging policy's probability of the slot, given those before
    target: Float64  # [n, k] the target's
    predicted: (
        Float64  # [n, k, m] of each of REWARDS, what the target's ranker says of the video shown
    )
    expected: Float64  # [n, k, m] the mean of that over the target's distribution of the slot, given those before
    drawn: Float64  # [n, k, m] the mean over pages that the target draws itself
    outside: Float64  # [n, k] target's probability of videos that weren't logged as candidates; NaN: not logged

    def __len__(self) -> int:
        return len(self.request_id)

    def take(self, rows: Array) -> Pages:
        """The pages at positions int64[m] or in a mask."""
        at = np.arange(len(self))[rows]
        taken: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            column = getattr(self, name)
            is_text = isinstance(column, tuple)
            taken[name] = tuple(column[i] for i in at.tolist()) if is_text else column[at]
        return Pages(**taken)

    @staticmethod
    def joined(parts: Sequence[Pages]) -> Pages:
        """All pages of the parts, in order of time, ties by request_id."""
        k = max(part.logged.shape[1] for part in parts)
        columns: dict[str, Any] = {}
        for name in Pages.__dataclass_fields__:
            values = [getattr(part, name) for part in parts]
            if isinstance(values[0], tuple):
                columns[name] = sum(values, ())
            else:
                columns[name] = np.concatenate([_widened(name, v, k) for v in values])
        whole = Pages(**columns)
        order = np.lexsort((np.array(whole.request_id, dtype=object).astype(str), whole.time_us))
        return whole.take(order)


def _widened(name: str, column: Array, k: int) -> Array:
    if column.ndim == 1:
        return column
    missing = [(0, 0), (0, k - column.shape[1]), *[(0, 0)] * (column.ndim - 2)]
    return np.pad(column, missing, constant_values=_EMPTY.get(name, 0.0))


_EMPTY: Final = {"item_id": -1, "logged": 1.0, "target": 1.0, "outside": np.nan}


@dataclass
class Seen:
    """Pages in the making, and how many were left out for which reason."""

    n_draws: int = N_DRAWS
    rows: list[dict[str, Array]] = field(default_factory=list)
    records: list[tuple[str, str, str, int]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, pipeline: Pipeline, replayed: ReplayedSlate) -> None:
        """Takes a page in, or counts why not."""
        why = why_left_out(pipeline, replayed)
        if why:
            self.left_out[why] += 1
            return
        record = replayed.record
        self.rows.append(_page(pipeline, replayed, self.n_draws))
        self.records.append((record.request_id, record.user_id, record.surface, record.time_us))

    def pages(self) -> Pages:
        """What came together."""
        sizes = np.array([len(row["logged"]) for row in self.rows], np.int64)
        k = int(sizes.max(initial=0))
        stacked = {
            name: np.stack([_widened(name, row[name][None], k)[0] for row in self.rows])
            for name in (self.rows[0] if self.rows else ())
        }
        if not stacked:
            flat, deep = np.zeros((0, 0)), np.zeros((0, 0, len(REWARDS)))
            stacked = dict.fromkeys(("logged", "target", "outside"), flat)
            stacked |= dict.fromkeys(("predicted", "expected", "drawn"), deep)
            stacked["item_id"] = flat.astype(np.int64)
        names, users, surfaces, times = zip(*self.records) if self.records else ((), (), (), ())
        return Pages(names, users, surfaces, np.array(times, np.int64), sizes, **stacked)


def why_left_out(pipeline: Pipeline, replayed: ReplayedSlate) -> str:
    """Why a page can't be evaluated exactly, "" where it can."""
    record = replayed.record
    if not record.item_id:
        return "an empty page"
    if any(record.is_repeat):
        return "a page of repeats: nothing was drawn"
    if "given" in record.trace.get("fetched", {}):
        return "the caller's own candidates (/v1/rank)"
    if any(not flag.startswith("ladder:") for flag in record.degraded):
        return "made without a source, a filter, the state or the ranker"
    if not all(0 < p <= 1 for p in record.propensity):
        return "no propensity"
    if record.surface not in pipeline.surfaces:
        return "a surface that the settings don't have"
    if draw_key_of(replayed.query) != record.draw_key:
        if record.seed is None:
            return "logged before seeds were"
        return "its session was served another page while it was drawn"
    return ""


def _page(pipeline: Pipeline, replayed: ReplayedSlate, n_draws: int) -> dict[str, Array]:
    query, record = replayed.query, replayed.record
    surface = pipeline.surface(record.surface)
    scored, _ = pipeline.valued(query)
    slate = _slate_of(record)
    candidates, k = scored.candidates, len(slate)
    row_of = {item: row for row, item in enumerate(candidates.item_id.tolist())}
    rows = np.array([row_of.get(item, -1) for item in record.item_id], np.int64)
    is_candidate = rows >= 0
    reward = predicted_rewards(scored.predictions, surface.config.weights)
    n_rewards = len(REWARDS)
    target, predicted = np.zeros(k), np.zeros((k, n_rewards))
    expected, drawn = np.zeros((k, n_rewards)), np.zeros((k, n_rewards))
    outside = np.full(k, np.nan)
    if len(candidates):
        slots = surface.policy.distributions(query, candidates, scored.value, slate)
        target[is_candidate] = slots[np.flatnonzero(is_candidate), rows[is_candidate]]
        predicted[is_candidate] = reward[rows[is_candidate]]
        expected = slots @ reward
        drawn = _drawn(surface, query, scored, reward, k, n_draws)
        if record.candidates is not None:
            is_new = ~np.isin(candidates.item_id, record.candidates.item_id)
            outside = slots[:, is_new].sum(axis=1)
    return {
        "item_id": slate.item_id,
        "logged": slate.propensity,
        "target": target,
        "predicted": predicted,
        "expected": expected,
        "drawn": drawn,
        "outside": outside,
    }


def _slate_of(record: SlateRecord) -> Slate:
    return Slate(
        item_id=np.array(record.item_id, np.int64),
        value=np.array(record.value, np.float32),
        propensity=np.array(record.propensity, np.float64),
        n_eligible=np.array(record.n_eligible, np.int64),
        reason=tuple(record.reason),
        draw_key=record.draw_key,
    )


def _drawn(
    surface: Surface, query: Query, scored: Scored, reward: Float64, k: int, n_draws: int
) -> Float64:
    """float64[k, m]: the mean prediction slot by slot of pages drawn by the target, by keys of their own; zeros beyond its candidates."""
    order = np.argsort(scored.candidates.item_id)
    ids = scored.candidates.item_id[order]
    total = np.zeros((k, reward.shape[1]))
    for i in range(n_draws):
        seed = key_of("direct", i, query.request.seed)
        asked = replace(query, request=replace(query.request, seed=seed, size=k))
        page = surface.policy.arrange(asked, scored.candidates, scored.value)
        total[: len(page)] += reward[order[np.searchsorted(ids, page.item_id)]]
    return total / max(1, n_draws)


def predicted_rewards(predictions: Predictions, weights: Mapping[str, float]) -> Float64:
    """float64[n, m]: each of REWARDS as the ranker expects it of a showing; zeros where it has no such head."""
    columns = {task: predictions.task(task) for task in predictions.tasks}
    for task, head in _HEAD_OF.items():
        if head in columns:
            columns[task] = columns[head]
    return rewards_of(columns, weights, len(predictions.values))


def rewards_of(columns: Mapping[str, Array], weights: Mapping[str, float], n: int) -> Float64:
    """float64[n, m]: REWARDS from columns [n] by task, predictions or labels; a task that is absent or not known counts nothing."""
    known = {task: np.nan_to_num(column) for task, column in columns.items()}
    found = [known.get(name, np.zeros(n)) for name in REWARDS if name != "value"]
    weighed = [task for task in weights if task in known]
    value = np.zeros(n)
    if weighed:
        together = np.stack([known[task] for task in weighed], axis=1).astype(np.float32)
        for part in contributions(weighed, together, weights).values():
            value += part
    return np.stack([*found, value], axis=1).astype(np.float64)

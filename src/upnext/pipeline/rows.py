"""The ranker's rows: the log replayed through the serving pipeline, request by request.

Every drawn request is retrieved as it would have been served, its features read at that instant, and its rows are what was shown (with what came
of it), what was retrieved and found relevant on a later page soon after, and a sample of the rest (not relevant, as far as the log tells). The
relevant head learns from the relevant and from an even sample of all others that it would have ranked, shown or not; so it learns the order of exactly those
lists, and its scale is that of the sample. With every shown video among the others it would hold against a video that it is one of those that are
shown. A few requests are listed a second time with nothing excluded as seen, for the relevant
head alone: it must know what having been seen means, and every other list says that nothing was. Features are read on the whole list before the
sample is drawn: places inside a source's list stay those of serving.

Heads that are given a showing learn from far more days than the relevant head, whose rows must hold the scores of generators that did not see them. Requests of
before `Drawing.lists_from_us` are rows of what was shown alone: what came of it is known, what sources and generators would have said is not (NaN).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from upnext.core.clock import MINUTE_US
from upnext.core.protocols import Progress
from upnext.core.randomness import key_of, rng_for
from upnext.core.types import NO_ITEMS, Candidates, Float32, Int64, Query
from upnext.features.replay import Replayed
from upnext.pipeline.assemble import Assembled
from upnext.pipeline.blend import best_blended
from upnext.pipeline.recommend import Pipeline
from upnext.ranking.rows import RankerRows, numbered

LISTS_EVERY_US = 10 * MINUTE_US
OPEN_EVERY = 7  # one drawn request in so many is also listed with seen videos let in
RETRIEVED = ("source:", "has:", "place:", "n_sources", "score:")  # columns begin with
SHOWN_TASKS = (
    "click", "watch_s", "completed", "like", "follow", "share", "dislike", "skip", "long_view",
)  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """Which requests become rows, and how many unshown candidates each."""

    share: float  # of requests
    unshown: int
    seed: int
    part: int = 0  # which of n_parts equal parts of the drawn requests: parts together are the whole, in any number
    n_parts: int = 1
    lists_from_us: int = 0  # requests of before are told by what was shown alone
    shown_share: float = 1.0  # of those requests
    soon_h: float = 0.0  # hours in which a retrieved video that is shown on another page and found relevant counts as relevant


@dataclass
class Choices:
    """What the merge learns from: of requests in order of time, retrieved candidates and which of them were relevant."""

    blend: Float32  # [m, b]
    label: Float32  # [m] 0 or 1
    group: Int64  # [m] the viewer
    time_us: Int64  # [m] when the list was made
    surface: Int64  # [m] whose sources and weights made it: its place in GatheredRows.surfaces

    def __len__(self) -> int:
        return len(self.label)

    def requests(self) -> Int64:
        """int64[m] ascending from 0: the number of each row's request."""
        return numbered(self.group, self.time_us)


@dataclass
class GatheredRows:
    """Rows of the ranker with the columns of the blend beside them."""

    ranker: RankerRows
    blend: Float32  # [m, b]
    choices: Choices
    blend_names: tuple[str, ...]  # [b]
    surface: Int64  # [n] of the ranker's rows
    surfaces: tuple[str, ...]  # names


@dataclass
class _Columns:
    user: list[Float32] = field(default_factory=list)
    items: list[Float32] = field(default_factory=list)
    blend: list[Float32] = field(default_factory=list)
    labels: dict[str, list[Float32]] = field(default_factory=dict)
    weight: list[Float32] = field(default_factory=list)
    choices: list[Choices] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    time_us: list[int] = field(default_factory=list)
    surface: list[int] = field(default_factory=list)
    n: list[int] = field(default_factory=list)


def gather_rows(
    requests: Iterable[Replayed], assembled: Assembled, drawing: Drawing, progress: Progress
) -> GatheredRows:
    """The rows of a share of the replayed requests, in order of time."""
    rng = rng_for(drawing.seed, "ranker-rows")
    columns = _Columns()
    lists_at_us = -LISTS_EVERY_US
    n_drawn = 0
    for replayed in requests:
        request = replayed.query.request
        progress.advance(1)
        is_listed = request.time_us >= drawing.lists_from_us
        share = drawing.share if is_listed else drawing.shown_share
        if rng.random() >= share or not len(replayed.item_id):
            continue
        if not is_listed:
            n_drawn += 1
            if n_drawn % drawing.n_parts == drawing.part:
                _add_shown(columns, replayed, assembled)
            continue
        if request.time_us - lists_at_us >= LISTS_EVERY_US:
            lists_at_us = request.time_us
            assembled.refresh_lists(lists_at_us)
        n_drawn += 1
        if n_drawn % drawing.n_parts == drawing.part:
            sample = rng_for(drawing.seed, "unshown", n_drawn)
            _add(columns, replayed, assembled, drawing.unshown, sample)
            if drawing.unshown and n_drawn % OPEN_EVERY == 0:
                _add(columns, replayed, assembled, drawing.unshown, sample, is_open=True)
    return _rows(columns, assembled)


def _add_shown(columns: _Columns, replayed: Replayed, assembled: Assembled) -> None:
    pipeline, query = assembled.pipeline, replayed.query
    n = len(replayed.item_id)
    features = pipeline.features.read(query, Candidates(replayed.item_id))
    features.items[:, said_by_retrieval(features.item_names)] = np.nan
    columns.user.append(features.user)
    columns.items.append(features.items)
    columns.blend.append(np.full((n, len(pipeline.blend.names)), np.nan, np.float32))
    columns.weight.append(np.ones(n, np.float32))
    columns.n.append(n)
    columns.group.append(key_of(query.request.user_id) >> 1)
    columns.time_us.append(query.request.time_us)
    surface = pipeline.logged_surface(query.request.surface)
    columns.surface.append(_place_of(surface.name, pipeline))
    _add_labels(columns, replayed, np.full(n, np.nan, np.float32), is_open=False)


def _add(
    columns: _Columns,
    replayed: Replayed,
    assembled: Assembled,
    n_unshown: int,
    rng: np.random.Generator,
    *,
    is_open: bool = False,
) -> None:
    pipeline, query = assembled.pipeline, replayed.query
    if is_open:
        query = replace(query, user=replace(query.user, seen=NO_ITEMS, seen_order=NO_ITEMS))
    retrieved = pipeline.retrieved(query)
    surface = pipeline.logged_surface(query.request.surface)
    if n_unshown and not is_open:
        columns.choices.append(_choices(pipeline, query, retrieved, replayed, n_unshown, rng))
    ranked = best_blended(retrieved, surface.config.n_ranked)
    missing = replayed.item_id[~np.isin(replayed.item_id, ranked.item_id)]
    candidates = ranked
    if len(missing):
        known = retrieved.take(np.isin(retrieved.item_id, missing))
        new = Candidates(missing[~np.isin(missing, known.item_id)])
        candidates = pipeline.blend.scored(
            query, Candidates.union([ranked, known, new]), surface.name
        )
    features = pipeline.features.read(query, candidates)
    place = {int(item): row for row, item in enumerate(candidates.item_id)}
    shown = np.array([place[int(item)] for item in replayed.item_id], np.int64)
    is_shown = np.isin(candidates.item_id, replayed.item_id)
    is_relevant = np.isin(candidates.item_id, _relevant(replayed))
    is_listed = np.arange(len(candidates)) < len(ranked)
    told = is_listed & is_relevant
    if n_unshown:
        told[rng.permutation(np.flatnonzero(is_listed & ~is_relevant))[:n_unshown]] = True
    else:  # shown rows alone
        told |= is_listed & is_shown
    rows = np.concatenate([shown, np.flatnonzero(told & ~is_shown)])
    columns.user.append(features.user)
    columns.items.append(features.items[rows])
    columns.blend.append(pipeline.blend.columns(query, candidates.take(rows)))
    columns.weight.append(np.ones(len(rows), np.float32))
    relevant = np.where(told, is_relevant, np.nan).astype(np.float32)[rows]
    columns.n.append(len(rows))
    columns.group.append(key_of(query.request.user_id) >> 1)
    columns.time_us.append(query.request.time_us + is_open)  # a list of its own
    columns.surface.append(_place_of(surface.name, pipeline))
    _add_labels(columns, replayed, relevant, is_open=is_open)


@cache
def said_by_retrieval(item_names: tuple[str, ...]) -> Int64:
    """int64[r]: the places of the columns that sources and generators fill."""
    said = [i for i, name in enumerate(item_names) if name.startswith(RETRIEVED)]
    return np.array(said, np.int64)


def _relevant(replayed: Replayed) -> Int64:
    """What the viewer found relevant, on this page or soon after."""
    shown = replayed.item_id[replayed.labels["relevant"] > 0]
    return np.concatenate([shown, replayed.soon])


def _choices(
    pipeline: Pipeline,
    query: Query,
    retrieved: Candidates,
    replayed: Replayed,
    n_others: int,
    rng: np.random.Generator,
) -> Choices:
    surface = pipeline.logged_surface(query.request.surface)
    is_relevant = np.isin(retrieved.item_id, _relevant(replayed))
    relevant, others = np.flatnonzero(is_relevant), np.flatnonzero(~is_relevant)
    rows = np.concatenate([relevant, np.sort(rng.permutation(others)[:n_others])])
    if not len(relevant):  # says nothing
        rows = rows[:0]
    return Choices(
        pipeline.blend.columns(query, retrieved.take(rows)),
        is_relevant[rows].astype(np.float32),
        np.full(len(rows), key_of(query.request.user_id) >> 1, np.int64),
        np.full(len(rows), query.request.time_us, np.int64),
        np.full(len(rows), _place_of(surface.name, pipeline), np.int64),
    )


def _place_of(surface: str, pipeline: Pipeline) -> int:
    return list(pipeline.surfaces).index(surface)


def _add_labels(columns: _Columns, replayed: Replayed, relevant: Float32, *, is_open: bool) -> None:
    """relevant float32[n]: of the shown, then of others, NaN where the relevant head learns nothing from the row."""
    unknown = np.full(len(relevant) - len(replayed.item_id), np.nan, np.float32)
    found = {"relevant": relevant}
    found["relevant_shown"] = np.concatenate([replayed.labels["relevant"], unknown])
    for task in SHOWN_TASKS:
        found[task] = np.concatenate([replayed.labels[task], unknown])
    for task, label in found.items():
        if is_open and task != "relevant":
            label = np.full(len(label), np.nan, np.float32)
        columns.labels.setdefault(task, []).append(label)


def _rows(columns: _Columns, assembled: Assembled) -> GatheredRows:
    plan = assembled.pipeline.features
    n = np.array(columns.n, np.int64)
    f_user, f_item = len(plan.user_names), len(plan.item_names)
    ranker = RankerRows(
        user=np.repeat(_stacked(columns.user, f_user), n, axis=0),
        items=_joined(columns.items, f_item),
        labels={task: np.concatenate(label) for task, label in columns.labels.items()},
        weight=np.concatenate(columns.weight) if columns.weight else np.zeros(0, np.float32),
        group=np.repeat(np.array(columns.group, np.int64), n),
        time_us=np.repeat(np.array(columns.time_us, np.int64), n),
        user_names=plan.user_names,
        item_names=plan.item_names,
    )
    names = assembled.pipeline.blend.names
    return GatheredRows(
        ranker,
        _joined(columns.blend, len(names)),
        _chosen(columns.choices, len(names)),
        names,
        np.repeat(np.array(columns.surface, np.int64), n),
        tuple(assembled.pipeline.surfaces),
    )


def _chosen(parts: Sequence[Choices], width: int) -> Choices:
    """All parts' choices in order of time; requests of one instant in order of viewers."""
    none = np.zeros(0, np.int64)
    group = np.concatenate([none, *(p.group for p in parts)])
    time_us = np.concatenate([none, *(p.time_us for p in parts)])
    surface = np.concatenate([none, *(p.surface for p in parts)])
    blend = _joined([p.blend for p in parts], width)
    label = np.concatenate([np.zeros(0, np.float32), *(p.label for p in parts)])
    order = np.lexsort((group, time_us))
    return Choices(blend[order], label[order], group[order], time_us[order], surface[order])


def _stacked(rows: list[Float32], width: int) -> Float32:
    return np.stack(rows) if rows else np.zeros((0, width), np.float32)


def _joined(parts: list[Float32], width: int) -> Float32:
    return np.concatenate(parts) if parts else np.zeros((0, width), np.float32)


def merged_rows(parts: Sequence[GatheredRows]) -> GatheredRows:
    """The rows of all parts in order of time; requests of one instant in order of viewers."""
    first = parts[0].ranker
    ranker = RankerRows(
        user=np.concatenate([p.ranker.user for p in parts]),
        items=np.concatenate([p.ranker.items for p in parts]),
        labels={
            task: np.concatenate([p.ranker.labels[task] for p in parts if p.ranker.labels])
            for task in sorted({task for p in parts for task in p.ranker.labels})
        },
        weight=np.concatenate([p.ranker.weight for p in parts]),
        group=np.concatenate([p.ranker.group for p in parts]),
        time_us=np.concatenate([p.ranker.time_us for p in parts]),
        user_names=first.user_names,
        item_names=first.item_names,
    )
    order = np.lexsort((ranker.group, ranker.time_us))
    return GatheredRows(
        ranker.take(order),
        np.concatenate([p.blend for p in parts])[order],
        _chosen([p.choices for p in parts], len(parts[0].blend_names)),
        parts[0].blend_names,
        np.concatenate([p.surface for p in parts])[order],
        parts[0].surfaces,
    )


def share_of(n_showings: int, at_most: int) -> float:
    """The share of requests to draw so that about `at_most` of their showings become rows."""
    return min(1.0, at_most / max(1, n_showings))

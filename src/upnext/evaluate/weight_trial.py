"""What other weights of the value would do to the pages of a replay: both are drawn from the same candidates, predictions and random numbers.

It says what pages hold, not what viewers would do: for that there are experiments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.protocols import Policy, Progress
from upnext.core.types import Estimate, Float64, Int64, Query
from upnext.evaluate.bootstrap import interval
from upnext.features.reading import ItemColumns
from upnext.features.replay import Replayed
from upnext.pipeline.assemble import Assembled
from upnext.pipeline.recommend import Scored
from upnext.ranking.value import value_of

REFRESH_US = HOUR_US // 6
PAGE = ("duration_s", "age_h", "categories", "creators")


@dataclass(frozen=True, slots=True)
class Shift:
    """One figure of a page, means over viewers: under both weights, and the difference."""

    before: Estimate
    after: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class WeightTrial:
    """What changed over all pages."""

    n_pages: int
    n_viewers: int
    kept: Estimate  # share of a page's videos that both weights show
    shifts: Mapping[str, Shift]  # by task: mean prediction; and by PAGE


@dataclass
class _Told:
    viewer: list[str] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    figures: list[tuple[Float64, Float64]] = field(default_factory=list)


def try_weights(
    requests: Iterable[Replayed],
    assembled: Assembled,
    view: ItemColumns,
    surface: str,
    weights: tuple[Mapping[str, float], Mapping[str, float]],
    n_pages: int,
    progress: Progress,
) -> WeightTrial:
    """The first n_pages of the surface's requests, each page drawn under both weights (present, proposed)."""
    pipeline, told, lists_us = assembled.pipeline, _Told(), -REFRESH_US
    own = pipeline.surface(surface)
    tasks: tuple[str, ...] = ()
    progress.start("pages under both weights", n_pages, "pages")
    for replayed in requests:
        query = replayed.query
        if pipeline.logged_surface(query.request.surface).name != surface:
            continue
        if query.request.time_us - lists_us >= REFRESH_US:
            lists_us = query.request.time_us
            assembled.refresh_lists(lists_us)
        request = replace(query.request, surface=surface, size=own.config.size)
        query = replace(query, request=request)
        scored = pipeline.score(query, pipeline.retrieved(query))
        if len(scored.candidates):
            tasks = scored.predictions.tasks
            slates = [_drawn(own.policy, query, scored, one) for one in weights]
            told.viewer.append(request.user_id)
            told.kept.append(float(np.isin(slates[0], slates[1]).mean()) if len(slates[0]) else 1.0)
            both = [_figures(scored, slate, view, request.time_us) for slate in slates]
            told.figures.append((both[0], both[1]))
            progress.advance(1)
        if len(told.kept) >= n_pages:
            break
    progress.done()
    return _trial(told, (*tasks, *PAGE))


def _drawn(policy: Policy, query: Query, scored: Scored, weights: Mapping[str, float]) -> Int64:
    value = value_of(query, scored.predictions, weights)
    return policy.arrange(query, scored.candidates, value).item_id


def _figures(scored: Scored, slate: Int64, view: ItemColumns, now_us: int) -> Float64:
    place = {int(item): row for row, item in enumerate(scored.candidates.item_id)}
    rows = [place[int(item)] for item in slate]
    predicted = scored.predictions.values[rows].mean(axis=0, dtype=np.float64)
    uploaded = view.uploaded_us[slate]
    known = uploaded > 0
    age_h = ((now_us - uploaded[known]) / HOUR_US).mean() if known.any() else np.nan
    duration = view.duration_s[slate]
    duration_s = np.nanmean(duration) if (~np.isnan(duration)).any() else np.nan
    n_different = [len(np.unique(column[slate])) for column in (view.category, view.creator)]
    return np.concatenate([predicted, [duration_s, age_h, *n_different]])


def _trial(told: _Told, names: tuple[str, ...]) -> WeightTrial:
    viewers, of_page = np.unique(np.array(told.viewer), return_inverse=True)
    n = np.maximum(np.bincount(of_page, minlength=len(viewers)), 1)

    def by_viewer(values: Float64) -> Float64:
        return np.bincount(of_page, values, minlength=len(viewers)) / n

    shifts = {}
    for i, name in enumerate(names if told.figures else ()):
        before, after = (
            by_viewer(np.array([one[side][i] for one in told.figures])) for side in (0, 1)
        )
        shifts[name] = Shift(interval(before), interval(after), interval(after - before))
    kept = interval(by_viewer(np.array(told.kept, np.float64)))
    return WeightTrial(len(told.kept), len(viewers), kept, shifts)

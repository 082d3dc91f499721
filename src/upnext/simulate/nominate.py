"""Videos drawn for viewers from a mixture of reach, chance and topic, in time that doesn't grow with the catalogue.

The mixture's weight of video v for viewer u is REACH spoken(u, v) reach(v) + CHANCE + TOPIC known(u, v) spoken(u, v) reach(v)^.7, each part scaled to
mean 1. Each part is a sum of cells (a language, or a topic in a language), so a draw is a cell, then a place in its cumulative weights.
Drawing one after the other and leaving out what came before is the Plackett-Luce law over the weights (Luce 1959); leaving a draw out with
a probability of its own (it is stale, or was seen) multiplies its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from upnext.core.types import Bool, Float64, Int64
from upnext.simulate.draws import UInt64, further, keys_of, uniform
from upnext.simulate.platform import Platform
from upnext.simulate.visits import Pages
from upnext.simulate.vocabulary import LANGUAGES

_SPARE = (
    3,
    8,
    20,
    50,
)  # draws per video still wanted, round by round; then a page that is short looks at everything
_AT_ONCE = 2_000_000  # cells of a table of pages by videos
_SPOKEN = 0.7  # of the weight, lost in a language that isn't the viewer's first

# (viewer int64[n], video int64[n], time_us int64[n]) -> float64[n] in 0 to 1
Keep = Callable[[Int64, Int64, Int64], Float64]


@dataclass(frozen=True)
class Mix:
    """Shares of the three parts; they sum to 1."""

    reach: float
    chance: float
    topic: float


CHANCE_ALONE = Mix(0.0, 1.0, 0.0)


@dataclass(frozen=True)
class _Cells:
    """Videos sorted by cell, with cumulative weights."""

    video: Int64  # [m]
    below: Float64  # [m + 1] cumulative weight, from 0
    first: Int64  # [cells + 1] where each cell begins

    def weight(self) -> Float64:
        """float64[cells]: each cell's total."""
        return np.asarray(np.diff(self.below[self.first]), np.float64)

    def pick(self, cell: Int64, u: Float64) -> Int64:
        """int64[n]: a video of each cell int64[n], in proportion to the weights."""
        low, high = self.below[self.first[cell]], self.below[self.first[cell + 1]]
        at = np.searchsorted(self.below, low + u * (high - low), "right") - 1
        return self.video[np.clip(at, self.first[cell], self.first[cell + 1] - 1)]


def _cells(video: Int64, cell: Int64, weight: Float64, n_cells: int) -> _Cells:
    order = np.argsort(cell, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(weight[order])])
    return _Cells(video[order], below, np.searchsorted(cell[order], np.arange(n_cells + 1)))


class Nominations:
    """The videos of one day, ready to be drawn from."""

    def __init__(self, platform: Platform, day: int, mix: Mix) -> None:
        self._platform = platform
        self.video = platform.published(day)
        videos = platform.world.videos
        n_languages = len(LANGUAGES)
        language = videos.language[self.video]
        reach = np.exp(videos.audience + videos.quality).astype(float)[self.video]
        cell = videos.topic[self.video] * n_languages + language
        self._by_language = _cells(self.video, language, reach, n_languages)
        self._by_topic = _cells(self.video, cell, reach**0.7, 32 * n_languages)
        self._reach_below, self._topic_below = self._viewers_cells()
        n = len(self.video)
        totals = self._by_language.weight().sum()
        spread = mix.reach * n * self._reach_below[-1] / max(totals, 1e-300)
        has_topic = self._topic_below[-1] > 0
        parts = np.stack(
            [spread, np.full(len(spread), mix.chance * n), mix.topic * n * has_topic], 1
        )
        below = np.cumsum(parts, axis=1) / parts.sum(axis=1, keepdims=True) if n else parts
        self._part_below = np.ascontiguousarray(below.T)

    def _viewers_cells(self) -> tuple[Float64, Float64]:
        """Cumulative weights of the cells that each viewer draws from: float64[languages, u], float64[4 * languages, u]."""
        viewers = self._platform.world.viewers
        n_languages = len(LANGUAGES)
        spoken = np.full((len(viewers.language), n_languages), 1 - _SPOKEN)
        spoken[np.arange(len(spoken)), viewers.language] = 1.0
        reach = spoken * self._by_language.weight()
        of_topic = self._by_topic.weight().reshape(32, n_languages)
        topical = of_topic[viewers.interest] * (viewers.interest >= 0)[:, :, None] * spoken[:, None]
        below = (np.cumsum(reach, 1), np.cumsum(topical.reshape(len(spoken), -1), 1))
        return np.ascontiguousarray(below[0].T), np.ascontiguousarray(below[1].T)

    def draw(self, viewer: Int64, keys: UInt64) -> Int64:
        """int64[n]: a video for each of n viewers."""
        part = (self._part_below[:, viewer] <= uniform(keys, "choose")).sum(axis=0, dtype=np.int8)
        within, place = uniform(keys, "choose", 1), uniform(keys, "choose", 2)
        drawn = self.video[(place * len(self.video)).astype(np.int64)]
        by_reach = np.flatnonzero(part == 0)
        language = _chosen(self._reach_below[:, viewer[by_reach]], within[by_reach])
        drawn[by_reach] = self._by_language.pick(language, place[by_reach])
        by_topic = np.flatnonzero(part == 2)
        cell = _chosen(self._topic_below[:, viewer[by_topic]], within[by_topic])
        interest, language = np.divmod(cell, len(LANGUAGES))
        topic = self._platform.world.viewers.interest[viewer[by_topic], interest]
        drawn[by_topic] = self._by_topic.pick(topic * len(LANGUAGES) + language, place[by_topic])
        return drawn

    def distinct(self, pages: Pages, n: int, keep: Keep) -> Int64:
        """int64[p, n]: n different videos for each page, in the order drawn; -1 where there are no more to be had.

        `keep` says with which probability a drawn video stays; 0 is never taken."""
        found = np.full((len(pages), n), -1, np.int64)
        if len(self.video) == 0:
            return found
        short, first = np.arange(len(pages)), 0
        for spare in _SPARE:
            if len(short) == 0:
                break
            n_missing = int((found[short] < 0).sum(axis=1).max())
            nth = np.arange(first, first + spare * n_missing)
            found[short] = self._further(pages, short, found[short], nth, keep)
            short = short[found[short, -1] < 0]
            first = int(nth[-1]) + 1
        at_once = max(1, _AT_ONCE // len(self.video))
        for begin in range(0, len(short), at_once):
            rows = short[begin : begin + at_once]
            found[rows] = self._from_all(pages, rows, found[rows], keep)
        return found

    def _further(self, pages: Pages, rows: Int64, found: Int64, nth: Int64, keep: Keep) -> Int64:
        """What these pages have, and the nth draws of each that stay."""
        page = keys_of(self._platform.draw_seed, pages.viewer[rows], pages.visit[rows])
        keys = further(page[:, None], nth).ravel()
        at = np.repeat(rows, len(nth))
        viewer = pages.viewer[at]
        video = self.draw(viewer, keys)
        stays = uniform(keys, "accept") < keep(viewer, video, pages.time_us[at])
        drawn = np.where(stays, video, -1).reshape(len(rows), -1)
        return first_distinct(np.concatenate([found, drawn], axis=1), found.shape[1])

    def _from_all(self, pages: Pages, rows: Int64, found: Int64, keep: Keep) -> Int64:
        """What is missing, in proportion to `keep` alone: an exponential race among all videos."""
        n = len(self.video)
        at, video = np.repeat(rows, n), np.tile(self.video, len(rows))
        viewer = pages.viewer[at]
        keys = keys_of(self._platform.draw_seed, viewer, pages.visit[at], -1 - video)
        weight = keep(viewer, video, pages.time_us[at])
        with np.errstate(divide="ignore"):
            arrival = (-np.log1p(-uniform(keys, "choose")) / weight).reshape(len(rows), n)
        order = _smallest(arrival, 2 * found.shape[1])
        came = np.isfinite(np.take_along_axis(arrival, order, axis=1))
        drawn = np.where(came, self.video[order], -1)
        return first_distinct(np.concatenate([found, drawn], axis=1), found.shape[1])


def _smallest(value: Float64, k: int) -> Int64:
    """int64[p, min(k, n)]: the columns of the smallest values of each row float64[p, n], ascending."""
    if k < value.shape[1]:
        few = np.argpartition(value, k, axis=1)[:, :k]
    else:
        few = np.tile(np.arange(value.shape[1]), (len(value), 1))
    order = np.argsort(np.take_along_axis(value, few, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(few, order, axis=1), np.int64)


def first_distinct(video: Int64, k: int) -> Int64:
    """int64[p, k]: the first k different videos of each row int64[p, n] in order, passing over -1; -1 where there are no more."""
    n = video.shape[1]
    ranked, order = np.divmod(np.sort(video * n + np.arange(n), axis=1), n)
    again = np.zeros(video.shape, np.bool_)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    fit = np.empty(video.shape, np.bool_)
    np.put_along_axis(fit, order, ~again, axis=1)
    return first_that_fit(video, fit & (video >= 0), k)


def first_that_fit(video: Int64, fit: Bool, k: int) -> Int64:
    """int64[p, k]: the first videos of each row int64[p, n] that fit bool[p, n]; -1 where there are no more."""
    place = np.cumsum(fit, axis=1)
    row, column = np.nonzero(fit & (place <= k))
    chosen = np.full((len(video), k), -1, np.int64)
    chosen[row, place[row, column] - 1] = video[row, column]
    return chosen


def _chosen(below: Float64, u: Float64) -> Int64:
    """int64[n]: the cell where the running weight passes u float64[n] of the column's total, of float64[cells, n]."""
    cell = (below <= u * below[-1]).sum(axis=0, dtype=np.int16)
    return np.asarray(np.minimum(cell, len(below) - 1), np.int64)

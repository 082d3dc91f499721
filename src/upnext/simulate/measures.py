"""What a day on a platform was, as one row: use, coming back, satisfaction, creators, variety."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upnext.core.types import Bool, Float64, Int64
from upnext.evaluate.diversity import gini
from upnext.simulate import tastes
from upnext.simulate.behaviour import Outcome
from upnext.simulate.platform import Platform
from upnext.simulate.visits import Pages, Shown
from upnext.simulate.world import category_of_topic

_SUMMED = ("pages", "impressions", "starts", "watch_h", "likes", "uploads", "created")
_AVERAGED = (
    "viewers", "return_d1", "return_d7", "satisfaction", "coverage", "gini", "entropy", "moved",
)  # fmt: skip


@dataclass(frozen=True)
class DayRow:
    """One day; shares and means are NaN on a day that has nothing to divide by."""

    day: int
    viewers: int  # who came (daily active viewers)
    pages: int
    impressions: int
    starts: int  # clicks, and plays where videos start by themselves
    watch_h: float
    likes: int
    return_d1: float  # of the viewers of the day before, who came
    return_d7: float  # of the viewers seven days before, who came
    satisfaction: float  # mean over the viewers who came, -1 to 1, at the day's end
    active: int  # viewers who have not left for good
    creators: int  # who have not left
    uploads: int  # that came out
    created: int  # by viewers themselves
    coverage: float  # of the videos that could be shown, the share that was
    gini: float  # of impressions over those videos, 0: all alike
    entropy: float  # of a viewer's day over categories, in bits, mean over viewers who watched
    moved: float  # share of a viewer's taste that what was shown has moved, mean over viewers


class DayTally:
    """Sums of a day under way, and who came on the days before."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._came: list[Bool] = []
        self._n_created = int(platform.n_created.sum())
        self._open()

    def _open(self) -> None:
        world = self._platform.world
        self._shown: Int64 = np.zeros(world.n_videos, np.int64)
        self._watch_s: Float64 = np.zeros((world.n_viewers, 8))
        self._came_today: Bool = np.zeros(world.n_viewers, np.bool_)
        self._counts = np.zeros(3, np.int64)  # pages, starts, likes

    def add(self, pages: Pages, shown: Shown, done: Outcome) -> None:
        """Counts a round."""
        self._came_today[pages.viewer] = True
        shown, done = shown.take(done.reached), done.take(done.reached)
        self._counts += np.array([len(pages), done.started.sum(), done.like.sum()])
        self._shown += np.bincount(shown.video, minlength=len(self._shown))
        category = category_of_topic()[self._platform.world.videos.topic[shown.video]]
        cells = np.bincount(shown.viewer * 8 + category, done.watch_s, self._watch_s.size)
        self._watch_s += cells.reshape(self._watch_s.shape)

    def close(self, day: int) -> DayRow:
        """The row of the day that has ended; the next one is open."""
        platform, came = self._platform, self._came_today
        self._came.append(came)
        could = platform.published(day)
        shown = self._shown[could]
        start_us, end_us = platform.day_start_us(day), platform.day_start_us(day + 1)
        uploaded_us = platform.world.videos.uploaded_us
        today = (uploaded_us >= start_us) & (uploaded_us < end_us)
        n_created = int(platform.n_created.sum())
        row = DayRow(
            day=day,
            viewers=int(came.sum()),
            pages=int(self._counts[0]),
            impressions=int(self._shown.sum()),
            starts=int(self._counts[1]),
            watch_h=float(self._watch_s.sum() / 3_600),
            likes=int(self._counts[2]),
            return_d1=self._returned(1),
            return_d7=self._returned(7),
            satisfaction=_mean(platform.satisfaction[came]),
            active=int(platform.is_active.sum()),
            creators=int(platform.creator_alive.sum()),
            uploads=int((platform.is_published & today).sum()),
            created=n_created - self._n_created,
            coverage=_mean((shown > 0).astype(float)),
            gini=float(gini(shown, len(shown))),
            entropy=_mean(entropy_bits(self._watch_s[self._watch_s.sum(axis=1) > 0])),
            moved=_mean(tastes.moved(platform.drift, platform.taste)),
        )
        self._n_created = n_created
        self._open()
        return row

    def _returned(self, days: int) -> float:
        if len(self._came) <= days:
            return float("nan")
        return _mean(self._came[-1][self._came[-1 - days]].astype(float))


def totals_of(rows: Sequence[DayRow], n_viewers: int) -> dict[str, float]:
    """The days together, of a world of n viewers: sums, means over days, and the state at the end."""
    sums = {name: sum(getattr(row, name) for row in rows) for name in _SUMMED}
    means = {name: _mean_known([getattr(row, name) for row in rows]) for name in _AVERAGED}
    return {
        **sums,
        "watch_s_per_viewer_day": 3_600 * sums["watch_h"] / (n_viewers * len(rows)),
        "start_rate": sums["starts"] / max(sums["impressions"], 1),
        **means,
        "active_at_end": rows[-1].active,
        "creators_at_end": rows[-1].creators,
    }


def _mean_known(values: list[float]) -> float:
    return _mean(np.array([value for value in values if not np.isnan(value)]))


def entropy_bits(amount: Float64) -> Float64:
    """float64[n]: the entropy of each row's shares, of float64[n, cells] amounts that don't all vanish."""
    share = amount / amount.sum(axis=1, keepdims=True)
    return np.asarray(-(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1), np.float64)


def _mean(values: Float64) -> float:
    return float(values.mean()) if len(values) else float("nan")

"""The figures of a day in a closed loop: the platform's row (simulate/measures.py), and what becomes of single pages."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from upnext.core.types import Float64, Int64
from upnext.evaluate.diversity import category_diversity
from upnext.simulate.behaviour import Outcome
from upnext.simulate.measures import DayRow, DayTally
from upnext.simulate.platform import Platform
from upnext.simulate.visits import SHORTS, Pages, Shown
from upnext.simulate.world import category_of_topic

COMPLETED = 0.95  # of the duration, as features/labels.py has it


@dataclass(frozen=True)
class LoopDay:
    """One day; shares are NaN where there is nothing to share."""

    row: DayRow
    ctr: float  # clicked of what was shown where a click comes first
    completion: float  # watched to .95 of the length, of what was started
    diversity: float  # share of a page's pairs of videos that are of different categories, mean over pages of two or more
    n_unknown: int  # showings of videos that the world doesn't know

    def to_json(self) -> dict[str, float | int | None]:
        """Plain values, NaN as None."""
        values = {**asdict(self.row), **{k: v for k, v in asdict(self).items() if k != "row"}}
        return {k: None if v != v else v for k, v in values.items()}


class LoopTally:
    """Counts the pages of one day after the other."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._category = category_of_topic()[platform.world.videos.topic]
        self._days = DayTally(platform)
        self._open()

    def _open(self) -> None:
        self._diversity: list[Float64] = [np.zeros(0)]
        self._offered = self._clicks = self._starts = self._completed = self._unknown = 0

    def add(self, pages: Pages, shown: Shown, place: Int64, done: Outcome) -> None:
        """Some pages with what came of them; `place` int64[n] is each showing's page."""
        slates = np.full((len(pages), int(shown.slot.max(initial=0)) + 1), -1, np.int64)
        slates[place, shown.slot] = shown.video
        self._diversity.append(category_diversity(slates, slates.shape[1], self._category))
        self._unknown += int((shown.video < 0).sum())
        known = np.flatnonzero(shown.video >= 0)
        shown, done = shown.take(known), done.take(known)
        self._days.add(pages, shown, done)
        clickable = shown.surface != SHORTS
        whole = done.watch_s >= COMPLETED * self._platform.world.videos.duration_s[shown.video]
        self._offered += int((clickable & done.reached).sum())
        self._clicks += int((clickable & done.started).sum())
        self._starts += int(done.started.sum())
        self._completed += int((done.started & whole).sum())

    def close(self, day: int) -> LoopDay:
        """The day that has ended; the next one is open."""
        diversity = np.concatenate(self._diversity)
        diversity = diversity[np.isfinite(diversity)]
        found = LoopDay(
            row=self._days.close(day),
            ctr=_share(self._clicks, self._offered),
            completion=_share(self._completed, self._starts),
            diversity=_share(float(diversity.sum()), len(diversity)),
            n_unknown=self._unknown,
        )
        self._open()
        return found


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")

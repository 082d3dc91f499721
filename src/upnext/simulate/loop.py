"""A platform's days under one policy, a round of pages at a time: every viewer's next page at once.

What a day was is one row of a table; the showings themselves are kept only where someone asks for the rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.types import Float64, Int64
from upnext.simulate.behaviour import Outcome
from upnext.simulate.draws import keys_of
from upnext.simulate.measures import DayRow, DayTally
from upnext.simulate.platform import LOOK_S, Platform
from upnext.simulate.policies import Policy
from upnext.simulate.returning import stops
from upnext.simulate.visits import SHORTS, Pages, Sessions, Shown, pages_of, shown_of


@dataclass(frozen=True)
class Round:
    """One page of each of many viewers, and what came of it."""

    pages: Pages
    shown: Shown  # n slots of those pages
    propensity: Float64  # [n]
    done: Outcome


class Visits:
    """The pages of a day's sessions: each viewer's next one, until nobody asks for more."""

    def __init__(self, platform: Platform, sessions: Sessions) -> None:
        order = np.lexsort((sessions.start_us, sessions.viewer))
        self._platform = platform
        self._sessions = sessions.take(order)
        new = np.diff(self._sessions.viewer, prepend=-1) != 0
        self._at: Int64 = np.flatnonzero(new)  # each viewer's session under way
        self._page: Int64 = np.zeros(len(self._at), np.int64)
        self._time_us: Int64 = self._sessions.start_us[self._at]

    def pages(self) -> Pages:
        """The pages asked for next, at most one of each viewer; none when the day is over."""
        sessions = self._sessions.take(self._at)
        return pages_of(self._platform.world, sessions, self._page, self._time_us)

    def answered(self, pages: Pages, shown: Shown, done: Outcome) -> None:
        """Moves on from these pages: to the session's next one, or the viewer's next session."""
        busy_s, felt = _page_sums(pages, shown, done)
        keys = keys_of(self._platform.world.seed, pages.viewer, pages.visit)
        stop = stops(self._platform.world.knobs, felt, keys)
        over = (self._page + 1 >= self._sessions.most_pages[self._at]) | stop
        time_us = self._time_us + (busy_s * SECOND_US).astype(np.int64)
        following = np.minimum(self._at + 1, len(self._sessions) - 1)
        same = self._sessions.viewer[following] == self._sessions.viewer[self._at]
        goes_on = ~over | (same & (following > self._at))
        start_us = np.maximum(time_us, self._sessions.start_us[following])
        self._time_us = np.where(over, start_us, time_us)[goes_on]
        self._page = np.where(over, 0, self._page + 1)[goes_on]
        self._at = np.where(over, following, self._at)[goes_on]


def play_day(platform: Platform, policy: Policy, day: int) -> Iterator[Round]:
    """One day, round by round; when the last is taken the night has passed."""
    make, visits = policy.begin(platform, day), Visits(platform, platform.sessions(day))
    while len(pages := visits.pages()):
        slates = make(pages)
        shown = shown_of(pages, slates.video)
        done = platform.respond(shown)
        platform.absorb(shown, done)
        visits.answered(pages, shown, done)
        yield Round(pages, shown, slates.propensity[slates.video >= 0], done)
    platform.end_day(day)


def run(
    platform: Platform, policy: Policy, days: int, *keep: Callable[[Round], None]
) -> list[DayRow]:
    """The table of `days` days from the first; each of `keep` gets every round."""
    rows: list[DayRow] = []
    tally = DayTally(platform)
    for day in range(days):
        for one in play_day(platform, policy, day):
            tally.add(one.pages, one.shown, one.done)
            for keeper in keep:
                keeper(one)
        rows.append(tally.close(day))
    return rows


def _page_sums(pages: Pages, shown: Shown, done: Outcome) -> tuple[Float64, Float64]:
    """(float64[p] seconds spent, float64[p] mean pleasure of what was started) of each page."""
    at = np.searchsorted(pages.viewer, shown.viewer)  # viewers ascend, one page each
    look_s = np.where(shown.surface == SHORTS, 0.0, LOOK_S)
    spent_s = (done.watch_s + look_s) * done.reached
    busy_s = np.bincount(at, spent_s, len(pages)).astype(np.float64)
    started = np.bincount(at, done.started, len(pages))
    felt = np.bincount(at, done.pleasure, len(pages)) / np.maximum(started, 1)
    return busy_s, felt

"""Sessions, satisfaction and coming back: what a viewer's feed does to whether they are there tomorrow.

Satisfaction is not watch time: it moves towards how much a started video was really liked, less what clickbait and intensity cost.
It may change how often a viewer comes, how long a session goes on, and the hazard of leaving for good (METHODS.md L1, L2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from upnext.core.types import Bool, Float64, Int64
from upnext.simulate.behaviour import Outcome
from upnext.simulate.draws import UInt64, uniform
from upnext.simulate.knobs import Knobs
from upnext.simulate.truth import Rates

MOST_SESSIONS = 60  # of one viewer in a day
_JITTER = 0.2


@dataclass(frozen=True)
class Satisfaction:
    """What videos cost the satisfaction of those who start them."""

    bait: Float64  # [n] 0 to 1
    intensity: Float64  # [n] 0 to 1


def pleasure(knobs: Knobs, rate: Rates, cost: Satisfaction, started: Bool, u: Float64) -> Float64:
    """float64[n] in -1 to 1: what each started showing does to satisfaction, 0 where not started; u float64[n] in [0, 1)."""
    felt = 2 * rate.affinity - 1 + _JITTER * (u - 0.5)
    felt = felt - knobs.bait_regret * cost.bait - knobs.intensity_regret * cost.intensity
    return np.where(started, np.minimum(np.maximum(felt, -1.0), 1.0), 0.0)


def with_pleasure(done: Outcome, felt: Float64) -> Outcome:
    """The outcome with its pleasure float64[n]."""
    return replace(done, pleasure=felt)


def satisfied(knobs: Knobs, satisfaction: Float64, viewer: Int64, done: Outcome) -> Float64:
    """float64[u]: satisfaction after these showings of int64[n] viewers, an exponential average over started videos."""
    n = len(satisfaction)
    count = np.bincount(viewer, done.started, n)
    mean = np.bincount(viewer, done.pleasure, n) / np.maximum(count, 1)
    kept = knobs.satisfaction_memory**count
    return np.asarray(kept * satisfaction + (1 - kept) * mean, np.float64)


def season(knobs: Knobs, day: int, weekday: int) -> float:
    """How many sessions a day has beside an ordinary one; weekday 0 is Monday, day counts from the run's first."""
    return knobs.weekdays[weekday] * max(0.0, 1 + knobs.month_trend * day / 30)


def sessions_a_day(knobs: Knobs, usual: Float64, satisfaction: Float64) -> Float64:
    """float64[u]: the mean number of sessions a day of viewers with this satisfaction."""
    above = satisfaction - knobs.satisfaction_neutral
    return np.asarray(usual * np.exp(knobs.return_response * above), np.float64)


def quits(knobs: Knobs, satisfaction: Float64, keys: UInt64) -> Bool:
    """bool[u]: who leaves for good at a day's end."""
    above = satisfaction - knobs.satisfaction_neutral
    hazard = knobs.quit * np.exp(-knobs.quit_response * above)
    return np.asarray(uniform(keys, "quit") < hazard, np.bool_)


def stops(knobs: Knobs, mean_pleasure: Float64, keys: UInt64) -> Bool:
    """bool[p]: which sessions end after a page of this mean pleasure, though their viewer had time for more."""
    hazard = knobs.page_stop * np.exp(-knobs.stop_response * mean_pleasure)
    return np.asarray(uniform(keys, "go_on") < hazard, np.bool_)

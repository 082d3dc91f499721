"""Where a training cuts its log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.errors import InvalidInput, expected
from upnext.features.showings import Showings
from upnext.learn.judge import LEAST_VIEWERS
from upnext.settings.settings import Settings

LEAST_NEW = 50  # showings since the release


@dataclass(frozen=True)
class Instants:
    """The job's boundaries, UTC microseconds."""

    t0_us: int  # generators of the first pass learn before, ranker rows come after
    gate_us: int  # the gate's window begins
    until_us: int  # nothing at or after is seen


def instants_of(showings: Showings, until_us: int | None, settings: Settings) -> Instants:
    """Where the first pass ends, where the gate's window begins and where everything ends.

    The ranker's window is no longer than it need be, because its rows carry the scores of generators that know nothing of it: over years
    of a small log they would be strangers to the release's. A log whose gate window is more than half of it, or has too few viewers to
    judge on, gives the latest tenth of its showings to the gate. Untimed histories count as before t0."""
    learn = settings.learn
    known = np.flatnonzero(showings.time_us > 0)
    if not len(known):
        raise InvalidInput("train: expected events with times, got histories alone")
    known = known[np.argsort(showings.time_us[known], kind="stable")]
    timed = showings.time_us[known]
    end = int(timed[-1]) + 1 if until_us is None else min(until_us, int(timed[-1]) + 1)
    gate = end - int(learn.gate_window_h * HOUR_US)
    n_viewers = len(np.unique(showings.user[known[np.searchsorted(timed, gate) :]]))
    tenth = int(timed[int(0.9 * (len(timed) - 1))])
    if n_viewers < LEAST_VIEWERS:
        gate = min(gate, tenth)
    if (timed < gate).sum() < 0.5 * len(timed):
        gate = tenth
    before = timed[timed < gate]
    n_recent = int((before >= gate - int(learn.ranker_days * DAY_US)).sum())
    n_rows = max(n_recent, learn.max_ranker_showings)
    n_rows = min(n_rows, len(before) - int((1 - learn.ranker_share) * (len(before) - 1)))
    t0 = int(before[len(before) - n_rows])
    return Instants(t0, gate, end if until_us is None else until_us)


def tail_of(
    showings: Showings, since_us: int, until_us: int | None, settings: Settings
) -> Instants:
    """A fine-tuning's boundaries: t0 where the release's data end; the gate's window is the latest half of what came since, at most.

    Raises InvalidInput where too little came since."""
    timed = np.sort(showings.time_us[showings.time_us >= since_us])
    if len(timed) < LEAST_NEW:
        raise expected("train --fine-tune", f"{LEAST_NEW} showings since the release", len(timed))
    end = int(timed[-1]) + 1 if until_us is None else until_us
    gate = max(end - int(settings.learn.gate_window_h * HOUR_US), int(timed[len(timed) // 2]))
    return Instants(since_us, gate, end)

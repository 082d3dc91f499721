"""Two rankings mixed on every page, so that each viewer compares them: team-draft interleaving (Radlinski, Kurup & Joachims 2008).

In rounds of two slots, a coin says which ranking picks first; each picks its best video that is not on the page yet, and is credited with
what the viewer does with its picks. Under no preference both teams hold the same videos at the same slots equally often, so the share of
pages won is one half, whatever the viewers do and however position matters. Differences between viewers cancel inside a page, which is why
it needs far fewer of them than an A/B test (Chapelle et al. 2012). It says which ranking is preferred, not by how much a metric moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from upnext.core.errors import expected
from upnext.core.types import Bool, Float64, Int64
from upnext.evaluate.experiments.comparison import (
    SMALLEST_ARM,
    Interval,
    Sample,
    anytime,
)

Int8 = npt.NDArray[np.int8]
FIRST, SECOND = 0, 1


@dataclass(frozen=True, slots=True)
class Preference:
    """How the pages of one interleaving came out."""

    n_pages: int
    n_viewers: int
    wins: int  # pages where the second ranking got more credit
    losses: int
    ties: int  # no credit, or as much for each
    share: Interval  # a viewer's mean share of pages won by the second ranking, a tie as half, less 1/2


def team_draft(rankings: Int64, k: int, first_picks: Bool) -> tuple[Int64, Int8]:
    """(slates int64[b, k], teams int8[b, k]) of b pages from two rankings int64[2, b, m >= k], best first, without repeats.

    first_picks bool[b, (k + 1) // 2]: the coin of each round. Raises InvalidInput where there are too few videos."""
    b, m = rankings.shape[1:]
    if len(rankings) != 2 or m < k:
        raise expected("rankings", f"two of at least {k} videos", rankings.shape)
    slates, teams = np.full((b, k), -1, np.int64), np.zeros((b, k), np.int8)
    pages = np.arange(b)
    for slot in range(k):
        is_first = first_picks[:, slot // 2] ^ (slot % 2 == 1)
        team = np.where(is_first, FIRST, SECOND)
        ranked = rankings[team, pages]
        is_free = ~(ranked[:, :, None] == slates[:, None, :slot]).any(axis=2)
        slates[:, slot] = ranked[pages, is_free.argmax(axis=1)]
        teams[:, slot] = team
    return slates, teams


def won_by_viewer(ahead: Float64, viewer: Int64) -> Float64:
    """float64[u]: each viewer's share of pages won by the second ranking, of ahead float64[b] (1 won, 0 tie, -1 lost).

    Each viewer has one vote, however many pages they opened: a few busy ones can't decide."""
    _, row = np.unique(viewer, return_inverse=True)
    return np.asarray(np.bincount(row, (1 + ahead) / 2) / np.maximum(np.bincount(row), 1))


def preference(credit: Float64, viewer: Int64) -> Preference:
    """Of pages with credit float64[b, 2] (by team) shown to viewers int64[b].

    The interval is always valid; below SMALLEST_ARM viewers it is infinite."""
    ahead = np.asarray(np.sign(credit[:, SECOND] - credit[:, FIRST]), np.float64)
    viewers = np.unique(viewer)
    sample = Sample.of(won_by_viewer(ahead, viewer))
    share = Interval(sample.mean - 0.5, -np.inf, np.inf, 1.0)
    if sample.n >= SMALLEST_ARM and sample.variance > 0:
        se = float(np.sqrt(sample.variance / sample.n))
        share = anytime(sample.mean - 0.5, se, float(sample.n))
    return Preference(
        len(ahead),
        len(viewers),
        int((ahead > 0).sum()),
        int((ahead < 0).sum()),
        int((ahead == 0).sum()),
        share,
    )

"""Three ways to test a help for creators, beside what it truly does (METHODS.md H1, H3).

The truth is the global treatment effect: the market with everybody treated less the market with nobody treated, every draw the same. Beside it

- the creator test: half of the creators are helped, before all viewers. The helped ones win what the others lose, and both are counted;
- the viewer test: half of the viewers get the new policy. All share one corpus, so what more creators would bring (or fewer take) goes to both halves;
- the co-diverted test: viewers and creators are split together (evaluate/co_diversion.py).

Each runs over the same days of the same market. Three outcomes: uploads a creator, the share of creators alive at the end, seconds
watched a viewer and day. The creator test can't say anything of viewers, nor the viewer test of creators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from upnext.core.types import Bool, Estimate, Float64, Int64
from upnext.evaluate.co_diversion import TwoSidedEffect, co_divert, corpus_cost, effect_of_arms
from upnext.evaluate.student import student
from upnext.simulate.market import (
    Arms,
    Market,
    State,
    everybody,
    first_morning,
    present,
)
from upnext.simulate.market_day import live_a_day

Design = Literal["creator test", "viewer test", "co-diverted"]
Metric = Literal["uploads", "alive", "watch_s"]
WARM_UP_D: Final = 15  # days under the policy for viewers before an experiment
SHARES: Final = {"control": 50.0, "treated": 50.0}
CLOSE: Final = 0.10  # of the truth: what an estimate should come within
METRICS: Final[tuple[Metric, ...]] = ("uploads", "alive", "watch_s")
READINGS: Final[tuple[tuple[Design, Metric], ...]] = (
    ("creator test", "uploads"),
    ("creator test", "alive"),
    ("viewer test", "watch_s"),
    ("co-diverted", "uploads"),
    ("co-diverted", "alive"),
    ("co-diverted", "watch_s"),
)


@dataclass(frozen=True)
class Course:
    """What came of some days."""

    n_days: int
    uploads: Int64  # [c]
    alive: Bool  # [c] present at the end
    views: Int64  # [c] videos started
    watch_s: Float64  # [u]

    def metric(self, name: Metric) -> Float64:
        """float64[c] uploads, float64[c] alive or float64[u] seconds watched a day."""
        if name == "watch_s":
            return self.watch_s / max(self.n_days, 1)
        return np.asarray(getattr(self, name), np.float64)


@dataclass(frozen=True)
class Comparison:
    """One market's truth and what the three tests say of it."""

    control: Mapping[Metric, float]  # per capita, nobody treated
    truth: Mapping[Metric, float]  # the global treatment effect, per capita
    estimates: Mapping[tuple[Design, Metric], TwoSidedEffect]
    halving_cost: Estimate  # of watch time in the co-diverted control arm, beside the whole corpus

    def error(self, design: Design, metric: Metric) -> float:
        """(estimate - truth) / |truth|; NaN where the truth is 0."""
        truth = self.truth[metric]
        told = self.estimates[design, metric].per_capita.mean
        return (told - truth) / abs(truth) if truth else math.nan


def live(market: Market, state: State, arms: Arms, lam: float, n_days: int) -> tuple[State, Course]:
    """The market `n_days` later, and what came of them."""
    uploads = np.zeros(market.n_creators, np.int64)
    views = np.zeros(market.n_creators, np.int64)
    watch_s = np.zeros(market.n_viewers)
    for _ in range(n_days):
        state, day = live_a_day(market, state, arms, lam)
        uploads += day.uploads
        views += day.views
        watch_s[day.viewer] += day.watch_s.sum(axis=1)
    return state, Course(n_days, uploads, present(market, state), views, watch_s)


def compare_tests(market: Market, lam: float, n_days: int, *, salt: str = "help") -> Comparison:
    """Truth and tests of the help `lam` over n_days after the warm-up."""
    nobody, all_treated = (everybody(market, treated=t) for t in (False, True))
    morning, past = live(market, first_morning(market), nobody, 0.0, WARM_UP_D)

    def ends_in(arms: Arms) -> Course:
        return live(market, morning, arms, lam, n_days)[1]

    split = co_divert(salt, SHARES)
    viewer = split.viewers.rows(market.world.user_ids[: market.n_viewers])
    creator = split.creators.rows([market.world.creator_id(c) for c in range(market.n_creators)])
    control, treated = ends_in(nobody), ends_in(all_treated)
    apart = ends_in(Arms(viewer == 1, creator == 1, viewer, creator))
    runs: dict[Design, Course] = {
        "creator test": ends_in(replace(all_treated, creator_treated=creator == 1)),
        "viewer test": ends_in(replace(all_treated, viewer_treated=viewer == 1)),
        "co-diverted": apart,
    }
    known = {
        "creators": _known_of_creators(market, morning, past),
        "viewers": past.watch_s[:, None],
    }
    estimates: dict[tuple[Design, Metric], TwoSidedEffect] = {}
    for design, metric in READINGS:
        side, arm = ("viewers", viewer) if metric == "watch_s" else ("creators", creator)
        outcome = runs[design].metric(metric)
        estimates[design, metric] = effect_of_arms(outcome, arm, before=known[side])
    return Comparison(
        control={m: float(control.metric(m).mean()) for m in METRICS},
        truth={m: float((treated.metric(m) - control.metric(m)).mean()) for m in METRICS},
        estimates=estimates,
        halving_cost=corpus_cost(apart.metric("watch_s")[viewer == 0], control.metric("watch_s")),
    )


def _known_of_creators(market: Market, morning: State, past: Course) -> Float64:
    """float64[c, 5]: what a platform knows of creators before the experiment: uploads, log views, days here, whether here, whether gone."""
    here = present(market, morning)
    days_here = np.maximum(morning.day - market.joined_d, 0.0)
    columns = [past.uploads, np.log1p(past.views), np.log1p(days_here), here, morning.left]
    return np.stack(columns, axis=1).astype(np.float64)


@dataclass(frozen=True)
class Summary:
    """One test of one outcome over several markets."""

    design: Design
    metric: Metric
    truth: float  # mean over the markets
    estimate: float  # mean
    error: Estimate  # mean of (estimate - truth) / |truth|, with Student's 95 % interval over the markets that have an effect
    spread: float  # standard deviation of that error, NaN below two markets
    close: float  # share of the markets where it is at most CLOSE
    covered: float  # share of the markets whose own 95 % interval has the truth


def summaries(markets: Sequence[Comparison]) -> list[Summary]:
    """A Summary for each of READINGS, of at least one market; one market alone has no interval."""
    found = []
    for design, metric in READINGS:
        truth = np.array([m.truth[metric] for m in markets])
        told = [m.estimates[design, metric].per_capita for m in markets]
        error = np.array([m.error(design, metric) for m in markets])
        known = error[np.isfinite(error)]
        found.append(
            Summary(
                design=design,
                metric=metric,
                truth=float(truth.mean()),
                estimate=float(np.mean([e.mean for e in told])),
                error=student(known),
                spread=float(known.std(ddof=1)) if len(known) > 1 else math.nan,
                close=float((np.abs(error) <= CLOSE).mean()),
                covered=float(
                    np.mean([e.low <= true <= e.high for e, true in zip(told, truth.tolist())])
                ),
            )
        )
    return found


@dataclass(frozen=True)
class SweepPoint:
    """A market in which everybody lives under one lam; effects are those of lam against 0, known."""

    lam: float
    uploads: float  # per creator
    alive: float  # share of creators
    watch_s: float  # per viewer and day
    watch_s_first: float  # the same in the first quarter of the days, before creators respond
    is_efficient: bool  # no other lam has both more watch time and more creators alive


def sweep_lambda(market: Market, lams: tuple[float, ...], n_days: int) -> list[SweepPoint]:
    """One point for each lam, each over n_days after the same warm-up."""
    nobody, all_treated = (everybody(market, treated=t) for t in (False, True))
    morning, _ = live(market, first_morning(market), nobody, 0.0, WARM_UP_D)
    n_first = max(1, n_days // 4)
    points = []
    for lam in lams:
        then, first = live(market, morning, all_treated, lam, n_first)
        _, rest = live(market, then, all_treated, lam, n_days - n_first)
        watch_s = (first.watch_s.mean() + rest.watch_s.mean()) / n_days
        uploads = float((first.uploads + rest.uploads).mean())
        at_first = float(first.metric("watch_s").mean())
        points.append(
            SweepPoint(lam, uploads, float(rest.alive.mean()), float(watch_s), at_first, False)
        )
    both = np.array([(p.watch_s, p.alive) for p in points])
    beaten = [bool(((both >= row).all(axis=1) & (both > row).any(axis=1)).any()) for row in both]
    return [replace(p, is_efficient=not b) for p, b in zip(points, beaten)]

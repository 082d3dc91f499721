"""`upnext bench interference`: what a help for creators truly does, what three tests say it does, and what it trades for viewers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from upnext.cli.progress import RichProgress
from upnext.core.errors import expected
from upnext.evaluate.figures import figure_json, figure_text
from upnext.simulate.market import MarketKnobs, make_market
from upnext.simulate.two_sided import (
    CLOSE,
    READINGS,
    Comparison,
    Summary,
    SweepPoint,
    compare_tests,
    summaries,
    sweep_lambda,
)

LAM = 3.0  # strength of the help that is tested
SWEEP = (0.0, 0.3, 0.6, 1.0, 1.5, 2.0, 3.0, 6.0)
SWEEP_DAYS = 60
SHALLOW = 10  # newest videos of a topic that a request looks at, where co-diversion should fail
NAMES = {
    "uploads": "uploads a creator",
    "alive": "creators alive",
    "watch_s": "watch s a viewer and day",
}


def run(
    viewers: int,
    creators: int,
    days: int,
    seeds: int,
    as_json: bool,
    out: Console,
    err: Console,
) -> None:
    """Runs markets of seeds 0 .. seeds - 1 and the sweep of the first, and prints both."""
    if min(viewers, creators) < 100:
        raise expected(
            "bench interference", "at least 100 viewers and 100 creators", (viewers, creators)
        )
    progress = RichProgress(err)
    progress.start("markets", seeds, "markets")
    markets = []
    for seed in range(seeds):
        markets.append(compare_tests(make_market(viewers, creators, seed), LAM, days))
        progress.advance(1)
    progress.start("where co-diversion fails, and the sweep of lam", 2, "parts")
    shallow = make_market(viewers, creators, 0, MarketKnobs(depth=SHALLOW))
    failing = compare_tests(shallow, LAM, days)
    progress.advance(1)
    points = sweep_lambda(make_market(viewers, creators, 0), SWEEP, SWEEP_DAYS)
    progress.advance(1)
    progress.done()
    if as_json:
        about = {"viewers": viewers, "creators": creators, "days": days, "lam": LAM}
        out.file.write(json.dumps({**about, **_json(markets, failing, points)}) + "\n")
        return
    out.print(
        f"{viewers} viewers, {creators} creators, {days} days, lam {LAM:g}, seeds 0 to {seeds - 1}"
    )
    out.print(_over_markets(summaries(markets)))
    out.print(_each_market(markets))
    out.print(_halving(markets), highlight=False)
    out.print(_failing(failing), highlight=False)
    out.print(_sweep(points))


def _json(
    markets: Sequence[Comparison], failing: Comparison, points: Sequence[SweepPoint]
) -> dict[str, object]:
    return {
        "summary": [
            {
                "test": s.design,
                "outcome": s.metric,
                "truth": s.truth,
                "estimate": s.estimate,
                "relative_error": figure_json(s.error),
                "spread": _number(s.spread),
                "share_within_10_percent": s.close,
                "share_of_intervals_with_truth": s.covered,
            }
            for s in summaries(markets)
        ],
        "markets": [_market_json(seed, market) for seed, market in enumerate(markets)],
        "fixed_depth_market": {"depth": SHALLOW, **_market_json(0, failing)},
        "sweep": [
            {
                "lam": p.lam,
                "uploads": p.uploads,
                "alive": p.alive,
                "watch_s": p.watch_s,
                "watch_s_first_quarter": p.watch_s_first,
                "is_efficient": p.is_efficient,
            }
            for p in points
        ],
    }


def _market_json(seed: int, market: Comparison) -> dict[str, object]:
    return {
        "seed": seed,
        "control": dict(market.control),
        "truth": dict(market.truth),
        "tests": [
            {
                "test": design,
                "outcome": metric,
                "per_capita": figure_json(market.estimates[design, metric].per_capita),
                "total": figure_json(market.estimates[design, metric].total),
                "relative_error": _number(market.error(design, metric)),
            }
            for design, metric in READINGS
        ],
        "halving_cost": figure_json(market.halving_cost),
    }


def _over_markets(found: Sequence[Summary]) -> Table:
    table = Table(
        "outcome", "test", "truth", "estimate", "error of it [95 %]", "spread",
        f"within {CLOSE:.0%}", "intervals with the truth",
        title="All treated less none treated, and what three tests say of it",
    )  # fmt: skip
    for s in found:
        row = [NAMES[s.metric], s.design, f"{s.truth:.3f}", f"{s.estimate:.3f}", _with_ends(s)]
        table.add_row(*row, _percent(s.spread, ""), f"{s.close:.0%}", f"{s.covered:.0%}")
    return table


def _with_ends(s: Summary) -> str:
    if not math.isfinite(s.error.low):
        return _percent(s.error.mean)
    return f"{s.error.mean:+.0%} [{s.error.low:+.0%}, {s.error.high:+.0%}]"


def _percent(value: float, sign: str = "+") -> str:
    return f"{value:{sign}.0%}" if math.isfinite(value) else "-"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _each_market(markets: Sequence[Comparison]) -> Table:
    table = Table(
        "seed", "outcome", "truth", "test", "estimate [95 %]", "error", title="Each market"
    )
    for seed, market in enumerate(markets):
        for design, metric in READINGS:
            told = figure_text(market.estimates[design, metric].per_capita, 3)
            error = _percent(market.error(design, metric))
            truth = f"{market.truth[metric]:.3f}"
            table.add_row(str(seed), NAMES[metric], truth, design, told, error)
    return table


def _halving(markets: Sequence[Comparison]) -> str:
    costs = ", ".join(
        f"{m.halving_cost.mean:+.1%} [{m.halving_cost.low:+.1%}, {m.halving_cost.high:+.1%}]"
        for m in markets
    )
    return f"What half of the corpus costs viewers in watch time (control arm beside the whole corpus): {costs}"


def _failing(market: Comparison) -> str:
    told = figure_text(market.estimates["co-diverted", "uploads"].per_capita, 3)
    return (
        f"Where co-diversion fails: if a request looks at the {SHALLOW} newest videos of a topic alone, half of the corpus gives each twice the chance:"
        f" truth {market.truth['uploads']:.3f} uploads a creator, co-diverted {told}, error {_percent(market.error('co-diverted', 'uploads'))} (seed 0)"
    )


def _sweep(points: Sequence[SweepPoint]) -> Table:
    table = Table(
        "lam", "watch s a viewer and day", "... in the first quarter", "creators alive",
        "uploads a creator", "efficient",
        title=f"value_user + lam * d V_c / d exposure over {SWEEP_DAYS} days, seed 0",
    )  # fmt: skip
    base = points[0]
    for p in points:
        table.add_row(
            f"{p.lam:g}",
            f"{p.watch_s:.1f} ({_more(p.watch_s, base.watch_s)})",
            f"{p.watch_s_first:.1f} ({_more(p.watch_s_first, base.watch_s_first)})",
            f"{p.alive:.1%}",
            f"{p.uploads:.2f} ({_more(p.uploads, base.uploads)})",
            "yes" if p.is_efficient else "",
        )
    return table


def _more(value: float, base: float) -> str:
    return f"{value / base - 1:+.1%}" if base else "-"

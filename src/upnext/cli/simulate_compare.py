"""`upnext simulate FOLDER --compare popularity,greedy,full`: the same platform under several policies, through the system that serves."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from upnext.cli.progress import RichProgress
from upnext.core.errors import InvalidInput, expected
from upnext.simulate.comparison import POLICIES, Comparison, Plan
from upnext.simulate.comparison_figures import Figures, plot, totals, watch_differences
from upnext.simulate.day_figures import LoopDay

SHOWN = {
    "watch_h": "watch h a day", "viewers": "viewers a day", "return_d1": "back d1",
    "return_d7": "back d7", "satisfaction": "satisfaction at the end",
    "active": "viewers left over", "creators": "creators left over", "uploads": "uploads",
    "ctr": "CTR", "completion": "completion", "diversity": "diversity of a page",
    "entropy": "entropy of a day, bits", "coverage": "coverage a day", "gini": "Gini of impressions",
}  # fmt: skip


def run_compare(
    folder: Path | None, policies: str, plan: Plan, as_json: bool, out: Console, err: Console
) -> None:
    """Plays the policies, then prints them beside each other and writes comparison.json, .svg and .png into the folder."""
    if folder is None:
        raise InvalidInput("simulate --compare: expected FOLDER, where the comparison is kept")
    names = [name.strip() for name in policies.split(",")]
    for name in names:
        if name not in POLICIES:
            raise expected("simulate --compare", f"names of {', '.join(POLICIES)}", name)
    comparison = Comparison(plan, folder, RichProgress(err))

    def say(policy: str, day: LoopDay) -> None:
        row = day.row
        err.print(
            f"{policy}, day {row.day - plan.past_days + 1} of {plan.days}: {row.viewers} viewers, "
            f"{row.pages} pages, {row.watch_h:.1f} h watched, {row.creators} creators",
            highlight=False,
        )

    by_policy = {name: comparison.play(name, say) for name in dict.fromkeys(names)}
    past = comparison.past()
    found = _result(plan, by_policy, past)
    (folder / "comparison.json").write_text(json.dumps(found, indent=1), "utf-8")
    files = [folder / f"comparison.{kind}" for kind in ("svg", "png")]
    title = f"{plan.n_viewers:,} viewers, {plan.n_videos:,} videos, world {plan.world!r}, seed {plan.seed}"
    plot(by_policy, past, title, files)
    if as_json:
        out.file.write(json.dumps(found) + "\n")
        return
    _draw(found, out)
    out.print(f"wrote {folder}/comparison.json, .svg, .png", highlight=False)


def _result(
    plan: Plan, by_policy: dict[str, Figures], past: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "plan": asdict(plan),
        "totals": {name: _plain(totals(figures)) for name, figures in by_policy.items()},
        "watch_min_per_viewer_day": {
            pair: {"difference": one.mean, "low": one.low, "high": one.high}
            for pair, one in watch_differences(by_policy).items()
        },
        "past": past,
        "policies": by_policy,
    }


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if value != value else value for name, value in values.items()}


def _draw(found: dict[str, Any], out: Console) -> None:
    table = Table("", *found["totals"])
    for name, label in SHOWN.items():
        values = (row[name] for row in found["totals"].values())
        table.add_row(label, *("-" if v is None else f"{v:,.4g}" for v in values))
    for label, key in (("seconds in the loop", "loop_s"), ("seconds of training", "training_s")):
        table.add_row(label, *(f"{one[key]:,.0f}" for one in found["policies"].values()))
    out.print(table)
    before = totals({"days": found["past"]})
    out.print(
        f"before, under the old platform: {before['watch_h']:.1f} h a day, {before['viewers']:.0f} viewers, "
        f"CTR {before['ctr']:.3f}, completion {before['completion']:.3f}, satisfaction {before['satisfaction']:+.3f}",
        highlight=False,
    )
    for pair, one in found["watch_min_per_viewer_day"].items():
        out.print(
            f"{pair}: {one['difference']:+.2f} watch minutes a viewer and day "
            f"(95 %: {one['low']:+.2f} to {one['high']:+.2f})",
            highlight=False,
        )

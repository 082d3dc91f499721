"""What a comparison of policies shows: a row per policy, paired differences with intervals, and a plot of the days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from upnext.core.errors import InvalidInput
from upnext.core.types import Estimate
from upnext.evaluate.bootstrap import interval

Figures = Mapping[str, Any]  # of one policy, as simulate/comparison.py makes them
MEANS: Final = (  # over the days
    "viewers", "watch_h", "ctr", "completion", "likes", "return_d1", "return_d7", "diversity",
    "entropy", "coverage", "gini",
)  # fmt: skip
LAST: Final = ("satisfaction", "active", "creators")  # as the last day leaves them
SUMS: Final = ("pages", "impressions", "uploads")
PLOTS: Final = (
    ("watch_h", "watch time, hours a day"),
    ("return_d1", "viewers of the day before who came"),
    ("creators", "creators who have not left"),
    ("diversity", "diversity of a page (pairs of different categories)"),
)
COLOURS: Final = {
    "before": "#c9c9c9",
    "popularity": "#8a8f98",
    "greedy": "#d1603d",
    "full": "#2a6fbb",
}


def totals(figures: Figures) -> dict[str, float]:
    """One policy's days in one row: means over days that have a value, last values, sums."""
    days = figures["days"]
    found: dict[str, float] = {}
    for name in MEANS:
        values = [day[name] for day in days if day[name] is not None]
        found[name] = float(np.mean(values)) if values else float("nan")
    for name in LAST:
        found[name] = float("nan") if days[-1][name] is None else float(days[-1][name])
    for name in SUMS:
        found[name] = float(sum(day[name] for day in days))
    return found


def watch_differences(by_policy: Mapping[str, Figures]) -> dict[str, Estimate]:
    """{"a - b": the difference of watch minutes a viewer and day between two policies}, every pair, later named first.

    95 % by bootstrap over viewers, each paired with themselves. The viewers of one platform share its counts, releases and creators, so the
    interval is of this one run: it leaves out how another seed would differ."""
    names = list(by_policy)
    found: dict[str, Estimate] = {}
    for place, after in enumerate(names):
        for before in names[:place]:
            one, other = by_policy[after], by_policy[before]
            watched = (np.array(f["watch_s_by_viewer"]) / 60 / len(f["days"]) for f in (one, other))
            more, less = watched
            found[f"{after} - {before}"] = interval(more - less)
    return found


def plot(
    by_policy: Mapping[str, Figures],
    past: Sequence[Mapping[str, Any]],
    title: str,
    files: Sequence[Path],
) -> None:
    """Writes the days of every policy, after those of the past, as one picture to each of `files` (.svg, .png).

    Raises InvalidInput without the evaluate extra."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise InvalidInput(
            f"plots need the evaluate extra: pip install 'upnext[evaluate]' ({error})"
        ) from error
    with mpl.rc_context({"svg.hashsalt": "upnext", "font.size": 9}):
        figure = Figure(figsize=(10, 6.5), layout="constrained")
        for axes, (name, label) in zip(figure.subplots(2, 2).flat, PLOTS, strict=True):
            curves = {"before": past} | {k: one["days"] for k, one in by_policy.items()}
            for policy, rows in curves.items():
                days = [day["day"] + 1 for day in rows]
                values = [np.nan if day[name] is None else day[name] for day in rows]
                axes.plot(days, values, label=policy, color=COLOURS.get(policy), linewidth=1.6)
            axes.set_title(label, loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("day")
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].legend(frameon=False)
        figure.suptitle(title)
        for file in files:
            figure.savefig(
                file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None
            )

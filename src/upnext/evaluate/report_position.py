"""Click rate by slot: as it was, and weighted towards a uniform draw from what was eligible for the slot.

The raw curve mixes what a slot does with what a ranker puts there: good videos stand on top. Where the policy drew with known
propensities, weighting each slot by (1 / n_eligible) / propensity gives the click rate that a uniform draw would have had there (self-normalised
inverse propensity), so that slots differ by position alone. With few effective rows, or weights that don't average 1 (the policy never
shows some of what was eligible), the log can't tell and the verdict says so.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from upnext.core.types import Estimate
from upnext.evaluate.bootstrap import NOT_IDENTIFIABLE, ratio
from upnext.evaluate.group_figures import Groups
from upnext.evaluate.off_policy.support import SMALLEST_SAMPLE, SUPPORT_GAP
from upnext.evaluate.online import ViewerSums
from upnext.evaluate.report_document import Column, Plot, Section, Series, Table
from upnext.evaluate.report_log import Counted, ratio_by_viewer
from upnext.evaluate.report_words import rate_column

MOST_SLOTS: Final = 20
MOST_SURFACES: Final = 3
_NO_SLOT: Final = (
    "No event or slate says in which slot a video stood: nothing to tell of positions."
)


def position(counts: Counted) -> Section:
    """The section of every surface with slots, those with the most impressions first."""
    frame = counts.sums[("surface", "slot")].frame.with_columns(pl.col("surface").cast(pl.String))
    sizes = frame.group_by("surface").agg(pl.col("impressions").sum()).filter(pl.col("impressions") > 0)  # fmt: skip
    surfaces = sizes.sort("impressions", "surface", descending=[True, False]).get_column("surface")
    words = [
        "Clicks fall with the slot for two reasons: viewers look less at later slots, and rankers put what will be clicked on top. "
        "The raw rate mixes both. The weighted rate is what a uniformly drawn eligible video would have had in that slot."
    ]
    if not len(surfaces):
        return Section("Position", [*words, _NO_SLOT])
    parts = [_surface(name, frame, counts) for name in surfaces.to_list()[:MOST_SURFACES]]
    return Section("Position", words, parts=parts)


def _surface(surface: str, frame: pl.DataFrame, counts: Counted) -> Section:
    mine = frame.filter((pl.col("surface") == surface) & (pl.col("slot").str.len_chars() <= 2))
    groups = Groups.of(ViewerSums(("slot",), mine.drop("surface")))
    slots = groups.names[:MOST_SLOTS]
    raw, relevance = groups.rates("ctr_seen"), groups.rates("relevance_rate")
    weighted = counts.weighted.filter(pl.col("surface").cast(pl.String) == surface)
    adjusted = [uniform_click_rate(weighted.filter(pl.col("slot") == slot)) for slot in slots]
    has_any = any(figure.verdict == "ok" for figure in adjusted)
    impressions = groups.count("impressions")
    columns = [
        Column("slot"), Column("impressions", "count"), rate_column("ctr_seen"),
        rate_column("relevance_rate"), Column("clicked, if drawn uniformly", "share"),
        Column("effective rows", "count"),
    ]  # fmt: skip
    rows = [
        [str(int(slot)), impressions[i], raw[i], relevance[i], adjusted[i], adjusted[i].n_effective]
        for i, slot in enumerate(slots)
    ]
    series = [Series("clicked / seen", raw[: len(slots)])]
    series += [Series("if drawn uniformly", adjusted)] if has_any else []
    alt = f"Click rate by slot on {surface}, raw" + (" and weighted" if has_any else "")
    plot = Plot(
        f"Click rate by slot, {surface}", alt + "; the figures are in the table.",
        [str(int(slot)) for slot in slots], series, "share", True, "slot",
    )  # fmt: skip
    words = [] if has_any else [_not_told(weighted)]
    is_clicked = groups.count("impressions_clicked").sum() > 0
    if not is_clicked:
        words = ["No clicks: an autoplay surface has nothing to click. The relevance rate by slot is in the table."]  # fmt: skip
    table = Table(f"By slot, {surface}", columns, rows)
    return Section(f"Slots of {surface}", words, [table], [plot] if is_clicked else [])


def uniform_click_rate(rows: pl.DataFrame) -> Estimate:
    """Clicks of a uniform draw from what was eligible, from rows per viewer (report_log.WEIGHTED); n_effective: (sum w)^2 / sum w^2."""
    if not len(rows):
        return Estimate(np.nan, np.nan, np.nan, 0.0, NOT_IDENTIFIABLE)
    n, total, squared = (float(rows.get_column(c).sum()) for c in ("slots", "weight", "weight_squared"))  # fmt: skip
    mean, n_effective = total / n, total**2 / squared
    error = np.sqrt(max(0.0, squared / n - mean**2) / n)
    if n_effective < SMALLEST_SAMPLE or abs(mean - 1.0) > max(SUPPORT_GAP, 4 * error):
        return Estimate(np.nan, np.nan, np.nan, n_effective, NOT_IDENTIFIABLE)
    figure = ratio(*ratio_by_viewer(rows, "weighted_click", "weight"))
    return Estimate(figure.mean, figure.low, figure.high, n_effective, figure.verdict)


def _not_told(weighted: pl.DataFrame) -> str:
    if not len(weighted):
        return "No propensities are logged: the rate by position alone is not identifiable."
    return (
        "The logged propensities can't carry a uniform draw (too few effective rows, or some eligible videos are never drawn): "
        "the rate by position alone is not identifiable. More exploration (epsilon of the surface) would make it so."
    )

"""Collaborative, content, their two plain hybrids and the learned merge beside each other: on all pairs, on new videos and on niche viewers.

All rows are judged on the same viewers, and differences are paired like those of every table: from one set of resamples of viewers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Bool, Estimate, Float64, Int64
from upnext.evaluate.bootstrap import intervals
from upnext.evaluate.figures import difference_text, differences_json, figure_text, figures_json
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.user_items import UserItems

METRICS: Final = ("recall@100", "ndcg@10")
GROUPS: Final = {
    "overall": None,
    "new videos": "video=new",
    "niche viewers": "taste=niche",
}  # segments


@dataclass(frozen=True, slots=True)
class HybridGroup:
    """The rows on some of the pairs."""

    n_pairs: int
    rows: Mapping[str, Mapping[str, Estimate]]  # {row: {metric: figure}}
    less: Mapping[str, Mapping[str, Mapping[str, Estimate]]]  # {rival: {row: {metric: row - it}}}


@dataclass(frozen=True, slots=True)
class HybridReport:
    """The comparison on every group."""

    groups: Mapping[str, HybridGroup]
    made_of: Mapping[str, str]  # {row: the generator that made it}
    missing: Mapping[str, str]  # {row: why the release can't make it}

    def title(self) -> str:
        """Of the table: which generators its rows are."""
        said = [f"{row}: {name}" for row, name in self.made_of.items()]
        return "hybrids" + (f" ({', '.join(said)})" if said else "")

    def to_json(self) -> dict[str, object]:
        """The report as plain values; the keys are those of docs/evaluate.md."""
        return {
            "made_of": dict(self.made_of),
            "missing": dict(self.missing),
            "groups": {
                name: {
                    "n_pairs": group.n_pairs,
                    "rows": {row: figures_json(figures) for row, figures in group.rows.items()},
                    "less": {
                        rival: {row: differences_json(one) for row, one in others.items()}
                        for rival, others in group.less.items()
                    },
                }
                for name, group in self.groups.items()
            },
        }

    def to_rows(self) -> list[dict[str, str]]:
        """One dict per group and row, with the difference from the first rival; then the rows that could not be made, and why."""
        rows = []
        for name, group in self.groups.items():
            for row, figures in group.rows.items():
                cells = {"on": name, "list": row, "viewers": _viewers(figures)}
                cells |= {metric: figure_text(figure) for metric, figure in figures.items()}
                for rival, others in list(group.less.items())[:1]:
                    for metric in METRICS if group.n_pairs else ():
                        figure = others.get(row, {}).get(metric)
                        cells[f"{metric} less {rival}"] = difference_text(figure)
                rows.append(cells)
        for row, why in self.missing.items():
            rows.append({"on": "-", "list": row, "viewers": f"not made: {why}"})
        return rows


def hybrid_report(
    lists: Mapping[str, Int64],
    rivals: tuple[str, ...],
    truth: UserItems,
    segments: Mapping[str, Bool],
    by_viewer: Callable[[Float64], Float64],
    said: tuple[Mapping[str, str], Mapping[str, str]],
) -> HybridReport:
    """The comparison of lists int64[u, K] with each of `rivals` among them.

    segments: bool[p] over the truth's pairs, a group without one has no pairs; by_viewer: float64[u] of cases to a value per viewer; said: what rows are
    made of, and why others are not."""
    places = {name: Places.of(ranked, truth) for name, ranked in lists.items()}
    groups = {}
    for name, segment in GROUPS.items():
        mask = np.ones(len(truth), np.bool_)
        if segment is not None:
            mask = segments.get(segment, ~mask)
        measured = {
            (row, metric): by_viewer(values)
            for row, place in places.items()
            for metric, values in measure(place.where(mask), METRICS).items()
        }
        groups[name] = _group(measured, [rival for rival in rivals if rival in lists], mask)
    return HybridReport(groups, *said)


def _group(
    measured: Mapping[tuple[str, str], Float64], rivals: list[str], mask: Bool
) -> HybridGroup:
    columns = {("", *key): values for key, values in measured.items()}
    columns |= {
        (rival, row, metric): values - measured[rival, metric]
        for rival in rivals
        for (row, metric), values in measured.items()
        if row != rival
    }
    rows: dict[str, dict[str, Estimate]] = {}
    less: dict[str, dict[str, dict[str, Estimate]]] = {rival: {} for rival in rivals}
    for (rival, row, metric), estimate in intervals(columns).items():
        target = less[rival] if rival else rows
        target.setdefault(row, {})[metric] = estimate
    return HybridGroup(int(mask.sum()), rows, less)


def _viewers(figures: Mapping[str, Estimate]) -> str:
    return f"{next(iter(figures.values())).n_effective:.0f}"

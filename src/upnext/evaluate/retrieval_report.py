"""The table of everything that makes lists: each generator, the merged candidates, the ranked list, and popularity beside them.

All are judged on the same viewers and the same truth over the whole catalogue, unsampled, with 95 % intervals over viewers; "better"
than the baseline means that the paired interval of the difference excludes zero. Where a viewer is judged several times (one case for
each of several instants), the viewer's value is the mean over the own cases: viewers count alike and are what is resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from upnext.core.errors import expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Array, Bool, Estimate, Float32, Float64, Int64
from upnext.evaluate.bootstrap import intervals
from upnext.evaluate.category_calibration import miscalibration
from upnext.evaluate.diversity import (
    catalogue_diversity,
    category_diversity,
    concentration,
    list_diversity,
    mean_popularity,
    novelty,
    popularity_lift,
)
from upnext.evaluate.figures import (
    difference_text,
    differences_json,
    figure_text,
    figures_json,
    point,
)
from upnext.evaluate.hybrid_report import HybridReport
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.quotient import quotient
from upnext.evaluate.user_items import UserItems

Lists = Int64 | Callable[[Int64], Int64]  # int64[u, K], or viewer rows int64[m] -> int64[m, K]

ACCURACY = (
    "recall@10", "recall@50", "recall@100", "recall@500", "recall_min@50", "ndcg@10", "map@10",
    "precision@1", "precision@5", "precision@10", "hr@10", "mrr@10",
)  # fmt: skip
HEADLINES = ("recall@100", "ndcg@10")  # of segments and of differences in tables
SEGMENTS_SHOW = "ndcg@10"
DIVERSITY_K = 10
TABLE = (
    "recall@10", "recall@100", "recall@500", "ndcg@10", "map@10", "precision@5",
)  # fmt: skip
LOOKS = (
    "coverage@10", "gini@10", "popularity_lift@10", "arp@10", "novelty@10", "diversity@10", "category_diversity@10",
    "miscalibration@10",
)  # fmt: skip
LOWER_IS_BETTER = ("miscalibration@10",)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What lists are held against: n_items videos, and what is known of each."""

    n_items: int
    vectors: Float32 | None = None  # [n_items, d] for pairwise similarity
    category: Array | None = None  # int[n_items], -1 unknown
    popularity: Array | None = None  # [n_items] showings before the window


@dataclass(frozen=True, slots=True)
class Cases:
    """What is asked of a list maker: u lists, each with a truth, of one viewer each or of fewer viewers."""

    truth: UserItems  # of the u cases
    viewer: Int64 | None = None  # [u] whose each is, 0 .. viewers-1; None: one of each viewer
    liked: UserItems | None = None  # of the u cases: relevant to the viewer before, for calibration
    segments: Mapping[str, Bool] = field(default_factory=dict)  # bool[p] over the truth's pairs

    @property
    def n_viewers(self) -> int:
        """How many viewers there are."""
        return self.truth.n_users if self.viewer is None else int(self.viewer.max(initial=-1)) + 1

    def by_viewer(self, values: Float64) -> Float64:
        """float64[viewers]: the mean of values float64[u] over each viewer's cases that have one."""
        if self.viewer is None:
            return values
        has_value = np.isfinite(values)
        viewer, n = self.viewer[has_value], self.n_viewers
        return quotient(np.bincount(viewer, values[has_value], n), np.bincount(viewer, minlength=n))


@dataclass(frozen=True, slots=True)
class Judging:
    """How lists are judged; the defaults are those of every published table."""

    metrics: tuple[str, ...] = ACCURACY
    depth: int = 500  # places of a list that are looked at
    baseline: str | None = None  # the row that the others are compared with, figure by figure
    against: tuple[str, ...] = ()  # rows that every other is compared with in the headlines
    n_resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """One maker of lists. per_user keeps what the intervals came from, for paired differences and the gate."""

    figures: Mapping[str, Estimate]
    versus: Mapping[
        str, Estimate
    ]  # paired differences, this less the baseline; empty for the baseline itself
    segments: Mapping[str, Mapping[str, Estimate]]
    per_user: Mapping[str, Float64]  # {metric: [viewers]}


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """All rows on one truth."""

    rows: Mapping[str, RetrievalRow]
    n_users: int
    n_pairs: int
    n_items: int
    random_diversity: float  # what a random list has on average; NaN without vectors
    baseline: str | None = None
    about: Mapping[str, object] = field(
        default_factory=dict
    )  # the split's instant, checksum, setting
    n_lists: int = 0  # of each maker: more than viewers where each is judged several times
    against: Mapping[str, Mapping[str, Mapping[str, Estimate]]] = field(
        default_factory=dict
    )  # {a row of Judging.against: {every other: {headline: paired difference, the other less it}}}
    hybrids: HybridReport | None = None

    def to_json(self) -> dict[str, object]:
        """The report as plain values; the keys are those of docs/evaluate.md."""
        return {
            "about": dict(self.about),
            "n_users": self.n_users,
            "n_pairs": self.n_pairs,
            "n_items": self.n_items,
            "n_lists": self.n_lists,
            "random_diversity": None if np.isnan(self.random_diversity) else self.random_diversity,
            "baseline": self.baseline,
            "rows": {name: _row_json(row) for name, row in self.rows.items()},
            "against": {
                rival: {
                    name: differences_json(versus, LOWER_IS_BETTER)
                    for name, versus in others.items()
                }
                for rival, others in self.against.items()
            },
            "hybrids": None if self.hybrids is None else self.hybrids.to_json(),
        }

    def to_rows(self, columns: tuple[str, ...] = TABLE) -> list[dict[str, str]]:
        """One dict per row: "list", then each metric as text with its interval; metrics that were not measured are left out.

        With a baseline, headlines among the columns come again at the end: how they differ from the baseline's."""
        rows = []
        for name, row in self.rows.items():
            cells = {c: figure_text(row.figures[c]) for c in columns if c in row.figures}
            if self.baseline is not None:
                cells |= {
                    f"{c} vs {self.baseline}": difference_text(row.versus.get(c))
                    for c in HEADLINES
                    if c in columns
                }
            rows.append({"list": name} | cells)
        return rows

    def against_rows(self) -> list[dict[str, str]]:
        """One dict per row of `against` and own list: "list", "less", then the paired difference of each headline in words.

        Popularity and random lists are left out, as are the rows of `against` themselves; the JSON has them."""
        return [
            {"list": name, "less": rival}
            | {metric: difference_text(figure) for metric, figure in versus.items()}
            for rival, others in self.against.items()
            for name, versus in others.items()
            if name not in self.against and name != "random" and not name.startswith("popular_")
        ]

    def segment_rows(self, lists: tuple[str, ...]) -> list[dict[str, str]]:
        """One dict per segment: its pairs and viewers, then NDCG@10 of those of `lists` that there are, with intervals."""
        some = next(iter(self.rows.values()))
        return [
            {
                "segment": key,
                "pairs": f"{figures['n_pairs'].mean:.0f}",
                "viewers": f"{figures[SEGMENTS_SHOW].n_effective:.0f}",
            }
            | {
                f"{name} {SEGMENTS_SHOW}": figure_text(self.rows[name].segments[key][SEGMENTS_SHOW])
                for name in lists
                if name in self.rows
            }
            for key, figures in some.segments.items()
        ]


def evaluate_retrieval(
    lists: Mapping[str, Lists],
    cases: Cases,
    catalogue: Catalogue,
    judging: Judging | None = None,
    *,
    about: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> RetrievalReport:
    """The report of named lists over u cases.

    A list maker gives int64[u, K], best first, -1 pads, or is called with the rows 0 .. u-1 and gives that. Lists shorter
    than a metric's k count as they are. Each segment is judged as if its pairs were all there is.
    Raises InvalidInput for an unknown baseline, a list of another shape or a segment of another length."""
    judging, progress, truth = judging or Judging(), progress or NoProgress(), cases.truth
    for known in (judging.baseline, *judging.against):
        if known is not None and known not in lists:
            raise expected("baseline", f"one of {sorted(lists)}", known)
    for name, mask in cases.segments.items():
        if len(mask) != len(truth):
            raise expected(f"segment {name!r}", f"bool[{len(truth)}]", len(mask))
    progress.start("evaluate lists", len(lists), "lists")
    rows: dict[str, RetrievalRow] = {}
    for name in sorted(lists, key=lambda key: key != judging.baseline):  # the baseline first
        compared = rows.get(judging.baseline) if judging.baseline else None
        ranked = _ranked(name, lists[name], truth.n_users, catalogue.n_items)
        rows[name] = _judge(ranked[:, : judging.depth], cases, catalogue, judging, compared)
        progress.advance(1)
    progress.done()
    return RetrievalReport(
        {name: rows[name] for name in lists},
        cases.n_viewers,
        len(truth),
        catalogue.n_items,
        catalogue_diversity(catalogue.vectors) if catalogue.vectors is not None else float("nan"),
        judging.baseline,
        dict(about or {}),
        truth.n_users,
        _against({name: rows[name] for name in lists}, judging),
    )


def _judge(
    ranked: Int64,
    cases: Cases,
    catalogue: Catalogue,
    judging: Judging,
    baseline: RetrievalRow | None,
) -> RetrievalRow:
    places = Places.of(ranked, cases.truth)
    by_case = measure(places, judging.metrics) | _looks(ranked, cases, catalogue)
    per_user = {metric: cases.by_viewer(values) for metric, values in by_case.items()}
    covered, unequal = concentration(
        ranked, DIVERSITY_K, catalogue.n_items, viewer=cases.viewer,
        n_resamples=min(200, judging.n_resamples), seed=judging.seed,
    )  # fmt: skip
    columns = {("figures", metric): values for metric, values in per_user.items()}
    if baseline is not None:
        for metric, values in per_user.items():
            columns["versus", metric] = values - baseline.per_user[metric]
    for key, mask in cases.segments.items():
        apart = measure(places.where(mask), HEADLINES)
        for metric, values in apart.items():
            columns[f"segment {key}", metric] = cases.by_viewer(values)
    # one set of draws for all columns: drawing costs more than the products
    estimates = intervals(columns, n_resamples=judging.n_resamples, seed=judging.seed)
    parts: dict[str, dict[str, Estimate]] = {}
    for (part, metric), estimate in estimates.items():
        parts.setdefault(part, {})[metric] = estimate
    parts["figures"] |= {f"coverage@{DIVERSITY_K}": covered, f"gini@{DIVERSITY_K}": unequal}
    return RetrievalRow(
        parts["figures"],
        parts.get("versus", {}),
        {
            key: {"n_pairs": point(float(mask.sum()), cases.n_viewers), **parts[f"segment {key}"]}
            for key, mask in cases.segments.items()
        },
        per_user,
    )


def _against(
    rows: Mapping[str, RetrievalRow], judging: Judging
) -> dict[str, dict[str, dict[str, Estimate]]]:
    columns = {
        (rival, name, metric): row.per_user[metric] - rows[rival].per_user[metric]
        for rival in judging.against
        for name, row in rows.items()
        if name != rival
        for metric in HEADLINES
        if metric in row.per_user
    }
    estimates = intervals(columns, n_resamples=judging.n_resamples, seed=judging.seed)
    found: dict[str, dict[str, dict[str, Estimate]]] = {rival: {} for rival in judging.against}
    for (rival, name, metric), estimate in estimates.items():
        found[rival].setdefault(name, {})[metric] = estimate
    return found


def _ranked(name: str, lists: Lists, n_users: int, n_items: int) -> Int64:
    ranked = lists(np.arange(n_users, dtype=np.int64)) if callable(lists) else lists
    if ranked.ndim != 2 or len(ranked) != n_users or ranked.dtype.kind != "i":
        raise expected(f"lists {name!r}", f"int64[{n_users}, K]", f"{ranked.dtype}{ranked.shape}")
    if ranked.size and ranked.max() >= n_items:
        raise expected(f"lists {name!r}", f"item ids below {n_items}", int(ranked.max()))
    return ranked


def _looks(ranked: Int64, cases: Cases, catalogue: Catalogue) -> dict[str, Float64]:
    k, values, popularity = DIVERSITY_K, {}, catalogue.popularity
    if catalogue.vectors is not None:
        values[f"diversity@{k}"] = list_diversity(ranked, k, catalogue.vectors)
    if catalogue.category is not None:
        values[f"category_diversity@{k}"] = category_diversity(ranked, k, catalogue.category)
    if popularity is not None:
        values[f"popularity_lift@{k}"] = popularity_lift(ranked, k, cases.truth, popularity)
        values[f"arp@{k}"] = mean_popularity(ranked, k, popularity)
        values[f"novelty@{k}"] = novelty(ranked, k, popularity)
    if catalogue.category is not None and cases.liked is not None:
        found = miscalibration(ranked, k, cases.liked, catalogue.category)
        values[f"miscalibration@{k}"] = found
    return values


def _row_json(row: RetrievalRow) -> dict[str, object]:
    return {
        "figures": figures_json(row.figures),
        "versus_baseline": differences_json(row.versus, LOWER_IS_BETTER),
        "segments": {name: figures_json(figures) for name, figures in row.segments.items()},
    }

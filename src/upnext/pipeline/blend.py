"""The merge of all sources' candidates: one light linear score over columns that every candidate has, so that the best go to the ranker.

A place in one source's list says nothing about a place in another's. The blend compares them on common ground: the two-tower cosine of every
candidate, whoever proposed it, and decayed counts; what a source alone knows (the item-to-item sum) counts where it is there. A viewer of
whom little is known is another case: the tower knows less and what everybody likes says more, so both stand a second time, times how new the
viewer is, 1 / (1 + showings in the history). The weights are a logistic regression of relevance on logged requests, learned beside the
ranker (learn/blend.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from upnext.core.types import Candidates, Float32, Query
from upnext.features.counters import COUNTER_NAMES, CounterTable
from upnext.features.vector_table import VectorTable

COLUMNS = (
    "tower", "item_to_item", "log_relevant_6h", "log_relevant_1d", "log_relevant_7d",
    "log_relevant_total", "log_impressions_1d", "rate_7d", "new:tower", "new:log_relevant_total",
)  # fmt: skip
_COUNTS = np.array(
    [
        COUNTER_NAMES.index(name)
        for name in ("relevant_6h", "relevant_1d", "relevant_7d", "relevant_total",
                     "impressions_1d", "impressions_7d")
    ]
)  # fmt: skip
DEFAULT_WEIGHTS: Mapping[str, float] = {
    "tower": 4.0, "item_to_item": 0.5, "log_relevant_1d": 0.6, "log_relevant_7d": 0.3, "rate_7d": 1.0,
}  # fmt: skip


class ViewerTower(Protocol):
    """What embeds viewers (retrieval.UserTower)."""

    def vector(self, query: Query) -> Float32: ...


@dataclass(frozen=True)
class Blend:
    """Scores candidates before the ranker. Without a tower (before the first training) its column is zero."""

    counters: CounterTable
    weights: Mapping[str, float]
    tower: ViewerTower | None = None
    vectors: VectorTable | None = None

    def columns(self, query: Query, candidates: Candidates, *, with_tower: bool = True) -> Float32:
        """float32[n, len(COLUMNS)]; without the tower its column is zero."""
        n = len(candidates)
        rows = np.zeros((n, len(COLUMNS)), np.float32)
        if not n:
            return rows
        if with_tower and self.tower is not None and self.vectors is not None:
            rows[:, 0] = self.vectors.rows(candidates.item_id) @ self.tower.vector(query)
        near = candidates.columns.get("source:item_to_item")
        if near is not None:
            np.copyto(rows[:, 1], near, where=near == near)  # NaN: not proposed by it
        counts = self.counters.read(candidates.item_id, query.request.time_us, _COUNTS).T
        rows[:, 2:7] = np.log1p(counts[:5]).T
        rows[:, 7] = (counts[2] + 6.0) / (counts[5] + 20.0)
        rows[:, 8:10] = rows[:, [0, 5]] / (1.0 + len(query.user.history))
        return rows

    def scored(
        self, query: Query, candidates: Candidates, *, with_tower: bool = True
    ) -> Candidates:
        """The candidates with the columns "tower" and "blend"."""
        rows = self.columns(query, candidates, with_tower=with_tower)
        weight = np.array([self.weights.get(name, 0.0) for name in COLUMNS], np.float32)
        return candidates.with_columns(tower=rows[:, 0], blend=rows @ weight)

    def save(self, folder: Path) -> None:
        """Writes blend.json."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "blend.json").write_text(json.dumps(dict(self.weights), indent=1), "utf-8")


def load_weights(folder: Path) -> dict[str, float]:
    """The weights that `save` wrote."""
    weights: dict[str, float] = json.loads((folder / "blend.json").read_text("utf-8"))
    return weights


def best_blended(candidates: Candidates, n: int) -> Candidates:
    """At most n candidates, those with the largest "blend"; ties by item_id; order kept."""
    if len(candidates) <= n:
        return candidates
    score, item_id = candidates.columns["blend"], candidates.item_id
    least = np.partition(score, len(score) - n)[len(score) - n]
    best = score >= least
    n_extra = int(np.count_nonzero(best)) - n
    if n_extra:  # several have the least score: the largest ids go
        ties = np.flatnonzero(score == least)
        best[ties[np.argsort(item_id[ties])[len(ties) - n_extra :]]] = False
    return candidates.take(best)

"""The merge of all sources' candidates: one light linear score over columns that every candidate has, so that the best go to the ranker.

A place in one source's list says nothing about a place in another's. The blend compares them on common ground: the two-tower cosine of every
candidate, whoever proposed it, and decayed counts; what a source alone knows (the item-to-item sum, the mean of similar viewers) counts where it
is there. A viewer of whom little is known is another case: the tower knows less and what everybody likes says more, so both stand a second time,
times how new the viewer is, 1 / (1 + showings in the history). Every other trained generator of the release adds one column: what it says of the candidate.
The weights are a logistic regression of relevance on logged requests, learned beside the ranker (learn/blend.py), and a surface may have its own (mixing.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.types import Candidates, Float32, Float64, Int64, Query
from upnext.features.counters import COUNTER_NAMES, CounterTable
from upnext.features.vector_table import VectorTable
from upnext.pipeline.mixing import Mixing

COLUMNS = (
    "tower", "item_to_item", "log_relevant_6h", "log_relevant_1d", "log_relevant_7d",
    "log_relevant_total", "log_impressions_1d", "rate_7d", "new:tower", "new:log_relevant_total",
    "user_knn",
)  # fmt: skip
_COUNTS = np.array(
    [
        COUNTER_NAMES.index(name)
        for name in ("relevant_6h", "relevant_1d", "relevant_7d", "relevant_total",
                     "impressions_1d", "impressions_7d")
    ]
)  # fmt: skip
DEFAULT_MIXING: Final = Mixing({
    "tower": 4.0, "item_to_item": 0.5, "log_relevant_1d": 0.6, "log_relevant_7d": 0.3, "rate_7d": 1.0,
})  # fmt: skip


class ViewerTower(Protocol):
    """What embeds viewers (retrieval.UserTower)."""

    def vector(self, query: Query) -> Float32: ...


class ScoresAny(Protocol):
    """What scores any video for a viewer (pipeline.trained.Scorer)."""

    def scores(self, query: Query, item_id: Int64) -> Float32: ...


@dataclass(frozen=True)
class Blend:
    """Scores candidates before the ranker. Without a tower (before the first training) its column is zero."""

    counters: CounterTable
    mixing: Mixing
    tower: ViewerTower | None = None
    vectors: VectorTable | None = None
    generators: Mapping[str, ScoresAny] = field(default_factory=dict)  # the other ones
    names: tuple[str, ...] = field(init=False)  # [c] of the columns
    _weight: Float32 = field(init=False, repr=False, compare=False)  # [c] of all surfaces
    _own: Mapping[str, Float32] = field(init=False, repr=False, compare=False)  # {surface: [c]}

    def __post_init__(self) -> None:
        names = (*COLUMNS, *self.generators)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_weight", weight_row(self.mixing.weights, names))
        own = {name: weight_row(one, names) for name, one in self.mixing.surfaces.items()}
        object.__setattr__(self, "_own", own)

    def columns(self, query: Query, candidates: Candidates, *, with_tower: bool = True) -> Float32:
        """float32[n, c]; without the tower its columns and those of other generators are zero."""
        n = len(candidates)
        if not n:
            return np.zeros((0, len(self.names)), np.float32)
        tower = np.zeros(n, np.float32)
        if with_tower and self.tower is not None and self.vectors is not None:
            tower = self.vectors.products(candidates.item_id, self.tower.vector(query))
        near, similar = (
            candidates.columns.get(f"source:{name}", np.zeros(n, np.float32))
            for name in ("item_to_item", "user_knn")
        )
        counts = self.counters.read(candidates.item_id, query.request.time_us, _COUNTS)
        rows = _columns(
            tower,
            near,
            similar,
            counts,
            np.log1p(counts),
            len(query.user.history),
            len(self.names),
        )
        if with_tower:
            for place, generator in enumerate(self.generators.values(), len(COLUMNS)):
                rows[:, place] = generator.scores(query, candidates.item_id)
        return rows

    def scored(
        self, query: Query, candidates: Candidates, surface: str, *, with_tower: bool = True
    ) -> Candidates:
        """The candidates with the columns "tower", "blend" and one by the name of each other generator.

        surface: whose weights; the settings' name, which a log's request may not have (Pipeline.logged_surface)."""
        rows = self.columns(query, candidates, with_tower=with_tower)
        tower, blend = _scores(rows, self._own.get(surface, self._weight))
        others = {
            name: np.ascontiguousarray(rows[:, place])
            for place, name in enumerate(self.generators, len(COLUMNS))
        }
        return candidates.with_columns(tower=tower, blend=blend, **others)


def weight_row(weights: Mapping[str, float], names: Sequence[str]) -> Float32:
    """float32[c]: the weights of the columns `names`, 0 for one that has none."""
    return np.array([weights.get(name, 0.0) for name in names], np.float32)


@compiled
def _columns(
    tower: Float32, near: Float32, similar: Float32, counts: Float64, logs: Float64,
    n_history: int, n_columns: int,
) -> Float32:  # fmt: skip
    """float32[n, n_columns], those of COLUMNS filled: of the cosines [n], item-to-item sums and similar viewers' means [n] (NaN: not proposed by
    that source), _COUNTS [n, 6] and their log1p."""
    rows = np.zeros((len(tower), n_columns), np.float32)
    for i in range(len(tower)):
        rows[i, 0] = tower[i]
        rows[i, 1] = 0.0 if np.isnan(near[i]) else near[i]
        for j in range(5):
            rows[i, 2 + j] = logs[i, j]
        rows[i, 7] = (counts[i, 2] + 6.0) / (counts[i, 5] + 20.0)
        rows[i, 8] = rows[i, 0] / np.float32(1 + n_history)
        rows[i, 9] = rows[i, 5] / np.float32(1 + n_history)
        rows[i, 10] = 0.0 if np.isnan(similar[i]) else similar[i]
    return rows


@compiled
def _scores(rows: Float32, weight: Float32) -> tuple[Float32, Float32]:
    """(cosines float32[n], scores float32[n]): the first column, and the weighted sum of all."""
    tower, blend = np.empty(len(rows), np.float32), np.zeros(len(rows), np.float32)
    for i in range(len(rows)):
        tower[i] = rows[i, 0]
        for j in range(len(weight)):
            blend[i] += rows[i, j] * weight[j]
    return tower, blend


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

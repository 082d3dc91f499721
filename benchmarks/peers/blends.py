"""The best blends of peers: z(model) + w z(log popularity), and sums of several models with popularity, weights chosen on the validation day.

z takes a viewer's scores to mean 0 and deviation 1 over the catalogue. The first model's weight is 1; the others' start at 0 or a little and are moved one at a
time while that helps. Blends are chosen for recall@100 times NDCG@10; `..._recall` and `..._ndcg` for one of them alone.

    python blends.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from exchange import Day, Exchange, read, say

WEIGHTS = (
    0.0,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.65,
    0.8,
    1.0,
    1.25,
    1.6,
    2.0,
    2.5,
    3.2,
)  # of the first model: 1
HALF_LIVES_D = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
MODELS = ("implicit_als", "rectools_sasrec", "ease", "implicit_knn", "lightfm_warp", "implicit_bpr")
BLENDS = {
    "blend_als_popularity": ("implicit_als",),
    "blend_sasrec_popularity": ("rectools_sasrec",),
    "blend_als_sasrec_popularity": ("implicit_als", "rectools_sasrec"),
}
GOALS: dict[str, Callable[[float, float], float]] = {
    "": lambda recall, ndcg: recall * ndcg,
    "_recall": lambda recall, _: recall,
    "_ndcg": lambda _, ndcg: ndcg,
}


def z(scores: np.ndarray) -> np.ndarray:
    """float32[c, n_items]: each row with mean 0 and deviation 1; a constant row is 0."""
    scores = np.array(scores, np.float32)
    scores -= scores.mean(axis=1, keepdims=True)
    deviation = scores.std(axis=1, keepdims=True)
    scores /= np.where(deviation > 0, deviation, 1)
    return scores


def popularity(counts: np.ndarray) -> np.ndarray:
    """float32[1, n_items]: z of log(1 + count)."""
    return z(np.log1p(counts)[None, :])


class Search:
    """Weights of some models and of popularity, chosen on the day."""

    def __init__(self, day: Day, models: dict[str, np.ndarray]) -> None:
        self._day = day
        self._models = models
        self._popular = [popularity(day.rows.popularity(h)) for h in HALF_LIVES_D]
        self._known: dict[tuple[int, ...], tuple[float, float]] = {}

    def run(self, goal: Callable[[float, float], float]) -> tuple[dict[str, float], float, str]:
        """(weights by model and "popularity", its half-life in days, what they reach).

        A point is a place in WEIGHTS for each model but the first and for popularity, then one in HALF_LIVES_D; each is moved up or down
        while that helps, until none does. The best of several starts."""
        starts = [(*[others] * (len(self._models) - 1), 7, 4) for others in (0, 3)]
        found = [self._moved(start, goal) for start in starts]
        point = max(found, key=lambda one: goal(*self._judged(one)))
        recall, ndcg = self._judged(point)
        names = [*list(self._models)[1:], "popularity"]
        weights = {name: WEIGHTS[at] for name, at in zip(names, point, strict=False)}
        weights[next(iter(self._models))] = 1.0
        return weights, HALF_LIVES_D[point[-1]], f"{recall:.4f} / {ndcg:.4f}"

    def _moved(
        self, point: tuple[int, ...], goal: Callable[[float, float], float]
    ) -> tuple[int, ...]:
        limits = [len(WEIGHTS)] * len(self._models) + [len(HALF_LIVES_D)]
        before: tuple[int, ...] = ()
        while point != before:
            before = point
            for place in range(len(point)):
                for step in (1, -1):
                    point = self._climb(point, place, step, limits[place], goal)
        return point

    def _climb(
        self,
        point: tuple[int, ...],
        place: int,
        step: int,
        limit: int,
        goal: Callable[[float, float], float],
    ) -> tuple[int, ...]:
        while 0 <= point[place] + step < limit:
            tried = (*point[:place], point[place] + step, *point[place + 1 :])
            if goal(*self._judged(tried)) <= goal(*self._judged(point)):
                break
            point = tried
        return point

    def _judged(self, point: tuple[int, ...]) -> tuple[float, float]:
        if point not in self._known:
            *models, popular, life = point
            first, *others = self._models.values()
            total = first + np.float32(WEIGHTS[popular]) * self._popular[life]
            for at, scores in zip(models, others, strict=True):
                if WEIGHTS[at]:
                    total += np.float32(WEIGHTS[at]) * scores
            self._known[point] = self._day.judge(total)
        return self._known[point]


def write_blend(exchange: Exchange, name: str, models: tuple[str, ...]) -> None:
    """Chooses the weights for each goal and writes the lists."""
    goals = {suffix: goal for suffix, goal in GOALS.items() if not exchange.has(name + suffix)}
    if not goals:
        say(f"{name}: there already")
        return
    search = Search(exchange.day(), {m: z(exchange.scores(m, "day")) for m in models})
    asked = {m: z(exchange.scores(m, "asked")) for m in models}
    for suffix, goal in goals.items():
        weights, half_life_d, text = search.run(goal)
        say(f"{name}{suffix}: {weights}, half-life {half_life_d} d: day {text}")
        popular = popularity(exchange.rows.popularity(half_life_d))
        total = np.repeat(popular * weights["popularity"], len(exchange.asked_users), axis=0)
        for model, scores in asked.items():
            total += np.float32(weights[model]) * scores
        exchange.write_lists(name + suffix, total)


if __name__ == "__main__":
    exchange = read(Path(sys.argv[1]))
    made = tuple(model for model in MODELS if exchange.has(model))
    for name, models in BLENDS.items():
        if set(models) <= set(made):
            write_blend(exchange, name, models)
    write_blend(exchange, "blend_of_all", made)

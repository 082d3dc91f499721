"""The best blends of peers: z(model) + w z(log popularity), and sums of several models with popularity, weights chosen on the validation day.

z takes a viewer's scores to mean 0 and deviation 1 over the catalogue. Weights are searched coordinate by coordinate, best first, so a part that adds nothing
stays at 0. Blends are chosen for recall@100 times NDCG@10; `..._recall` and `..._ndcg` for one of them alone.

    python blends.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from exchange import Day, Exchange, read, say

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7)
HALF_LIVES_D = (0.25, 0.5, 1.0, 2.0, 4.0)
MODELS = ("implicit_als", "rectools_sasrec", "ease", "implicit_knn", "lightfm_warp", "implicit_bpr")
BLENDS = {
    "blend_als_popularity": ("implicit_als",),
    "blend_ease_popularity": ("ease",),
    "blend_sasrec_popularity": ("rectools_sasrec",),
    "blend_als_ease_popularity": ("implicit_als", "ease"),
    "blend_als_sasrec_popularity": ("implicit_als", "rectools_sasrec"),
}
GOALS: dict[str, Callable[[float, float], float]] = {
    "": lambda recall, ndcg: recall * ndcg,
    "_recall": lambda recall, ndcg: recall,
    "_ndcg": lambda recall, ndcg: ndcg,
}
SWEEPS = 2


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
        self._popular = {h: popularity(day.rows.popularity(h)) for h in HALF_LIVES_D}

    def run(self, goal: Callable[[float, float], float]) -> tuple[dict[str, float], float, str]:
        """(weights by model and "popularity", its half-life in days, what they reach)."""
        weights = dict.fromkeys([*self._models, "popularity"], 0.0)
        weights[next(iter(self._models))] = 1.0
        half_life_d, best, text = 1.0, -1.0, ""
        for _ in range(SWEEPS):
            before = best
            for part in ["popularity", *self._models]:
                rest = self._blend({**weights, part: 0.0}, half_life_d)
                lives = HALF_LIVES_D if part == "popularity" else (half_life_d,)
                for life in lives:
                    own = self._popular[life] if part == "popularity" else self._models[part]
                    for weight in WEIGHTS:
                        recall, ndcg = self._day.judge(rest + np.float32(weight) * own)
                        if goal(recall, ndcg) > best:
                            best, text = goal(recall, ndcg), f"{recall:.4f} / {ndcg:.4f}"
                            weights, half_life_d = {**weights, part: weight}, life
            if best <= before:
                break
        return weights, half_life_d, text

    def _blend(self, weights: dict[str, float], half_life_d: float) -> np.ndarray:
        total = np.repeat(
            self._popular[half_life_d] * weights["popularity"], len(self._day.users), 0
        )
        for name, scores in self._models.items():
            if weights[name]:
                total += np.float32(weights[name]) * scores
        return total.astype(np.float32)


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

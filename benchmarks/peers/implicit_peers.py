"""`implicit`'s ALS, BPR and item-kNN on exported rows, each with its settings chosen on the validation day.

python implicit_peers.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from exchange import Rows, read, run_peer
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import (
    BM25Recommender,
    CosineRecommender,
    TFIDFRecommender,
)

SEED = 0
ALS = [
    {"factors": factors, "alpha": alpha, "regularization": reg}
    for factors, alpha, reg in (
        (64, 10.0, 100.0), (64, 20.0, 200.0), (96, 10.0, 100.0), (96, 20.0, 200.0), (96, 40.0, 400.0), (128, 20.0, 200.0),
    )
]  # fmt: skip
BPR = [
    {"factors": 64, "learning_rate": rate, "regularization": 0.01, "iterations": iterations}
    for rate, iterations in ((0.01, 100), (0.03, 60))
]
KNN = [
    {"kind": kind, "neighbours": neighbours}
    for kind in ("cosine", "tfidf", "bm25")
    for neighbours in (200, 1000)
]
KINDS = {
    "cosine": CosineRecommender,
    "tfidf": TFIDFRecommender,
    "bm25": BM25Recommender,
}


def als(rows: Rows, users: np.ndarray, **option: object) -> np.ndarray:
    """Alternating least squares (Hu, Koren & Volinsky 2008) on how often each video was shown."""
    model = AlternatingLeastSquares(iterations=15, random_state=SEED, num_threads=0, **option)
    return fitted(model, rows, users)


def bpr(rows: Rows, users: np.ndarray, **option: object) -> np.ndarray:
    """Bayesian personalised ranking (Rendle et al. 2009)."""
    model = BayesianPersonalizedRanking(random_state=SEED, num_threads=0, **option)
    return fitted(model, rows, users)


def fitted(model: object, rows: Rows, users: np.ndarray) -> np.ndarray:
    """Scores float32[c, n_items] of a model of vectors, 0 for viewers without a past."""
    shown = rows.pairs()
    model.fit(shown, show_progress=False)
    scores = model.user_factors[users] @ model.item_factors.T
    scores[np.diff(shown.indptr)[users] == 0] = 0
    return scores


def knn(rows: Rows, users: np.ndarray, kind: str, neighbours: int) -> np.ndarray:
    """The sum of similarities to the viewer's videos; the popular ones order what has none."""
    model = KINDS[kind](K=neighbours, num_threads=0)
    shown = rows.pairs()
    model.fit(shown, show_progress=False)
    scores = (shown[users] @ model.similarity).toarray().astype(np.float32)
    has_past = scores.any(axis=1)
    popular = rows.popularity()
    smallest = scores[scores > 0].min(initial=1.0)
    scores[has_past] += (smallest * popular / (1 + popular.max())).astype(np.float32)
    return scores


if __name__ == "__main__":
    exchange = read(Path(sys.argv[1]))
    run_peer(exchange, "implicit_als", ALS, als)
    run_peer(exchange, "implicit_knn", KNN, knn)
    run_peer(exchange, "implicit_bpr", BPR, bpr)

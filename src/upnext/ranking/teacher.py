"""What boosted trees say of the ranker's rows, for the network to learn from beside what happened (Hinton et al. 2015, distillation).

A network and boosted trees err differently on the same columns: their mean is better than either. Trees are too slow to ask at every request, so the
network learns their mean beforehand: its target is (1 - share) * label + share * what the trees predict. Trees predict only rows of viewers that they did not
learn from (folds by group), or they would hand on the labels themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from upnext.core.protocols import Progress
from upnext.core.types import Array, Bool, Float32
from upnext.ranking.rows import RankerRows, folds_of
from upnext.ranking.tasks import kind_of

LEAST_POSITIVES: Final = 300  # of a task, in all rows; with fewer trees say little
LEAST_ROWS: Final = 2_000
SETTINGS: Final = {
    "learning_rate": 0.07, "num_leaves": 63, "min_data_in_leaf": 50, "lambda_l2": 10.0,
    "feature_fraction": 0.4, "bagging_fraction": 0.8, "bagging_freq": 1, "verbose": -1,
    "deterministic": True, "force_row_wise": True,
}  # fmt: skip
TREES: Final = 120
NO_TREES: Final = (
    "no boosted trees beside the network: lightgbm can't be loaded ({}); pip install upnext[train]"
)


def softened(
    rows: RankerRows,
    label: Float32,
    tasks: Sequence[str],
    taught: Bool,
    share: float,
    folds: int,
    seed: int,
    progress: Progress,
) -> Float32:
    """float32[m, t]: the labels float32[m, t] (NaN: not known) drawn towards the trees' predictions on the rows bool[m] that are taught.

    Tasks with too few rows or positives keep their labels. Raises ImportError or OSError where LightGBM can't be loaded."""
    target = label.copy()
    chosen = [k for k, task in enumerate(tasks) if _is_teachable(task, label[taught, k])]
    if share == 0 or not chosen:
        return target
    import lightgbm

    inputs = _columns(rows, taught)
    common = {**SETTINGS, "seed": seed, "num_threads": torch.get_num_threads()}
    progress.start("boosted trees for the ranker", len(chosen) * folds, "fits")
    for k in chosen:
        known = np.flatnonzero(taught & ~np.isnan(label[:, k]))
        fold = folds_of(rows.group[known], folds)
        for held in range(folds):
            fit, told = known[fold != held], known[fold == held]
            if len(told) and _is_mixed(label[fit, k]):
                data = lightgbm.Dataset(inputs[fit], label[fit, k], weight=rows.weight[fit])
                kind = "poisson" if kind_of(tasks[k]) == "seconds" else "binary"
                trees = lightgbm.train({**common, "objective": kind}, data, TREES)
                target[told, k] += share * (trees.predict(inputs[told]) - label[told, k])
            progress.advance(1)
    progress.done()
    return target


def _is_teachable(task: str, label: Array) -> bool:
    label = label[~np.isnan(label)]
    n_positive = int((label > 0).sum())
    n_rarer = n_positive if kind_of(task) == "seconds" else min(n_positive, len(label) - n_positive)
    return len(label) >= LEAST_ROWS and n_rarer >= LEAST_POSITIVES


def _is_mixed(label: Array) -> bool:
    return len(label) > 0 and bool((label != label[0]).any())


def _columns(rows: RankerRows, taught: Bool) -> Float32:
    """float32[m, f]: the columns of viewers and videos that vary on the taught rows."""
    parts = []
    for side in (rows.user, rows.items):
        some = side[taught]
        varies = (some != some[:1]).any(0) & ~np.isnan(some).all(0)
        parts.append(side[:, varies])
    return np.concatenate(parts, axis=1)

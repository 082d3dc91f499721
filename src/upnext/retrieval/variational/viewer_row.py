"""What the viewer side reads, laid out once for training and serving: no torch here.

One row per viewer: the mean of the input vectors of the latest showings, of the relevant, the liked and the very latest ones apart; how
many there were of each; the context row of features.context; the example's age, which is 0 when serving. It is the two-tower network's
row without searches, and examples and batches are cut as that network's are.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.types import Array, Float32
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.user_inputs import N_AGE, Group, groups_of
from upnext.retrieval.variational.config import VariationalConfig

FORMAT: Final = 1  # of the exported files


def as_two_tower(config: VariationalConfig) -> TwoTowerConfig:
    """What examples and batches are cut by."""
    shared = TwoTowerConfig.model_fields.keys() & VariationalConfig.model_fields.keys()
    return TwoTowerConfig.model_validate(config.model_dump(include=set(shared)))


def pooled_groups_of(config: VariationalConfig) -> tuple[Group, ...]:
    """The pooled groups in the order of the row."""
    return groups_of(as_two_tower(config))


def row_size(config: VariationalConfig, n_context: int) -> int:
    """Columns of the row."""
    return len(pooled_groups_of(config)) * (config.input_size + 1) + n_context + N_AGE


def serving_row(pooled: Float32, counts: Float32, context: Float32) -> Float32:
    """float32[1, f]: the row of one viewer now. pooled float32[g, d_in] and counts float32[g] of the groups."""
    parts: list[Array] = [
        pooled.ravel(),
        np.log1p(counts) / 4,
        context,
        np.zeros(N_AGE, np.float32),
    ]
    return np.concatenate(parts)[None]

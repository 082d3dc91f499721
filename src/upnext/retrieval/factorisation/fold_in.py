"""A viewer's row from their pairs alone: the exact solution of the normal equations, for a viewer who is in no release as for one who is."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Float32
from upnext.retrieval.factorisation.least_squares import Weighting


def fold_in(
    factors: Float32, confidence: Float32, gram: Float32, n_items: int, weighting: Weighting
) -> Float32:
    """float32[d]: the row that training would give a viewer with these pairs, the videos' factors held.

    factors float32[p, d] of the pairs' videos, confidence float32[p]; gram float32[d, d]: W times that of all n_items videos."""
    weighted = factors * weighting.extra(confidence)[:, None]
    matrix = gram + weighted.T @ factors
    ridge = weighting.ridge(np.abs(confidence).sum(keepdims=True), n_items)[0]
    matrix.flat[:: len(matrix) + 1] += ridge
    pulled = np.maximum(confidence, 0) @ factors
    row: Float32 = np.linalg.solve(matrix, pulled)
    return row

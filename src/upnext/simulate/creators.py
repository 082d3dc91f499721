"""What creators do: upload, stay or leave, and what watching does to a viewer's own creation."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Bool, Float64
from upnext.simulate.knobs import Knobs
from upnext.simulate.truth import logistic


def uploads(
    knobs: Knobs, exposure: Float64, likes: Float64, tenure_d: Float64, draws: Float64
) -> Bool:
    """bool[n]: which of n intended uploads come about, by their creators' recent exposure, likes and days here."""
    if not knobs.creators_respond:
        return np.ones(len(draws), np.bool_)
    return np.asarray(draws < logistic(0.5 + np.log1p(exposure) / 4 + np.log1p(likes) / 4))


def leaves(
    knobs: Knobs, exposure: Float64, likes: Float64, tenure_d: Float64, draws: Float64
) -> Bool:
    """bool[n]: which of n creators leave for good today."""
    if not knobs.creators_respond:
        return np.zeros(len(draws), np.bool_)
    return np.asarray(draws < 0.02 * np.exp(-(np.log1p(exposure) + np.log1p(likes)) / 4))


def creates_probability(base: Float64, inspired: Float64) -> Float64:
    """float64[n]: P(a viewer creates something today) = sigma(c_u + inspiration of what they watched lately)."""
    return logistic(base + inspired)

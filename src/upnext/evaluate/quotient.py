"""Division that knows what it can't say: NaN, not a warning and not zero, where there is nothing to divide by."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Array, Float64


def quotient(numerator: Array, denominator: Array) -> Float64:
    """float64 of the common shape: numerator / denominator, NaN where denominator is 0."""
    shape = np.broadcast_shapes(np.shape(numerator), np.shape(denominator))
    out = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) != 0)
    return out

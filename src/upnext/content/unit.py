"""Rows of length one: the form in which every content vector is kept, so that an inner product is a cosine."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Float32


def unit_rows(rows: Float32) -> Float32:
    """float32[n, d] of rows float32[n, d] brought to L2 length 1; a row of zeros stays zeros."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    out: Float32 = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)
    return out

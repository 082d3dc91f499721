"""EASE (Steck 2019, "Embarrassingly shallow autoencoders", eq. 8) on exported rows: a closed-form item-item model.

python ease.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from exchange import Rows, read, run_peer
from scipy import linalg

OPTIONS = [{"reg": reg} for reg in (500.0, 1000.0, 2000.0)]


def ease(rows: Rows, users: np.ndarray, reg: float) -> np.ndarray:
    """float32[c, n_items]: X B with B = I - P / diag(P), P the inverse of X'X + reg I."""
    shown = rows.pairs()
    gram = (shown.T @ shown).toarray().astype(np.float64)
    gram[np.diag_indices(len(gram))] += reg
    inverse = inverted(gram)
    weights = -inverse / np.diag(inverse)
    weights[np.diag_indices(len(weights))] = 0
    return shown[users] @ weights.astype(np.float32)


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a symmetric, positive definite matrix, which is overwritten."""
    factor, _ = linalg.lapack.dpotrf(matrix, lower=1, overwrite_a=1)
    half, _ = linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(half)
    return lower + np.tril(half, -1).T


if __name__ == "__main__":
    run_peer(read(Path(sys.argv[1])), "ease", OPTIONS, ease)

"""Content vectors in fewer columns: their leading principal components."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from upnext.core.types import Float32


@dataclass(frozen=True)
class Reduction:
    """Content vectors in fewer columns: (x - mean) @ basis, the leading principal components."""

    mean: Float32  # [c]
    basis: Float32  # [c, s]

    @staticmethod
    def fit(content: Float32, size: int) -> Reduction:
        """The leading `size` components of content float32[n, c]; fewer columns where c or n is smaller."""
        mean = content.mean(axis=0) if len(content) else np.zeros(content.shape[1], np.float32)
        centred = content - mean
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        basis = vectors[:, ::-1][:, :size]
        signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(basis.shape[1])])
        return Reduction(mean.astype(np.float32), (basis * signs).astype(np.float32))

    def apply(self, content: Float32) -> Float32:
        """float32[n, s]."""
        return np.asarray((content - self.mean) @ self.basis, np.float32)

    def save(self, path: Path) -> None:
        """Writes an npz."""
        np.savez(path, mean=self.mean, basis=self.basis)

    @staticmethod
    def load(path: Path) -> Reduction:
        """What save wrote."""
        with np.load(path) as data:
            return Reduction(data["mean"], data["basis"])

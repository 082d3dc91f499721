"""The platform's own video embedding, of any length, brought to a fixed one: its main directions, learned from the catalogue.

Principal components (Pearson 1901) of the unit-length vectors. A vector of another length, or with a value that is no number,
counts as absent: it gives zeros, since a platform may change its embedding between two releases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upnext.content.unit import unit_rows
from upnext.core.types import Float32

SIZE = 32
MAX_VECTORS = 20_000


@dataclass(frozen=True)
class PlatformVectors:
    """A learned projection from p to d numbers, d = min(SIZE, p)."""

    mean: Float32  # [p]
    directions: Float32  # [p, d]

    @property
    def size(self) -> int:
        """Length of a projected vector; 0 where the catalogue has none."""
        return int(self.directions.shape[1])

    def encode(self, vectors: Sequence[Sequence[float] | None]) -> Float32:
        """float32[n, d], L2-normalised rows; zeros where the vector is absent or unfit."""
        out = np.zeros((len(vectors), self.size), np.float32)
        if self.size == 0:
            return out
        n_numbers = len(self.mean)
        rows = [i for i, v in enumerate(vectors) if v is not None and len(v) == n_numbers]
        if not rows:
            return out
        given = np.array([vectors[i] for i in rows], np.float32)
        fit = np.isfinite(given).all(axis=1)
        out[np.array(rows)[fit]] = unit_rows(unit_rows(given[fit]) - self.mean) @ self.directions
        return unit_rows(out)


def fit_platform_vectors(vectors: Sequence[Sequence[float] | None]) -> PlatformVectors:
    """The projection of a catalogue's vectors: their commonest length counts; none: size 0."""
    lengths = [len(v) for v in vectors if v is not None and len(v)]
    if not lengths:
        return PlatformVectors(np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
    n_numbers = max(sorted(set(lengths)), key=lengths.count)
    chosen = [v for v in vectors if v is not None and len(v) == n_numbers]
    given = np.array(chosen[:: max(1, len(chosen) // MAX_VECTORS)], np.float32)
    given = unit_rows(given[np.isfinite(given).all(axis=1)])
    size = min(SIZE, n_numbers)
    if len(given) <= size:  # too few to learn from: the first numbers as they are
        return PlatformVectors(
            np.zeros(n_numbers, np.float32), np.eye(n_numbers, size, dtype=np.float32)
        )
    mean = given.mean(axis=0)
    spread = (given - mean).T.astype(np.float64) @ (given - mean)
    _, columns = np.linalg.eigh(spread)
    directions = columns[:, ::-1][:, :size]
    signs = np.sign(directions[np.argmax(np.abs(directions), axis=0), np.arange(size)])
    return PlatformVectors(mean, (directions * signs).astype(np.float32))

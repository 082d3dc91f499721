"""Randomness by name: a generator derived from a seed and the words that say what it is for.

Two runs of one seed are equal, and a draw for one user never depends on who came before. The key is
hashed with BLAKE2b and drives numpy's Philox counter generator, whose streams are independent.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence


def key_of(*parts: int | str) -> int:
    """A 64-bit key of the parts, the same on every machine; ("a", "bc") and ("ab", "c") differ."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator_of(key: int) -> np.random.Generator:
    """Philox with this 64-bit key: the numbers of np.random.Philox(key=key), made in half the time.

    numpy gathers entropy from the system first even where a key is given; a seed that is the key spares it that."""
    seed: Any = _Key(key)  # numpy takes any ISeedSequence, its stub does not say so
    return np.random.Generator(np.random.Philox(seed))


def rng_for(*parts: int | str) -> np.random.Generator:
    """A generator that depends on the parts alone."""
    return generator_of(key_of(*parts))


class _Key(ISeedSequence):
    """A seed whose first words are the key itself."""

    def __init__(self, key: int) -> None:
        self._key = key

    def generate_state(
        self, n_words: int, dtype: npt.DTypeLike = np.uint32
    ) -> npt.NDArray[np.uint32 | np.uint64]:
        """uint64[2], what Philox asks for: the key, low word first."""
        assert n_words == 2
        assert dtype is np.uint64
        return np.array([self._key, 0], np.uint64)

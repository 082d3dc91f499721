"""Randomness by name: a generator derived from a seed and the words that say what it is for.

Two runs of one seed are equal, and a draw for one user never depends on who came before. The key is
hashed with BLAKE2b and drives numpy's Philox counter generator, whose streams are independent.
"""

from __future__ import annotations

import hashlib

import numpy as np


def key_of(*parts: int | str) -> int:
    """A 64-bit key of the parts, the same on every machine; ("a", "bc") and ("ab", "c") differ."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def rng_for(*parts: int | str) -> np.random.Generator:
    """A generator that depends on the parts alone."""
    return np.random.Generator(np.random.Philox(key=key_of(*parts)))

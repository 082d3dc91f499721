"""The uniform numbers of a draw in machine code: those of `generator_of(key).random(k)`, bit for bit, without making a generator.

Philox4x64-10 (Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011): a counter, here 1, 2 and so on, is scrambled by
ten rounds of multiplications with a key; each gives four words of 64 bits. A number is the upper 53 bits of a word.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from upnext.core.compiled import compiled
from upnext.core.types import Float64

UInt64 = npt.NDArray[np.uint64]
_N_ROUNDS: Final = 10
_MULTIPLIER_0: Final = np.uint64(0xD2E7470EE14C6C93)
_MULTIPLIER_2: Final = np.uint64(0xCA5A826395121157)
_KEY_STEP_0: Final = np.uint64(0x9E3779B97F4A7C15)
_KEY_STEP_1: Final = np.uint64(0xBB67AE8584CAA73B)
_LOW_HALF: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)
_UNUSED_BITS: Final = np.uint64(11)


@compiled
def noise_of(key: np.uint64, k: int) -> Float64:
    """float64[k] in [0, 1)."""
    noise, words = np.empty(k), np.empty(4, np.uint64)
    for j in range(k):
        if j % 4 == 0:
            _scramble(np.uint64(j // 4 + 1), key, words)
        noise[j] = (words[j % 4] >> _UNUSED_BITS) / 2.0**53
    return noise


@compiled
def _scramble(counter: np.uint64, key: np.uint64, words: UInt64) -> None:
    """Sets words uint64[4] to those of the counter; of its four words and the key's two, the upper ones are 0 at first."""
    w0, w1, w2, w3 = counter, np.uint64(0), np.uint64(0), np.uint64(0)
    key_0, key_1 = key, np.uint64(0)
    for _ in range(_N_ROUNDS):
        high_0, high_2 = _upper(_MULTIPLIER_0, w0), _upper(_MULTIPLIER_2, w2)
        w0, w1, w2, w3 = (
            high_2 ^ w1 ^ key_0,
            _MULTIPLIER_2 * w2,
            high_0 ^ w3 ^ key_1,
            _MULTIPLIER_0 * w0,
        )
        key_0 += _KEY_STEP_0
        key_1 += _KEY_STEP_1
    words[0], words[1], words[2], words[3] = w0, w1, w2, w3


@compiled
def _upper(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 of the 128 bits of a * b."""
    a_low, a_high = a & _LOW_HALF, a >> _HALF
    b_low, b_high = b & _LOW_HALF, b >> _HALF
    middle = a_high * b_low + ((a_low * b_low) >> _HALF)
    carried = a_low * b_high + (middle & _LOW_HALF)
    return a_high * b_high + (middle >> _HALF) + (carried >> _HALF)

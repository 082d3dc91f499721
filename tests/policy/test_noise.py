"""The draw's numbers against numpy's Philox."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.randomness import generator_of
from upnext.policy.noise import noise_of


@given(key=st.integers(0, 2**64 - 1), k=st.integers(0, 70))
@settings(max_examples=200, deadline=None)
def test_the_numbers_are_those_of_numpys_generator_bit_for_bit(key: int, k: int) -> None:
    np.testing.assert_array_equal(noise_of(np.uint64(key), k), generator_of(key).random(k))


@pytest.mark.parametrize("key", [0, 1, 2**63, 2**64 - 1])
def test_keys_at_the_ends_are_numpys_too(key: int) -> None:
    numpys = np.random.Generator(np.random.Philox(key=key)).random(9)
    np.testing.assert_array_equal(noise_of(np.uint64(key), 9), numpys)


def test_the_first_number_of_key_zero_is_the_published_one() -> None:
    # Philox4x64-10 with key 0 and counter 1, first word; the upper 53 bits of it
    word = int(np.random.Philox(key=0).random_raw())
    assert noise_of(np.uint64(0), 1)[0] == (word >> 11) / 2**53

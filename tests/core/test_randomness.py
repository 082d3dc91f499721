"""Generators by key: numpy's own streams, each its own."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.randomness import generator_of, key_of, rng_for


@pytest.mark.parametrize("key", [0, 7, 2**63 + 12345, 2**64 - 1])
def test_a_key_gives_the_numbers_of_philox_with_that_key(key: int) -> None:
    ours, numpys = generator_of(key), np.random.Generator(np.random.Philox(key=key))
    np.testing.assert_array_equal(ours.random(70), numpys.random(70))
    np.testing.assert_array_equal(ours.integers(0, 99, 9), numpys.integers(0, 99, 9))
    np.testing.assert_array_equal(ours.normal(size=5), numpys.normal(size=5))


def test_the_words_alone_decide_and_no_two_lists_of_words_share_a_key() -> None:
    np.testing.assert_array_equal(rng_for(3, "a").random(5), rng_for(3, "a").random(5))
    assert key_of("a", "bc") != key_of("ab", "c")
    assert key_of(3) != key_of("3")

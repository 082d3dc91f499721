"""Keyed draws: uniform, independent between mechanisms, the same whatever is asked beside them."""

from __future__ import annotations

import numpy as np
from scipy import stats

from upnext.simulate.draws import MECHANISMS, keys_of, normal, poisson, uniform

N = 200_000
KEYS = keys_of(3, np.arange(N), np.arange(N) % 7)


def test_every_mechanism_draws_uniformly_and_apart_from_the_others() -> None:
    draws = np.stack([uniform(KEYS[:20_000], name) for name in MECHANISMS])
    for one in draws:
        # 33 tests: a p-value under 1e-4 would come once in 300 runs of another seed
        assert stats.kstest(one, "uniform").pvalue > 1e-4
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)


def test_neighbouring_keys_give_unrelated_draws() -> None:
    u = uniform(keys_of(0, np.arange(N)), "look")
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 / np.sqrt(N)
    other = uniform(keys_of(1, np.arange(N)), "look")
    assert abs(np.corrcoef(u, other)[0, 1]) < 5 / np.sqrt(N)


def test_a_draw_depends_on_its_own_key_alone() -> None:
    rows = np.array([5, 99_999, 17])
    np.testing.assert_array_equal(
        uniform(KEYS, "skip")[rows], uniform(keys_of(3, rows, rows % 7), "skip")
    )


def test_the_order_of_the_parts_counts() -> None:
    a, b = np.array([1]), np.array([2])
    assert keys_of(0, a, b)[0] != keys_of(0, b, a)[0]


def test_normal_and_poisson_draws_have_their_laws() -> None:
    assert stats.kstest(normal(KEYS, "hour", "hour_angle"), "norm").pvalue > 1e-3
    count = poisson(uniform(KEYS, "n_sessions"), np.full(N, 1.3), 60)
    seen = np.bincount(count, minlength=12)[:12]
    wanted = stats.poisson.pmf(np.arange(12), 1.3) * N
    assert (
        (seen - wanted)[wanted > 5] ** 2 / wanted[wanted > 5]
    ).sum() < 40  # 8 degrees of freedom


def test_a_higher_rate_never_gives_fewer() -> None:
    u = uniform(KEYS, "n_sessions")
    assert (poisson(u, np.full(N, 1.4), 60) >= poisson(u, np.full(N, 1.3), 60)).all()

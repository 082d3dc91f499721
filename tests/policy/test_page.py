"""The compiled slots against the formulas written out in numpy, and where their shortcuts could go wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_world import PLAIN

from upnext.core.randomness import generator_of
from upnext.core.types import Bool, Candidates, Float64, Query, Request, User
from upnext.policy.config import PolicyConfig
from upnext.policy.page import (
    Videos,
    distributions_of_rows,
    draw_rows,
    propensity_of_rows,
    terms_of,
)
from upnext.policy.plackett_luce import PlackettLucePolicy
from upnext.policy.standardised import standardised


class Plain(NamedTuple):
    """A slot's distribution, done the plain way."""

    probability: Float64  # [n]
    eligible: Bool  # [n]


def plain_slot(config: PolicyConfig, videos: Videos, placed: list[int]) -> Plain:
    """The slot after `placed`, anew from the formulas: nothing is carried from slot to slot."""
    n = len(videos.z)
    cosine = videos.vectors @ videos.vectors[placed].T  # [n, placed]
    near = np.maximum(cosine.max(axis=1, initial=0), 0).astype(np.float64)
    blocked = {
        "category": full(videos.category, placed, config.max_per_category, config.category_window),
        "creator": full(videos.creator, placed, config.max_per_creator, 0),
        "duplicate": (near > config.duplicate_similarity) & (config.duplicate_similarity < 1),
    }
    free = ~np.isin(np.arange(n), placed)
    rules = list(blocked.values())
    for n_given_way in range(4):
        eligible = free & ~np.any([np.zeros(n, np.bool_), *rules[n_given_way:]], axis=0)
        if eligible.any():
            break
    score = config.mmr_lambda * videos.z - (1 - config.mmr_lambda) * near
    score[~eligible] = -np.inf
    if config.temperature == 0:
        softmax = (np.arange(n) == score.argmax()).astype(np.float64)
    else:
        softmax = np.exp((score - score.max()) / config.temperature)
    softmax /= softmax.sum()
    even = eligible / eligible.sum()
    return Plain((1 - config.epsilon) * softmax + config.epsilon * even, eligible)


def full(codes: np.ndarray, placed: list[int], cap: int, window: int) -> Bool:
    """bool[n]: whose code has `cap` videos in the run that the next slot ends."""
    run = placed if window == 0 else placed[len(placed) - min(len(placed), window - 1) :]
    n_in_run = np.array([(codes[run] == code).sum() for code in codes])
    return (codes >= 0) & (n_in_run >= cap) & (cap > 0)


CONFIGS = st.builds(
    PolicyConfig,
    temperature=st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    epsilon=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    mmr_lambda=st.sampled_from([0.0, 0.5, 0.85, 1.0]),
    max_per_creator=st.integers(0, 2),
    max_per_category=st.integers(0, 3),
    category_window=st.integers(0, 5),
    duplicate_similarity=st.sampled_from([0.4, 0.98, 1.0]),
)


def videos_of(n: int, d: int, seed: int, *, exact: bool) -> Videos:
    """n videos; `exact`: of vectors whose cosines no order of summation rounds (multiples of 1/4)."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    if exact:
        vectors = rng.choice([-0.5, 0.5], (n, 4)).astype(np.float32)
    else:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    z = standardised(rng.normal(size=n).astype(np.float32))
    return Videos(z, rng.integers(-1, 3, n), rng.integers(-1, 6, n), vectors)


@given(config=CONFIGS, n=st.integers(1, 60), size=st.integers(1, 30), seed=st.integers(0, 10_000))
@settings(max_examples=300, deadline=None)
def test_every_slot_is_the_one_that_the_formulas_give(
    config: PolicyConfig, n: int, size: int, seed: int
) -> None:
    videos = videos_of(n, 4, seed, exact=True)
    noise = generator_of(seed).random(min(n, size))
    rows, propensity, n_eligible = draw_rows(terms_of(config), videos, noise)
    for j, row in enumerate(rows.tolist()):
        plain = plain_slot(config, videos, rows[:j].tolist())
        assert propensity[j] == pytest.approx(plain.probability[row], rel=1e-12)
        assert n_eligible[j] == plain.eligible.sum()
        running = plain.probability.cumsum()
        below = running[row] - plain.probability[row]
        assert below - 1e-12 <= noise[j] <= running[row] + 1e-12


@given(config=CONFIGS, n=st.integers(1, 40), seed=st.integers(0, 10_000))
@settings(max_examples=200, deadline=None)
def test_slots_that_were_not_drawn_have_the_probability_of_the_formulas_too(
    config: PolicyConfig, n: int, seed: int
) -> None:
    videos = videos_of(n, 4, seed, exact=True)
    rows = np.random.default_rng(seed).permutation(n)  # rules are broken all over
    got = propensity_of_rows(terms_of(config), videos, rows)
    plain = [plain_slot(config, videos, rows[:j].tolist()).probability[rows[j]] for j in range(n)]
    np.testing.assert_allclose(got, plain, rtol=1e-12, atol=1e-300)


@given(config=CONFIGS, n=st.integers(1, 30), n_absent=st.integers(0, 4), seed=st.integers(0, 9_999))
@settings(max_examples=200, deadline=None)
def test_whole_distributions_sum_to_one_and_hold_each_rows_probability(
    config: PolicyConfig, n: int, n_absent: int, seed: int
) -> None:
    videos = videos_of(n, 4, seed, exact=True)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.append(rng.permutation(n), np.full(n_absent, -1)))
    got = distributions_of_rows(terms_of(config), videos, rows)
    assert got.shape == (n + n_absent, n)
    placed: list[int] = []
    for j, row in enumerate(rows.tolist()):
        if len(placed) == n:  # nothing is left: an absent video stands here
            assert not got[j].any()
            continue
        plain = plain_slot(config, videos, placed).probability
        np.testing.assert_allclose(got[j], plain, rtol=1e-12, atol=1e-300)
        assert got[j].sum() == pytest.approx(1, rel=1e-12)
        placed += [row] if row >= 0 else []
    present = rows[rows >= 0]
    alone = propensity_of_rows(terms_of(config), videos, present)
    np.testing.assert_array_equal(got[np.flatnonzero(rows >= 0), present], alone)


def test_with_cosines_in_single_precision_probabilities_agree_to_their_rounding() -> None:
    # a sum of 64 products of numbers below 1 is off by at most 64 * 6e-8 = 4e-6 in any order, a score over temperature by
    # (1 - .85) / .2 of that, a probability by twice as much: 6e-6
    config = PolicyConfig(duplicate_similarity=1.0)
    videos = videos_of(500, 64, 1, exact=False)
    noise = generator_of(1).random(30)
    rows, propensity, _ = draw_rows(terms_of(config), videos, noise)
    for j in range(30):
        plain = plain_slot(config, videos, rows[:j].tolist()).probability[rows[j]]
        assert propensity[j] == pytest.approx(plain, rel=6e-6)


def bare(z: list[float], category: list[int] | None = None) -> Videos:
    """Videos without creators and vectors."""
    n = len(z)
    categories = np.array(category) if category is not None else np.full(n, -1)
    return Videos(np.array(z), categories, np.full(n, -1), np.zeros((n, 0), np.float32))


@pytest.mark.parametrize("noise", [0.0, 0.5, np.nextafter(1, 0)])
def test_no_noise_draws_a_video_of_probability_zero(noise: float) -> None:
    greedy = terms_of(PLAIN.model_copy(update={"temperature": 0.0}))
    rows, propensity, _ = draw_rows(greedy, bare([0.0, 3.0, 1.0]), np.full(3, noise))
    assert rows.tolist() == [1, 2, 0]
    assert propensity.tolist() == [1, 1, 1]


def test_noise_above_the_rounded_sum_draws_the_last_that_can_be() -> None:
    # ten times .1 is .9999999999999999 in double precision, and the noise is no less
    rows, _, _ = draw_rows(terms_of(PLAIN), bare([0.0] * 10), np.array([np.nextafter(1, 0)]))
    assert np.full(10, 0.1).cumsum()[-1] == np.nextafter(1, 0)
    assert rows.tolist() == [9]


def test_each_noise_draws_the_video_whose_share_of_the_line_it_falls_in() -> None:
    even = terms_of(PLAIN.model_copy(update={"epsilon": 1.0}))
    noise = np.array(
        [0.6, 0.6, 0.6]
    )  # of 4: the third; of 3 left: the second; of 2 left: the second
    rows, propensity, n_eligible = draw_rows(even, bare([9.0, 5.0, 1.0, 0.0]), noise)
    assert rows.tolist() == [2, 1, 3]
    np.testing.assert_allclose(propensity, [1 / 4, 1 / 3, 1 / 2], rtol=1e-15)
    assert n_eligible.tolist() == [4, 3, 2]


def test_temperature_zero_takes_the_first_of_equals() -> None:
    greedy = terms_of(PLAIN.model_copy(update={"temperature": 0.0}))
    rows, _, _ = draw_rows(greedy, bare([1.0, 2.0, 2.0, 1.0]), np.full(4, 0.9))
    assert rows.tolist() == [1, 2, 0, 3]


def test_a_weight_beyond_all_numbers_returns_when_its_rule_frees_it() -> None:
    # at temperature .001 one unit is e^1000, more than a double holds. Video 1 is blocked beside video 0 for one slot,
    # in which weights are taken from video 2; then it is free again
    config = PLAIN.model_copy(
        update={"temperature": 0.001, "max_per_category": 1, "category_window": 2}
    )
    videos = bare([5.0, 4.0, 2.0, 1.0], category=[7, 7, -1, -1])
    rows, propensity, n_eligible = draw_rows(terms_of(config), videos, np.full(4, 0.5))
    assert rows.tolist() == [0, 2, 1, 3]
    assert propensity.tolist() == [1, 1, 1, 1]
    assert n_eligible.tolist() == [4, 2, 2, 1]


def test_no_videos_and_no_slots_give_empty_arrays() -> None:
    terms = terms_of(PolicyConfig())
    for videos, noise in [(bare([]), np.zeros(0)), (bare([1.0, 2.0]), np.zeros(0))]:
        assert [len(part) for part in draw_rows(terms, videos, noise)] == [0, 0, 0]
        assert len(propensity_of_rows(terms, videos, np.zeros(0, np.int64))) == 0


def test_a_page_without_vectors_is_drawn_as_if_nothing_were_similar() -> None:
    config = PolicyConfig(temperature=0.5)
    ids, value = np.arange(20), np.sin(np.arange(20)).astype(np.float32)
    query = Query(Request("r", "u", "home", 8, 0, session_id="s"), User("u"))
    without = PlackettLucePolicy(config)
    orthogonal = PlackettLucePolicy(config, vectors=lambda i: np.eye(20, dtype=np.float32)[i])
    one, other = (p.arrange(query, Candidates(ids), value) for p in (without, orthogonal))
    np.testing.assert_array_equal(one.item_id, other.item_id)
    np.testing.assert_array_equal(one.propensity, other.propensity)

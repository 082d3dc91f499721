"""The draw's probabilities against brute force, its rules against counting, its key against itself."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_world import PLAIN

from upnext.core.errors import InvalidInput
from upnext.core.types import Candidates, Float32, Query, Request, Slate, User
from upnext.policy.config import PolicyConfig
from upnext.policy.plackett_luce import PlackettLucePolicy, draw_key_of
from upnext.policy.standardised import standardised


def query(size: int, page: int = 0, seed: int = 3, session: str = "s") -> Query:
    request = Request("r", "u", "home", size, 0, session_id=session, page=page, seed=seed)
    return Query(request, User("u"))


def world(n: int, seed: int = 0) -> tuple[Candidates, Float32, dict[str, object]]:
    """n videos with values, and gatherers of creators (3), categories (2) and vectors (4 numbers)."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(100, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    creators = rng.integers(-1, 3, 100)
    categories = rng.integers(-1, 2, 100)
    ids = rng.choice(100, n, replace=False).astype(np.int64)
    gather = {
        "creators": lambda i: creators[i],
        "categories": lambda i: categories[i],
        "vectors": lambda i: vectors[i],
    }
    return Candidates(ids), rng.normal(size=n).astype(np.float32), gather


def slate_of(ids: tuple[int, ...]) -> Slate:
    k = len(ids)
    return Slate(
        np.array(ids, np.int64),
        np.zeros(k, np.float32),
        np.ones(k),
        np.ones(k, np.int64),
        ("",) * k,
    )


CONFIGS = {
    "plain": PLAIN,
    "epsilon": PLAIN.model_copy(update={"epsilon": 0.3, "temperature": 0.2}),
    "greedy": PLAIN.model_copy(update={"epsilon": 0.2, "temperature": 0.0}),
    "diverse": PLAIN.model_copy(update={"mmr_lambda": 0.6, "epsilon": 0.05}),
    "capped": PLAIN.model_copy(
        update={"max_per_creator": 1, "max_per_category": 1, "category_window": 2, "epsilon": 0.1}
    ),
    "all": PolicyConfig(
        temperature=0.7,
        epsilon=0.1,
        mmr_lambda=0.7,
        max_per_creator=1,
        max_per_category=1,
        category_window=2,
        duplicate_similarity=0.5,
    ),
}


def test_two_videos_have_the_probabilities_of_the_softmax_written_out() -> None:
    # values 1 and 3: mean 2, standard deviation 1, so z = -1 and 1; temperature 1: p = e / (e + 1/e) = .880797
    policy = PlackettLucePolicy(PLAIN.model_copy(update={"epsilon": 0.1}))
    pair = Candidates(np.array([10, 20]))
    got = policy.propensity(query(2), pair, np.array([1, 3], np.float32), slate_of((20, 10)))
    np.testing.assert_allclose(got, [0.9 * 0.8807970779778823 + 0.1 / 2, 1.0], rtol=1e-12)


def test_temperature_zero_gives_the_best_one_minus_epsilon_plus_its_even_share() -> None:
    policy = PlackettLucePolicy(CONFIGS["greedy"])
    four = Candidates(np.array([4, 3, 2, 1]))
    value = np.array([0, 5, 1, 2], np.float32)
    got = policy.propensity(query(2), four, value, slate_of((3, 4)))
    np.testing.assert_allclose(got, [0.8 + 0.2 / 4, 0.2 / 3], rtol=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("n", "k"), [(5, 3), (4, 4)])
def test_the_probabilities_of_all_ordered_slates_sum_to_one(name: str, n: int, k: int) -> None:
    candidates, value, gather = world(n)
    policy = PlackettLucePolicy(CONFIGS[name], **gather)
    total = sum(
        policy.propensity(query(k), candidates, value, slate_of(ids)).prod()
        for ids in permutations(candidates.item_id.tolist(), k)
    )
    assert total == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", ["diverse", "all"])
def test_slates_come_as_often_as_their_propensities_say(name: str) -> None:
    candidates, value, gather = world(4, seed=5)
    policy = PlackettLucePolicy(CONFIGS[name], **gather)
    n_draws = 6_000
    seen: dict[tuple[int, ...], int] = {}
    for key in range(n_draws):
        ids = tuple(policy.draw(key, 2, candidates, value).item_id.tolist())
        seen[ids] = seen.get(ids, 0) + 1
    largest, naive = 0.0, 0.0
    for ids in permutations(candidates.item_id.tolist(), 2):
        p = policy.propensity(query(2), candidates, value, slate_of(ids)).prod()
        share = seen.get(ids, 0) / n_draws
        largest = max(largest, abs(share - p) / max(np.sqrt(p * (1 - p) / n_draws), 1e-9))
        even = 1 / 12  # the naive answer: all 12 ordered pairs alike
        naive = max(naive, abs(share - even) / np.sqrt(even * (1 - even) / n_draws))
    assert largest < 4  # standard errors
    assert naive > 4


@pytest.mark.parametrize("name", CONFIGS)
def test_the_propensity_asked_for_later_is_the_one_that_was_logged(name: str) -> None:
    candidates, value, gather = world(60)
    policy = PlackettLucePolicy(CONFIGS[name], **gather)
    for page in range(20):
        slate = policy.arrange(query(9, page), candidates, value)
        again = policy.propensity(query(9, page), candidates, value, slate)
        np.testing.assert_array_equal(again, slate.propensity)
        assert ((slate.propensity > 0) & (slate.propensity <= 1)).all()


def test_the_key_alone_gives_the_slate_again_and_each_page_has_its_own() -> None:
    candidates, value, gather = world(50)
    policy = PlackettLucePolicy(CONFIGS["all"], **gather)
    first = policy.arrange(query(7), candidates, value)
    again = policy.draw(first.draw_key, 7, candidates, value)
    np.testing.assert_array_equal(again.item_id, first.item_id)
    np.testing.assert_allclose(again.propensity, first.propensity, rtol=1e-12)
    keys = {draw_key_of(query(7, page, seed)) for page in range(5) for seed in range(5)}
    assert len(keys) == 25
    assert draw_key_of(query(7)) == first.draw_key
    served = Query(query(7).request, User("u"), served=np.arange(7))
    assert draw_key_of(served) != first.draw_key


def test_the_order_of_the_candidates_changes_nothing() -> None:
    candidates, value, gather = world(40)
    policy = PlackettLucePolicy(CONFIGS["all"], **gather)
    first = policy.arrange(query(8), candidates, value)
    shuffled = np.random.default_rng(1).permutation(40)
    other = policy.arrange(query(8), candidates.take(shuffled), value[shuffled])
    np.testing.assert_array_equal(other.item_id, first.item_id)
    np.testing.assert_array_equal(other.value, first.value)
    np.testing.assert_array_equal(other.propensity, first.propensity)


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
@settings(max_examples=25, deadline=None)
def test_a_ranker_in_other_units_gives_the_same_slate(scale: float, shift: float) -> None:
    candidates, value, _ = world(30)
    value = np.round(value * 64) / 64  # so that a change of units loses no digit that matters
    policy = PlackettLucePolicy(PLAIN)
    first = policy.arrange(query(5), candidates, value)
    other = policy.arrange(query(5), candidates, (value * scale + shift * scale).astype(np.float32))
    np.testing.assert_allclose(other.propensity, first.propensity, rtol=2e-4)
    np.testing.assert_array_equal(other.item_id, first.item_id)


@given(n=st.integers(0, 25), size=st.integers(1, 30), seed=st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_a_cap_breaks_only_where_no_video_kept_it(n: int, size: int, seed: int) -> None:
    candidates, value, gather = world(n, seed)
    config = PolicyConfig(
        max_per_creator=2,
        max_per_category=2,
        category_window=3,
        duplicate_similarity=0.9,
        epsilon=0.2,
    )
    policy = PlackettLucePolicy(config, **gather)
    slate = policy.arrange(query(size), candidates, value)
    assert len(slate) == min(n, size) == len(set(slate.item_id.tolist()))
    broken = policy.broken_rules(candidates, slate)
    for slot in range(len(slate)):
        left = np.setdiff1d(candidates.item_id, slate.item_id[:slot])
        keeps = {int(i): _keeps(int(i), slate.item_id[:slot].tolist(), gather) for i in left}
        chosen = keeps[int(slate.item_id[slot])]
        for rule in ("category", "creator", "duplicate"):
            assert (rule not in chosen) == bool(broken.get(rule, np.zeros(99))[slot])
        if any(len(k) == 3 for k in keeps.values()):
            assert len(chosen) == 3
            assert slate.n_eligible[slot] == sum(len(k) == 3 for k in keeps.values())


def _keeps(item: int, earlier: list[int], gather: dict[str, object]) -> set[str]:
    """The rules that `item` keeps after `earlier`, counted the plain way."""

    def of(name: str, i: int) -> object:
        return gather[name](np.array([i]))[0]  # type: ignore[operator]

    kept = set()
    creator, category = of("creators", item), of("categories", item)
    if creator == -1 or sum(of("creators", e) == creator for e in earlier) < 2:
        kept.add("creator")
    if category == -1 or sum(of("categories", e) == category for e in earlier[-2:]) < 2:
        kept.add("category")
    if all(of("vectors", item) @ of("vectors", e) <= 0.9 for e in earlier):
        kept.add("duplicate")
    return kept


def test_lambda_one_is_pure_value_and_a_lower_one_is_mmr_done_the_plain_way() -> None:
    candidates, value, gather = world(30)
    greedy = PLAIN.model_copy(update={"temperature": 0.0})
    pure = PlackettLucePolicy(greedy, **gather).arrange(query(6), candidates, value)
    np.testing.assert_array_equal(pure.value, np.sort(value)[::-1][:6])
    mixed = PlackettLucePolicy(greedy.model_copy(update={"mmr_lambda": 0.5}), **gather)
    slate = mixed.arrange(query(6), candidates, value)
    vectors, z = gather["vectors"](candidates.item_id), standardised(value)  # type: ignore[operator]
    chosen: list[int] = []
    for _ in range(6):
        near = [max([0.0, *(float(vectors[i] @ vectors[c]) for c in chosen)]) for i in range(30)]
        score = 0.5 * z - 0.5 * np.array(near)
        score[chosen] = -np.inf
        chosen.append(int(np.argmax(score)))
    np.testing.assert_array_equal(slate.item_id, candidates.item_id[chosen])
    assert not np.array_equal(slate.item_id, pure.item_id)


def test_near_duplicates_do_not_share_a_page() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    config = PLAIN.model_copy(update={"temperature": 0.0, "duplicate_similarity": 0.95})
    policy = PlackettLucePolicy(config, vectors=lambda i: vectors[i])
    value = np.array([9, 8, 2, 1], np.float32)
    slate = policy.arrange(query(4), Candidates(np.arange(4)), value)
    assert slate.item_id.tolist() == [0, 2, 3, 1]
    assert policy.broken_rules(Candidates(np.arange(4)), slate)["duplicate"].tolist() == [
        False, False, False, True,
    ]  # fmt: skip


def test_unknown_creators_are_not_one_creator() -> None:
    config = PLAIN.model_copy(update={"max_per_creator": 1})
    policy = PlackettLucePolicy(config, creators=lambda i: np.full(len(i), -1))
    slate = policy.arrange(query(5), Candidates(np.arange(5)), np.arange(5, dtype=np.float32))
    assert slate.n_eligible.tolist() == [5, 4, 3, 2, 1]


def test_a_slot_that_could_not_happen_has_probability_zero() -> None:
    policy = PlackettLucePolicy(PLAIN)
    candidates, value = Candidates(np.array([1, 2, 3])), np.array([1, 2, 3], np.float32)
    got = policy.propensity(query(3), candidates, value, slate_of((2, 2, 77)))
    assert got[0] > 0
    assert got[1:].tolist() == [0, 0]


def test_equal_values_are_drawn_evenly() -> None:
    policy = PlackettLucePolicy(PLAIN.model_copy(update={"temperature": 0.01}))
    value = np.full(4, 1e7, np.float32)
    slate = policy.arrange(query(4), Candidates(np.arange(4)), value)
    np.testing.assert_allclose(slate.propensity, [1 / 4, 1 / 3, 1 / 2, 1])


def test_the_reason_is_the_source_that_placed_the_video_best() -> None:
    nan = np.nan
    candidates = Candidates(
        np.array([1, 2, 3]),
        {
            "source:relevant": np.array([0.9, 0.8, nan], np.float32),
            "source:popular": np.array([5.0, 7.0, nan], np.float32),
        },
    )
    policy = PlackettLucePolicy(PLAIN.model_copy(update={"temperature": 0.0}))
    slate = policy.arrange(query(3), candidates, np.array([3, 2, 1], np.float32))
    assert slate.reason == ("relevant", "popular", "ranked")


def test_a_value_that_is_not_a_number_is_refused_by_name() -> None:
    policy = PlackettLucePolicy(PLAIN)
    with pytest.raises(InvalidInput, match="policy value"):
        policy.arrange(query(1), Candidates(np.arange(2)), np.array([1, np.nan], np.float32))


def test_a_cold_draw_goes_on_when_the_best_are_gone() -> None:
    # two scores lie 1 / .001 standard deviations apart: the weights of the rest are 0 beside the first one's
    config = PLAIN.model_copy(update={"temperature": 0.001, "max_per_creator": 1})
    policy = PlackettLucePolicy(config, creators=lambda i: np.where(i < 2, 7, -1))
    value = np.array([6, 5, 4, 3, 2, 2], np.float32)
    slate = policy.arrange(query(6), Candidates(np.arange(6)), value)
    assert slate.item_id[[0, 1, 2, 5]].tolist() == [0, 2, 3, 1]  # 1 shares its creator with 0
    np.testing.assert_allclose(slate.propensity, [1, 1, 1, 0.5, 1, 1], rtol=1e-12)


def test_a_slate_that_breaks_a_rule_is_impossible_there_and_counts_afterwards() -> None:
    config = PLAIN.model_copy(update={"max_per_creator": 1, "epsilon": 0.5})
    policy = PlackettLucePolicy(config, creators=lambda i: i // 2)
    value = np.zeros(6, np.float32)
    got = policy.propensity(query(4), Candidates(np.arange(6)), value, slate_of((0, 1, 2, 4)))
    np.testing.assert_allclose(got, [1 / 6, 0, 1 / 4, 1 / 2])

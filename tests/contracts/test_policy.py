"""What every Policy must do; each implementation runs through it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from upnext.core.protocols import Policy
from upnext.core.types import NO_ITEMS, Candidates, Query, Request, User
from upnext.policy.config import PolicyConfig
from upnext.policy.plackett_luce import PlackettLucePolicy

POLICIES: dict[str, Callable[[], Policy]] = {
    "plackett_luce": lambda: PlackettLucePolicy(
        PolicyConfig(),
        creators=lambda i: i % 5,
        categories=lambda i: i % 3,
        vectors=lambda i: np.eye(8, dtype=np.float32)[i % 8],
    ),
    "plackett_luce_bare": lambda: PlackettLucePolicy(PolicyConfig(temperature=0.0)),
}


@pytest.fixture(params=sorted(POLICIES))
def policy(request: pytest.FixtureRequest) -> Policy:
    return POLICIES[request.param]()


def ask(size: int, page: int = 0) -> Query:
    return Query(Request("r", "u", "home", size, 0, session_id="s", page=page), User("u"))


def some(n: int) -> tuple[Candidates, np.ndarray]:
    ids = 7 * np.arange(n, dtype=np.int64) + 2
    score = np.linspace(1, 0, n).astype(np.float32)
    return Candidates(ids, {"source:popular": score}), np.sin(ids).astype(np.float32)


@pytest.mark.parametrize(("n", "size"), [(40, 12), (5, 12), (1, 1)])
def test_a_slate_is_aligned_unique_and_from_the_candidates(
    policy: Policy, n: int, size: int
) -> None:
    candidates, value = some(n)
    slate = policy.arrange(ask(size), candidates, value)
    k = min(n, size)
    assert len(slate) == len(slate.value) == len(slate.propensity) == len(slate.reason) == k
    assert slate.n_eligible.shape == (k,)
    assert len(set(slate.item_id.tolist())) == k
    row = {int(i): r for r, i in enumerate(candidates.item_id)}
    np.testing.assert_array_equal(slate.value, [value[row[int(i)]] for i in slate.item_id])
    assert ((slate.propensity > 0) & (slate.propensity <= 1)).all()
    assert ((slate.n_eligible >= 1) & (slate.n_eligible <= n)).all()


def test_no_candidates_give_an_empty_slate(policy: Policy) -> None:
    slate = policy.arrange(ask(3), Candidates(NO_ITEMS), np.zeros(0, np.float32))
    assert len(slate) == 0
    got = policy.propensity(ask(3), Candidates(NO_ITEMS), np.zeros(0, np.float32), slate)
    assert got.shape == (0,)


def test_propensity_repeats_what_arrange_said(policy: Policy) -> None:
    candidates, value = some(33)
    for page in range(5):
        slate = policy.arrange(ask(10, page), candidates, value)
        again = policy.propensity(ask(10, page), candidates, value, slate)
        np.testing.assert_allclose(again, slate.propensity, rtol=1e-12)


def test_distributions_are_of_the_candidates_and_hold_the_propensities(policy: Policy) -> None:
    candidates, value = some(33)
    order = np.random.default_rng(0).permutation(33)
    shuffled = candidates.take(order)
    slate = policy.arrange(ask(10), candidates, value)
    known = policy.distributions(ask(10), candidates, value, slate)
    assert known.shape == (10, 33)
    np.testing.assert_allclose(known.sum(axis=1), 1, rtol=1e-12)
    row = [candidates.item_id.tolist().index(item) for item in slate.item_id.tolist()]
    np.testing.assert_allclose(known[np.arange(10), row], slate.propensity, rtol=1e-12)
    again = policy.distributions(ask(10), shuffled, value[order], slate)
    np.testing.assert_array_equal(again, known[:, order])
    none = policy.distributions(ask(3), Candidates(NO_ITEMS), np.zeros(0, np.float32), slate)
    assert none.shape == (10, 0)


def test_one_request_has_one_slate_and_its_inputs_stay_as_they_were(policy: Policy) -> None:
    candidates, value = some(33)
    ids, before = candidates.item_id.copy(), value.copy()
    first, second = (policy.arrange(ask(10), candidates, value) for _ in range(2))
    np.testing.assert_array_equal(first.item_id, second.item_id)
    assert first.draw_key == second.draw_key
    np.testing.assert_array_equal(candidates.item_id, ids)
    np.testing.assert_array_equal(value, before)

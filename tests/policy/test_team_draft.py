"""Two policies that take turns on one page: every slot's probability is exact, and equal policies draw the page of one."""

from __future__ import annotations

import numpy as np
import pytest
from policy_world import PLAIN

from upnext.core.types import Candidates, Query, Request, Slate, User
from upnext.policy.config import PolicyConfig
from upnext.policy.plackett_luce import PlackettLucePolicy

ITEMS = np.array([11, 5, 7, 3])
FIRST = np.array([2.0, 1.0, 0.0, -1.0], np.float32)
SECOND = np.array([-1.0, 0.0, 1.0, 2.0], np.float32)
N = 20_000


def asked(seed: int, size: int = 3) -> Query:
    return Query(Request(f"r{seed}", "u", "home", size, 0, "s", seed=seed), User("u"))


def drafts(
    config: PolicyConfig, rival: PolicyConfig, values: tuple[np.ndarray, np.ndarray], n: int = N
) -> list[Slate]:
    own, other = PlackettLucePolicy(config), PlackettLucePolicy(rival)
    candidates = Candidates(ITEMS)
    return [own.draft(other, asked(seed), candidates, values) for seed in range(n)]


@pytest.fixture(scope="module")
def pages() -> list[Slate]:
    return drafts(PLAIN, PLAIN, (FIRST, SECOND))


def test_the_first_slot_is_of_either_with_one_half(pages: list[Slate]) -> None:
    """How often a video stands in slot 0, against the probability that is logged with it."""
    shown = np.array([page.item_id[0] for page in pages])
    for item in ITEMS.tolist():
        logged = {round(p.propensity[0], 12) for p in pages if p.item_id[0] == item}
        assert len(logged) == 1  # nothing came before: one distribution
        (p,) = logged
        assert abs(np.mean(shown == item) - p) < 4 * np.sqrt(p * (1 - p) / N)
    z = (FIRST - FIRST.mean()) / FIRST.std()
    softmax = np.exp(z) / np.exp(z).sum()
    mixture = (softmax + softmax[::-1]) / 2  # by hand: the rival's values are these backwards
    by_item = dict(zip(ITEMS.tolist(), mixture.tolist()))
    assert pages[0].propensity[0] == pytest.approx(by_item[int(pages[0].item_id[0])], rel=1e-6)


@pytest.mark.parametrize("slot", [1, 2])
def test_later_slots_are_as_likely_as_logged_given_slots_and_teams_before(
    pages: list[Slate], slot: int
) -> None:
    """Among pages of one past (videos, teams): how often each video follows, against what is logged."""
    past: dict[tuple, list[Slate]] = {}
    for page in pages:
        key = (*page.item_id[:slot].tolist(), *page.team[:slot].tolist())
        past.setdefault(key, []).append(page)
    checked = 0
    for same in past.values():
        n = len(same)
        if n < 400:
            continue
        for item in {int(page.item_id[slot]) for page in same}:
            (p,) = {round(one.propensity[slot], 9) for one in same if one.item_id[slot] == item}
            often = np.mean([one.item_id[slot] == item for one in same])
            assert abs(often - p) < 4.5 * np.sqrt(p * (1 - p) / n) + 1e-9
            checked += 1
    assert checked > 20


def test_inverse_propensities_weigh_a_mean_of_1_and_those_of_one_policy_alone_do_not(
    pages: list[Slate],
) -> None:
    """E[1 / p] over four eligible videos is 4; with the picking policy's own probability, the naive log, it is not."""
    weights = np.array([1 / page.propensity[0] for page in pages])
    assert abs(weights.mean() - 4) < 4 * weights.std() / np.sqrt(N)
    z = (FIRST - FIRST.mean()) / FIRST.std()
    softmax = np.exp(z) / np.exp(z).sum()
    own = [dict(zip(ITEMS.tolist(), p.tolist())) for p in (softmax, softmax[::-1])]
    naive = np.array([1 / own[int(p.team[0])][int(p.item_id[0])] for p in pages])
    assert abs(np.mean(naive / 4 * (weights / weights.mean())) - 1) > 0.1


def test_teams_take_turns_in_rounds_of_two_and_begin_equally_often(pages: list[Slate]) -> None:
    teams = np.array([page.team for page in pages])
    assert (teams[:, 0] + teams[:, 1] == 1).all()
    for slot in (0, 2):
        assert abs(teams[:, slot].mean() - 0.5) < 4 * 0.5 / np.sqrt(N)


def test_two_equal_policies_draw_the_page_that_one_draws_alone() -> None:
    config = PolicyConfig(max_per_category=0, max_per_creator=0, duplicate_similarity=1.0)
    alone = PlackettLucePolicy(config)
    for seed in range(50):
        page = alone.draft(
            PlackettLucePolicy(config), asked(seed, 4), Candidates(ITEMS), (FIRST, FIRST)
        )
        same = alone.arrange(asked(seed, 4), Candidates(ITEMS), FIRST)
        assert page.item_id.tolist() == same.item_id.tolist()
        np.testing.assert_allclose(page.propensity, same.propensity, rtol=1e-12)
        assert page.n_eligible.tolist() == same.n_eligible.tolist()


def test_greedy_policies_pick_their_best_that_is_left() -> None:
    greedy = PLAIN.model_copy(update={"temperature": 0.0})
    for page in drafts(greedy, greedy, (FIRST, SECOND), n=40):
        best = ([11, 5, 7, 3], [3, 7, 5, 11])
        placed: list[int] = []
        for item, team in zip(page.item_id.tolist(), page.team.tolist()):
            assert item == next(one for one in best[team] if one not in placed)
            placed.append(item)
        assert page.propensity.tolist() == [0.5, 1.0, 0.5]
        values = np.where(page.team == 0, *(dict_of(v, page) for v in (FIRST, SECOND)))
        assert page.value.tolist() == values.tolist()


def dict_of(value: np.ndarray, page: Slate) -> np.ndarray:
    by_item = dict(zip(ITEMS.tolist(), value.tolist()))
    return np.array([by_item[item] for item in page.item_id.tolist()])

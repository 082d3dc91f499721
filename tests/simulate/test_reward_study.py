"""Which reward keeps viewers in the clickbait world: what was watched there is regretted, and costs tomorrow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from upnext.core.types import Float64
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.config import RewardConfig
from upnext.retrieval.off_policy.rewards import rewards_of
from upnext.simulate.loop import Round, run
from upnext.simulate.platform import Platform
from upnext.simulate.policies import PageMaker, Random
from upnext.simulate.reward_study import (
    REWARDS,
    Kept,
    Plan,
    best_unseen,
    logged_material,
    played,
    showings_of_rounds,
    study,
)
from upnext.simulate.world import World
from upnext.simulate.worlds import world_of


@dataclass(frozen=True)
class ByScore:
    """Fills pages with the unseen videos of the highest score, the same for everybody: no network, the rewards alone."""

    score: Float64  # [v]

    def begin(self, platform: Platform, day: int) -> PageMaker:
        there = np.isin(np.arange(len(self.score)), platform.published(day))
        score = np.where(there, self.score, -np.inf).astype(np.float32)
        return best_unseen(platform, np.tile(score, (platform.world.n_viewers, 1)))


def by_mean(plan: Plan, material: Material, name: str, reward: RewardConfig) -> Kept:
    """What becomes of viewers who get the videos of the highest mean reward first; a mean of few is shrunk to 0 by 30 showings."""
    worth, item = rewards_of(material, reward), material.showings.item_id
    known = np.isfinite(worth)
    total = np.bincount(item[known], worth[known], material.n_items)
    count = np.bincount(item[known], minlength=material.n_items)
    prior = 0 if reward.kind == "immediate" else 30
    return played(plan, name, ByScore(total / np.maximum(count + prior, 1)), [])


def better(delayed: Kept, immediate: Kept) -> bool:
    """Whether more viewers came back, came more often, and left content."""
    names = ("return_d1", "sessions", "satisfaction")
    return all(getattr(delayed, name) > getattr(immediate, name) for name in names)


def broken_promises(plan: Plan) -> list[str]:
    """What does not hold, in words; empty: the delayed rewards keep viewers whom the immediate one loses."""
    material = logged_material(plan)
    got = {name: by_mean(plan, material, name, reward) for name, reward in REWARDS.items()}
    chance = played(plan, "uniform chance", Random(), [])
    now = got.pop("immediate")
    held = {
        # the naive reward is not blind: it earns more today, with what is regretted tomorrow
        "immediate earns on the first day": now.watch_first_h > chance.watch_first_h,
        "immediate shows clickbait": now.clickbait > 1.5 * chance.clickbait,
        "immediate loses viewers": now.return_d1 < chance.return_d1 - 0.02,
    }
    for name, later in got.items():
        held[f"{name} is better"] = better(later, now)
        held[f"{name} avoids clickbait"] = later.clickbait < chance.clickbait
        held[f"{name} brings viewers back"] = later.return_d1 > now.return_d1 + 0.01
    assert len(held) == 3 + 3 * (len(REWARDS) - 1)
    return [promise for promise, holds in held.items() if not holds]


def test_rewards_of_what_came_after_keep_viewers_whom_the_immediate_one_loses() -> None:
    """400 viewers and 7 days: return_d1 differs by .06 here, three times what another seed of viewers moves it (.02)."""
    assert broken_promises(Plan(n_logged=12_000)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_they_do_so_in_every_one_of_three_worlds(seed: int) -> None:
    assert broken_promises(Plan(n_logged=12_000, n_viewers=600, seed=seed)) == []


def test_a_small_study_trains_and_plays_a_network_per_reward() -> None:
    """Networks trained, asked for every viewer's vector each day, pages filled: too small to say which reward is better."""
    plan = Plan(n_videos=60, n_logged=60, log_days=5, n_viewers=20, days=2)
    chosen = {name: REWARDS[name] for name in ("immediate", "return")}
    lines = study(plan, rewards=chosen)
    assert [line.reward for line in lines] == ["uniform chance", *chosen]
    assert all(line.watch_first_h > 0 for line in lines)
    assert len({line.watch_first_h for line in lines}) > 1  # the lists differ


@pytest.mark.slow
def test_generators_trained_on_them_do_as_well() -> None:
    """The whole way: a network trained off policy, exported, and asked for every viewer's vector each day."""
    lines = {line.reward: line for line in study(Plan())}
    for name in ("future_watch", "return", "incremental"):
        assert better(lines[name], lines["immediate"]), name


def test_a_rounds_showings_are_those_of_the_platforms_log_with_exact_propensities() -> None:
    world = World.make(40, 60, 1, knobs=world_of("clickbait").knobs)
    platform, rounds = Platform(world, days=2), list[Round]()
    run(platform, Random(), 2, rounds.append)
    showings = showings_of_rounds(platform, rounds)
    reached = sum(int(one.done.reached.sum()) for one in rounds)
    assert len(showings) == reached == int(platform.n_shown.sum())
    assert np.array_equal(np.bincount(showings.item_id, minlength=60), platform.n_shown)
    assert (np.diff(showings.user) >= 0).all()
    assert ((np.diff(showings.time_us) >= 0) | (np.diff(showings.user) > 0)).all()
    assert showings.propensity is not None
    assert ((showings.propensity > 0) & (showings.propensity <= 1)).all()
    first = showings.starts()[:-1][np.diff(showings.starts()) > 0]
    allowed = world.allowed(showings.user[first])[:, platform.published(0)].sum(axis=1)
    late = showings.time_us[first] >= platform.day_start_us(1)
    assert showings.propensity[first][~late] == pytest.approx(1 / allowed[~late])
    assert len(showings_of_rounds(platform, [])) == 0

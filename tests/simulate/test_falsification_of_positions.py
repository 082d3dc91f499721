"""Corrections of position bias: each holds in its own click model and in no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.optimize import brentq

from upnext.core.types import Bool, Float64, Int64
from upnext.simulate.platform import Platform
from upnext.simulate.truth import logistic
from upnext.simulate.visits import Shown
from upnext.simulate.world import World
from upnext.simulate.worlds import world_of

Bonus = Callable[[Platform], Float64]  # of a page's value, float64[c], for each creator

N_PAGES, SLOTS, TOP = 25_000, 6, 3


def _world(name: str, n_viewers: int, n_videos: int, seed: int = 2, **knobs: object) -> World:
    of = replace(world_of(name).knobs, **knobs)  # type: ignore[arg-type]
    return World.make(n_viewers, n_videos, seed, knobs=of)


@dataclass(frozen=True)
class Corrections:
    """Three estimates of a group's click rate if looked at, each over the truth."""

    by_examination: float  # clicks divided by each slot's propensity
    by_shift: float  # a logit given to each slot
    by_cascade: float  # only slots with no click above


def _logit_of_mean(logit: Float64, clicks: Bool) -> float:
    """What to add to every logit so that the mean rate is that of the clicks."""
    return float(brentq(lambda c: logistic(logit + c).mean() - clicks.mean(), -9, 9))


def _pages(platform: Platform, video: Int64) -> Shown:
    n, k = video.shape
    viewer = np.sort(np.random.default_rng(k).integers(platform.world.n_viewers, size=n))
    each, zero = np.repeat(np.arange(n), k), np.zeros(n * k, np.int64)
    start_us = zero + platform.start_us
    slot = np.tile(np.arange(k), n)
    return Shown(viewer[each], video.ravel(), zero, zero, slot, each, start_us)


def _corrections(name: str) -> list[Corrections]:
    """For videos that are surely and doubtfully clicked, below alluring and below dull ones."""
    platform = Platform(_world(name, 60, 300, seed=5), days=10)
    videos, rng = platform.world.videos, np.random.default_rng(1)
    first, step = rng.integers(300, size=(N_PAGES, 1)), rng.integers(1, 50, size=(N_PAGES, 1))
    at_random = (first + step * np.arange(SLOTS)) % 300  # without repeats: a video has one draw
    shown = _pages(platform, at_random)  # positions are learned from a randomised slice
    attract, clicks = platform.rates(shown).attract, platform.respond(shown).started
    logit, slots = np.log(attract / (1 - attract)), [shown.slot == j for j in range(SLOTS)]
    theta = np.array([clicks[at].mean() / clicks[slots[0]].mean() for at in slots])
    shift = np.array([_logit_of_mean(logit[at], clicks[at]) for at in slots])

    order = np.argsort(2 * videos.clickbait + 0.2 * videos.audience + videos.quality)
    order, alluring = order[order % 2 == 1], rng.random(N_PAGES) < 0.5
    stars, dull = (rng.choice(some, (N_PAGES, TOP)) for some in (order[-20:], order[:50]))
    top = np.where(alluring[:, None], stars, dull)
    below = 2 * (at_random[:, TOP:] // 2)  # of the other videos
    shown = _pages(platform, np.concatenate([top, below], axis=1))
    attract, clicks = platform.rates(shown).attract, platform.respond(shown).started
    logit = np.log(attract / (1 - attract))
    page = clicks.reshape(N_PAGES, SLOTS)
    none_above = ((np.cumsum(page, axis=1) - page) == 0).ravel()
    groups = []
    for above in (np.repeat(alluring, SLOTS), np.repeat(~alluring, SLOTS)):
        for kind in (attract > 0.75, attract < 0.35):
            at = (shown.slot >= TOP) & above & kind
            truth, lowered = attract[at].mean(), logit[at] + shift[shown.slot[at]]
            own = _logit_of_mean(lowered, clicks[at])
            first = at & none_above
            one = Corrections(
                float((clicks[at] / theta[shown.slot[at]]).mean() / truth),
                float(logistic(logit[at] + own).mean() / truth),
                float(clicks[first].mean() / attract[first].mean()),
            )
            groups.append(one)
    return groups


@pytest.fixture(scope="module")
def corrections() -> dict[str, list[Corrections]]:
    return {name: _corrections(name) for name in ("examination", "additive", "cascade")}


def _worst(groups: list[Corrections], method: str) -> float:
    return max(abs(getattr(one, method) - 1) for one in groups)


@pytest.mark.parametrize(
    ("method", "own", "others"),
    [
        ("by_examination", "examination", ("additive", "cascade")),
        ("by_shift", "additive", ("examination", "cascade")),
        ("by_cascade", "cascade", ("examination", "additive")),
    ],
)
def test_a_correction_of_positions_holds_in_its_own_click_model_and_in_no_other(
    corrections: dict[str, list[Corrections]], method: str, own: str, others: tuple[str, str]
) -> None:
    # groups of 2,500 to 25,000 showings of rate .13 to .8: three standard errors are below .1
    assert _worst(corrections[own], method) < 0.1
    assert all(_worst(corrections[name], method) > 0.2 for name in others)


# ---- tastes that the policy moves

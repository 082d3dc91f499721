"""A platform over days: tastes, satisfaction, creators and viewers move as their mechanisms say, and every run can be repeated."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from upnext.core.clock import DAY_US
from upnext.core.errors import InvalidInput
from upnext.simulate.creators import CreatorKnobs
from upnext.simulate.loop import Round, play_day, run
from upnext.simulate.measures import DayRow, entropy_bits
from upnext.simulate.platform import Platform
from upnext.simulate.policies import Greedy, Policy, Popular, Random, policy_of
from upnext.simulate.world import World
from upnext.simulate.worlds import WORLDS, world_of


def _world(name: str = "everyday", n_viewers: int = 200, seed: int = 1, **knobs: object) -> World:
    of = replace(world_of(name).knobs, **knobs)  # type: ignore[arg-type]
    return World.make(n_viewers, 400, seed, knobs=of)


def _run(world: World, policy: Policy, days: int) -> tuple[Platform, list[DayRow]]:
    platform = Platform(world, days=days)
    return platform, run(platform, policy, days)


def _checksum(world: World, policy: Policy, days: int) -> str:
    """Of every showing and outcome, and of the state at the end."""
    platform, rounds = Platform(world, days=days), list[Round]()
    run(platform, policy, days, rounds.append)
    told = hashlib.sha256()
    for one in rounds:
        for array in (one.shown.viewer, one.shown.video, one.propensity, one.done.watch_s):
            told.update(np.ascontiguousarray(array).tobytes())
    told.update(platform.taste.tobytes() + platform.satisfaction.tobytes())
    return told.hexdigest()


@pytest.mark.parametrize("name", ["old", "random", "popular", "greedy"])
def test_two_runs_of_one_seed_are_equal_to_the_bit(name: str) -> None:
    world = _world("rabbit_hole", 60)
    first = _checksum(world, policy_of(name), 3)
    assert first == _checksum(_world("rabbit_hole", 60), policy_of(name), 3)
    assert first != _checksum(_world("rabbit_hole", 60, seed=2), policy_of(name), 3)


@pytest.mark.parametrize("name", [one.name for one in WORLDS])
def test_every_named_world_lives(name: str) -> None:
    platform, rows = _run(_world(name, 80), Random(), 3)
    assert all(row.impressions >= row.starts > 0 for row in rows)
    assert np.isfinite(platform.satisfaction).all()


def test_an_unknown_world_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(InvalidInput, match="expected 'rabbit_hole'"):
        world_of("rabit-hole")
    with pytest.raises(InvalidInput, match="one of everyday, easy"):
        world_of("zzz")
    with pytest.raises(InvalidInput, match="one of old, random"):
        policy_of("best")


def test_who_comes_when_does_not_depend_on_what_was_shown() -> None:
    world = _world()
    a, b = (Platform(world, days=3) for _ in range(2))
    for day in range(3):
        for _ in play_day(a, Random(), day):
            pass
        for _ in play_day(b, Popular(), day):
            pass
    for name in ("viewer", "number", "start_us", "surface", "device", "most_pages"):
        np.testing.assert_array_equal(getattr(a.sessions(3), name), getattr(b.sessions(3), name))
    sessions = a.sessions(3)
    assert (np.diff(sessions.start_us) >= 0).all()
    assert (sessions.start_us // DAY_US == a.day_start_us(3) // DAY_US).all()


def test_sessions_have_their_rates_and_another_chance_is_another_day() -> None:
    world = _world(n_viewers=3_000)
    count = np.bincount(Platform(world, days=5).sessions(0).viewer, minlength=3_000)
    mean = world.viewers.sessions_per_day
    assert abs(count.sum() - mean.sum()) < 4 * np.sqrt(mean.sum())
    busy = mean > np.quantile(mean, 0.9)
    assert abs(count[busy].sum() - mean[busy].sum()) < 4 * np.sqrt(mean[busy].sum())
    other = Platform(world, days=5, chance=1).sessions(0)
    assert not np.array_equal(np.bincount(other.viewer, minlength=3_000), count)


def test_nobody_is_shown_a_video_before_it_is_out_nor_twice() -> None:
    world = _world()
    platform, rounds = Platform(world, days=4), list[Round]()
    run(platform, Random(), 4, rounds.append)
    for one in rounds:
        assert (world.videos.uploaded_us[one.shown.video] < one.shown.time_us).all()
        assert world.allowed_pairs(one.shown.viewer, one.shown.video).all()
    reached = [np.stack([r.shown.viewer, r.shown.video])[:, r.done.reached] for r in rounds]
    pairs = np.concatenate(reached, axis=1)
    assert len(np.unique(pairs, axis=1).T) == pairs.shape[1]
    np.testing.assert_array_equal(platform.n_seen(np.arange(200)), np.bincount(pairs[0], minlength=200))  # fmt: skip


def test_where_nobody_is_susceptible_no_policy_moves_a_taste() -> None:
    platform, rows = _run(_world("rabbit_hole", susceptibility=0.0), Greedy(), 4)
    assert [row.moved for row in rows] == [0.0] * 4
    np.testing.assert_array_equal(platform.taste, platform.world.taste)


def test_a_policy_that_follows_tastes_narrows_them_more_than_chance_does() -> None:
    world = _world("rabbit_hole", 120)
    followed, chance = (_run(world, policy, 8) for policy in (Greedy(), Random()))
    assert followed[1][-1].moved > 1.2 * chance[1][-1].moved > 0.01
    # attention is limited: what one topic gains the others lose
    taste, first = followed[0].taste, world.taste
    assert (taste.sum(axis=1) <= first.sum(axis=1) * 1.001).all()


def test_interests_drift_by_themselves_at_their_hazard_whatever_is_shown() -> None:
    world = _world(n_viewers=2_000, drift=0.05)
    a, b = Platform(world, days=4), Platform(world, days=4)
    for day in range(4):
        for _ in play_day(a, Popular(), day):
            pass
        b.end_day(day)
    np.testing.assert_array_equal(a.drift, b.drift)
    had = world.taste > 0
    kept = float((a.drift > 0)[had].mean())
    # .95^4 = .8145; about 4,800 interests, and a lost one comes back once in 32 x 20
    assert abs(kept - 0.95**4) < 4 * np.sqrt(0.16 / had.sum()) + 0.005
    assert (_run(_world(drift=0.0), Random(), 2)[0].drift == _world().taste).all()


def test_clickbait_earns_clicks_and_loses_viewers() -> None:
    lured, honest = (
        _run(_world("clickbait", 250, seed=3), Greedy(aim, n_candidates=25), 12)
        for aim in ("watch", "satisfaction")
    )
    rows = [rows for _, rows in (lured, honest)]
    starts, returns, days = (
        [sum(r.starts for r in one[:3]) / sum(r.impressions for r in one[:3]) for one in rows],
        [one[-1].return_d7 for one in rows],
        [one[-1].active for one in rows],
    )
    assert starts[0] > starts[1]
    assert returns[0] < returns[1]
    assert days[0] < days[1]
    assert rows[0][-1].satisfaction < rows[1][-1].satisfaction - 0.05


def test_satisfaction_changes_nothing_where_nobody_answers_to_it() -> None:
    rows = [_run(_world(), policy, 3)[1] for policy in (Random(), Greedy())]
    assert [r.viewers for r in rows[0]] == [r.viewers for r in rows[1]]
    assert rows[0][-1].active == 200


def test_a_creator_who_has_left_uploads_nothing() -> None:
    world = _world("creators")
    platform = Platform(world, days=10)
    platform.creator_alive[::2] = False
    run(platform, Random(), 10)
    during = world.videos.uploaded_us >= platform.start_us
    gone = world.videos.creator % 2 == 0
    assert not platform.is_published[during & gone].any()
    assert platform.is_published[during & ~gone].any()
    assert platform.is_published[~during].all()  # what was there stays


def test_creators_leave_for_want_of_views_and_stay_where_they_do_not_respond() -> None:
    starved = CreatorKnobs(half_views=1e9, half_likes=1e9, exit_per_day=0.5, grace_d=0.1)
    platform, rows = _run(_world("creators", creators=starved), Random(), 6)
    assert rows[-1].creators < 0.6 * platform.world.n_creators
    platform, rows = _run(_world(), Random(), 6)
    assert rows[-1].creators == platform.world.n_creators
    assert platform.is_published.sum() == (platform.world.videos.uploaded_us < platform.day_start_us(6)).sum()  # fmt: skip


def test_what_is_watched_inspires_creation() -> None:
    still = CreatorKnobs(inspiration=0.0)
    made = [
        _run(_world("creators", 300, creators=knobs), Random(), 4)[0].n_created.sum()
        for knobs in (CreatorKnobs(), still)
    ]
    assert made[0] > 1.5 * made[1] > 0


def test_weekends_and_a_growing_month_bring_more_sessions() -> None:
    world = _world("seasonality", 3_000)
    platform = Platform(world, days=28)
    count = np.array([len(platform.sessions(day)) for day in range(28)])
    weekday = (np.array([platform.day_start_us(d) // DAY_US for d in range(28)]) + 3) % 7
    usual = world.viewers.sessions_per_day.sum() * (1 + 0.3 * np.arange(28) / 30)
    for name, share in enumerate(world.knobs.weekdays):
        at = weekday == name
        assert abs((count / usual)[at].mean() - share) < 4 * np.sqrt(share / usual[at].sum())


def test_newcomers_are_there_from_the_day_they_sign_up() -> None:
    world = _world("cold_start", 1_000)
    n_out = [(world.videos.uploaded_us < world.end_us - days * DAY_US).sum() for days in (30, 1)]
    platform = Platform(world, days=30)
    seen = [platform.sessions(day).viewer for day in (0, 29)]
    for day, viewer in zip((0, 29), seen):
        assert (world.viewers.signed_up_us[viewer] <= platform.day_start_us(day)).all()
    assert len(seen[1]) > 1.25 * len(seen[0])
    assert len(platform.published(0)) == n_out[0] < 0.3 * n_out[1]


def test_entropy_by_hand() -> None:
    amount = np.array([[1.0, 1.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_allclose(entropy_bits(amount), [1.0, 0.0, 2.0])

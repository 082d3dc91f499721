"""Rewards by hand: what a showing was worth at once, later, and beyond what was usual."""

import numpy as np
import pytest
from off_policy_world import DAY_US, HOUR_US, MINUTE_US, START_US, material_from, showings_from

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.retrieval.off_policy.config import RewardConfig
from upnext.retrieval.off_policy.rewards import future_watch_s, returned, rewards_of


def test_an_immediate_reward_is_the_most_that_was_done_times_one_and_the_premium_weight():
    flags = [
        Flag.IMPRESSION, Flag.IMPRESSION | Flag.CLICK, Flag.IMPRESSION | Flag.LIKE,
        Flag.IMPRESSION | Flag.CLICK | Flag.WATCHED | Flag.WATCHED_HALF | Flag.COMPLETED,
        Flag.IMPRESSION | Flag.LIKE,
    ]  # fmt: skip
    showings = showings_from(np.arange(5), np.arange(5), START_US + np.arange(5), flags=flags)
    config = RewardConfig(shown=0.5, click=1, relevant=2, completed=5, premium_weight=3)
    got = rewards_of(material_from(showings, 5, premium=[2]), config)
    assert got.tolist() == [0.5, 1, 8, 5, 2]


def _week():
    """One viewer: two showings at once, one after 10 minutes, one after 5 h, one after 2 days; another viewer an hour after the first."""
    time_us = START_US + np.array([0, 0, 10 * MINUTE_US, 5 * HOUR_US, 2 * DAY_US, HOUR_US])
    return showings_from(
        [0, 0, 0, 0, 0, 1], [0, 1, 2, 3, 4, 0], time_us, watch_s=[1, 2, 4, 8, 16, 32]
    )


def test_future_watch_counts_later_sessions_within_the_horizon_discounted_by_the_day():
    """With a gap of 30 minutes the first three rows are one session; a day's discount of .25 is .25^(5/24) after 5 h."""
    got = future_watch_s(_week(), 3 * DAY_US, 30 * MINUTE_US, 0.25)
    later = 16 * 0.25 ** (2 - 10 / 1440)
    assert got[0] == pytest.approx(8 * 0.25 ** (5 / 24) + 16 * 0.25**2)
    assert got[1] == got[0]
    assert got[2] == pytest.approx(8 * 0.25 ** ((300 - 10) / 1440) + later)
    assert got[4] == got[5] == 0  # nothing came after, and the other viewer's is not theirs
    short = future_watch_s(_week(), DAY_US, 30 * MINUTE_US, 1.0)
    assert short.tolist() == [8, 8, 8, 0, 0, 0]


def test_future_watch_equals_a_naive_sum_over_a_random_log():
    rng = np.random.default_rng(2)
    user = np.sort(rng.integers(0, 6, 200))
    time_us = START_US + rng.integers(0, 6 * DAY_US, 200)
    order = np.lexsort((time_us, user))
    watch_s = rng.exponential(20, 200)
    showings = showings_from(user, rng.integers(0, 9, 200), time_us[order], watch_s=watch_s)
    got = future_watch_s(showings, DAY_US, HOUR_US, 0.5)
    watch_s = showings.watch_s.astype(float)
    for row in range(200):
        session_end, total = row, 0.0
        while (
            session_end + 1 < 200
            and user[session_end + 1] == user[row]
            and (showings.time_us[session_end + 1] - showings.time_us[session_end] <= HOUR_US)
        ):
            session_end += 1
        for later in range(session_end + 1, 200):
            delay = showings.time_us[later] - showings.time_us[row]
            if user[later] == user[row] and delay <= DAY_US:
                total += watch_s[later] * 0.5 ** (delay / DAY_US)
        assert got[row] == pytest.approx(total, rel=1e-6, abs=1e-6)


def test_a_return_is_another_session_within_the_horizon():
    assert returned(_week(), 6 * HOUR_US, 30 * MINUTE_US).tolist() == [1, 1, 1, 0, 0, 0]
    assert returned(_week(), 3 * DAY_US, 30 * MINUTE_US).tolist() == [1, 1, 1, 1, 0, 0]
    assert returned(_week(), 3 * DAY_US, 6 * HOUR_US).tolist() == [1, 1, 1, 1, 0, 0]


def test_untimed_showings_have_no_later():
    showings = showings_from([0, 0, 0], [0, 1, 2], [0, START_US, START_US + DAY_US])
    assert np.isnan(future_watch_s(showings, 2 * DAY_US, HOUR_US, 1.0)[0])
    assert np.isnan(returned(showings, 2 * DAY_US, HOUR_US)[0])


def _retaining_log(n_users=1500, *, seed=0, logging=None):
    """Showing video 1 brings the viewer back the next day with .7, video 0 with .4; half the viewers watch a lot, whatever they see.

    logging float[2, 2]: P(video | viewer is busy); None: uniform."""
    rng = np.random.default_rng(seed)
    logging = np.full((2, 2), 0.5) if logging is None else np.asarray(logging)
    user, item, time_us, watch_s, propensity = [], [], [], [], []
    for u in range(n_users):
        busy = u % 2
        for day in range(0, 16, 4):
            video = int(rng.random() < logging[busy, 1])
            rows = [(0, video, 5.0, logging[busy, video])]
            if rng.random() < (0.4, 0.7)[video]:
                rows.append((1, 2 + int(rng.integers(3)), 10.0 + 50 * busy, 1 / 3))
            for later, shown, seconds, p in rows:
                user.append(u)
                item.append(shown)
                time_us.append(START_US + (day + later) * DAY_US + int(rng.integers(HOUR_US)))
                watch_s.append(seconds)
                propensity.append(p)
    return showings_from(user, item, time_us, watch_s=watch_s, propensity=propensity)


@pytest.mark.parametrize("kind", ["future_watch", "return", "incremental"])
def test_delayed_rewards_know_which_video_brings_viewers_back_and_the_immediate_one_does_not(kind):
    """6,000 first showings: the difference of .3 in coming back is more than 10 standard errors (.013)."""
    material = material_from(_retaining_log(), 5)
    config = RewardConfig(kind=kind, horizon_h=48, prior_showings=1)
    reward, item = rewards_of(material, config), material.showings.item_id
    mean = [np.nanmean(reward[item == video]) for video in (0, 1)]
    assert mean[1] > mean[0] + 0.2
    at_once = rewards_of(material, RewardConfig())
    assert at_once[item == 0].mean() == at_once[item == 1].mean()


def test_rewards_whose_horizon_has_not_passed_are_not_known():
    material = material_from(_retaining_log(50), 5)
    reward = rewards_of(material, RewardConfig(kind="return", horizon_h=48))
    end_us = material.showings.time_us.max()
    late = material.showings.time_us > end_us - 2 * DAY_US
    assert np.isnan(reward[late]).all()
    assert np.isfinite(reward[~late]).all()
    assert np.nanstd(reward) == pytest.approx(1, abs=1e-3)


def test_incremental_rewards_are_not_fooled_by_who_was_shown_a_video_and_plain_means_are():
    """Video 0 goes to busy viewers, who watch five times as much; video 1 brings viewers back. Without the viewers' own
    means to take off, only the inverse propensities say so; a mean over what was logged prefers video 0."""
    log = _retaining_log(4000, logging=[[0.15, 0.85], [0.85, 0.15]])
    material = material_from(log, 5)
    watched = future_watch_s(log, 2 * DAY_US, HOUR_US, 1.0)
    naive = [watched[log.item_id == video].mean() for video in (0, 1)]
    assert naive[0] > naive[1]
    reward = rewards_of(material, RewardConfig(kind="incremental", horizon_h=48, prior_showings=1))
    fair = [np.nanmean(reward[log.item_id == video]) for video in (0, 1)]
    assert fair[1] > fair[0] + 0.2


def test_what_cannot_be_rewarded_is_one_line():
    showings = showings_from([0, 0], [0, 1], [START_US, START_US + DAY_US])
    with pytest.raises(InvalidInput, match=r"reward 'return': expected a log longer than 72 h"):
        rewards_of(material_from(showings, 2), RewardConfig(kind="return"))
    config = RewardConfig(kind="incremental", horizon_h=1)
    with pytest.raises(InvalidInput, match="slots with logged propensities"):
        rewards_of(material_from(showings, 2), config)

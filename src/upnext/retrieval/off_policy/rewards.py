"""What a showing was worth: at once, by what its viewer watched later, by their coming back, or by what it added to both.

- immediate: the most that the viewer did with it, of shown, click, relevant and completed.
- future_watch: seconds watched in later sessions within the horizon, discounted by the day, beyond what is usual. Chen 2019's return R counts
  the present session, too; the video's own seconds are what `immediate` is for, and here they drowned what came of them.
- return: whether the viewer began another session within the horizon, less the base rate: how usual that is.
- incremental: the same seconds, beyond what is expected without this recommendation. Only chance can tell: rows with a logged
  propensity are weighed by its inverse, as if chance had filled every slot; a video's effect is the weighed mean of its rows less what their
  viewers' slots give on average, shrunk to 0 by `prior_showings`, and every showing of the video is worth that. Who got the video
  then plays no part, and what it took the slot from does.

The last three are divided by their standard deviation, so that a learning rate and a cap mean the same for each, and they may be
negative. A showing whose horizon has not passed yet is worth NaN: not known. A premium video's reward is multiplied by
1 + premium_weight where it is positive.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from upnext.core.clock import DAY_US, HOUR_US, MINUTE_US
from upnext.core.compiled import compiled
from upnext.core.errors import expected
from upnext.core.types import Bool, Flag, Float32, Float64, Int64
from upnext.features.showings import Showings
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.config import RewardConfig

N_SWEEPS: Final = 5  # over days and viewers in turn
PRIOR_OF_VIEWER: Final = 5.0  # showings of the average that a viewer's own mean is shrunk by


def rewards_of(material: Material, config: RewardConfig) -> Float32:
    """float32[m] of the m showings; NaN where it is not known.

    Raises InvalidInput for incremental rewards of a log without propensities, and for a log too short for the horizon."""
    showings = material.showings
    if config.kind == "immediate":
        reward = _immediate(showings, config)
    else:
        reward = _delayed(material, config)
    is_premium = material.videos.is_premium[showings.item_id]
    factor = np.where(is_premium & (reward > 0), 1 + config.premium_weight, 1.0)
    return (reward * factor).astype(np.float32)


def future_watch_s(
    showings: Showings, horizon_us: int, gap_us: int, daily_discount: float
) -> Float64:
    """float64[m]: seconds that the viewer watched after the showing's session, up to the horizon after the showing, discounted; NaN: untimed."""
    watched = np.maximum(np.nan_to_num(showings.watch_s.astype(np.float64)), 0.0)
    rate = np.log(daily_discount) / DAY_US
    following = _next_sessions(showings, gap_us)
    return _discounted(showings.user, showings.time_us, watched, following, horizon_us, rate)


def returned(showings: Showings, horizon_us: int, gap_us: int) -> Float64:
    """float64[m]: 1 where the viewer's next session begins within the horizon after the showing, else 0; NaN: untimed."""
    time_us, following = showings.time_us, _next_sessions(showings, gap_us)
    row = np.minimum(following, len(time_us) - 1)
    is_own = (following < len(time_us)) & (showings.user[row] == showings.user)
    soon = is_own & (time_us[row] - time_us <= horizon_us)
    return np.where(time_us > 0, soon.astype(np.float64), np.nan)


def _next_sessions(showings: Showings, gap_us: int) -> Int64:
    """int64[m]: the first row after each row's session, which is the viewer's next session, or another viewer's row, or m."""
    time_us, user = showings.time_us, showings.user
    begins = np.ones(len(user), np.bool_)
    begins[1:] = (user[1:] != user[:-1]) | (time_us[1:] - time_us[:-1] > gap_us)
    starts = np.append(np.flatnonzero(begins), len(user))
    return np.asarray(starts[np.cumsum(begins)], np.int64)


def _immediate(showings: Showings, config: RewardConfig) -> Float64:
    worth = np.full(len(showings), config.shown, np.float64)
    by_flag = (
        (Flag.CLICK | Flag.WATCHED, config.click),
        (Flag.RELEVANT, config.relevant),
        (Flag.COMPLETED, config.completed),
    )
    for bits, value in by_flag:
        has = (showings.flags & np.uint16(bits)) != 0
        worth = np.where(has, np.maximum(worth, value), worth)
    return worth


def _delayed(material: Material, config: RewardConfig) -> Float64:
    showings, horizon_us = material.showings, int(config.horizon_h * HOUR_US)
    end_us = int(showings.time_us.max(initial=0))
    known = (showings.time_us > 0) & (showings.time_us + horizon_us <= end_us)
    if not known.any():
        raise expected(
            f"reward {config.kind!r}", f"a log longer than {config.horizon_h:g} h", "a shorter one"
        )
    gap_us = int(config.session_gap_min * MINUTE_US)
    if config.kind == "return":
        outcome = returned(showings, horizon_us, gap_us)
    else:
        outcome = future_watch_s(showings, horizon_us, gap_us, config.daily_discount)
    beyond = np.full(len(showings), np.nan)
    if config.kind == "incremental":
        beyond[known] = _effects(material, outcome, known, config.prior_showings)
    else:
        row = np.flatnonzero(known)
        beyond[row] = _beyond_usual(showings, outcome, row, np.ones(len(row)))
    spread = float(beyond[known].std())
    return beyond / spread if spread > 0 else beyond


def _beyond_usual(showings: Showings, outcome: Float64, row: Int64, weight: Float64) -> Float64:
    """float64[k]: what of the outcomes of k rows neither their day nor their viewer explains, by weighed least squares.

    A platform's days go up and down, and viewers differ more than anything that one video does to them."""
    day = np.unique(showings.time_us[row] // DAY_US, return_inverse=True)[1]
    user = showings.user[row]
    mass = (np.bincount(day, weight), np.bincount(user, weight) + PRIOR_OF_VIEWER)
    left = outcome[row].astype(np.float64)
    for _ in range(N_SWEEPS):
        for group, total in zip((day, user), mass):
            left = left - (np.bincount(group, weight * left) / np.maximum(total, 1e-12))[group]
    return left


def _effects(material: Material, outcome: Float64, known: Bool, prior: float) -> Float64:
    """float64[k] of the k rows whose outcome is known: what showing the row's video adds."""
    showings = material.showings
    propensity = np.zeros(len(showings), np.float32)
    if showings.propensity is not None:
        propensity = np.nan_to_num(showings.propensity)
    drawn = np.flatnonzero(known & (propensity > 0))
    if not len(drawn):
        raise expected("reward 'incremental'", "slots with logged propensities", "none")
    weight = 1.0 / propensity[drawn].astype(np.float64)
    weight /= weight.mean()
    beyond = _beyond_usual(showings, outcome, drawn, weight)
    item, n = showings.item_id[drawn], material.n_items
    mass = np.bincount(item, weight, n)
    squares = np.bincount(item, weight * weight, n)
    mean = np.bincount(item, weight * beyond, n) / np.maximum(mass, 1e-12)
    # shrunk by how many equal rows would say as much (Kish): few rows with large weights know little
    n_equal = mass**2 / np.maximum(squares, 1e-12)
    effect = mean * n_equal / np.maximum(n_equal + prior, 1e-12)
    return np.asarray(effect[showings.item_id[known]], np.float64)


@compiled
def _discounted(
    user: Int64, time_us: Int64, watched: Float64, following: Int64, horizon_us: int, rate: float
) -> Float64:
    """float64[m]: sums of watched * exp(rate * delay) from row `following` on, of one user, no more than the horizon later; NaN: time 0."""
    n = len(user)
    total = np.full(n, np.nan)
    end, running, begin = (
        n,
        0.0,
        n,
    )  # the sum over rows begin..end-1, discounted to the time of the row at hand
    for row in range(n - 1, -1, -1):
        if row + 1 == n or user[row + 1] != user[row]:
            begin, end, running = row + 1, row + 1, 0.0
        else:
            running *= np.exp(rate * (time_us[row + 1] - time_us[row]))
        if time_us[row] == 0:
            continue
        while begin > following[row]:
            begin -= 1
            running += watched[begin] * np.exp(rate * (time_us[begin] - time_us[row]))
        while end > begin and time_us[end - 1] - time_us[row] > horizon_us:
            end -= 1
            running -= watched[end] * np.exp(rate * (time_us[end] - time_us[row]))
        total[row] = max(running, 0.0)
    return total

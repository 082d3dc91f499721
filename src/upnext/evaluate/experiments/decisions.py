"""What may be concluded of a whole experiment: are the arms the sizes they should be, how many tests were made, what would be too much harm,
and how long it has to run.

A sample-ratio mismatch (Fabijan et al. 2019) means that something other than chance decides who is counted in an arm: nothing else in the
report can then be believed. Holm (1979) keeps the chance of any false alarm among several metrics at 5 %. A guardrail is a test of
non-inferiority: it is kept once the whole interval lies inside the margin, not as long as no harm is proven.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from upnext.core.errors import expected
from upnext.evaluate.experiments.comparison import ALPHA, Interval, critical_z

SRM_ALARM: Final = 0.001
Guard = Literal["kept", "broken", "open"]


def sample_ratio_p(n: Sequence[int], shares: Sequence[float]) -> float:
    """The chi-square p-value of n viewers per arm under shares of any scale; an alarm below SRM_ALARM. 1.0 without viewers.

    Raises InvalidInput where they don't pair up or a share is not above 0."""
    from scipy import stats

    if len(n) != len(shares) or min(shares, default=1) <= 0:
        raise expected("shares", f"{len(n)} above 0", list(shares))
    total = sum(n)
    if not total:
        return 1.0
    wanted = np.asarray(shares, np.float64) / sum(shares) * total
    return float(stats.chisquare(n, wanted).pvalue)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """{metric: p-value adjusted for how many there are}: below alpha, it stands."""
    order = sorted(p, key=lambda name: p[name])
    adjusted: dict[str, float] = {}
    highest = 0.0
    for i, name in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - i) * p[name]))
        adjusted[name] = highest
    return adjusted


def guardrail(lift: Interval, margin: float, *, is_more_better: bool = True) -> Guard:
    """Whether a relative loss of `margin` is ruled out ("kept"), proven ("broken") or neither yet ("open")."""
    low, high = (lift.low, lift.high) if is_more_better else (-lift.high, -lift.low)
    if low > -margin:
        return "kept"
    return "broken" if high < -margin else "open"


def viewers_needed(
    variance: float,
    effect: float,
    *,
    power: float = 0.8,
    alpha: float = ALPHA,
    peeking: bool = True,
) -> int:
    """Viewers of each of two arms to find a difference of `effect` in the mean with this power.

    `peeking`: by the always-valid interval when that many are in (it may well be earlier); else by one look at the end.
    Raises InvalidInput for an effect of 0."""
    from scipy import stats

    if not effect:
        raise expected("effect", "a difference other than 0", effect)
    z_power = float(stats.norm.ppf(power))
    z_alpha = float(stats.norm.ppf(1 - alpha / 2))
    for _ in range(60):  # the boundary grows with the logarithm of n: a fixed point, quickly
        n = 2 * variance * ((z_alpha + z_power) / effect) ** 2
        if not peeking:
            break
        z_alpha = float(critical_z(np.array([max(n, 2.0) / 2]), alpha)[0])
    return math.ceil(n)


def detectable(
    variance: float, n: int, *, power: float = 0.8, alpha: float = ALPHA, peeking: bool = True
) -> float:
    """The least difference in the mean that n viewers in each of two arms find with this power."""
    from scipy import stats

    z_alpha = float(stats.norm.ppf(1 - alpha / 2))
    if peeking:
        z_alpha = float(critical_z(np.array([max(n, 2) / 2]), alpha)[0])
    return float((z_alpha + stats.norm.ppf(power)) * math.sqrt(2 * variance / max(n, 1)))

"""Differences over seeds in words: a figure with its interval, and a plain sentence that claims no more than the interval does."""

from __future__ import annotations

import math

from upnext.core.types import Estimate


def figure(difference: Estimate) -> str:
    """The mean with its sign and its interval where there is one."""
    if not math.isfinite(difference.low):
        return f"{difference.mean:+.4f}"
    return f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"


def sentence(name: str, measure: str, difference: Estimate, other: str) -> str:
    """Whether `name` beats `other` on a measure of which more is better."""
    if not math.isfinite(difference.low):
        said = "one seed alone says nothing of noise"
    elif difference.low > 0:
        said = f"better than {other}"
    elif difference.high < 0:
        said = f"worse than {other}"
    else:
        said = f"not told apart from {other}"
    return f"{name}: {measure} {figure(difference)} over {other}: {said}"

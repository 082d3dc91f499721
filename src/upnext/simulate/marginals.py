"""What a log looks like from afar, and how far a simulated one is from a real one (METHODS.md L5).

Rates, distributions as 101 quantiles, and how watching changes with duration; nothing of who watched what. The reference is
KuaiRand-Pure's standard log of 25 April to 5 May 2022 (Gao et al. 2022; CC BY-SA 4.0), reduced to these figures and kept in
reference/kuairand_pure.json. That log holds only the showings of a pool of 7,583 videos: a viewer's other showings are not in it, so
viewers' showings, sessions and days are counted within a pool of the simulated videos, too.

In a feed that plays by itself nothing is clicked. The owner's is_click follows one rule in 98.3 % of the rows, played for 7 s or to the end, and
long_view one in 99.8 %, 18 s or to the end; both rules are used on both sides, beside the logged flags' rates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.errors import expected
from upnext.core.randomness import rng_for
from upnext.core.types import Array, Bool, Float64, Int64
from upnext.evaluate.diversity import gini
from upnext.evaluate.quotient import quotient

VALID_PLAY_S: Final = 7.0
LONG_VIEW_S: Final = 18.0
SESSION_GAP_S: Final = 1_800.0
MAX_SHARE: Final = 5.0  # of its duration that a watch counts at most: rewatching
N_DECILES: Final = 10
GRID: Final = np.linspace(0, 1, 101)
REFERENCE: Final = "kuairand_pure.json"


@dataclass(frozen=True)
class Shown:
    """Columns of length m, one row per showing, in any order."""

    viewer: Int64
    video: Int64
    shown_us: Int64
    duration_s: Float64  # above 0
    watch_s: Float64
    said: Mapping[str, Bool]  # kind of feedback -> whether it was given
    n_videos: int  # the pool's size, those never shown included

    def pool(self, share: float, seed: int = 0) -> Shown:
        """The showings of a random share of the videos, numbered anew.

        Raises InvalidInput outside (0, 1]."""
        if not 0 < share <= 1:
            raise expected("share of the pool", "above 0, at most 1", share)
        n_kept = max(1, round(share * self.n_videos))
        kept = rng_for("pool", seed).permutation(self.n_videos)[:n_kept]
        number = np.full(self.n_videos, -1)
        number[kept] = np.arange(n_kept)
        rows = np.flatnonzero(number[self.video] >= 0)
        return Shown(
            self.viewer[rows],
            number[self.video[rows]],
            self.shown_us[rows],
            self.duration_s[rows],
            self.watch_s[rows],
            {kind: given[rows] for kind, given in self.said.items()},
            n_kept,
        )


@dataclass(frozen=True)
class Marginals:
    """The figures of one log."""

    rates: Mapping[str, float]
    curves: Mapping[str, Float64]  # [101] values at the quantiles GRID
    by_duration: Mapping[str, Float64]  # [10] by decile of duration, shortest first

    def to_json(self) -> dict[str, object]:
        """Plain values; `of_json` reads them."""
        curves = {name: _rounded(values) for name, values in self.curves.items()}
        deciles = {name: _rounded(values) for name, values in self.by_duration.items()}
        return {"rates": _plain(self.rates), "curves": curves, "by_duration": deciles}

    @staticmethod
    def of_json(found: Mapping[str, Any]) -> Marginals:
        """The marginals that to_json wrote."""
        return Marginals(
            found["rates"],
            {name: np.array(values) for name, values in found["curves"].items()},
            {name: np.array(values) for name, values in found["by_duration"].items()},
        )


def marginals(shown: Shown, *, pool_share: float = 1.0) -> Marginals:
    """The marginals of a log of at least one showing; viewers' showings, sessions and days are those within a pool of this share.

    Raises InvalidInput for an empty log or a duration of 0."""
    if not len(shown.viewer):
        raise expected("marginals", "at least one showing", 0)
    if not (shown.duration_s > 0).all():
        row = int(np.flatnonzero(~(shown.duration_s > 0))[0])
        raise expected(f"duration_s of row {row}", "above 0", float(shown.duration_s[row]))
    watch, duration = shown.watch_s, shown.duration_s
    complete = watch >= duration
    part = np.minimum(watch / duration, MAX_SHARE)
    counts = np.bincount(shown.video, minlength=shown.n_videos)
    per_viewer, sessions, days = _visits(shown.pool(pool_share) if pool_share < 1 else shown)
    rates = {
        "valid play (7 s or all)": (watch >= VALID_PLAY_S) | complete,
        "long view (18 s or all)": (watch >= LONG_VIEW_S) | complete,
        "watched under 3 s": watch < 3.0,
        "watched to the end": complete,
        **shown.said,
    }
    return Marginals(
        {name: float(np.mean(values)) for name, values in rates.items()}
        | {
            "Gini of videos' showings": float(gini(counts, shown.n_videos)),
            "share of videos shown": float(np.count_nonzero(counts) / shown.n_videos),
            "mean watch, s": float(watch.mean()),
        },
        {
            "watch_s": _curve(watch),
            "watched share": _curve(part),
            "duration_s of showings": _curve(duration),
            "showings per viewer": _curve(per_viewer),
            "sessions per viewer": _curve(sessions),
            "active days per viewer": _curve(days),
        },
        _by_duration(watch, part, duration),
    )


def reference() -> Marginals:
    """KuaiRand-Pure's."""
    text = files("upnext.simulate").joinpath("reference", REFERENCE).read_text("utf-8")
    return Marginals.of_json(json.loads(text))


@dataclass(frozen=True)
class Compared:
    """One line of the table: a figure of the real log beside the simulated one's."""

    name: str
    real: float
    simulated: float
    distance: (
        float  # KS for a distribution, whose figures here are medians; else the absolute difference
    )
    kind: str  # "rate", "KS" or "decile"


def compare(simulated: Marginals, real: Marginals) -> list[Compared]:
    """Every figure that the real log has, in its order; one that the simulated log lacks is NaN."""
    nan = float("nan")
    lines = []
    for name, value in real.rates.items():
        found = simulated.rates.get(name, nan)
        lines.append(Compared(name, value, found, abs(found - value), "rate"))
    for name, curve in real.curves.items():
        other = simulated.curves[name]
        lines.append(
            Compared(name, float(curve[50]), float(other[50]), ks_distance(curve, other), "KS")
        )
    for name, values in real.by_duration.items():
        for decile in (0, N_DECILES // 2, N_DECILES - 1):
            a, b = float(values[decile]), float(simulated.by_duration[name][decile])
            label = f"{name}, duration decile {decile + 1}"
            lines.append(Compared(label, a, b, abs(a - b), "decile"))
    return lines


def ks_distance(a: Float64, b: Float64) -> float:
    """The largest gap between two distribution functions, given as 101 quantiles each: to within .02 of the exact one."""
    at = np.concatenate([a, b])
    return float(np.abs(_share_below(a, at) - _share_below(b, at)).max())


def _share_below(quantiles: Float64, at: Float64) -> Float64:
    """float64[n]: P(value <= at), the level of the last quantile that is not above; a hundredth too low at most."""
    rank = np.searchsorted(quantiles, at, side="right")
    return np.where(rank > 0, GRID[np.maximum(rank, 1) - 1], 0.0)


def _visits(shown: Shown) -> tuple[Int64, Int64, Int64]:
    """(showings, sessions, days with a showing) of every viewer who has any; a gap of half an hour ends a session."""
    order = np.lexsort((shown.shown_us, shown.viewer))
    viewer, time_us = shown.viewer[order], shown.shown_us[order]
    is_first = np.diff(viewer, prepend=-1) != 0
    gap = np.diff(time_us, prepend=time_us[0]) > SESSION_GAP_S * SECOND_US
    day = time_us // (86_400 * SECOND_US)
    is_new_day = is_first | (np.diff(day, prepend=day[0] - 1) != 0)
    row = np.cumsum(is_first) - 1
    n = int(row[-1]) + 1
    per_viewer = np.bincount(row, minlength=n)
    sessions = np.bincount(row, is_first | gap, minlength=n)
    return per_viewer, sessions.astype(np.int64), np.bincount(row, is_new_day, n).astype(np.int64)


def _by_duration(watch: Float64, part: Float64, duration: Float64) -> dict[str, Float64]:
    """Means and medians within the deciles of duration."""
    edges = np.quantile(duration, np.linspace(0, 1, N_DECILES + 1)[1:-1])
    decile = np.searchsorted(edges, duration, side="right")
    n = np.bincount(decile, minlength=N_DECILES)
    mean_part = quotient(np.bincount(decile, part, N_DECILES), n)
    median = [_median(watch[decile == i]) for i in range(N_DECILES)]
    whole = quotient(np.bincount(decile, part >= 1, N_DECILES), n)
    return {
        "mean watched share": mean_part,
        "median watch_s": np.array(median),
        "watched to the end": whole,
    }


def _curve(values: Array) -> Float64:
    """float64[101]: quantiles that are values of the sample."""
    return np.quantile(values, GRID, method="inverted_cdf").astype(np.float64)


def _median(values: Float64) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def _rounded(values: Float64) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _plain(rates: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in rates.items()}

"""Experiments on made-up viewers, thousands at once: how often does each test err where nothing differs, and find what does.

Viewers come one after another to either arm, with log-normal values (as watch time is) that depend on a covariate known before. `peeks` is
after which numbers of viewers per arm somebody looks and stops at the first "significant".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Array, Bool, Float64, Int64
from upnext.evaluate.experiments.comparison import ALPHA, critical_z
from upnext.evaluate.experiments.interleaving import team_draft, won_by_viewer

_BLOCK: Final = 50  # replications held at once


@dataclass(frozen=True, slots=True)
class Errors:
    """Shares of replications in which a difference was declared."""

    naive_once: float  # Welch, at the end alone
    naive_peeking: float  # Welch at every peek
    sequential: float  # the always-valid interval at every peek
    mean_stop: float  # viewers per arm when it stopped or ended


def declared(
    n_replications: int, peeks: Int64, *, lift: float = 0.0, seed: int = 0, skew: float = 1.0
) -> Errors:
    """How often each test declares a difference where the treated mean is 1 + lift times the control's.

    skew: the standard deviation of a value's logarithm. With lift 0 these are false positives."""
    once, peeked, sequential = 0, 0, 0
    stops = 0.0
    n = int(peeks[-1])
    for start in range(0, n_replications, _BLOCK):
        rng = rng_for("rehearsal", seed, start)
        b = min(_BLOCK, n_replications - start)
        values = rng.lognormal(0.0, skew, size=(b, 2, n))
        values[:, 1] *= 1 + lift
        z = _z_at(values, peeks)
        naive = np.abs(z) > _welch_critical(peeks)
        valid = np.abs(z) > critical_z(peeks / 2)
        once += int(naive[:, -1].sum())
        peeked += int(naive.any(axis=1).sum())
        sequential += int(valid.any(axis=1).sum())
        last = np.where(valid.any(axis=1), valid.argmax(axis=1), len(peeks) - 1)
        stops += float(peeks[last].sum())
    shares = [count / n_replications for count in (once, peeked, sequential, stops)]
    return Errors(*shares)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Shares of replications in which the better of two rankings was found, on the same traffic."""

    ab: float  # Welch on clicks per viewer, half the viewers each
    interleaving: float  # every viewer's pages mixed
    wins: float  # mean share of pages won by the second ranking, ties as half


def found(
    n_replications: int, n_viewers: int, *, edge: float, seed: int = 0, coin: bool = True
) -> Sensitivity:
    """Of two rankings of ten videos, the second of which puts relevant ones `edge` higher in its score than the first's noise.

    edge 0: they are equally good. coin False: the first ranking always begins, the naive mixture that position spoils."""
    ab = mixed = 0
    wins = 0.0
    for replication in range(n_replications):
        rng = rng_for("interleaving", seed, replication)
        pages = _Pages(rng, n_viewers, edge)
        ab += pages.ab_finds()
        share, finds = pages.interleaved(coin)
        mixed += finds
        wins += share
    return Sensitivity(ab / n_replications, mixed / n_replications, wins / n_replications)


class _Pages:
    """The viewers of one replication: each opens some pages, and examines slots less the lower they stand."""

    def __init__(self, rng: np.random.Generator, n_viewers: int, edge: float, k: int = 10) -> None:
        self._rng = rng
        self._k = k
        n_pages = 1 + rng.poisson(rng.gamma(0.5, 8.0, n_viewers))  # few viewers open most pages
        self._viewer = np.repeat(np.arange(n_viewers), n_pages)
        self._n_viewers = n_viewers
        b, m = len(self._viewer), 2 * k
        taste = rng.beta(1.0, 9.0, n_viewers)[self._viewer]
        relevance = rng.exponential(1.0, (b, m))
        self._click = np.clip(taste[:, None] * relevance, 0, 1) * 0.8
        scores = [weight * relevance + rng.normal(size=(b, m)) for weight in (1.0, 1.0 + edge)]
        self._rankings: Int64 = np.argsort(-np.stack(scores), axis=2)

    def ab_finds(self) -> bool:
        """Whether Welch's test on clicks per viewer says that the second is better."""
        is_treated = self._rng.random(self._n_viewers) < 0.5
        slate = np.where(is_treated[self._viewer][:, None], self._rankings[1], self._rankings[0])[
            :, : self._k
        ]
        clicks = self._per_viewer(self._clicks(slate).sum(axis=1))
        return _z(clicks[is_treated], clicks[~is_treated]) > _Z_TWO_SIDED

    def interleaved(self, coin: bool) -> tuple[float, bool]:
        """(share of pages that the second wins, whether that is significantly above one half), by one look."""
        b, rounds = len(self._viewer), (self._k + 1) // 2
        first_picks: Bool = np.ones((b, rounds), np.bool_)
        if coin:
            first_picks = self._rng.random((b, rounds)) < 0.5
        slate, team = team_draft(self._rankings, self._k, first_picks)
        clicks = self._clicks(slate)
        ahead = np.sign((clicks * (2 * team.astype(np.float64) - 1)).sum(axis=1))
        per_viewer = won_by_viewer(ahead, self._viewer)
        se = per_viewer.std(ddof=1) / self._n_viewers**0.5
        share = float(per_viewer.mean())
        return share, bool((share - 0.5) / se > _Z_TWO_SIDED)

    def _per_viewer(self, of_page: Float64) -> Float64:
        return np.asarray(np.bincount(self._viewer, of_page), np.float64)

    def _clicks(self, slate: Int64) -> Float64:
        examined = 1 / np.log2(2 + np.arange(slate.shape[1]))
        p = np.take_along_axis(self._click, slate, axis=1) * examined
        return (self._rng.random(slate.shape) < p).astype(np.float64)


_Z_TWO_SIDED: Final = 1.959963984540054


def _z(treated: Float64, control: Float64) -> float:
    variance = treated.var(ddof=1) / len(treated) + control.var(ddof=1) / len(control)
    return float((treated.mean() - control.mean()) / variance**0.5)


def _z_at(values: Array, peeks: Int64) -> Float64:
    """float64[b, p]: the difference over its standard error after each number of viewers, of values float64[b, 2, n]."""
    at = peeks - 1
    total = values.cumsum(axis=2)[:, :, at]
    squares = (values**2).cumsum(axis=2)[:, :, at]
    mean = total / peeks
    variance = (squares - total * mean) / (peeks - 1)
    se = np.sqrt(variance.sum(axis=1) / peeks)
    return np.asarray((mean[:, 1] - mean[:, 0]) / se)


def _welch_critical(peeks: Int64) -> Float64:
    """float64[p]: of arms of one size and about one variance, 2 n - 2 degrees of freedom."""
    from scipy import stats

    return np.asarray(stats.t.ppf(1 - ALPHA / 2, 2 * peeks - 2))

"""Experiments on two sides at once: viewers and creators are split together, and each arm is a small platform of its own.

What is done for one creator is paid by others in the attention of the same viewers, so creators on one platform can't be compared: the
treated one's gain and the other's loss are both counted. Here a viewer of an arm is shown only that arm's creators (user-corpus
co-diversion: Su et al., Long-Term Value of Exploration, WSDM 2024). Within an arm everybody is treated or nobody is, as when the treatment is
launched; what an arm's creators win, the same arm's creators lose.

The estimate is the difference per capita, adjusted by what was known of each unit before (as CUPED: Deng et al. 2013, with several columns),
and scaled to the whole platform. The interval resamples units, or clusters of them. It is the noise of which units fell into which arm;
that an arm is a smaller platform, with fewer videos to choose from, is a bias that no interval shows: `corpus_cost` says what
it costs viewers, and a treatment that works through the size of the corpus is not for this design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Bool, Estimate, Float64, Int64
from upnext.evaluate.bootstrap import bootstrap, user_rows
from upnext.evaluate.experiments.assignment import Allocation, Layer, allocate
from upnext.evaluate.quotient import quotient


@dataclass(frozen=True, slots=True)
class CoDiversion:
    """The arms of a two-sided experiment; who is in no arm is a small platform too."""

    viewers: Allocation
    creators: Allocation

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, the first is row 0."""
        return self.viewers.arms

    def may_show(self, viewer_ids: Sequence[str], creator_ids: Sequence[str]) -> Bool:
        """bool[n]: whether a video of the j-th creator may be shown to the j-th viewer: both are in one arm, or both in none.

        Raises InvalidInput on different lengths."""
        viewer, creator = self.viewers.rows(viewer_ids), self.creators.rows(creator_ids)
        if len(viewer) != len(creator):
            raise expected(
                "creator_ids", f"{len(viewer)} of them, one for each viewer", len(creator)
            )
        return np.asarray(viewer == creator, np.bool_)


def co_divert(
    salt: str,
    shares: Mapping[str, float],
    *,
    layer: str = "two-sided",
    taken_viewers: Bool | None = None,
    taken_creators: Bool | None = None,
) -> CoDiversion:
    """The experiment `salt` whose arms own `shares` {arm: percent} of viewers and of creators alike, each by their own salted hash.

    taken_viewers, taken_creators bool[N_BUCKETS]: buckets that other experiments of the layer own. Raises InvalidInput where a share is out of
    range or the free buckets don't suffice."""
    return CoDiversion(
        viewers=allocate(Layer(layer, "viewer"), salt, shares, taken_viewers),
        creators=allocate(Layer(layer, "creator"), salt, shares, taken_creators),
    )


@dataclass(frozen=True, slots=True)
class TwoSidedEffect:
    """What a treatment does to units of one side."""

    per_capita: Estimate  # treated less control, adjusted
    relative: Estimate  # the same over the control's mean
    total: Estimate  # per_capita times the platform's units: the global treatment effect
    control_mean: float


def effect_of_arms(
    outcome: Float64,
    arm: Int64,
    *,
    before: Float64 | None = None,
    cluster: Array | None = None,
    treated: int = 1,
    control: int = 0,
    n_resamples: int = 1000,
    seed: int = 0,
) -> TwoSidedEffect:
    """The effect on n units of one side (creators or viewers), whose outcome float64[n] is over the same days, from their arms int64[n].

    before float64[n, p] is what was known of each before the experiment began; cluster [n] any keys of units that move together (None: each alone);
    units of other arms count for the scale alone. Raises InvalidInput on different lengths, fewer than two units in an arm, or what is
    not a finite number."""
    columns = _columns(outcome, before)
    if len(arm) != len(outcome) or (cluster is not None and len(cluster) != len(outcome)):
        raise expected("arms and clusters", f"{len(outcome)} of each", len(arm))
    inside = (arm == treated) | (arm == control)
    is_treated = arm[inside] == treated
    for name, n in (("treated", is_treated.sum()), ("control", (~is_treated).sum())):
        if n < 2:
            raise expected(f"{name} arm", "at least 2 units", int(n))
    y = _adjusted(outcome[inside], columns[inside], is_treated)
    unit = np.arange(len(y)) if cluster is None else cluster[inside]
    sums, n_clusters = _cluster_sums(y, is_treated, unit)

    def means(w: Float64) -> tuple[Array, Array]:
        total = w @ sums
        return quotient(total[:, 0], total[:, 1]), quotient(total[:, 2], total[:, 3])

    def difference(w: Float64) -> Array:
        high, low = means(w)
        return high - low

    def share(w: Float64) -> Array:
        high, low = means(w)
        return quotient(high - low, low)

    per_capita = bootstrap(difference, n_clusters, n_resamples=n_resamples, seed=seed)
    return TwoSidedEffect(
        per_capita=per_capita,
        relative=bootstrap(share, n_clusters, n_resamples=n_resamples, seed=seed),
        total=_times(per_capita, len(outcome)),
        control_mean=float(y[~is_treated].mean()),
    )


def corpus_cost(
    in_control: Float64, whole: Float64, *, n_resamples: int = 1000, seed: int = 0
) -> Estimate:
    """What a smaller corpus alone does to viewers: the mean of float64[a], the control arm's viewers, over that of float64[b], viewers who had
    the whole corpus (or the larger one of those in no arm), less 1.

    Raises InvalidInput where either is empty."""
    if not len(in_control) or not len(whole):
        raise expected("viewers", "at least one on both sides", (len(in_control), len(whole)))
    sums = np.zeros((len(in_control) + len(whole), 4))
    sums[: len(in_control), :2] = np.stack([in_control, np.ones(len(in_control))], axis=1)
    sums[len(in_control) :, 2:] = np.stack([whole, np.ones(len(whole))], axis=1)

    def less_than_whole(w: Float64) -> Array:
        total = w @ sums
        small, large = quotient(total[:, 0], total[:, 1]), quotient(total[:, 2], total[:, 3])
        return quotient(small, large) - 1.0

    return bootstrap(less_than_whole, len(sums), n_resamples=n_resamples, seed=seed)


def _columns(outcome: Float64, before: Float64 | None) -> Float64:
    """float64[n, p], checked."""
    columns = np.zeros((len(outcome), 0)) if before is None else np.asarray(before, np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if len(columns) != len(outcome):
        raise expected("before", f"{len(outcome)} rows, one for each outcome", len(columns))
    if not (np.isfinite(outcome).all() and np.isfinite(columns).all()):
        raise expected("outcome and before", "finite numbers", "NaN or infinity")
    return columns


def _adjusted(y: Float64, columns: Float64, is_treated: Bool) -> Float64:
    """y less what the columns foretell of it, by least squares within the arms; its mean over all units is y's."""
    if not columns.shape[1]:
        return np.asarray(y, np.float64)
    within_y, within = y.astype(np.float64), columns.copy()
    for arm in (is_treated, ~is_treated):
        within_y[arm] -= within_y[arm].mean()
        within[arm] -= within[arm].mean(axis=0)
    slope = np.linalg.lstsq(within, within_y, rcond=None)[0]
    return np.asarray(y - (columns - columns.mean(axis=0)) @ slope, np.float64)


def _cluster_sums(y: Float64, is_treated: Bool, unit: Array) -> tuple[Float64, int]:
    """(float64[clusters, 4]: sum and number of treated, of control; number of clusters)."""
    rows, n_clusters = user_rows(unit)
    parts = [y * is_treated, is_treated, y * ~is_treated, ~is_treated]
    return np.stack([np.bincount(rows, part, n_clusters) for part in parts], axis=1), n_clusters


def _times(figure: Estimate, n: int) -> Estimate:
    return Estimate(
        figure.mean * n, figure.low * n, figure.high * n, figure.n_effective, figure.verdict
    )

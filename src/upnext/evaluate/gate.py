"""Whether a release may go live: it must not be plausibly worse than the one that serves.

Both releases are scored on the same viewers of one window that neither trained on. For each figure the paired bootstrap gives the
interval of the relative difference; the release is refused when the bad end of that interval is worse than the margin (1 %): the lower
end of NDCG@10, the upper end of a head's log loss. So the burden of proof lies with the candidate: a window with too few viewers to tell
refuses too, and says so. A first release faces a popularity list, which has no heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from upnext.core.errors import expected
from upnext.core.types import Array, Estimate, Float64, Int64
from upnext.evaluate.binary import log_losses
from upnext.evaluate.bootstrap import relative_difference


@dataclass(frozen=True, slots=True)
class GateMetrics:
    """One release on the gate's window: figures of the same u viewers, in the same order, for both releases."""

    ndcg: Float64  # [u] NDCG@10; NaN for a viewer without truth
    log_loss: Mapping[str, Float64] = field(
        default_factory=dict
    )  # head -> [u] sum of a viewer's log losses


@dataclass(frozen=True, slots=True)
class Margins:
    """How much worse, as a share, the bad end of an interval may be."""

    ndcg: float = 0.01
    log_loss: float = 0.01
    n_resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The decision, one readable reason per refusal, and the relative differences behind it."""

    accepted: bool
    reasons: tuple[str, ...]
    differences: Mapping[str, Estimate]


def gate(
    candidate: GateMetrics, current: GateMetrics, margins: Margins | None = None
) -> GateVerdict:
    """Whether `candidate` may replace `current`; heads that only the candidate has are not compared.

    Raises InvalidInput when the two were not scored on the same viewers."""
    margins = margins or Margins()
    _same_viewers(candidate, current)
    reasons: list[str] = []
    differences: dict[str, Estimate] = {}
    if not np.array_equal(np.isnan(candidate.ndcg), np.isnan(current.ndcg)):
        raise expected("gate", "ndcg of both releases for the same viewers", "other NaN rows")
    relative = _difference(candidate.ndcg, current.ndcg, margins)
    differences["ndcg@10"] = relative
    if not np.nansum(current.ndcg) == 0 < np.isfinite(current.ndcg).sum():  # nothing to lose
        reasons += _judge("ndcg@10", relative, -relative.low, margins.ndcg)
    for head, losses in sorted(current.log_loss.items()):
        if head not in candidate.log_loss:
            reasons.append(f"head {head}: the candidate has no such head, the current release does")
            continue
        if not np.isfinite(candidate.log_loss[head]).all():
            reasons.append(f"head {head}: the candidate's log loss is not finite for every viewer")
            continue
        relative = _difference(candidate.log_loss[head], losses, margins)
        differences[f"log_loss:{head}"] = relative
        reasons += _judge(f"log loss of {head}", relative, relative.high, margins.log_loss)
    return GateVerdict(not reasons, tuple(reasons), differences)


def log_loss_sums(label: Array, prediction: Array, user: Int64, n_users: int) -> Float64:
    """float64[u]: each viewer's summed log loss, rows user int64[n] in 0 .. u-1; what GateMetrics.log_loss holds.

    Rows with a NaN label (not labelled for this head) count nothing."""
    is_labelled = ~np.isnan(np.asarray(label, np.float64))
    losses = log_losses(np.asarray(label)[is_labelled], np.asarray(prediction)[is_labelled])
    return np.bincount(user[is_labelled], losses, minlength=n_users).astype(np.float64)


def _difference(candidate: Float64, current: Float64, margins: Margins) -> Estimate:
    return relative_difference(
        candidate, current, n_resamples=margins.n_resamples, seed=margins.seed
    )


def _judge(what: str, relative: Estimate, worst: float, margin: float) -> list[str]:
    if relative.verdict != "ok":
        return [f"{what}: can't be compared ({relative.n_effective:.0f} viewers with a figure)"]
    if worst <= margin:
        return []
    return [
        f"{what}: {relative.mean:+.2%} against the current release, 95 % interval "
        f"[{relative.low:+.2%}, {relative.high:+.2%}]; may be worse by {worst:.2%}, margin {margin:.2%}"
    ]


def _same_viewers(candidate: GateMetrics, current: GateMetrics) -> None:
    n_users = len(current.ndcg)
    columns = [candidate.ndcg, *candidate.log_loss.values(), *current.log_loss.values()]
    for column in columns:
        if len(column) != n_users:
            raise expected("gate", f"figures of the same {n_users} viewers", len(column))

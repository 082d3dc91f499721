"""Two predictions of the same rows side by side: figures of both, and the difference with its interval, viewers resampled with all their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from upnext.core.types import Array, Estimate, Float64, Int64
from upnext.evaluate import binary, regression
from upnext.evaluate.bootstrap import bootstrap, is_better, ratio
from upnext.evaluate.pair_order import PairOrder
from upnext.evaluate.quotient import quotient

LOWER_IS_BETTER = frozenset({"log_loss", "rmse"})
N_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Beside:
    """One figure of ours and of theirs."""

    ours: float
    theirs: float
    difference: Estimate | None  # ours less theirs; None for a figure that is best at 1

    def word(self, figure: str) -> str:
        """better, worse, or not told apart."""
        if self.difference is None:
            return ""
        higher = figure not in LOWER_IS_BETTER
        if is_better(self.difference, higher_is_better=higher):
            return "better"
        return (
            "worse" if is_better(self.difference, higher_is_better=not higher) else "not told apart"
        )


def compare(
    label: Array,
    ours: Array,
    theirs: Array,
    user: Int64,
    kind: Literal["probability", "seconds"],
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Mapping[str, Beside]:
    """{figure: Beside} of n rows without NaN; user int64[n] in 0 .. u-1.

    Probabilities: auc, gauc, log_loss, pcoc. Seconds: rmse, xauc, gxauc, mean_ratio."""
    label, ours, theirs = (np.asarray(v, np.float64) for v in (label, ours, theirs))
    n_users, options = binary.n_viewers(user), {"n_resamples": n_resamples, "seed": seed}
    a, b = PairOrder(label, ours), PairOrder(label, theirs)
    inside = [binary.grouped_order(label, one, user) for one in (ours, theirs)]
    counted = inside[0].weight > 0
    is_probability = kind == "probability"

    def share(order: PairOrder, counts: Float64 | None = None) -> Float64:
        told: Float64 = order.count(None if counts is None else counts[:, user]).share()
        return np.asarray(told[:, 0], np.float64)

    over_all = Beside(
        float(share(a)[0]),
        float(share(b)[0]),
        bootstrap(lambda counts: share(a, counts) - share(b, counts), n_users, **options),
    )
    weighted = (inside[0].weighted - inside[1].weighted)[counted]
    within = Beside(
        inside[0].value, inside[1].value, ratio(weighted, inside[0].weight[counted], **options)
    )
    names = ("auc", "gauc") if is_probability else ("xauc", "gxauc")
    found = dict(zip(names, (over_all, within), strict=True))
    rows = np.bincount(user, minlength=n_users).astype(np.float64)

    def total(values: Float64) -> Float64:
        return np.bincount(user, values, minlength=n_users).astype(np.float64)

    if is_probability:
        losses = [binary.log_losses(label, one) for one in (ours, theirs)]
        found["log_loss"] = Beside(
            float(losses[0].mean()),
            float(losses[1].mean()),
            ratio(total(losses[0] - losses[1]), rows, **options),
        )
        found["pcoc"] = Beside(binary.pcoc(label, ours), binary.pcoc(label, theirs), None)
        return found
    squares = [total((one - label) ** 2) for one in (ours, theirs)]
    found["rmse"] = Beside(
        regression.rmse(label, ours), regression.rmse(label, theirs),
        bootstrap(
            lambda counts: np.sqrt(quotient(counts @ squares[0], counts @ rows))
            - np.sqrt(quotient(counts @ squares[1], counts @ rows)),
            n_users, **options,
        ),
    )  # fmt: skip
    ratios = [regression.mean_ratio(label, one) for one in (ours, theirs)]
    found["mean_ratio"] = Beside(ratios[0], ratios[1], None)
    return found

"""Every estimator of one log side by side, under the log's support: what `upnext evaluate --log` prints (docs/off-policy.md).

The figures stand next to each other because none of them is best: those that agree within their intervals and whose bias bounds are small are to
be believed, and under "not identifiable" none is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from upnext.core.types import Estimate, Int64
from upnext.evaluate.off_policy.estimator import OffPolicyEstimator, Ratio, Terms, figure
from upnext.evaluate.off_policy.importance import Ips, Snips
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.model_based import (
    DirectMethod,
    DoublyRobust,
    SelfNormalisedDoublyRobust,
)
from upnext.evaluate.off_policy.reward_models import N_FOLDS, RewardModel, cross_fit
from upnext.evaluate.off_policy.slates import (
    CascadeDoublyRobust,
    IndependentIps,
    RewardInteractionIps,
    SlateEstimator,
    Slates,
    StandardIps,
    slate_support,
)
from upnext.evaluate.off_policy.support import Support, support_of
from upnext.evaluate.off_policy.tuning import tuned_clip, tuned_shrinkage, tuned_switch

REPORT_VERSION = 1
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Line:
    """One estimator's word."""

    name: str
    value: Estimate
    difference: Estimate  # less the logging policy's own value, paired
    bias_bound: (
        float  # in units of the reward; 0 for an estimator without bias by design, NaN: no bound
    )
    support: Support
    chosen: Mapping[str, float] = field(
        default_factory=dict
    )  # by tuning.py: clip, threshold or lambda


@dataclass(frozen=True, slots=True)
class OffPolicyReport:
    """Every estimator of one log and target."""

    logged: Estimate  # what the logging policy earned
    lines: tuple[Line, ...]
    n_rows: int
    n_clusters: int  # viewers, or rows where they are not known
    level: float
    unit: str  # what a figure is the mean of: "row" or "slate"
    left_out: str = ""  # why estimators are missing
    about: Mapping[str, object] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """ "ok" when any line is identifiable."""
        verdicts = [line.value.verdict for line in self.lines]
        return "ok" if "ok" in verdicts else verdicts[0]

    def to_json(self) -> dict[str, object]:
        """Plain values only: numbers that can't be are null."""
        return {
            "version": REPORT_VERSION,
            "about": dict(self.about),
            "n_rows": self.n_rows,
            "n_clusters": self.n_clusters,
            "unit": self.unit,
            "level": self.level,
            "verdict": self.verdict,
            "left_out": self.left_out,
            "logged": estimate_json(self.logged),
            "estimators": {line.name: _line_json(line) for line in self.lines},
        }

    def to_rows(self) -> list[dict[str, str]]:
        """One row of text per estimator, the logging policy's own value first."""
        interval = f"{self.level:.0%} interval"
        first = {
            "estimator": "logged",
            "value": shown(self.logged.mean),
            interval: _between(self.logged),
        }
        rows = [first]
        for line in self.lines:
            support = line.support
            rows.append({
                "estimator": line.name,
                "value": shown(line.value.mean),
                interval: _between(line.value),
                "less logged": f"{shown(line.difference.mean)} {_between(line.difference)}",
                "bias at most": "?" if math.isnan(line.bias_bound) else shown(line.bias_bound),
                "chosen": chosen_words(line.chosen),
                "E[w]": f"{support.mean_weight:.3f} ± {support.standard_error:.3f}",
                "effective rows": f"{support.n_effective:,.0f}",
                "verdict": line.value.verdict,
            })  # fmt: skip
        return rows

    def notes(self) -> tuple[str, ...]:
        """What a reader has to know beside the table: why lines are not identifiable or missing."""
        notes = [f"not identifiable: {reason}" for reason in self.reasons()]
        if any(line.name == "DM" for line in self.lines):
            notes.append("DM's interval leaves out the error of its reward model")
        return (*notes, self.left_out) if self.left_out else tuple(notes)

    def reasons(self) -> tuple[str, ...]:
        """Why lines are not identifiable, each reason once with the estimators it holds for."""
        found: dict[str, list[str]] = {}
        for line in self.lines:
            if line.support.reason:
                found.setdefault(line.support.reason, []).append(line.name)
        return tuple(f"{', '.join(names)}: {reason}" for reason, names in found.items())


def report_of(
    log: Logged | Slates,
    model: RewardModel | None = None,
    *,
    level: float = LEVEL,
    about: Mapping[str, object] | None = None,
) -> OffPolicyReport:
    """Every estimator that the log allows; `model` is cross-fitted unless the log brings predictions."""
    slots = log.slots if isinstance(log, Slates) else log
    left_out = ""
    if slots.predicted is None:
        kinds = "cascade-DR" if isinstance(log, Slates) else "DM, DR, SNDR, Switch-DR or DRos"
        if slots.target_all is None:
            left_out = f"no {kinds}: neither predictions nor the target's probability of every action are known"
        elif model is None:
            left_out = f"no {kinds}: no reward model"
        elif _n(slots.cluster) < N_FOLDS:
            left_out = f"no {kinds}: fewer than {N_FOLDS} viewers to learn from and predict apart"
        else:
            slots = cross_fit(slots, model)
    if isinstance(log, Slates):
        made = Slates(slots, log.slate, log.logged_marginal, log.target_marginal)
        return _slates_report(made, level, left_out, about or {})
    lines = _lines(slots, level)
    own = Ratio.mean(slots.reward)
    logged = figure(Terms((own,)), slots.cluster, _whole(slots.cluster), level=level)
    return OffPolicyReport(
        logged, lines, len(slots), _n(slots.cluster), level, "row", left_out, about or {}
    )


def _lines(log: Logged, level: float) -> tuple[Line, ...]:
    support = support_of(log)
    clipped = tuned_clip(log)
    estimators: list[tuple[OffPolicyEstimator, dict[str, float]]] = [
        (Ips(), {}),
        (clipped, {"clip": clipped.clip}),
        (Snips(), {}),
    ]
    if log.predicted is not None:
        switch, shrinkage = tuned_switch(log), tuned_shrinkage(log)
        estimators += [
            (DirectMethod(), {}),
            (DoublyRobust(), {}),
            (SelfNormalisedDoublyRobust(), {}),
            (switch, {"threshold": switch.threshold}),
            (shrinkage, {"lambda": shrinkage.shrinkage}),
        ]
    own = Ratio.mean(log.reward)
    return tuple(
        _line(e.name, e.terms(log), own, log.cluster, support, level, chosen)
        for e, chosen in estimators
    )


def _slates_report(
    slates: Slates, level: float, left_out: str, about: Mapping[str, object]
) -> OffPolicyReport:
    estimators: list[SlateEstimator] = [StandardIps(), RewardInteractionIps(), IndependentIps()]
    if slates.slots.predicted is not None:
        estimators.append(CascadeDoublyRobust())
    own = Ratio.mean(slates.grid(slates.slots.reward, 0.0).sum(axis=1))
    lines = tuple(
        _line(e.name, e.terms(slates), own, slates.cluster, slate_support(e, slates), level, {})
        for e in estimators
    )
    logged = figure(Terms((own,)), slates.cluster, _whole(slates.cluster), level=level)
    n = len(slates.cluster)
    return OffPolicyReport(logged, lines, n, _n(slates.cluster), level, "slate", left_out, about)


def _line(
    name: str, terms: Terms, own: Ratio, cluster: Int64, support: Support, level: float,
    chosen: Mapping[str, float],
) -> Line:  # fmt: skip
    less = Terms((*terms.ratios, Ratio(-own.numerator, own.denominator)))
    return Line(
        name,
        figure(terms, cluster, support, level=level),
        figure(less, cluster, support, level=level),
        terms.bias_bound,
        support,
        chosen,
    )


def estimate_json(value: Estimate) -> dict[str, object]:
    """mean, low, high, n_effective (null where they are no numbers) and verdict."""
    return {
        "mean": _finite(value.mean),
        "low": _finite(value.low),
        "high": _finite(value.high),
        "n_effective": _finite(value.n_effective),
        "verdict": value.verdict,
    }


def _line_json(line: Line) -> dict[str, object]:
    support = line.support
    return {
        "value": estimate_json(line.value),
        "difference": estimate_json(line.difference),
        "bias_bound": _finite(line.bias_bound),
        "chosen": {name: _finite(value) for name, value in line.chosen.items()},
        "support": {
            "mean_weight": _finite(support.mean_weight),
            "standard_error": _finite(support.standard_error),
            "n_effective": _finite(support.n_effective),
            "never_logged": _finite(support.never_logged),
            "reason": support.reason,
        },
    }


def chosen_words(chosen: Mapping[str, float]) -> str:
    """ "clip 5.5", or "no clip" where nothing is changed."""
    return ", ".join(
        f"no {name}" if math.isinf(value) else f"{name} {value:.4g}"
        for name, value in chosen.items()
    )


def shown(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def _between(value: Estimate) -> str:
    return f"[{shown(value.low)}, {shown(value.high)}]"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _n(cluster: Int64) -> int:
    return int(cluster.max(initial=-1)) + 1


def _whole(cluster: Int64) -> Support:
    """Of the logging policy itself: every weight is 1."""
    return Support(1.0, 0.0, float(len(cluster)), 0.0, "" if len(cluster) else "no rows")

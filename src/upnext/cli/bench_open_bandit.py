"""`upnext bench open-bandit FOLDER`: each policy of the Open Bandit Dataset valued from the other's log, against what it really earned.

Saito et al. 2021: a uniformly random and a Bernoulli Thompson sampling policy ran side by side on a fashion shop, with their true propensities. As a
target the random policy has its one propensity per item; Thompson sampling, whose choice moved during the week, has for each position how often its log
shows each item there. That assumes that its choices don't depend on the viewer (they don't) and that what an item earns doesn't depend on the hour (it may).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upnext.cli.off_policy import check_level, reward_model
from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Estimate
from upnext.evaluate.off_policy.logged import Logged
from upnext.evaluate.off_policy.report import (
    OffPolicyReport,
    chosen_words,
    estimate_json,
    report_of,
    shown,
)
from upnext.evaluate.off_policy.table import LogMapping, log_of

POLICIES = ("random", "bts")
FEATURES = tuple(f"user_feature_{i}" for i in range(4))


@dataclass(frozen=True)
class Crossing:
    """One policy valued from the other's log."""

    campaign: str
    logging: str
    target: str
    report: OffPolicyReport
    observed: Estimate  # what the target earned in its own log


def run(folder: Path, model: str, level: float, as_json: bool, out: Console) -> None:
    """Prints every estimator of both crossings of every campaign in the folder."""
    check_level(level)
    crossings = [
        crossed(folder, campaign, logging, target, model, level)
        for campaign in campaigns(folder)
        for logging, target in (POLICIES, POLICIES[::-1])
    ]
    if as_json:
        out.file.write(json.dumps({"crossings": [_json(c) for c in crossings]}) + "\n")
        return
    for crossing in crossings:
        _draw(crossing, out)


def campaigns(folder: Path) -> list[str]:
    """The campaigns that both policies ran: <policy>/<campaign>/<campaign>.csv. Raises InvalidInput without any."""
    found = [
        {
            path.parent.name
            for path in (folder / policy).glob("*/*.csv")
            if path.stem == path.parent.name
        }
        for policy in POLICIES
    ]
    both = sorted(found[0] & found[1])
    if not both:
        wanted = "random/<campaign>/<campaign>.csv and bts/<campaign>/<campaign>.csv"
        raise expected(f"Open Bandit folder {folder}", wanted, "none")
    return both


def crossed(
    folder: Path, campaign: str, logging: str, target: str, model: str, level: float
) -> Crossing:
    """The target's value from the logging policy's log, and from its own."""
    log = _log(folder, campaign, logging, target)
    own = _log(folder, campaign, target, logging)
    about = {"campaign": campaign, "logging": logging, "target": target, "reward_model": model}
    report = report_of(log, reward_model(model), level=level, about=about)
    return Crossing(campaign, logging, target, report, report_of(own, level=level).logged)


def _log(folder: Path, campaign: str, logging: str, target: str) -> Logged:
    names = {"action": "item_id", "position": "position"}
    chosen = names | ({"probability": "propensity_score"} if target == "random" else {})
    mapping = LogMapping.model_validate({
        "log": {
            "file": f"{logging}/{campaign}/{campaign}.csv",
            "columns": {
                **names, "reward": "click", "propensity": "propensity_score", "context": FEATURES,
            },
        },
        "target": {"file": f"{target}/{campaign}/{campaign}.csv", "columns": chosen},
    })  # fmt: skip
    log = log_of(mapping, folder)
    if not isinstance(log, Logged):
        raise InvalidInput(f"Open Bandit folder {folder}: slates are not expected here")
    return log


def _json(crossing: Crossing) -> dict[str, object]:
    found = crossing.report.to_json()
    return {
        **found,
        "observed": estimate_json(crossing.observed),
        "relative_error": {
            line.name: _relative_error(line.value, crossing.observed)
            for line in crossing.report.lines
        },
    }


def _draw(crossing: Crossing, out: Console) -> None:
    report, observed = crossing.report, crossing.observed
    support = report.lines[0].support
    table = Table(
        "estimator", "value", f"{report.level:.0%} interval", "relative error", "standard errors off",
        "bias at most", "chosen", "verdict",
        title=f"{crossing.campaign}: {crossing.target} from {report.n_rows:,} rows of {crossing.logging}",
    )  # fmt: skip
    table.add_row("observed", shown(observed.mean), _between(observed), "", "", "", "", "")
    table.add_row("logged", shown(report.logged.mean), _between(report.logged), "", "", "", "", "")
    for line in report.lines:
        table.add_row(
            line.name, shown(line.value.mean), _between(line.value),
            f"{_relative_error(line.value, observed):.1%}", f"{_off(line.value, observed, report.level):+.1f}",
            "?" if math.isnan(line.bias_bound) else shown(line.bias_bound),
            chosen_words(line.chosen),
            line.value.verdict,
        )  # fmt: skip
    out.print(table)
    out.print(
        f"E\\[w] {support.mean_weight:.3f} ± {support.standard_error:.3f}, {support.n_effective:,.0f} "
        f"effective rows, {support.never_logged:.1%} of the target's choices never logged",
        highlight=False,
    )
    for note in report.notes():
        out.print(escape(note), highlight=False)


def _relative_error(value: Estimate, observed: Estimate) -> float:
    return abs(value.mean - observed.mean) / observed.mean


def _off(value: Estimate, observed: Estimate, level: float) -> float:
    """The difference in standard errors of the difference."""
    half = math.hypot(value.high - value.low, observed.high - observed.low) / 2
    z = NormalDist().inv_cdf((1 + level) / 2)
    return z * (value.mean - observed.mean) / half if half else math.nan


def _between(value: Estimate) -> str:
    return f"{shown(value.low)} to {shown(value.high)}"

"""`upnext evaluate --log MAPPING.toml`: what another policy would have earned, from a table of logged draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upnext.core.errors import expected
from upnext.evaluate.off_policy.report import OffPolicyReport, report_of
from upnext.evaluate.off_policy.reward_models import FittedModel, RewardModel, TabularModel
from upnext.evaluate.off_policy.table import read_log

ModelName = Literal["tabular", "logistic", "boosting"]


def run(mapping: Path, model: str, level: float, as_json: bool, out: Console) -> None:
    """Reads the log that a mapping file names and prints every estimator's word on its target policy."""
    about = {"log": str(mapping), "reward_model": model}
    check_level(level)
    report = report_of(read_log(mapping), reward_model(model), level=level, about=about)
    if as_json:
        out.file.write(json.dumps(report.to_json()) + "\n")
        return
    draw(f"off-policy value of the target in {mapping}", report, out)


def reward_model(name: str) -> RewardModel:
    """The reward model of that name. Raises InvalidInput for another name."""
    for known in get_args(ModelName):
        if name == known:
            return TabularModel() if known == "tabular" else FittedModel(known)
    raise expected("--reward-model", f"one of {', '.join(get_args(ModelName))}", name)


def check_level(level: float) -> None:
    """Raises InvalidInput for a level that isn't strictly between 0 and 1."""
    if not 0 < level < 1:
        raise expected("--level", "between 0 and 1", level)


def draw(title: str, report: OffPolicyReport, out: Console) -> None:
    """Prints a report's table and its notes."""
    rows = report.to_rows()
    names = list(dict.fromkeys(name for row in rows for name in row))
    unit = f"mean reward per {report.unit}"
    table = Table(
        *map(escape, names), title=escape(f"{title}: {unit}, {report.n_rows:,} {report.unit}s")
    )
    for row in rows:
        table.add_row(*(escape(row.get(name, "")) for name in names))
    out.print(table)
    for note in report.notes():
        out.print(escape(note), highlight=False)

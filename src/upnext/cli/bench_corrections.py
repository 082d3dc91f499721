"""`upnext bench corrections`: what correcting for the logging policy is worth where its propensities and the truth are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from upnext.cli.installed import need_torch
from upnext.cli.paired import figure, sentence
from upnext.cli.progress import RichProgress
from upnext.core.errors import expected
from upnext.evaluate.student import student
from upnext.simulate.correction_study import KINDS, LISTED, Corrected, Log, Plan, gains, study


def run(plan: Plan, seeds: int, as_json: bool, out: Console, err: Console) -> None:
    """Plays the study for seeds from plan.seed on and prints means over them, with seed-paired gains over no correction."""
    if seeds < 1:
        raise expected("--seeds", "at least 1", seeds)
    need_torch("bench corrections")
    found = [
        study(replace(plan, seed=plan.seed + i), progress=RichProgress(err)) for i in range(seeds)
    ]
    verdict = [
        sentence(kind, "true value", student(gains([lines for _, lines in found], kind)), "none")
        for kind in KINDS[1:]
    ]
    if as_json:
        said = [
            {
                "logging_value": log.logging_value,
                "best_value": log.best_value,
                "lines": [asdict(one) for one in lines],
            }
            for log, lines in found
        ]
        out.file.write(json.dumps({"plan": asdict(plan), "seeds": said, "verdict": verdict}) + "\n")
        return
    out.print(_table(plan, found))
    for line in verdict:
        out.print(line, highlight=False)


def _table(plan: Plan, found: Sequence[tuple[Log, list[Corrected]]]) -> Table:
    logging = np.mean([log.logging_value for log, _ in found])
    best = np.mean([log.best_value for log, _ in found])
    table = Table(
        title=f"world {plan.world!r}: true relevance of the first {LISTED} for {plan.n_viewers:,} viewers; the log's policy has "
        f"{logging:.4f}, the best there is {best:.4f}; means of {len(found)} seeds"
    )
    for column in ("propensities", "value", "less that of none", "KL from the truth, nats", "E(u / beta)"):  # fmt: skip
        table.add_column(column, justify="left" if column == "propensities" else "right")
    for place, kind in enumerate(KINDS):
        rows = [lines[place] for _, lines in found]
        gain = student(gains([lines for _, lines in found], kind))
        value, kl, weight = (
            float(np.mean([getattr(row, name) for row in rows]))
            for name in ("value", "kl", "mean_weight")
        )
        rest = ("", "", "") if kind == "none" else (figure(gain), f"{kl:.4f}", f"{weight:.3f}")
        table.add_row(kind, f"{value:.4f}", *rest)
    return table

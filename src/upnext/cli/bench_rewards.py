"""`upnext bench rewards`: which reward keeps viewers, in a world where what is watched most is regretted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from upnext.cli.installed import need_torch
from upnext.cli.paired import sentence
from upnext.cli.progress import RichProgress
from upnext.core.errors import expected
from upnext.evaluate.student import student
from upnext.simulate.reward_study import Kept, Plan, study

_COLUMNS = {
    "return_d1": "back next day", "sessions": "days a viewer came", "active": "not left",
    "satisfaction": "satisfaction", "watch_first_h": "first day, h", "watch_h": "all days, h",
    "clickbait": "clickbait shown",
}  # fmt: skip


def run(plan: Plan, seeds: int, as_json: bool, out: Console, err: Console) -> None:
    """Plays the study for seeds from plan.seed on and prints means, with the smallest and the largest of the seeds, and a verdict."""
    if seeds < 1:
        raise expected("--seeds", "at least 1", seeds)
    need_torch("bench rewards")
    found = [
        study(replace(plan, seed=plan.seed + i), progress=RichProgress(err)) for i in range(seeds)
    ]
    if as_json:
        said = [[asdict(line) for line in lines] for lines in found]
        text = json.dumps({"plan": asdict(plan), "seeds": said, "verdict": verdict(found)})
        out.file.write(text + "\n")
        return
    out.print(_table(plan, found))
    for line in verdict(found):
        out.print(line, highlight=False)


def verdict(found: Sequence[Sequence[Kept]]) -> list[str]:
    """A sentence per reward on the share who come back the next day, seed by seed less that under the immediate one, and one on all of them.

    found: the lines of each seed, of which the first two are chance and the immediate reward."""
    lines, beaten = [], []
    for row in zip(*(seed[2:] for seed in found), strict=True):
        name = row[0].reward
        gain = student(
            np.array([kept.return_d1 - seed[1].return_d1 for kept, seed in zip(row, found)])
        )
        lines.append(sentence(name, "back next day", gain, found[0][1].reward))
        if not gain.low > 0:
            beaten.append(name)
    whole = f"not shown for {', '.join(beaten)}" if beaten else "holds"
    return [
        *lines,
        f"delayed and incremental rewards keep more viewers than the immediate one: {whole}",
    ]


def _table(plan: Plan, found: Sequence[Sequence[Kept]]) -> Table:
    table = Table(
        title=f"world {plan.world!r}, {plan.days} days of {plan.n_viewers:,} viewers under each generator; "
        f"log: {plan.n_logged:,} other viewers, {plan.log_days} days of uniform chance; {len(found)} seeds"
    )
    table.add_column("reward")
    for title in _COLUMNS.values():
        table.add_column(title, justify="right")
    for row in zip(*found, strict=True):
        cells = []
        for name in _COLUMNS:
            values = np.array([getattr(kept, name) for kept in row])
            spread = f" ({values.min():.3f} to {values.max():.3f})" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}")
        table.add_row(row[0].reward, *cells)
    return table

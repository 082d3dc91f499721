"""`upnext bench off-policy`: what off-policy intervals hold of what they promise, on three tabular worlds with known truth."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from upnext.core.one_thread import children_with_one_thread
from upnext.core.randomness import key_of
from upnext.simulate.off_policy_study import Study, not_identifiable, study
from upnext.simulate.tabular import Tabular
from upnext.simulate.world import World
from upnext.simulate.worlds import world_of

WORLDS = ("easy", "adversarial", "kuairand")
LEVEL = 0.9
WORLD_VIEWERS, WORLD_VIDEOS = 200, 30  # of a tabular world
N_VIEWERS, N_ROWS = 500, 5  # of a drawn log
PROCESSES = 2


@dataclass(frozen=True)
class Task:
    """One world."""

    name: str
    n_replications: int
    seed: int


@dataclass(frozen=True)
class Done:
    """What came out for one world."""

    name: str
    supported: Study
    unsupported: float  # share of "not identifiable" where the logging policy leaves out what the target shows


def run(replications: int, seed: int, as_json: bool, out: Console, err: Console) -> None:
    """Runs every world, two at a time in processes of their own, and prints bias, error and coverage."""
    tasks = [Task(name, replications, seed) for name in WORLDS]
    done = []
    spawn = multiprocessing.get_context("spawn")
    with children_with_one_thread(), ProcessPoolExecutor(PROCESSES, mp_context=spawn) as pool:
        for result in pool.map(studied, tasks):
            err.print(f"{result.name}: {replications:,} logs", highlight=False)
            done.append(result)
    if as_json:
        document = {
            "level": LEVEL, "n_viewers": N_VIEWERS, "rows_per_viewer": N_ROWS, "seed": seed,
            "worlds": {one.name: asdict(one) for one in done},
        }  # fmt: skip
        out.file.write(json.dumps(document) + "\n")
        return
    for one in done:
        _draw(one, out)


def studied(task: Task) -> Done:
    """The study of one world, and the verdicts on its twin without support."""
    made = World.make(WORLD_VIEWERS, WORLD_VIDEOS, seed=task.seed, knobs=world_of(task.name).knobs)
    world, seed = Tabular.of_world(made), key_of("bench off-policy", task.name, task.seed)
    supported = study(
        world,
        n_replications=task.n_replications,
        n_viewers=N_VIEWERS,
        n_rows=N_ROWS,
        level=LEVEL,
        seed=seed,
    )
    unsupported = not_identifiable(
        world.without_support(),
        n_replications=task.n_replications,
        n_viewers=N_VIEWERS,
        n_rows=N_ROWS,
        seed=seed,
    )
    return Done(task.name, supported, unsupported)


def _draw(one: Done, out: Console) -> None:
    found = one.supported
    table = Table(
        "estimator", "bias", "± (Monte Carlo)", "known bias", "standard error", "RMSE",
        f"coverage of {LEVEL:.0%}",
        title=f"{one.name}: true value {found.value:.4f}, {found.n_replications:,} logs, {found.n_effective:,.0f} effective rows",
    )  # fmt: skip
    for row in found.outcomes:
        known = "" if row.known_bias is None else f"{row.known_bias:+.5f}"
        table.add_row(
            row.name, f"{row.bias:+.5f}", f"{row.bias_error:.5f}", known, f"{row.deviation:.5f}",
            f"{row.rmse:.5f}", f"{row.coverage:.1%}",
        )  # fmt: skip
    out.print(table)
    out.print(
        f'"not identifiable": {found.not_identifiable:.1%} of these logs, {one.unsupported:.1%} of '
        "logs whose policy leaves out what the target shows",
        highlight=False,
    )

"""`upnext bench experiments`: how often each test of an experiment errs, and what it finds, on made-up viewers."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from upnext.core.types import Int64
from upnext.evaluate.experiments.assignment import Layer, allocate
from upnext.evaluate.experiments.decisions import SRM_ALARM, sample_ratio_p, viewers_needed
from upnext.evaluate.experiments.rehearsal import Errors, Sensitivity, declared, found

LIFTS: Final = (0.0, 0.02, 0.05, 0.1)
EDGES: Final = (0.0, 0.5, 1.0)
VIEWERS: Final = (250, 1_000, 2_000)
N_PER_ARM: Final = 10_000
PEEK_EVERY: Final = 100
INTERLEAVED_SHARE: Final = 0.1  # of the replications: each is many pages
N_ASSIGNED: Final = 200_000


def run(replications: int, seed: int, as_json: bool, out: Console) -> None:
    """Prints three tables: A/A and A/B under peeking, interleaving beside A/B, the price of an assignment."""
    peeks = np.arange(PEEK_EVERY, N_PER_ARM + 1, PEEK_EVERY)
    errors = [(lift, declared(replications, peeks, lift=lift, seed=seed)) for lift in LIFTS]
    pairs = [
        (n, edge, found(int(replications * INTERLEAVED_SHARE), n, edge=edge, seed=seed))
        for n in VIEWERS
        for edge in EDGES
    ]
    said = _assignment()
    if as_json:
        body: dict[str, Any] = {
            "replications": replications,
            "viewers_per_arm": N_PER_ARM,
            "peek_every": PEEK_EVERY,
            "tests": [{"lift": lift, **asdict(one)} for lift, one in errors],
            "interleaving": [{"viewers": n, "edge": e, **asdict(one)} for n, e, one in pairs],
            "assignment": said,
        }
        out.file.write(json.dumps(body) + "\n")
        return
    out.print(_errors(errors, replications, peeks))
    out.print(_interleaving(pairs, int(replications * INTERLEAVED_SHARE)))
    for name, value in said.items():
        out.print(f"{name}: {value}", highlight=False)


def _errors(errors: list[tuple[float, Errors]], replications: int, peeks: Int64) -> Table:
    table = Table(
        "true lift", "Welch, read once", "Welch at every peek", "always valid at every peek",
        "viewers per arm when it stops", "planned for 80 % power",
        title=f"share of {replications:,} experiments that declare a difference; up to {N_PER_ARM:,} viewers per arm,"
        f" {len(peeks)} peeks",
    )  # fmt: skip
    variance = float(np.exp(2) - np.exp(1))  # of a log-normal with sigma 1; its mean is sqrt(e)
    for lift, one in errors:
        planned = viewers_needed(variance, lift * float(np.exp(0.5))) if lift else 0
        table.add_row(
            f"{lift:.0%}", f"{one.naive_once:.1%}", f"{one.naive_peeking:.1%}",
            f"{one.sequential:.1%}", f"{one.mean_stop:,.0f}", f"{planned:,}" if planned else "-",
        )  # fmt: skip
    table.caption = "lift 0: an A/A test, every declaration is false"
    return table


def _interleaving(pairs: list[tuple[int, float, Sensitivity]], n_each: int) -> Table:
    table = Table("viewers", "edge of the second ranking", "A/B finds it", "interleaving finds it", "pages won",
        title=f"share of {n_each} experiments in which the second ranking is found better, read once (2.5 % by chance)")  # fmt: skip
    for n, edge, one in pairs:
        table.add_row(f"{n:,}", f"{edge:g}", f"{one.ab:.0%}", f"{one.interleaving:.0%}", f"{one.wins:.1%}")  # fmt: skip
    return table


def _assignment() -> dict[str, Any]:
    ids = [f"viewer-{i}" for i in range(N_ASSIGNED)]
    split = allocate(Layer("bench"), "bench", {"control": 50, "treated": 50})
    began = time.perf_counter()
    rows = split.rows(ids)
    many_us = (time.perf_counter() - began) / len(ids) * 1e6
    began = time.perf_counter()
    for one in ids[:20_000]:
        split.arm(one)
    alone_us = (time.perf_counter() - began) / 20_000 * 1e6
    n = np.bincount(rows, minlength=2).tolist()
    return {
        "assignment of one viewer, us": round(alone_us, 2),
        "assignment of many, us each": round(many_us, 3),
        f"sample ratio of {N_ASSIGNED:,} viewers, p": round(sample_ratio_p(n, [50, 50]), 4),
        "sample ratio of 49,000 to 51,000, p": f"{sample_ratio_p([49_000, 51_000], [50, 50]):.2g}",
        "alarm below": SRM_ALARM,
    }

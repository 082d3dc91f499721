"""Which of the ranker's rows are held out, which columns they can tell, and how a training is known."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Int64
from upnext.ranking.config import RankingConfig
from upnext.ranking.rows import RankerRows
from upnext.ranking.tasks import LISTED, TASKS, kind_of

LEAST_OF_A_DAY = 0.02  # share of the rows, for a weekday to be told from the others


def learnable(rows: RankerRows) -> tuple[tuple[str, ...], list[str]]:
    """(tasks that the rows tell, in the order of TASKS, then others by name; a note on each that they do not)."""
    known = [t for t in TASKS if t in rows.labels] + sorted(set(rows.labels) - set(TASKS))
    tasks: list[str] = []
    notes: list[str] = []
    for task in known:
        label = rows.labels[task]
        label = label[~np.isnan(label)]
        if not (label > 0).any():
            notes.append(f"task {task!r} dropped: no positive among {len(label)} rows")
        elif kind_of(task) == "binary" and not (label <= 0).any():
            notes.append(f"task {task!r} dropped: all {len(label)} rows are positive")
        else:
            tasks.append(task)
    return tuple(tasks), notes


def calendar_not_told(rows: RankerRows) -> Int64:
    """int64[k]: the viewer's weekday columns, where the lists among the rows do not have the whole week; none where they do.

    What a Monday is like can't be told from Mondays alone: its column would be a constant, and one of another day, seen in a handful of rows or in none, would
    be at its limit in every row of that other day. Lists come from the latest days; the showings of before have the week, but a trunk that
    reads it from them would give the lists' head what it has never seen."""
    week = [i for i, name in enumerate(rows.user_names) if name.startswith("weekday=")]
    listed = (
        ~np.isnan(rows.labels[LISTED]) if LISTED in rows.labels else np.zeros(len(rows), np.bool_)
    )
    user = rows.user[listed] if listed.any() else rows.user
    told = len(week) > 0 and len(user) > 0 and user[:, week].mean(axis=0).min() >= LEAST_OF_A_DAY
    return np.array([] if told else week, np.int64)


def held_out(rows: RankerRows, config: RankingConfig, seed: int) -> Bool:
    """bool[m]: the latest share of the rows, or, where times don't tell rows apart or settings say so, of the groups."""
    if config.holdout == "time":
        cut = np.quantile(rows.time_us, 1 - config.holdout_share, method="higher")
        latest = np.asarray(rows.time_us >= cut, np.bool_)
        if 0 < latest.mean() <= 2 * config.holdout_share:
            return latest
    groups, of_row = np.unique(rows.group, return_inverse=True)
    chosen = rng_for(seed, "ranker-holdout").random(len(groups)) < config.holdout_share
    return np.asarray(chosen[of_row], np.bool_)


def fingerprint(rows: RankerRows, config: RankingConfig, tasks: tuple[str, ...], seed: int) -> str:
    """What a checkpoint must agree in: settings, tasks, columns and rows."""
    said: dict[str, Any] = {
        "config": config.model_dump(), "tasks": tasks, "seed": seed, "m": len(rows),
        "user": rows.user_names, "items": rows.item_names,
    }  # fmt: skip
    digest = hashlib.blake2b(json.dumps(said).encode(), digest_size=16)
    for array in (rows.weight, rows.time_us, rows.group, rows.label_table(tasks)):
        digest.update(np.ascontiguousarray(array).tobytes())
    for array in (rows.user, rows.items):
        digest.update(np.ascontiguousarray(array[::17]).tobytes())
    return digest.hexdigest()

"""What an interleaving has shown: which team's videos viewers rather clicked, watched and valued, from the pages logged with their teams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from upnext.evaluate.experiments.definition import Experiment
from upnext.evaluate.experiments.exposed import Counting, value_of_showing
from upnext.evaluate.experiments.interleaving import Preference, preference
from upnext.evaluate.slot_join import slot_outcomes
from upnext.evaluate.slot_log import LogPart, WholeLog, hash_of, log_parts

_SLOTS: Final = pl.Schema(
    [
        ("user_id", pl.String()),
        ("request_id", pl.String()),
        ("item_id", pl.List(pl.Int64)),
        ("team", pl.List(pl.String)),
    ]
)
CREDITS: Final = ("value", "clicks", "watch_s")  # the first decides


@dataclass(frozen=True)
class InterleavingReport:
    """Pages won by the second team, by each kind of credit."""

    name: str
    teams: tuple[str, str]
    started_us: int
    until_us: int
    is_running: bool
    preferences: Mapping[str, Preference]  # by CREDITS

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is null."""
        said = asdict(self)
        for one in said["preferences"].values():
            share = one["share"]
            one["share"] = {k: v if np.isfinite(v) else None for k, v in share.items()}
        return said


def interleaving_report(
    log: WholeLog, experiment: Experiment, counting: Counting
) -> InterleavingReport:
    """Of every page until counting.until_us; a page without credit is a tie. Raises Unavailable."""
    teams = list(experiment.arms)
    picked = _picked(log, experiment, teams, counting.until_us)
    parts = [_pages(part, picked, counting) for part in log_parts(log)]
    pages = pl.concat(parts)
    viewer = pages.get_column("user_id").rank("dense").cast(pl.Int64).to_numpy() - 1
    credit = {
        name: pages.select(f"{name}_0", f"{name}_1").to_numpy().astype(np.float64)
        for name in CREDITS
    }
    return InterleavingReport(
        experiment.name,
        (teams[0], teams[1]),
        experiment.started_us,
        counting.until_us,
        experiment.is_running,
        {name: preference(credit[name], viewer) for name in CREDITS},
    )


def _picked(log: WholeLog, experiment: Experiment, teams: list[str], until_us: int) -> pl.DataFrame:
    """user_id, request (hash), item_id, team: a row per slot of the experiment's pages."""
    parts = [pl.DataFrame(schema=_SLOTS)]
    for records in log.scan_slates():
        own = [
            r for r in records
            if r.teams and experiment.name in r.arms and r.time_us < until_us
        ]  # fmt: skip
        columns = {
            "user_id": [r.user_id for r in own],
            "request_id": [r.request_id for r in own],
            "item_id": [r.item_id for r in own],
            "team": [r.teams for r in own],
        }
        parts.append(pl.DataFrame(columns, schema=_SLOTS))
    slots = pl.concat(parts).explode("item_id", "team")
    number = pl.col("team").replace_strict(teams, [0, 1], return_dtype=pl.Int64)
    return slots.select("user_id", "item_id", request=hash_of("request_id"), team=number)


def _pages(part: LogPart, picked: pl.DataFrame, counting: Counting) -> pl.DataFrame:
    """user_id and CREDITS of either team, a row per page."""
    outcomes = slot_outcomes(part).filter("is_served")
    shown = outcomes.select(
        pl.col("user_id").cast(pl.String), "request", "item_id", "watch_s",
        value=value_of_showing(counting.weights), clicks=pl.col("is_clicked").cast(pl.Float64),
    ).join(picked, on=["user_id", "request", "item_id"], how="inner")  # fmt: skip
    sums = [
        (pl.col(name) * (pl.col("team") == team)).sum().cast(pl.Float64).alias(f"{name}_{team}")
        for name in CREDITS
        for team in (0, 1)
    ]
    return shown.group_by("user_id", "request").agg(sums).drop("request")

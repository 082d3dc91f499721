"""`upnext simulate`: days of a platform in a named world under one policy, as a table, and as tables to import where a folder is named."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from upnext.cli.bench_worlds import POOL_SHARE, as_rows, draw_one
from upnext.core.errors import InvalidInput, Unavailable
from upnext.simulate.history import history_of
from upnext.simulate.loop import Round, run
from upnext.simulate.marginals import Compared, compare, marginals, reference
from upnext.simulate.measures import DayRow, totals_of
from upnext.simulate.platform import Platform
from upnext.simulate.policies import policy_of
from upnext.simulate.shown_log import ShownLog
from upnext.simulate.tables import WRITTEN_BY, write_tables
from upnext.simulate.world import World
from upnext.simulate.worlds import WORLDS, NamedWorld, world_of

_COLUMNS = {  # title -> field of DayRow, format; --json has every field
    "day": ("day", "d"), "viewers": ("viewers", ",d"), "shown": ("impressions", ",d"), "started": ("starts", ",d"),
    "hours": ("watch_h", ",.1f"), "back d1": ("return_d1", ".3f"), "satis- fied": ("satisfaction", "+.2f"),
    "not left": ("active", ",d"), "creators": ("creators", ",d"), "uploads": ("uploads", ",d"), "Gini": ("gini", ".2f"),
    "entropy": ("entropy", ".2f"), "moved": ("moved", ".3f"),
}  # fmt: skip


@dataclass(frozen=True)
class Played:
    """What came of a run."""

    world: NamedWorld
    days: list[DayRow]
    marginals: list[Compared]  # beside a real log's
    mapping: Path | None  # of the tables written


def run_list(as_json: bool, out: Console) -> None:
    """Prints the named worlds."""
    if as_json:
        out.print_json(json.dumps([asdict(world) for world in WORLDS]))
        return
    table = Table("world", "what it is for", "what must fail here")
    for world in WORLDS:
        table.add_row(world.name, world.says, world.falsifies)
    out.print(table)


def run_world(
    named: str, size: tuple[int, int, int], seed: int, policy: str, folder: Path | None
) -> Played:
    """Plays (viewers, videos, days) of a named world; its tables go into the folder, if one is named.

    Raises InvalidInput for an unknown world or policy and for sizes that can't be, Unavailable where the folder can't be written."""
    viewers, videos, days = size
    world, how = world_of(named), policy_of(policy)
    if folder is not None:
        _make(folder)
    platform = Platform(World.make(viewers, videos, seed, knobs=world.knobs), days=days)
    rounds: list[Round] = []
    log = ShownLog(platform.world)
    rows = run(platform, how, days, log.add, *(() if folder is None else (rounds.append,)))
    lines = []
    if len(log):
        lines = compare(marginals(log.shown(), pool_share=POOL_SHARE), reference())
    mapping = None
    if folder is not None:
        with _writing(folder):
            mapping = write_tables(history_of(platform, rounds), folder)
    return Played(world, rows, lines, mapping)


def _make(folder: Path) -> None:
    """Before days are played for it: the folder is there and takes files, and its mapping is none of another hand."""
    mapping = folder / "mapping.toml"
    if folder.is_file():
        raise InvalidInput(f"simulate: {folder}: expected a folder, got a file")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if mapping.exists() and not mapping.read_text("utf-8").startswith(WRITTEN_BY):
            raise InvalidInput(f"{mapping}: expected a folder without a mapping of your own")
    if not os.access(folder, os.W_OK):
        raise Unavailable(f"simulate: {folder}: not writable")


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"simulate: {folder}: {error.strerror or error}") from error


def run_simulate(
    named: str,
    size: tuple[int, int, int],
    seed: int,
    policy: str,
    folder: Path | None,
    as_json: bool,
    consoles: tuple[Console, Console],
) -> None:
    """Prints the days and their totals; the same seed gives the same figures and bytes."""
    out, err = consoles
    began = time.monotonic()
    played = run_world(named, size, seed, policy, folder)
    world, rows = played.world, played.days
    totals = totals_of(rows, size[0])
    if as_json:
        days = [_plain(asdict(row)) for row in rows]
        shown = {"world": world.name, "policy": policy, "seed": seed, "days": days}
        out.print_json(
            json.dumps({**shown, "totals": _plain(totals), "marginals": as_rows(played.marginals)})
        )
    else:
        out.print(_day_table(f"{world.name}: {world.says}; policy {policy}, seed {seed}", rows))
        out.print(", ".join(f"{k} {v:,.4g}" for k, v in totals.items()), highlight=False)
        if played.marginals:
            draw_one(world.name, played.marginals, out)
        else:
            out.print("nothing was shown: no marginals", highlight=False)
    took_s = time.monotonic() - began
    err.print(f"{len(rows)} days in {took_s:.1f} s", highlight=False)
    if played.mapping is not None:
        said = f"wrote {played.mapping}; next: upnext import {played.mapping}"
        err.print(said, highlight=False)


def _day_table(title: str, rows: Sequence[DayRow]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        values = asdict(row)
        table.add_row(*(_cell(values[field], form) for field, form in _COLUMNS.values()))
    return table


def _cell(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no NaN."""
    return {k: None if math.isnan(v) else v for k, v in values.items()}

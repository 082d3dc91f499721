"""`upnext bench worlds`: every named world's marginals beside those of a real log, with distances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from upnext.cli.progress import RichProgress
from upnext.simulate.loop import play_day
from upnext.simulate.marginals import Compared, compare, marginals, reference
from upnext.simulate.platform import Platform
from upnext.simulate.policies import OldPlatform
from upnext.simulate.shown_log import ShownLog
from upnext.simulate.world import World
from upnext.simulate.worlds import WORLDS, NamedWorld

_HEADLINES = {  # --json has every figure
    "valid play (7 s or all)": "valid play", "long view (18 s or all)": "long view",
    "watched under 3 s": "under 3 s", "watched to the end": "to the end", "like": "like",
    "Gini of videos' showings": "Gini", "watch_s": "watch_s", "watched share": "watched share",
    "duration_s of showings": "duration_s", "showings per viewer": "shown per viewer",
}  # fmt: skip
POOL_SHARE = 0.05  # of the videos, in which viewers' showings and sessions are counted


def run(
    viewers: int, videos: int, days: int, seed: int, as_json: bool, out: Console, err: Console
) -> None:
    """One table: worlds down, the main figures across."""
    progress = RichProgress(err)
    progress.start("worlds", len(WORLDS), "worlds")
    found = {}
    for named in WORLDS:
        found[named.name] = compared(named, viewers, videos, days, seed)
        progress.advance(1)
    progress.done()
    if as_json:
        sizes = {"viewers": viewers, "videos": videos, "days": days, "seed": seed}
        worlds = {name: as_rows(lines) for name, lines in found.items()}
        out.file.write(json.dumps({**sizes, "pool_share": POOL_SHARE, "worlds": worlds}) + "\n")
        return
    _draw(found, out)


def compared(named: NamedWorld, viewers: int, videos: int, days: int, seed: int) -> list[Compared]:
    """The marginals of some days of a world under the old plain policy beside KuaiRand-Pure's."""
    world = World.make(viewers, videos, seed, knobs=named.knobs)
    platform, log = Platform(world, days=days), ShownLog(world)
    for day in range(days):
        for one in play_day(platform, OldPlatform(), day):
            log.add(one)
    return compare(marginals(log.shown(), pool_share=POOL_SHARE), reference())


def as_rows(lines: Sequence[Compared]) -> list[dict[str, object]]:
    """Plain values, for JSON."""
    return [
        {
            "figure": line.name,
            "real": line.real,
            "simulated": line.simulated,
            "distance": line.distance,
            "kind": line.kind,
        }
        for line in lines
    ]


def draw_one(name: str, lines: Sequence[Compared], out: Console) -> None:
    """One world's table."""
    table = Table(
        title=f"marginals: world {name!r} beside KuaiRand-Pure (25 April to 5 May 2022)",
        caption=f"viewers' showings, sessions and days: of {POOL_SHARE:.0%} of the videos; the real log has 11 days",
    )
    for column in ("figure", "KuaiRand-Pure", name, "distance"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for line in lines:
        label = f"{line.name}, median" if line.kind == "KS" else line.name
        distance = f"KS {line.distance:.2f}" if line.kind == "KS" else _number(line.distance)
        table.add_row(label, _number(line.real), _number(line.simulated), distance)
    out.print(table)


def _draw(found: Mapping[str, Sequence[Compared]], out: Console) -> None:
    table = Table(title="each world's figures and their distances from KuaiRand-Pure's")
    table.add_column("world")
    for title in _HEADLINES.values():
        table.add_column(title, justify="right")
    first = {line.name: line for line in next(iter(found.values()))}
    table.add_row("KuaiRand-Pure", *(_number(first[name].real) for name in _HEADLINES))
    for world, lines in found.items():
        of = {line.name: line for line in lines}
        table.add_row(world, *(_cell(of[name]) for name in _HEADLINES))
    out.print(table)


def _cell(line: Compared) -> str:
    distance = f"KS {line.distance:.2f}" if line.kind == "KS" else f"off {line.distance:.2f}"
    return f"{_number(line.simulated)}, {distance}"


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.2f}"

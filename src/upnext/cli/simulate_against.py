"""`upnext simulate --against URL`: the viewers of a made-up platform use a running server."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from upnext.core.clock import DAY_US, SECOND_US, SystemClock
from upnext.simulate.closed_loop import ClosedLoop
from upnext.simulate.day_figures import LoopDay
from upnext.simulate.over_http import OverHttp
from upnext.simulate.platform import Platform
from upnext.simulate.world import END_US, World, check_days
from upnext.simulate.worlds import world_of

TOGETHER_S = 60.0  # simulated seconds whose steps are taken at once
OWN_TIME_TOGETHER_S = 1_800.0  # the same where the server's clock does not see them


@dataclass(frozen=True)
class Visitors:
    """Who comes to the server, and how."""

    world: str
    n_viewers: int
    n_videos: int
    days: int
    seed: int
    api_key: str | None
    rate: float | None


def run_against(url: str, visitors: Visitors, as_json: bool, out: Console, err: Console) -> None:
    """Registers the world with the server, plays its days and prints their figures."""
    knobs = world_of(visitors.world).knobs
    check_days(visitors.days)
    with closing(OverHttp(url, api_key=visitors.api_key, rate=visitors.rate)) as server:
        start_us = _start_us(server)
        _say_whose_time(server, err)
        world = World.make(
            visitors.n_viewers, visitors.n_videos, visitors.seed,
            end_us=start_us + visitors.days * DAY_US, knobs=knobs,
        )  # fmt: skip
        platform = Platform(world, days=visitors.days)
        together_s = OWN_TIME_TOGETHER_S if server.keeps_own_time else TOGETHER_S
        name = f"sim-{visitors.seed}-{start_us // SECOND_US}"
        loop = ClosedLoop(platform, server, run=name, together_s=together_s)
        days = []
        began_s = time.monotonic()
        for day in range(visitors.days):
            days.append(loop.run_day(day))
            _say_day(days[-1], err)
        loop.finish()
        took_s = time.monotonic() - began_s
    if as_json:
        out.file.write(json.dumps({"url": url, "days": [day.to_json() for day in days]}) + "\n")
        return
    out.print(days_table(days))
    n_pages = sum(day.row.pages for day in days)
    err.print(
        f"{n_pages} pages and what came of them in {took_s:.0f} s: {n_pages / took_s:.0f} a second",
        highlight=False,
    )


def _start_us(server: OverHttp) -> int:
    """When the first day begins: now on a server with its own time, else the first midnight that it has not seen."""
    if server.simulated_time_us is None:
        return SystemClock().now_us()
    return max(END_US, -(-server.simulated_time_us // DAY_US) * DAY_US)


def _say_whose_time(server: OverHttp, err: Console) -> None:
    if server.keeps_own_time:
        err.print(
            "the server keeps its own time: it sees these days happen in the minutes that they take; "
            'serve.clock = "simulated" lets it live through them',
            highlight=False,
        )


def _say_day(day: LoopDay, err: Console) -> None:
    row = day.row
    err.print(
        f"day {row.day}: {row.viewers} viewers, {row.pages} pages, {row.watch_h:.1f} h watched",
        highlight=False,
    )


def days_table(days: list[LoopDay]) -> Table:
    """One row per day."""
    table = Table(
        "day", "viewers", "pages", "impressions", "watch h", "CTR", "completion", "back d1", "back d7",
        "satisfaction", "creators", "uploads", "coverage", "diversity",
    )  # fmt: skip
    for day in days:
        row = day.row
        shares = (day.ctr, day.completion, row.return_d1, row.return_d7)
        table.add_row(
            str(row.day), str(row.viewers), str(row.pages), str(row.impressions), f"{row.watch_h:.1f}",
            *(_shown(share) for share in shares), f"{row.satisfaction:.3f}", str(row.creators),
            str(row.uploads), _shown(row.coverage), _shown(day.diversity),
        )  # fmt: skip
    return table


def _shown(share: float) -> str:
    return "-" if share != share else f"{share:.3f}"

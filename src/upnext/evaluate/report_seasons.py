"""Seasonality: how much is watched, and how well it fits, by hour, weekday, month and season of the viewer's clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Final

from upnext.evaluate.group_figures import Groups
from upnext.evaluate.report_document import Column, Plot, Section, Series, Table
from upnext.evaluate.report_log import CLOCK, Counted
from upnext.evaluate.report_rows import SEASONS, WEEKDAYS
from upnext.evaluate.report_words import RATE_NAMES, Difference, of_groups, rate_column, rate_name

RATES_SHOWN: Final = ("watch_s_per_impression", "ctr_seen", "completion_rate", "relevance_rate")
COMPARED: Final = "watch_s_per_impression"
_TITLES: Final = {
    "hour": "Hour of the day", "weekday": "Weekday", "month": "Month", "season": "Season",
}  # fmt: skip
_WHEN: Final = {"hour": ("At ", " h"), "weekday": ("On ", ""), "month": ("In ", ""), "season": ("In ", "")}  # fmt: skip
_ORDER: Final[dict[str, Sequence[str]]] = {"weekday": WEEKDAYS, "season": SEASONS}


def seasonality(counts: Counted) -> tuple[Section, list[Difference]]:
    """(the section, every comparison in it that the data can carry)."""
    parts, differences = [], []
    days: list[date] = counts.days.get_column("local_day").sort().to_list()
    for key in CLOCK:
        enough, said = enough_days(key, days)
        groups = Groups.of(counts.sums[(key,)]).ordered(_ORDER.get(key, ()))
        part, compared = _part(key, groups, said, enough)
        parts.append(part)
        differences += compared if enough else []
    words = [
        f"{len(days)} days with showings ({days[0]} to {days[-1]}). Hours, weekdays and months are the viewer's: "
        "the request's time zone, else the profile's, else the main one of the country, else UTC. "
        "Seasons are turned by half a year for countries south of the equator.",
        "Intervals say what other viewers would change, not what other days would: with few Mondays, a Monday's interval is too narrow.",
    ]
    return Section("Seasonality", words, parts=parts), differences


def enough_days(key: str, days: Sequence[date]) -> tuple[bool, str]:
    """(whether the days can tell something by this key, why)."""
    if key == "hour":
        enough = len(days) >= 3
        return enough, f"{len(days)} days: hours {'can' if enough else 'can not'} be told apart."
    if key == "weekday":
        fewest = min(Counter(day.weekday() for day in days).values())
        fewest = fewest if len({day.weekday() for day in days}) == 7 else 0
        enough = fewest >= 4
        if not enough:
            return False, f"Each weekday occurs at least {fewest} times: weekdays can not be told apart from the chance of single days; that takes four weeks."  # fmt: skip
        return True, f"Each weekday occurs at least {fewest} times: weekdays can be told apart."
    if key == "month":
        whole = [m for m, n in Counter((d.year, d.month) for d in days).items() if n >= 28]
        enough = len(whole) >= 2
        if not enough:
            return False, f"{len(days)} days, {len(whole)} whole months: months can not be told apart."  # fmt: skip
        return True, f"{len(whole)} whole months: they can be compared, but under two years a yearly rhythm looks the same as growth."  # fmt: skip
    enough = len(days) >= 330
    if not enough:
        return False, f"{len(days)} days: seasons can not be told apart; that takes a year, and two to part them from growth."  # fmt: skip
    return True, f"{len(days)} days: seasons can be compared; two years are needed to part them from growth."  # fmt: skip


def _part(key: str, groups: Groups, said: str, enough: bool) -> tuple[Section, list[Difference]]:
    title = _TITLES[key]
    impressions, viewers = groups.count("impressions"), groups.count("viewers")
    shares = groups.shares("impressions")
    rates = {rate: groups.rates(rate) for rate in RATES_SHOWN}
    changes = groups.changes(COMPARED)
    columns = [
        Column(title), Column("viewers", "count"), Column("impressions", "count"),
        Column("share of impressions", "share"), *(rate_column(rate) for rate in RATES_SHOWN),
        Column("watch time per impression against the rest", "change"),
    ]  # fmt: skip
    rows = [
        [name, viewers[i], impressions[i], shares[i], *(rates[r][i] for r in RATES_SHOWN), changes[i]]
        for i, name in enumerate(groups.names)
    ]  # fmt: skip
    table = Table(f"By {title.lower()}", columns, rows)
    plots = []
    if len(groups.names) > 1:
        axis = title.lower()
        alt = f"Watch time per impression by {axis}, with 95 % intervals; the figures are in the table."
        plots = [
            Plot(f"Watch time per impression by {axis}", alt, groups.names, [Series(rate_name(COMPARED), rates[COMPARED])], "seconds", key == "hour", axis),
            Plot(f"Share of impressions by {axis}", alt.replace("Watch time per impression", "Share of impressions"), groups.names, [Series("share of impressions", shares)], "share", key == "hour", axis),
        ]  # fmt: skip
    name_of = RATE_NAMES[COMPARED][0]
    differences = [
        of_groups(f"{_WHEN[key][0]}{name}{_WHEN[key][1]}, {name_of}", changes[i], "change", "otherwise")
        for i, name in enumerate(groups.names)
    ]  # fmt: skip
    return Section(title, [said], [table], plots if enough else []), differences

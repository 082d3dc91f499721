"""The whole report: summary, what changed between two releases, seasonality, bias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from upnext.artifacts.manifest import Manifest
from upnext.evaluate.group_figures import Groups
from upnext.evaluate.report_bias import people_bias, video_bias
from upnext.evaluate.report_document import (
    Cell,
    Column,
    Document,
    Plot,
    Section,
    Series,
    Summary,
    Table,
)
from upnext.evaluate.report_log import Counted
from upnext.evaluate.report_position import position
from upnext.evaluate.report_releases import releases_compared
from upnext.evaluate.report_seasons import seasonality
from upnext.evaluate.report_words import Difference, by_chance, rate_column, strongest, told

N_STRONGEST = 4


@dataclass(frozen=True)
class Pair:
    """Two releases to compare, and their lists on one window where those were made."""

    before: Manifest
    after: Manifest
    offline: Table | None = None


def report_document(counts: Counted, pair: Pair | None) -> Document:
    """The document of a span. Without a pair of releases the comparison says that there is none."""
    summary: list[Summary] = []
    sections: list[Section] = []
    if pair is None:
        sections.append(Section("What changed between two releases", ["There are no two releases to compare."]))  # fmt: skip
    else:
        part, overall, by_segment = releases_compared(counts, pair.before, pair.after, pair.offline)
        sections.append(part)
        summary.append(_release_summary(pair, overall, by_segment))
    sections.append(_traffic(counts))
    seasons, of_time = seasonality(counts)
    summary.append(_strongest("When", of_time))
    videos, of_videos = video_bias(counts)
    people, of_people = people_bias(counts)
    summary += [_strongest("What is shown", of_videos), _strongest("For whom", of_people)]
    sections += [seasons, Section("Bias", _bias_words(), parts=[*videos, position(counts), *people])]  # fmt: skip
    return Document("UpNext report", _about(counts, pair), summary, sections)


def _release_summary(
    pair: Pair, overall: Sequence[Difference], by_segment: Sequence[Difference]
) -> Summary:
    a, b = pair.before.release_id, pair.after.release_id
    title = f"What changed from {a} to {b}"
    if not overall:
        return Summary(title, ["They did not both serve in this span."])
    lines = [f"{one.sentence()}." for one in told(overall)]
    chance = by_chance(by_segment)
    note = f"By segment: {chance}" if chance else ""
    return Summary(title, lines or ["No online rate differs by more than chance."], note)


def _strongest(title: str, differences: Sequence[Difference]) -> Summary:
    lines = [f"{one.sentence()}." for one in strongest(differences, N_STRONGEST)]
    chance = by_chance(differences)
    if not chance:
        return Summary(title, ["Not enough data to compare."])
    return Summary(title, lines or ["Nothing differs by more than chance."], f"The strongest. {chance}" if lines else chance)  # fmt: skip


def _traffic(counts: Counted) -> Section:
    tables, plots = [], []
    for key, title in (("surface", "surface"), ("release", "release"), ("day", "day")):
        groups = Groups.of(counts.sums[(key,)])
        rates = ("watch_s_per_viewer_day", "completed_per_viewer_day", "ctr_served", "ctr_seen", "retention_d1")  # fmt: skip
        shown = {rate: groups.rates(rate) for rate in rates}
        columns = [Column(title), Column("viewers", "count"), Column("slots", "count"), Column("impressions", "count"), *(rate_column(rate) for rate in rates)]  # fmt: skip
        rows: list[list[Cell]] = [
            [name, *(float(groups.count(c)[i]) for c in ("viewers", "slots", "impressions")), *(shown[rate][i] for rate in rates)]
            for i, name in enumerate(groups.names)
        ]  # fmt: skip
        tables.append(Table(f"By {title}", columns, rows))
        if key == "day" and len(groups.names) > 1:
            alt = "Watch time per viewer-day for every day, with 95 % intervals; the figures are in the table."
            plots.append(Plot("Watch time per viewer-day", alt, groups.names, [Series("watch time per viewer-day", shown["watch_s_per_viewer_day"])], "seconds", True, "day"))  # fmt: skip
    words = ["Release none: shown without a logged slate (imported events, pages that could not be logged, videos found by search)."]  # fmt: skip
    return Section("Traffic", words, tables, plots)


def _bias_words() -> list[str]:
    return [
        "A difference between groups is not yet an unfairness: tastes, hours and devices differ too. It says where to look.",
    ]


def _about(counts: Counted, pair: Pair | None) -> list[tuple[str, str]]:
    said = [
        ("span", f"{_instant(counts.first_us)} to {_instant(counts.last_us)}"),
        ("days part at midnight", counts.span.time_zone),
        ("slots in the log", f"{counts.n_slots:,}"),
        ("events in the log", f"{counts.n_events:,}"),
    ]
    if pair is not None:
        said.append(("releases", f"{pair.before.release_id} and {pair.after.release_id}"))
    return said


def _instant(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")

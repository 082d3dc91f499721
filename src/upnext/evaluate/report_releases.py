"""What changed between two releases: online where they served, by segment, at the gate, in settings and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from upnext.artifacts.manifest import Manifest
from upnext.core.types import Estimate
from upnext.evaluate.group_figures import LEAST_VIEWERS, Groups, merged_small, not_compared
from upnext.evaluate.online import ViewerSums
from upnext.evaluate.report_document import (
    Cell,
    Column,
    Plot,
    Section,
    Series,
    Table,
)
from upnext.evaluate.report_log import PEOPLE, Counted, served_releases
from upnext.evaluate.report_words import RATE_NAMES, Difference, rate_name

ONLINE_RATES: Final = tuple(rate for rate in RATE_NAMES if rate != "impressions_per_viewer_day")
SEGMENT_RATES: Final = ("watch_s_per_viewer_day", "completed_per_viewer_day", "relevance_rate")
SEGMENTS: Final = ("surface", *PEOPLE)


def releases_compared(
    counts: Counted, before: Manifest, after: Manifest, offline: Table | None = None
) -> tuple[Section, list[Difference], list[Difference]]:
    """(the section, the differences over everything, those by segment)."""
    a, b = before.release_id, after.release_id
    served = served_releases(counts)
    parts: list[Section] = []
    overall: list[Difference] = []
    by_segment: list[Difference] = []
    if a in served and b in served:
        part, overall = _online(counts, a, b)
        parts.append(part)
        part, by_segment = _segments(counts, a, b)
        parts.append(part)
    else:
        unserved = " and ".join(name for name in (a, b) if name not in served)
        parts.append(Section("Online", [f"{unserved} served nothing in this span: no online comparison."]))  # fmt: skip
    parts += [part for part in (_arms(counts, (a, b)),) if part is not None]
    parts.append(_manifests(before, after, offline))
    words = [f"Before: {a}. After: {b}. Changes are after against before, relative unless in pp."]
    return Section("What changed between two releases", words, parts=parts), overall, by_segment


def _online(counts: Counted, a: str, b: str) -> tuple[Section, list[Difference]]:
    groups = Groups.of(ViewerSums(("release",), _of_releases(counts, ("release",), a, b)))
    at = {name: i for i, name in enumerate(groups.names)}
    rates = {rate: groups.rates(rate) for rate in ONLINE_RATES}
    rows: list[list[Cell]] = []
    differences = []
    kinds = [RATE_NAMES[rate][1] for rate in ONLINE_RATES]
    for rate in ONLINE_RATES:
        name = RATE_NAMES[rate][0]
        change = groups.change(rate, at[a], at[b])
        rows.append([name, rates[rate][at[a]], rates[rate][at[b]], change])  # fmt: skip
        differences.append(_moved(rate_name(rate), change, b))
    amounts: list[list[Cell]] = [
        [name, float(groups.count(count)[at[a]]), float(groups.count(count)[at[b]])]
        for name, count in (("viewers", "viewers"), ("viewer-days", "viewer_days"), ("slots", "slots"), ("impressions", "impressions"), ("completed videos", "completed"), ("likes", "likes"))
    ]  # fmt: skip
    tables = [
        Table("Amounts", [Column("what"), Column(a, "count"), Column(b, "count")], amounts),
        Table(
            "Rates",
            [Column("rate"), Column(a, "row"), Column(b, "row"), Column("change", "change")],
            rows,
            row_kinds=kinds,
        ),
    ]
    shown = ("watch_s_per_viewer_day", "completed_per_viewer_day", "ctr_served", "completion_rate", "relevance_rate", "like_rate", "retention_d1")  # fmt: skip
    changes = [groups.change(rate, at[a], at[b]) for rate in shown]
    alt = "Relative change of online rates, after against before, with 95 % intervals; the figures are in the table."
    plot = Plot(
        "Change of online rates", alt, [RATE_NAMES[rate][0] for rate in shown], [Series("change", changes)], "change", False, "",
    )  # fmt: skip
    return Section("Online", _days_words(counts, a, b), tables, [plot]), differences


def _moved(subject: str, change: Estimate, after: str) -> Difference:
    return Difference(subject, change, "change", ("rose", f"under {after}"), ("fell", f"under {after}"))  # fmt: skip


def _of_releases(counts: Counted, question: tuple[str, ...], *releases: str) -> pl.DataFrame:
    frame = counts.sums[question].frame.with_columns(pl.col("release").cast(pl.String))
    return frame.filter(pl.col("release").is_in(releases))


def _days_words(counts: Counted, a: str, b: str) -> list[str]:
    """How comparable the two are: whether they served at the same time, to the same viewers."""
    frame = _of_releases(counts, ("release", "day"), a, b).filter(pl.col("viewer_days") > 0)
    days = {name: set(part.get_column("day").to_list()) for (name,), part in frame.group_by("release")}  # fmt: skip
    viewers = {name: set(part.get_column("user_id").to_list()) for (name,), part in frame.group_by("release")}  # fmt: skip
    both_days = days.get(a, set()) & days.get(b, set())
    both = viewers.get(a, set()) & viewers.get(b, set())
    words = [
        f"{a} was seen on {len(days.get(a, ()))} days, {b} on {len(days.get(b, ()))}; {len(both_days)} of them the same. "
        f"{len(both):,} viewers had both; intervals resample viewers, so what the two share is paired."
    ]
    if len(both_days) < max(len(days.get(a, ())), len(days.get(b, ()))) / 2:
        words.append(
            "They mostly served at different times: whatever else changed meanwhile (season, catalogue, viewers who left) is part of these differences. "
            "Only an experiment tells a release's effect alone."
        )
    return words


def _segments(counts: Counted, a: str, b: str) -> tuple[Section, list[Difference]]:
    tables, differences = [], []
    for key in SEGMENTS:
        sums = counts.sums[("release", key)]
        merged = merged_small(counts.sums[(key,)])[1] if key in PEOPLE else ()
        sums = _renamed(sums, key, merged)
        groups = Groups.of(ViewerSums(("release", key), _only(sums, a, b)))
        at = {name: i for i, name in enumerate(groups.names)}
        values = sorted({name.split(" / ", 1)[1] for name in groups.names})
        rows: list[list[Cell]] = []
        for value in values:
            places = [at.get(f"{release} / {value}") for release in (a, b)]
            viewers = [0.0 if i is None else float(groups.count("viewers")[i]) for i in places]
            changes = [_change(groups, rate, places) for rate in SEGMENT_RATES]
            rows.append([value, *viewers, *changes])
            differences += [
                _moved(f"{key.capitalize()} {value}: {RATE_NAMES[rate][0]}", change, b)
                for rate, change in zip(SEGMENT_RATES, changes)
            ]
        columns = [Column(key), Column("viewers before", "count"), Column("viewers after", "count")]
        columns += [Column(RATE_NAMES[rate][0], "change") for rate in SEGMENT_RATES]
        notes: list[str] = [f"small groups: {', '.join(merged)}"] if merged else []
        tables.append(Table(f"Change by {key}", columns, rows, notes))
    words = [f"A segment with fewer than {LEAST_VIEWERS} viewers on either side is not compared."]
    return Section("By segment", words, tables), differences


def _only(sums: ViewerSums, a: str, b: str) -> pl.DataFrame:
    frame = sums.frame.with_columns(pl.col("release").cast(pl.String))
    return frame.filter(pl.col("release").is_in([a, b]))


def _renamed(sums: ViewerSums, key: str, gone: Sequence[str]) -> ViewerSums:
    text = pl.col(key).cast(pl.String)
    named = pl.when(text.is_in(gone)).then(pl.lit("small groups")).otherwise(text).alias(key)
    return ViewerSums(sums.keys, sums.frame.with_columns(named))


def _change(groups: Groups, rate: str, places: Sequence[int | None]) -> Estimate:
    before, after = places
    if before is None or after is None:
        return not_compared(0)
    return groups.change(rate, before, after)


def _arms(counts: Counted, releases: tuple[str, str]) -> Section | None:
    frame = _of_releases(counts, ("release", "arm"), *releases)
    frame = frame.filter(pl.col("arm") != "none")
    if not len(frame):
        return None
    groups = Groups.of(ViewerSums(("release", "arm"), frame))
    columns = [Column("release / experiment=arm"), Column("viewers", "count"), *(Column(*RATE_NAMES[rate]) for rate in SEGMENT_RATES), *(Column(f"{RATE_NAMES[rate][0]} against the first arm", "change") for rate in SEGMENT_RATES)]  # fmt: skip
    shown = [groups.rates(rate) for rate in SEGMENT_RATES]
    viewers = groups.count("viewers")
    experiments = [name.rsplit("=", 1)[0] for name in groups.names]  # with their release
    firsts = [experiments.index(name) for name in experiments]
    rows: list[list[Cell]] = [
        [name, float(viewers[i]), *(figures[i] for figures in shown),
         *(groups.change(rate, firsts[i], i) if firsts[i] != i else "–" for rate in SEGMENT_RATES)]
        for i, name in enumerate(groups.names)
    ]  # fmt: skip
    words = ["Rates of each arm under each release. Whether an arm is better is a question for the experiment's own report, which knows the assignment and who looked when."]  # fmt: skip
    return Section("Experiments' arms", words, [Table("By arm", columns, rows)])


def _manifests(before: Manifest, after: Manifest, offline: Table | None) -> Section:
    metrics = sorted(set(before.metrics) | set(after.metrics))
    rows: list[list[Cell]] = []
    for name in metrics:
        old, new = before.metrics.get(name), after.metrics.get(name)
        gap: Cell = "–"
        if isinstance(old, float | int) and isinstance(new, float | int):
            gap = new - old
        rows.append([name, _plain(old), _plain(new), gap])
    columns = [Column("figure"), Column(before.release_id, "number"), Column(after.release_id, "number"), Column("difference", "number")]  # fmt: skip
    settings = _settings(before, after)
    windows = _windows(before, after)
    tables = [*([offline] if offline else []), windows, settings, Table("Figures of training and gate", columns, rows)]  # fmt: skip
    words = [
        "Each release's figures come from its own window, so their differences mix the release with its data. "
        'The gate compared a release with the one before it on the same viewers; "gate" is its verdict, "ndcg_at_10_against" the other\'s figure there.'
    ]
    return Section("Offline, settings and data", words, tables)


def _settings(before: Manifest, after: Manifest) -> Table:
    old, new = flattened(before.settings), flattened(after.settings)
    names = sorted(name for name in set(old) | set(new) if old.get(name) != new.get(name))
    rows = [[name, str(old.get(name, "–")), str(new.get(name, "–"))] for name in names]
    columns = [Column("setting"), Column(before.release_id), Column(after.release_id)]
    return Table("Settings that differ", columns, rows, [] if rows else ["none"])


def _windows(before: Manifest, after: Manifest) -> Table:
    old, new = flattened(before.data_window), flattened(after.data_window)
    rows = [[name.removesuffix("_us"), _instant(name, old.get(name)), _instant(name, new.get(name))] for name in [*old, *(n for n in new if n not in old)]]  # fmt: skip
    columns = [Column("data"), Column(before.release_id), Column(after.release_id)]
    return Table("Data", columns, rows)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} of nested mappings."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _instant(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name.endswith("_us"):
        return datetime.fromtimestamp(value / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)  # fmt: skip


def _plain(value: Any) -> Cell:
    if value is None:
        return "–"
    return float(value) if isinstance(value, float | int) else str(value)

"""Bias: who and what is shown more than it is wanted, and for whom the feed works less well."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from upnext.core.types import Array, Estimate, Float64
from upnext.evaluate.bootstrap import estimate_of, resample
from upnext.evaluate.diversity import gini
from upnext.evaluate.figures import point
from upnext.evaluate.group_figures import SMALL, Groups, merged_small, not_compared
from upnext.evaluate.online import MAX_UNITS
from upnext.evaluate.report_document import Cell, Column, Kind, Plot, Section, Series, Table
from upnext.evaluate.report_log import PEOPLE, Counted
from upnext.evaluate.report_rows import AGES, NOT_YET, OLDEST, SIZES
from upnext.evaluate.report_words import RATE_NAMES, Difference, of_groups, rate_column

PEOPLE_RATES: Final = (
    "impressions_per_viewer_day", "watch_s_per_viewer_day", "ctr_seen", "completion_rate",
    "relevance_rate", "watch_s_per_impression",
)  # fmt: skip
_VIDEO_TITLES: Final = {
    "popularity": "Popularity of the video",
    "creator_size": "Size of the creator",
    "video_language": "Language of the video",
}
_PEOPLE_ORDER: Final = {"age": (*(name for _, name in AGES), OLDEST)}
_SUBJECTS: Final = {
    "popularity": "Videos of popularity",
    "creator_size": "Videos of creators of size",
    "video_language": "Videos in",
}
_VIDEO_ORDER: Final = {"popularity": (NOT_YET,), "creator_size": (NOT_YET, *SIZES)}


def video_bias(counts: Counted) -> tuple[list[Section], list[Difference]]:
    """Exposure against relevance by popularity, size of the creator and language of the video."""
    sections, differences = [], []
    for key, title in _VIDEO_TITLES.items():
        if not len(counts.sums[(key,)].frame):
            continue
        groups = Groups.of(counts.sums[(key,)]).ordered(_VIDEO_ORDER.get(key, ()))
        part, compared = _video_part(key, title, groups, counts)
        sections.append(part)
        differences += compared
    return sections, differences


def _video_part(
    key: str, title: str, groups: Groups, counts: Counted
) -> tuple[Section, list[Difference]]:
    sizes = counts.items.sizes(key)
    impressions, relevant = groups.shares("impressions"), groups.shares("impressions_relevant")
    gaps = groups.share_gaps("impressions", "impressions_relevant")
    rate, completion = groups.rates("relevance_rate"), groups.rates("completion_rate")
    columns = [
        Column(title), Column("videos", "count"), Column("share of videos", "share"),
        Column("share of impressions", "share"), Column("share of relevant showings", "share"),
        Column("impressions less relevant", "points"), rate_column("relevance_rate"),
        rate_column("completion_rate"),
    ]  # fmt: skip
    n = max(1, counts.items.n_active)
    rows: list[list[Cell]] = [
        [name, float(sizes.get(name, 0)), sizes.get(name, 0) / n, impressions[i], relevant[i], gaps[i], rate[i], completion[i]]
        for i, name in enumerate(groups.names)
    ]  # fmt: skip
    words = [_WORDS[key]]
    if key == "popularity":
        words.append(_gini_words(counts))
    alt = f"Share of impressions and of relevant showings by {title.lower()}; the figures are in the table."
    series = [Series("share of impressions", impressions), Series("share of relevant showings", relevant)]  # fmt: skip
    plot = Plot(
        f"Exposure and relevance by {title.lower()}", alt, groups.names, series, "share", False, title.lower(),
    )  # fmt: skip
    differences = [
        Difference(
            f"{_SUBJECTS[key]} {name}:", gaps[i], "points",
            ("its share of impressions is", "above its share of relevant showings"),
            ("its share of impressions is", "below its share of relevant showings"),
        )
        for i, name in enumerate(groups.names)
    ]  # fmt: skip
    table = Table(f"By {title.lower()}", columns, rows)
    return Section(title, words, [table], [plot] if len(groups.names) > 1 else []), differences


_WORDS: Final = {
    "popularity": (
        "Videos by how many showings were relevant in the first half of the span (01 fewest to 10 most; equal counts together), and what they got in the "
        "second half. A positive difference: the group is shown more than it is found relevant."
    ),
    "creator_size": "Creators by impressions in the first half of the span, in thirds, and what their videos got in the second half.",
    "video_language": "Over the whole span.",
}


def _gini_words(counts: Counted) -> str:
    impressions, relevant = (gini_figure(counts, name) for name in ("impressions", "relevant"))
    return (
        f"Gini over the active videos: {_gini_text(impressions)} of impressions, {_gini_text(relevant)} of relevant showings "
        "(0: all videos alike, 1: one video has everything). Fewer different viewers stand in a resample than in the log, so these intervals lie high."
    )


def _gini_text(figure: Estimate) -> str:
    return f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def gini_figure(counts: Counted, name: str, *, n_resamples: int = 100) -> Estimate:
    """Gini of `impressions` or `relevant` over the active videos, with its interval over viewers."""
    shown = counts.shown.filter(pl.col(name) > 0)
    if not len(shown):
        return not_compared(0)
    unit = shown.get_column("user_id").cast(pl.String).rank("dense").to_numpy().astype(np.int64) - 1
    unit %= MAX_UNITS
    item, amount = shown.get_column("item_id").to_numpy(), shown.get_column(name).to_numpy()
    n_items = max(counts.items.n_active, len(np.unique(item)))
    n_units = int(unit.max()) + 1

    def of(weight: Float64) -> float:
        got = np.bincount(item, amount * weight[unit])
        return float(gini(got[got > 0], n_items))

    blocks = resample(n_units, n_resamples=n_resamples)
    draws = np.array([of(weight) for block in blocks for weight in block])
    return estimate_of(of(np.ones(n_units)), draws, n_units)


def people_bias(counts: Counted) -> tuple[list[Section], list[Difference]]:
    """Exposure and quality by the viewer's age, gender, country and language."""
    sections, differences = [], []
    for key in PEOPLE:
        sums, merged = merged_small(counts.sums[(key,)])
        part, compared = _people_part(
            key, Groups.of(sums).ordered(_PEOPLE_ORDER.get(key, ())), merged, counts
        )
        sections.append(part)
        differences += compared
    return sections, differences


def _people_part(
    key: str, groups: Groups, merged: tuple[str, ...], counts: Counted
) -> tuple[Section, list[Difference]]:
    title = f"Viewers by {key}"
    viewers, is_small = groups.count("viewers"), groups.is_small()
    names = [name + (" *" if small else "") for name, small in zip(groups.names, is_small)]
    reach, m = different_videos(counts.reach[key], key, groups)
    rates = {rate: groups.rates(rate) for rate in PEOPLE_RATES}
    columns = [
        Column(key), Column("viewers", "count"), *(rate_column(rate) for rate in PEOPLE_RATES),
        Column(f"different videos in {m:,} impressions", "count"),
    ]  # fmt: skip
    rows = [
        [name, viewers[i], *(rates[rate][i] for rate in PEOPLE_RATES), reach[i]]
        for i, name in enumerate(names)
    ]
    notes = []
    if is_small.any():
        notes.append("* fewer than 30 viewers: shown, not compared")
    if merged:
        notes.append(f"small groups: {', '.join(merged)}")
    gaps = {rate: _gap(groups, rate) for rate in PEOPLE_RATES}
    against = Table(
        f"By {key}: against all other viewers",
        [Column(key), *(Column(RATE_NAMES[rate][0], gaps[rate][1]) for rate in PEOPLE_RATES)],
        [[name, *(gaps[rate][0][i] for rate in PEOPLE_RATES)] for i, name in enumerate(names)],
    )
    differences = [
        of_groups(f"{key.capitalize()} {name}: {RATE_NAMES[rate][0]}", gaps[rate][0][i], gaps[rate][1], "of all others")
        for rate in PEOPLE_RATES
        for i, name in enumerate(groups.names)
    ]  # fmt: skip
    alt = f"Relevance rate by {key}, with 95 % intervals; the figures are in the table."
    plot = Plot(
        f"Relevance rate by {key}", alt, names, [Series("relevance rate", rates["relevance_rate"])], "share", False, key,
    )  # fmt: skip
    tables = [Table(f"By {key}", columns, rows, notes), against]
    return Section(title, (), tables, [plot] if len(names) > 1 else []), differences


def _gap(groups: Groups, rate: str) -> tuple[list[Estimate], Kind]:
    is_share = RATE_NAMES[rate][1] == "share"
    return (groups.differences(rate), "points") if is_share else (groups.changes(rate), "change")


def different_videos(reach: pl.DataFrame, key: str, groups: Groups) -> tuple[list[Estimate], int]:
    """(expected different videos in m random impressions of each group, m): the catalogue's coverage at equal exposure.

    m is the fewest impressions of a group that is not small, at most 10,000 (Hurlbert 1971, rarefaction)."""
    text = pl.col(key).cast(pl.String)
    named = pl.when(text.is_in(groups.names)).then(text).otherwise(pl.lit(SMALL)).alias(key)
    summed = reach.group_by(named, "item_id").agg(pl.col("impressions").sum())
    of = {name: part.get_column("impressions").to_numpy() for (name,), part in summed.group_by(key)}
    amounts = [of.get(name, np.zeros(0)) for name in groups.names]
    large = [int(a.sum()) for a, small in zip(amounts, groups.is_small()) if not small and a.sum()]
    m = min([10_000, *large])
    return [point(rarefied(a, m), float(a.sum())) for a in amounts], m


def rarefied(amounts: Array, m: int) -> float:
    """The expected number of kinds in m draws without replacement from kinds of these amounts; NaN with fewer than m."""
    from scipy.special import gammaln

    amounts = np.asarray(amounts, np.float64)
    total = amounts.sum()
    if total < m:
        return float("nan")
    rest = total - amounts
    can_miss = rest >= m
    rest = rest[can_miss]
    log_missed = gammaln(rest + 1) - gammaln(rest - m + 1) - gammaln(total + 1) + gammaln(total - m + 1)  # fmt: skip
    return float(len(amounts) - np.exp(log_missed).sum())

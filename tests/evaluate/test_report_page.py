"""Reports of worlds with a known truth: evenings that are worth twice, a language with half the exposure, a release better by half."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from upnext.artifacts.manifest import Manifest
from upnext.core.types import Estimate
from upnext.evaluate.group_figures import Groups, merged_small
from upnext.evaluate.online import COUNTS, ViewerSums
from upnext.evaluate.report_bias import gini_figure, people_bias, rarefied, video_bias
from upnext.evaluate.report_document import Document, Section, Table, excludes_zero
from upnext.evaluate.report_log import Counted, served_releases
from upnext.evaluate.report_page import Pair, report_document
from upnext.evaluate.report_position import position
from upnext.evaluate.report_rows import creator_sizes, decile_names
from upnext.evaluate.report_seasons import enough_days, seasonality
from upnext.features.local_time import southern_countries

from .report_worlds import counts_of
from .slot_logs import EventMaker, at, slate

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """90 viewers in Tokyo over 8 days. From 18 h to 21 h of their own clock a view lasts 60 s, else 30 s. Those who speak German are shown 4
    videos a day, the others 8. Three people are of countries of their own; one surface has a hostile name."""
    rng, make, events, users = np.random.default_rng(0), EventMaker(), [], []
    for u in range(90):
        home = ("JP", "XA", "XB", "XC")[0 if u < 87 else u - 86]
        users.append({"user_id": f"u{u}", "language": "de" if u % 2 else "en", "country": home,
                      "time_zone": "Asia/Tokyo", "age": 16 + u % 50})  # fmt: skip
        for day in range(8):
            for item in rng.choice(40, 4 if u % 2 else 8, replace=False).tolist():
                hour = int(rng.integers(24))  # of Tokyo, nine hours ahead
                time_us = at(day, hour - 9 + float(rng.random()))
                said = {"request_id": f"q{u}-{day}", "surface": HOSTILE if u == 5 else "home", "slot": item % 7}  # fmt: skip
                lasts_s = (60.0 if 18 <= hour < 21 else 30.0) + float(rng.uniform(-5, 5))
                events.append(make("impression", f"u{u}", time_us, item, **said))
                events.append(make("watch", f"u{u}", time_us + 1, item, watch_s=lasts_s, view_id=f"{u}-{day}-{item}", **said))  # fmt: skip
    videos = [{"video_id": f"v{i}", "creator_id": f"c{i % 5}", "language": "en"} for i in range(40)]
    return counts_of(tmp_path_factory.mktemp("people"), videos, users, [], events)


def parts_of(section: Section) -> Iterator[Section]:
    yield section
    for part in section.parts:
        yield from parts_of(part)


def table(sections: Any, caption: str) -> dict[str, dict[str, Any]]:
    """{first cell: {column: cell}} of the table with this caption."""
    for section in sections:
        for part in parts_of(section):
            for one in part.tables:
                if one.caption == caption:
                    names = [column.name for column in one.columns]
                    return {str(row[0]): dict(zip(names, row, strict=True)) for row in one.rows}
    raise AssertionError(caption)


def test_evenings_worth_twice_are_found_on_the_viewers_clock(people: Counted) -> None:
    section, differences = seasonality(people)
    rows = table([section], "By hour of the day")
    assert len(rows) == 24
    change = "watch time per impression against the rest"
    for hour, row in rows.items():
        is_evening = 18 <= int(hour) < 21  # in Tokyo; a naive UTC clock would find 9 to 12
        assert row["watch time per impression"].mean == pytest.approx(60 if is_evening else 30, abs=1.5)  # fmt: skip
        assert (row[change].low > 0.5) == is_evening
    assert {d.subject[3:5] for d in differences if d.figure.low > 0.5} == {"18", "19", "20"}


def test_a_language_with_half_the_exposure_is_told_and_its_equal_quality_too(
    people: Counted,
) -> None:
    sections, differences = people_bias(people)
    gaps = table(sections, "By language: against all other viewers")
    # the 8 days of Tokyo touch 9 of UTC, and who is shown less misses one of them more often
    assert gaps["de"]["impressions per viewer-day"].mean == pytest.approx(-0.5, abs=0.03)
    assert gaps["en"]["impressions per viewer-day"].mean == pytest.approx(1.0, abs=0.06)
    assert abs(gaps["de"]["watch time per impression"].mean) < 0.04  # the same for both
    said = [d.sentence() for d in differences if excludes_zero(d.figure)]
    assert any(line.startswith("Language de: impressions per viewer-day is 49.1 %") and line.endswith("lower than of all others") for line in said)  # fmt: skip


def test_small_groups_are_merged_and_not_compared(people: Counted) -> None:
    sections, _ = people_bias(people)
    rows, gaps = table(sections, "By country"), table(sections, "By country: against all other viewers")  # fmt: skip
    assert list(rows) == ["JP", "small groups *"]
    assert rows["small groups *"]["viewers"] == 3
    assert gaps["small groups *"]["relevance rate"].verdict == "not identifiable"


def test_merging_keeps_every_sum(people: Counted) -> None:
    sums = people.sums[("country",)]
    merged, gone = merged_small(sums)
    assert gone == ("XA", "XB", "XC")
    before, after = Groups.of(sums, n_resamples=2), Groups.of(merged, n_resamples=2)
    assert after.counts.sum(axis=0) == pytest.approx(before.counts.sum(axis=0))


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """120 viewers, two releases over the same 6 days, a coin for each page. A slot of r2 is completed with .45, of r1 with .3.

    Slots are drawn from 40 videos by a softmax over their appeal; a click needs a look, .8 in slot 0, .4 in slot 1 and .2 in slot 2, and
    appeal. Video 0 is shown in slot 3 of every page and never relevant."""
    rng, make, slates, events = np.random.default_rng(1), EventMaker(), [], []
    appeal = np.linspace(0.1, 0.9, 40)
    look = (0.8, 0.4, 0.2)
    for u in range(120):
        for day in range(6):
            for page in range(3):
                release = f"r{1 + int(rng.integers(2))}"
                items, propensity, n_eligible = _drawn(appeal, rng)
                name, time_us = f"q{u}-{day}-{page}", at(day, 8 + page)
                slates.append(slate(name, f"u{u}", time_us, [*items, 0], release_id=release, arms={"layout": "ab"[u % 2]}, propensity=[*propensity, 1.0], n_eligible=[*n_eligible, 1]))  # fmt: skip
                for j, item in enumerate([*items, 0]):
                    said = {"request_id": name, "slot": j}
                    events.append(make("impression", f"u{u}", time_us, item, **said))
                    if j < 3 and rng.random() < look[j] * appeal[item]:
                        events.append(make("click", f"u{u}", time_us + 1, item, **said))
                    if j < 3 and rng.random() < (0.45 if release == "r2" else 0.3):
                        events.append(make("watch", f"u{u}", time_us + 2, item, watch_s=99.0, view_id=f"{name}-{j}", **said))  # fmt: skip
    videos = [{"video_id": f"v{i}", "creator_id": f"c{i}"} for i in range(40)]
    folder = tmp_path_factory.mktemp("releases")
    return counts_of(folder, videos, [], slates, events, ("r1", "r2"))


def _drawn(
    appeal: np.ndarray, rng: np.random.Generator
) -> tuple[list[int], list[float], list[int]]:
    """Three of videos 1 to 39 by Plackett-Luce, with the probability of each draw."""
    left = list(range(1, 40))
    items, propensity, n_eligible = [], [], []
    for _ in range(3):
        p = np.exp(3 * appeal[left])
        p /= p.sum()
        at_ = int(rng.choice(len(left), p=p))
        n_eligible.append(len(left))
        propensity.append(float(p[at_]))
        items.append(left.pop(at_))
    return items, propensity, n_eligible


def pair(**after: Any) -> Pair:
    made = {
        name: Manifest(release_id=name, created_us=i, parent=None, files={}, data_window={"until_us": 10**15},
                       metrics={"ndcg_at_10": 0.2 + i / 10, "gate": "accepted"}, settings={"learn": {"epochs": 2 + i}, "seed": 0})
        for i, name in enumerate(("r1", "r2"))
    }  # fmt: skip
    return Pair(made["r1"], made["r2"], **after)


def test_a_release_that_is_better_by_half_is_told_so_in_words_and_by_segment(
    releases: Counted,
) -> None:
    document = report_document(releases, pair())
    rates = table(document.sections, "Rates")["completion rate"]
    assert rates["r1"].mean == pytest.approx(0.3 * 3 / 4, abs=0.02)
    change = rates["change"]
    assert change.low < 0.5 < change.high
    assert change.low > 0.3  # it could not have been chance
    [of_releases, *_] = document.summary
    assert of_releases.title == "What changed from r1 to r2"
    assert any(line.startswith("Completion rate rose ") and line.endswith(" under r2.") for line in of_releases.lines)  # fmt: skip
    assert not any("Clicked" in line for line in of_releases.lines)  # clicks are the same in both
    assert excludes_zero(table(document.sections, "Change by surface")["home"]["relevance rate"])
    assert table(document.sections, "Settings that differ") == {
        "learn.epochs": {"setting": "learn.epochs", "r1": "2", "r2": "3"}
    }
    gate = table(document.sections, "Figures of training and gate")["ndcg_at_10"]
    assert gate["difference"] == pytest.approx(0.1)


def test_arms_are_compared_with_their_experiments_first_under_the_same_release(
    releases: Counted,
) -> None:
    rows = table(report_document(releases, pair()).sections, "By arm")
    assert list(rows) == [f"r{r} / layout={arm}" for r in (1, 2) for arm in "ab"]
    against = "relevance rate against the first arm"
    assert rows["r1 / layout=a"][against] == "–"
    for release in ("r1", "r2"):  # the layout changes nothing
        assert not excludes_zero(rows[f"{release} / layout=b"][against])


def test_viewers_who_had_both_releases_are_paired() -> None:
    """Viewer u watches 10 u seconds under r1 and a fifth more under r2: the change is .2 for whoever is drawn.

    The naive interval, which takes the two releases' viewers for different people, reaches from below zero to .5."""
    rows = [
        dict.fromkeys(COUNTS, 0.0) | {"release": release, "user_id": f"u{u:03d}", "watch_s": 10.0 * u * more, "viewers": 1.0, "viewer_days": 1.0}
        for release, more in (("r1", 1.0), ("r2", 1.2))
        for u in range(1, 81)
    ]  # fmt: skip
    groups = Groups.of(ViewerSums(("release",), pl.DataFrame(rows)))
    change = groups.change("watch_s_per_viewer_day", 0, 1)
    assert (change.low, change.high) == pytest.approx((0.2, 0.2))
    a, b = groups.rates("watch_s_per_viewer_day")
    naive = 1.2 * np.hypot((a.high - a.low) / a.mean, (b.high - b.low) / b.mean) / 2
    assert 0.2 - naive < 0


def test_the_weighted_curve_finds_what_position_does_and_the_raw_one_does_not(
    releases: Counted,
) -> None:
    """Uniform over what is eligible, a click has look x mean appeal of videos 1 to 39, .51 (later slots lack a few good ones: .01 less)."""
    rows = table([position(releases)], "By slot, home")
    mean = float(np.linspace(0.1, 0.9, 40)[1:].mean())
    for j, look in enumerate((0.8, 0.4, 0.2)):
        row = rows[str(j)]
        told = row["clicked, if drawn uniformly"]
        assert told.low - 0.015 <= look * mean <= told.high + 0.015
        assert row["clicked / seen"].low > look * mean  # raw: appeal above the mean, for 3 x appeal
    assert rows["3"]["clicked, if drawn uniformly"].mean == 0  # drawn from one


def test_a_policy_that_never_draws_some_of_the_eligible_can_not_tell_of_position(
    tmp_path: Path,
) -> None:
    make, slates, events = EventMaker(), [], []
    for u in range(200):
        slates.append(slate(f"q{u}", f"u{u}", at(0), [1, 2], propensity=[1.0, 1.0], n_eligible=[9, 8]))  # fmt: skip
        events += [make("impression", f"u{u}", at(0), i, request_id=f"q{u}") for i in (1, 2)]
        events += [make("click", f"u{u}", at(0), 1, request_id=f"q{u}")]
    counts = counts_of(tmp_path, [{"video_id": f"v{i}"} for i in range(9)], [], slates, events)
    section = position(counts)
    assert table([section], "By slot, home")["0"]["clicked, if drawn uniformly"].verdict == "not identifiable"  # fmt: skip
    assert any("not identifiable" in text for part in parts_of(section) for text in part.words)


def test_what_is_shown_more_than_wanted_has_a_positive_gap_and_the_gini_is_that_of_the_counts(
    releases: Counted,
) -> None:
    rows = table(video_bias(releases)[0], "By popularity of the video")
    never = rows["none yet"]  # video 0: a quarter of all impressions, nothing relevant
    assert never["share of impressions"].mean == pytest.approx(0.25)
    assert never["impressions less relevant"].mean == pytest.approx(0.25)
    assert sum(row["share of impressions"].mean for row in rows.values()) == pytest.approx(1)
    got = releases.shown.group_by("item_id").agg(pl.col("impressions").sum())
    got = got.get_column("impressions").to_numpy()
    assert len(got) == 40
    pairs = np.abs(got[:, None] - got[None, :]).mean() / (2 * got.mean())
    assert gini_figure(releases, "impressions", n_resamples=10).mean == pytest.approx(pairs)


def test_a_world_without_differences_has_about_one_comparison_in_twenty_beyond_chance(
    tmp_path: Path,
) -> None:
    """The falsification: languages and hours mean nothing here. 5 % of about 70 is 3.5; the bound is 4 standard deviations above."""
    rng, make, events, users = np.random.default_rng(2), EventMaker(), [], []
    for u in range(160):
        users.append({"user_id": f"u{u}", "language": ("en", "de", "fr", "it")[u % 4], "age": 20 + u % 40, "gender": "fm"[u // 4 % 2]})  # fmt: skip
        for day in range(4):
            for item in rng.integers(30, size=5).tolist():
                time_us = at(day, float(rng.uniform(0, 24)))
                events.append(make("impression", f"u{u}", time_us, item))
                if rng.random() < 0.4:
                    events.append(make("watch", f"u{u}", time_us + 1, item, watch_s=float(rng.choice([20.0, 99.0])), view_id=f"w{len(events)}"))  # fmt: skip
    counts = counts_of(tmp_path, [{"video_id": f"v{i}"} for i in range(30)], users, [], events)
    differences = [*seasonality(counts)[1], *people_bias(counts)[1]]
    compared = [d for d in differences if d.figure.verdict == "ok" and d.figure.high > d.figure.low]
    beyond = sum(excludes_zero(d.figure) for d in compared)
    assert len(compared) > 50
    assert beyond <= 0.05 * len(compared) + 4 * np.sqrt(0.05 * 0.95 * len(compared))


@pytest.mark.parametrize(
    ("key", "n_days", "enough"),
    [("hour", 2, False), ("hour", 3, True), ("weekday", 27, False), ("weekday", 28, True),
     ("month", 14, False), ("month", 61, True), ("season", 61, False), ("season", 365, True)],
)  # fmt: skip
def test_the_report_says_whether_there_are_days_enough(key: str, n_days: int, enough: bool) -> None:
    days = [date(2025, 1, 1) + timedelta(days=i) for i in range(n_days)]
    found, said = enough_days(key, days)
    assert found == enough
    assert ("can not" in said) == (not enough)


def test_seasons_turn_by_the_equator() -> None:
    assert {"AU", "ZA", "AR", "BR", "NZ"} <= southern_countries()
    assert not {"US", "JP", "DE", "MX", "IN"} & southern_countries()


def test_sizes_are_of_the_first_half_with_equal_counts_together() -> None:
    assert decile_names(np.array([0.0, 1, 1, 5])) == ["none yet", "04", "04", "09"]
    sizes = creator_sizes(np.array([0, 0, 1, 2, 3, -1]), np.array([1.0, 1, 9, 50, 0, 7]))
    assert sizes == ["small", "small", "medium", "large", "none yet", "unknown"]


def test_rarefied_is_the_mean_over_all_draws() -> None:
    """Of amounts 2, 1: two draws of three see both kinds in 2 of 3 pairs: 2 x 2/3 + 1/3 = 5/3."""
    assert rarefied(np.array([2, 1]), 2) == pytest.approx(5 / 3)
    assert rarefied(np.array([2, 1]), 3) == pytest.approx(2)
    assert np.isnan(rarefied(np.array([2, 1]), 4))


def every_table(document: Document) -> list[Table]:
    return [t for s in document.sections for part in parts_of(s) for t in part.tables]


def test_the_json_holds_the_very_figures_of_the_tables(releases: Counted) -> None:
    document = report_document(releases, pair())
    told: list[Any] = []

    def walk(section: Any) -> None:
        told.extend(section["tables"])
        for part in section["sections"]:
            walk(part)

    for section in document.to_json()["sections"]:  # type: ignore[attr-defined]
        walk(section)
    tables = every_table(document)
    assert len(told) == len(tables) > 15
    for one, json_table in zip(tables, told, strict=True):
        assert json_table["caption"] == one.caption
        for row, json_row in zip(one.rows, json_table["rows"], strict=True):
            for cell, value in zip(row, json_row, strict=True):
                if isinstance(cell, Estimate):
                    ends = (value["mean"], value["low"], value["high"])
                    wanted = (None if np.isnan(x) else x for x in (cell.mean, cell.low, cell.high))
                    assert ends == tuple(wanted)
                elif isinstance(cell, str) or np.isfinite(cell):
                    assert value == cell


def test_only_releases_that_served_are_compared_online(releases: Counted) -> None:
    assert list(served_releases(releases)) == ["r1", "r2"]
    stranger = Manifest(release_id="r9", created_us=9, parent=None, files={}, data_window={}, metrics={}, settings={})  # fmt: skip
    document = report_document(releases, Pair(pair().before, stranger))
    assert document.summary[0].lines == ["They did not both serve in this span."]
    assert any("r9 served nothing" in w for p in parts_of(document.sections[0]) for w in p.words)


def test_a_log_read_in_parts_makes_the_same_figures(tmp_path: Path) -> None:
    make, events = EventMaker(), []
    for u in range(50):
        for day in range(3):
            events.append(make("impression", f"u{u}", at(day, 9 + u % 3), (u + day) % 7))
            events.append(make("watch", f"u{u}", at(day, 10 + u % 3), (u + day) % 7, watch_s=9.0 * (u % 9), view_id=f"{u}-{day}"))  # fmt: skip
    videos = [{"video_id": f"v{i}"} for i in range(7)]
    users = [{"user_id": f"u{u}", "language": "de" if u % 2 else "en"} for u in range(50)]
    whole = counts_of(tmp_path / "whole", videos, users, [], events)
    parts = counts_of(tmp_path / "parts", videos, users, [], events, rows_at_once=70)
    for question, sums in whole.sums.items():
        a, b = Groups.of(sums, n_resamples=1), Groups.of(parts.sums[question], n_resamples=1)
        assert a.names == b.names
        assert a.counts == pytest.approx(b.counts)
    for name in ("impressions", "relevant"):
        assert gini_figure(whole, name).mean == pytest.approx(gini_figure(parts, name).mean)


def test_dealing_many_viewers_into_units_changes_no_figure_but_the_intervals(
    releases: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = report_document(releases, pair())
    for module in ("online", "group_figures", "report_bias"):
        monkeypatch.setattr(f"upnext.evaluate.{module}.MAX_UNITS", 40)
    dealt = report_document(releases, pair())
    for a, b in zip(every_table(whole), every_table(dealt), strict=True):
        for row, other in zip(a.rows, b.rows, strict=True):
            for cell, its in zip(row, other, strict=True):
                if isinstance(cell, Estimate) and isinstance(its, Estimate):
                    assert its.mean == pytest.approx(cell.mean, nan_ok=True), (a.caption, row[0])
                elif isinstance(cell, str):
                    assert its == cell
                else:
                    assert its == pytest.approx(cell)

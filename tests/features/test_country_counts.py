"""Relevance by country: decayed by hand, bounded, and the same however it was written and read."""

from __future__ import annotations

import numpy as np
import pytest
from feature_world import DictStore

from upnext.core.clock import DAY_US, HOUR_US
from upnext.features.counter_store import counter_writes, refresh_table
from upnext.features.counters import CounterTable
from upnext.features.country_counts import MOST, SHARDS, CountryCounts

AT_US = 20_000 * DAY_US


def counted(*rows: tuple[str, int, float, int]) -> CountryCounts:
    counts = CountryCounts()
    for row in rows:
        counts.add(*row)
    return counts


def test_a_count_halves_with_every_half_life_and_is_of_its_country_alone() -> None:
    counts = counted(
        ("FR", 7, 1.0, AT_US), ("FR", 7, 1.0, AT_US + 6 * HOUR_US), ("IN", 9, 1.0, AT_US)
    )
    found = counts.columns("FR", AT_US + 12 * HOUR_US)
    assert found.item_id.tolist() == [7]
    assert found.lately[0] == pytest.approx(0.25 + 0.5)
    assert found.day[0] == pytest.approx(2**-0.5 + 2**-0.25)
    assert found.week[0] == pytest.approx(2 ** (-12 / 168) + 2 ** (-6 / 168))
    assert counts.columns("IN", AT_US).item_id.tolist() == [9]
    assert len(counts.columns("ZZ", AT_US).item_id) == 0


def test_what_came_late_counts_as_of_its_own_time() -> None:
    in_order = counted(("FR", 7, 1.0, AT_US), ("FR", 7, 1.0, AT_US + DAY_US))
    late = counted(("FR", 7, 1.0, AT_US + DAY_US), ("FR", 7, 1.0, AT_US))
    ours, theirs = (one.columns("FR", AT_US + DAY_US) for one in (in_order, late))
    assert ours.day[0] == pytest.approx(theirs.day[0]) == pytest.approx(1.5)


def test_what_is_no_country_or_has_no_time_is_not_counted() -> None:
    counts = counted(
        ("FRA", 1, 1.0, AT_US), ("", 1, 1.0, AT_US), ("F1", 1, 1.0, AT_US), ("FR", 1, 1.0, 0)
    )
    assert counts.names == []
    assert counted(("fr", 1, 1.0, AT_US)).names == ["FR"]


def test_an_undo_takes_back_and_never_below_nothing() -> None:
    counts = counted(
        ("FR", 1, 1.0, AT_US), ("FR", 1, -1.0, AT_US), ("FR", 2, 1.0, AT_US),
        ("FR", 2, -1.0, AT_US + DAY_US), ("FR", 3, -1.0, AT_US),
    )  # fmt: skip
    found = counts.columns("FR", AT_US + DAY_US)
    assert found.day.tolist() == [0.0, 0.0]


def test_a_country_keeps_what_matters_there_and_a_rising_video_gets_in() -> None:
    counts = CountryCounts()
    often = np.arange(MOST) * SHARDS  # all of one shard
    for _ in range(3):
        for item in often.tolist():
            counts.add("FR", item, 1.0, AT_US)
    counts.add("FR", int(often[5]), -2.0, AT_US)  # the least of them
    for _ in range(9):
        counts.add("FR", SHARDS * MOST, 1.0, AT_US + HOUR_US)
    found = counts.columns("FR", AT_US + HOUR_US)
    assert len(found.item_id) == MOST
    assert found.item_id[np.argmax(found.week)] == SHARDS * MOST
    assert int(often[5]) not in found.item_id


def test_times_of_any_century_overflow_nothing() -> None:
    counts = counted(("FR", 0, 1.0, 1))
    for item in range(MOST):
        counts.add("FR", item * SHARDS, 1.0, 60_000 * DAY_US)
    counts.add("FR", MOST * SHARDS, 1.0, 1)
    found = counts.columns("FR", AT_US)
    assert np.isfinite(found.week).all()
    assert len(found.item_id) == MOST


def test_a_reader_has_what_was_written_and_so_has_a_writer_that_starts_again() -> None:
    rng, store, table, reader = (
        np.random.default_rng(3),
        DictStore(),
        CounterTable(),
        CounterTable(),
    )
    for batch in range(4):
        for item in rng.integers(0, 500, 60).tolist():
            country = ("FR", "IN", None)[item % 3]
            table.add(item, "relevant", 1.0, AT_US + batch * HOUR_US, country)
        store.apply(counter_writes(table), batch)
        if batch == 1:  # the writer dies and goes on from the store
            table = CounterTable()
            refresh_table(table, store)
        if batch != 2:
            refresh_table(reader, store)
        for country in ("FR", "IN") if batch != 2 else ():
            ours, theirs = (t.countries.columns(country, AT_US + DAY_US) for t in (table, reader))
            assert len(ours.item_id) > 0
            for mine, others in zip(ours, theirs, strict=True):
                assert mine.tolist() == others.tolist()
    assert reader.countries.names == ["FR", "IN"]

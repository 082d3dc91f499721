"""Decayed counts: known half-lives, and sums that no batching, storing or moving of the origin can change."""

from __future__ import annotations

import numpy as np
import pytest
from feature_world import START_US, DictStore
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.clock import DAY_US, HOUR_US
from upnext.features.counter_store import counter_writes, refresh_table
from upnext.features.counters import BLOCK, COUNTER_NAMES, COUNTERS, CounterTable

AT = {name: i for i, name in enumerate(COUNTER_NAMES)}


def test_a_count_halves_with_every_half_life() -> None:
    table = CounterTable()
    table.add(5, "impressions", 8.0, START_US)
    for name, half_life_us in {"6h": 6 * HOUR_US, "1d": DAY_US, "7d": 7 * DAY_US}.items():
        for n_halvings in (0, 1, 3):
            row = table.read(np.array([5]), START_US + n_halvings * half_life_us)[0]
            assert row[AT[f"impressions_{name}"]] == pytest.approx(8.0 / 2**n_halvings, rel=1e-12)
            assert row[AT["impressions_total"]] == 8.0


def test_names_stand_for_columns_and_strangers_read_zero() -> None:
    table = CounterTable()
    table.add(700, "likes", 2.0, START_US)
    rows = table.read(np.array([3, 700, 9_000]), START_US)
    assert rows.shape == (3, len(COUNTER_NAMES))
    assert rows[1, AT["likes_total"]] == 2.0
    assert rows[1].sum() == pytest.approx(6.0)
    assert not rows[0].any()
    assert not rows[2].any()
    assert table.column("likes_7d", START_US)[700] == pytest.approx(2.0)


def test_an_untimed_count_is_in_the_totals_only() -> None:
    table = CounterTable()
    table.add(1, "relevant", 1.0, 0)
    assert table.read(np.array([1]), START_US).sum() == 1.0


def test_what_is_taken_back_is_gone_and_never_negative() -> None:
    table = CounterTable()
    table.add(1, "likes", 1.0, START_US)
    table.add(1, "likes", -1.0, START_US)
    assert not table.read(np.array([1]), START_US + HOUR_US).any()
    table.add(1, "likes", -1.0, START_US)
    assert not table.read(np.array([1]), START_US + HOUR_US).any()


def test_a_year_of_events_stays_in_range_and_adds_up() -> None:
    table = CounterTable()
    days = np.arange(0, 730, 5)
    for day in days.tolist():
        table.add(2, "clicks", 1.0, START_US + day * DAY_US)
    now = START_US + 730 * DAY_US
    row = table.read(np.array([2]), now)[0]
    ages = 730 - days
    assert row[AT["clicks_total"]] == len(days)
    assert row[AT["clicks_7d"]] == pytest.approx(np.exp2(-ages / 7).sum(), rel=1e-9)
    assert row[AT["clicks_1d"]] == pytest.approx(np.exp2(-ages / 1.0).sum(), rel=1e-9)


Adds = st.lists(
    st.tuples(
        st.integers(0, 3 * BLOCK),
        st.sampled_from(COUNTERS),
        st.floats(0.01, 100),
        st.integers(0, 400 * DAY_US),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(adds=Adds, cuts=st.sets(st.integers(0, 60)), reads=st.sets(st.integers(0, 60)))
def test_sums_are_equal_to_the_last_bit_however_they_are_batched(
    adds: list[tuple[int, str, float, int]], cuts: set[int], reads: set[int]
) -> None:
    whole, store = CounterTable(), DictStore()
    pieces = CounterTable()
    for i, (item_id, name, amount, after_us) in enumerate(adds):
        whole.add(item_id, name, amount, START_US + after_us)
        pieces.add(item_id, name, amount, START_US + after_us)
        if i in reads:
            pieces.read(np.array([item_id]), START_US)
        if i in cuts:  # stored, and taken up by a new process
            store.apply(counter_writes(pieces), i)
            pieces = CounterTable()
            refresh_table(pieces, store)
    store.apply(counter_writes(pieces), 99)
    at_once = DictStore()
    at_once.apply(counter_writes(whole), 99)
    assert at_once.data == store.data


@settings(max_examples=30, deadline=None)
@given(adds=Adds)
def test_a_decayed_count_is_the_plain_sum(adds: list[tuple[int, str, float, int]]) -> None:
    table = CounterTable()
    for item_id, name, amount, after_us in adds:
        table.add(item_id, name, amount, START_US + after_us)
    now = START_US + 400 * DAY_US
    item_id, name, *_ = adds[0]
    wanted = sum(
        a * 2.0 ** (-(400 * DAY_US - t) / DAY_US)
        for i, n, a, t in adds
        if (i, n) == (item_id, name)
    )
    got = table.read(np.array([item_id]), now)[0, AT[f"{name}_1d"]]
    assert got == pytest.approx(wanted, rel=1e-9, abs=1e-100)
    assert table.column(f"{name}_1d", now)[item_id] == got


def test_a_reader_fetches_only_the_blocks_that_changed() -> None:
    writer, reader, store = CounterTable(), CounterTable(), DictStore()
    for item_id in range(0, 100 * BLOCK, BLOCK):
        writer.add(item_id, "clicks", 1.0, START_US)
    store.apply(counter_writes(writer), 1)
    assert refresh_table(reader, store) == 100
    assert refresh_table(reader, store) == 0
    writer.add(5 * BLOCK + 3, "clicks", 1.0, START_US)
    store.apply(counter_writes(writer), 2)
    assert refresh_table(reader, store) == 1
    items = np.arange(100 * BLOCK)
    assert (reader.read(items, START_US) == writer.read(items, START_US)).all()

"""The compiled loops of the blocks against plain counting, on worlds with gaps: missing words, strangers, ties, videos that came later."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from feature_world import START_US, MemoryView

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.types import Candidates, Features, Flag, History, Query, Request, User
from upnext.features.counters import BLOCK, COUNTER_NAMES, CounterTable
from upnext.features.plan import FeaturePlan
from upnext.features.vector_table import VectorTable

LIKED = Flag.IMPRESSION | Flag.LIKE


def past_of(rng: np.random.Generator, n: int) -> History:
    """n showings of random videos, a minute apart, a third of them liked."""
    times = START_US - 60_000_000 * np.arange(n, 0, -1)
    flags = np.where(rng.random(n) < 1 / 3, LIKED, Flag.IMPRESSION).astype(np.uint16)
    return History(rng.integers(0, 300, n), times, np.zeros(n, np.float32), flags)


def read(view: MemoryView, past: History, candidates: Candidates, **more: object) -> Features:
    plan = FeaturePlan(view, CounterTable(), **more)  # type: ignore[arg-type]
    return plan.read(
        Query(Request("r", "u", "home", 5, START_US), User("u", history=past)), candidates
    )


def test_words_and_tags_are_counted_as_by_hand() -> None:
    rng = np.random.default_rng(3)
    view, past = MemoryView(), past_of(rng, 150)
    view.creator[::9] = -1
    view.tags[:] = np.where(rng.random(view.tags.shape) < 0.3, rng.integers(0, 60, (300, 8)), -1)
    view.tags[5], view.tags[6] = -1, np.arange(8)
    liked = (past.flags & Flag.LIKE) != 0
    base = (liked.sum() + 1) / (len(past) + 4)
    features = read(view, past, Candidates(np.arange(60)))

    def lift(rows: np.ndarray) -> float:
        return float((liked[rows].sum() + 2 * base) / (rows.sum() + 2) - base)

    for item in range(60):
        same = (view.creator[past.item_id] == view.creator[item]) & (view.creator[item] >= 0)
        assert features.column("creator_log_shown")[item] == pytest.approx(
            0.1 * np.log1p(same.sum())
        )
        assert features.column("creator_lift")[item] == pytest.approx(lift(same), abs=1e-6)
        tags = [tag for tag in view.tags[item] if tag >= 0]
        each = [view.tags[past.item_id] == tag for tag in tags]
        n_shown = sum(int(rows.sum()) for rows in each)
        # a tag that one video has twice counts twice, in the columns as here
        lifts = [
            float((rows.sum(axis=1) @ liked + 2 * base) / (rows.sum() + 2) - base) for rows in each
        ]
        assert features.column("tags_log_shown")[item] == pytest.approx(0.1 * np.log1p(n_shown))
        mean = sum(lifts) / max(len(lifts), 1)
        assert features.column("tags_lift_mean")[item] == pytest.approx(mean, abs=1e-6)
        highest = max(lifts + [0.0] * (len(lifts) < 8))
        assert features.column("tags_lift_max")[item] == pytest.approx(highest, abs=1e-6)


def test_places_follow_the_scores_and_equal_scores_keep_their_order() -> None:
    score = np.array([0.5, np.nan, 0.9, 0.5, 0.1, 0.9], np.float32)
    candidates = Candidates(np.arange(6), {"source:a": score})
    features = read(MemoryView(), past_of(np.random.default_rng(0), 0), candidates, sources=("a",))
    assert features.column("place:a") == pytest.approx([1 / 3, 0, 1, 1 / 4, 1 / 5, 1 / 2])
    assert features.column("has:a").tolist() == [1, 0, 1, 1, 1, 1]
    assert features.column("source:a") == pytest.approx([0.5, 0, 0.9, 0.5, 0.1, 0.9])


def test_near_videos_and_tags_of_interest_are_known() -> None:
    view = MemoryView()
    view.latitude[:], view.longitude[:] = np.nan, np.nan
    view.latitude[2], view.longitude[2] = 0.0, 1.0  # 111.19 km along the equator
    request = Request("r", "u", "home", 5, START_US, latitude=0.0, longitude=0.0)
    user = User("u", interests={"tag3": 1.5, "creator:c2": 0.5})  # tags are item % 23
    features = FeaturePlan(view, CounterTable()).read(
        Query(request, user), Candidates(np.array([2, 26, 3, 5]))
    )
    assert features.column("has_location").tolist() == [1, 0, 0, 0]
    assert features.column("near_viewer") == pytest.approx([np.exp(-1.1119), 0, 0, 0], rel=1e-3)
    assert features.column("distance_known").tolist() == [1, 0, 0, 0]
    assert features.column("interest") == pytest.approx([0.5, 1.5, 1.5, 0])


def test_a_candidate_that_the_catalogue_lacks_is_loud() -> None:
    for stranger in (300, -1):
        with pytest.raises(IndexError, match="not in the catalogue"):
            read(
                MemoryView(), past_of(np.random.default_rng(0), 3), Candidates(np.array([stranger]))
            )


def test_vectors_that_came_later_stand_beside_the_table() -> None:
    table = VectorTable(np.arange(12, dtype=np.float32).reshape(4, 3))
    table.put(np.array([1, 6]), np.array([[7, 7, 7], [9, 9, 9]], np.float32))
    rows = table.rows(np.array([6, 1, 5, 3, 50]))
    assert rows.tolist() == [[9] * 3, [7] * 3, [0] * 3, [9, 10, 11], [0] * 3]
    out = np.full((2, 5), -1, np.float32)
    table.fill(out, 1, np.array([3, 6]))
    assert out.tolist() == [[-1, 9, 10, 11, -1], [-1, 9, 9, 9, -1]]


def test_some_columns_of_the_counts_are_those_of_all() -> None:
    rng = np.random.default_rng(5)
    table = CounterTable()
    for item in rng.integers(0, 40 * BLOCK, 500).tolist():
        weeks = 17 * int(rng.integers(0, 4))  # origins differ from block to block
        table.add(item, "relevant", 1.0, START_US + weeks * 7 * DAY_US)
        table.add(item, "watch_s", float(rng.random()), START_US)
    items, now = np.append(rng.integers(0, 40 * BLOCK, 300), 10**6), START_US + 70 * 7 * DAY_US
    columns = rng.permutation(len(COUNTER_NAMES))[:7]
    whole = table.read(items, now)
    assert (table.read(items, now, columns) == whole[:, columns]).all()
    assert not whole[-1].any()
    for name in COUNTER_NAMES:
        at = COUNTER_NAMES.index(name)
        assert (table.column(name, now)[items[:-1]] == whole[:-1, at]).all()


def test_counts_can_be_read_while_another_thread_makes_the_table_grow() -> None:
    writer = CounterTable()
    for block in range(400):
        writer.add(block * BLOCK, "clicks", 1.0, START_US)
    blocks = list(writer.take_changed())
    table, items = CounterTable(), np.arange(0, 400 * BLOCK, BLOCK)
    done = threading.Event()

    def load() -> None:
        for block, data in blocks:
            table.load_block(block, data, 1)
        done.set()

    thread = threading.Thread(target=load)
    thread.start()
    at = COUNTER_NAMES.index("clicks_total")
    while not done.is_set():
        counts = table.read(items, START_US + HOUR_US)[:, at]
        assert set(counts.tolist()) <= {0.0, 1.0}
    thread.join()
    assert (table.read(items, START_US)[:, at] == 1.0).all()

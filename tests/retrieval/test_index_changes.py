"""The index while videos come, change and go: whatever the order, and with a search under way."""

import threading
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput
from upnext.retrieval.config import IndexConfig
from upnext.retrieval.exact_vectors import ExactVectors
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.products import products, products_of_own_rows, products_of_rows

N, D, MOST = 600, 6, 900


def unit(n, seed):
    vectors = np.random.default_rng(seed).standard_normal((n, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@cache
def stored():
    config = IndexConfig(flat_below=1, lists_per_sqrt=1.0, n_calibration=4, target_recall=0.9)
    return InvertedIndex.build(unit(N, 0), np.arange(N), config).stored


def index_over(kind):
    return (
        InvertedIndex.of_lists(stored())
        if kind == "lists"
        else InvertedIndex(unit(N, 0), np.arange(N))
    )


some_ids = st.lists(st.integers(0, MOST - 1), min_size=1, max_size=30, unique=True)
changes = st.lists(st.tuples(st.sampled_from(["add", "remove"]), some_ids), max_size=12)


@pytest.mark.parametrize("kind", ["lists", "flat"])
@settings(max_examples=25, deadline=None)
@given(changes=changes, seed=st.integers(0, 99), share=st.sampled_from([None, 0.9, 0.3, 0.02]))
def test_an_added_video_is_found_a_removed_never_and_a_replaced_one_at_its_new_place(
    kind, changes, seed, share
):
    index = index_over(kind)
    now = dict(enumerate(unit(N, 0)))
    for step, (what, ids) in enumerate(changes):
        fresh = unit(len(ids), 1000 * seed + step)
        if what == "add":
            index.add(np.array(ids), fresh)
            now |= dict(zip(ids, fresh))
        else:
            index.remove(np.array(ids))
            now = {one: vector for one, vector in now.items() if one not in set(ids)}
    assert len(index) == len(now)
    allowed = None if share is None else np.random.default_rng(seed).random(MOST) < share
    ids, scores = index.search(unit(2, seed), MOST, allowed)
    usable = sorted(one for one in now if allowed is None or allowed[one])
    for query, row, score in zip(unit(2, seed), ids, scores):
        found = row[row >= 0]
        assert set(found) <= set(usable)
        assert len(set(found)) == len(found)
        expected = np.array([now[one] @ query for one in found])
        assert np.allclose(score[: len(found)], expected, atol=1e-3)
        changed = {one for _, some in changes for one in some} & set(usable)
        assert changed & set(range(N, MOST)) <= set(found)  # what came is searched exactly
        if kind == "flat":
            assert set(found) == set(usable)


@pytest.mark.parametrize("kind", ["lists", "flat"])
def test_a_search_sees_all_of_a_change_or_nothing_of_it(kind):
    """A hundred videos move together between two places; a search finds each once, all at one place."""
    index = index_over(kind)
    moving = np.arange(50, 150)
    places = np.repeat(unit(1, 7), 100, axis=0)
    done = threading.Event()

    def move():
        for step in range(200):
            index.add(moving, places if step % 2 else -places)
        done.set()

    index.add(moving, places)
    writer = threading.Thread(target=move)
    writer.start()
    seen = []
    while not done.is_set() or not seen:
        ids, scores = index.search(places[:1], MOST)
        mine = scores[0][np.isin(ids[0], moving)]
        seen.append((len(mine), len(np.unique(np.round(mine, 3)))))
    writer.join()
    assert set(seen) == {(100, 1)}


@pytest.mark.parametrize("kind", ["lists", "flat"])
def test_what_was_removed_before_a_search_began_is_never_found_by_it(kind):
    index = index_over(kind)
    gone, failed = [0], []
    done = threading.Event()

    def search():
        while not done.is_set():
            before = gone[0]
            ids, _ = index.search(unit(1, 3), MOST)
            failed.extend(ids[0][(ids[0] >= 0) & (ids[0] < before)])

    reader = threading.Thread(target=search)
    reader.start()
    for one in range(300):
        index.remove(np.array([one]))
        gone[0] = one + 1
    done.set()
    reader.join()
    assert failed == []
    assert len(index) == N - 300


def test_a_change_costs_nothing_of_what_the_index_knows_of_a_filter():
    index = index_over("lists")
    allowed = np.arange(MOST) % 2 == 0
    allowed.setflags(write=False)
    first, _ = index.search(unit(1, 3), 5, allowed)
    index.remove(first[0][:1])
    index.add(np.array([702]), unit(1, 3))
    again, _ = index.search(unit(1, 3), 5, allowed)
    assert again[0][0] == 702
    assert again[0][1:].tolist() == first[0][1:].tolist()


def test_room_is_made_anew_without_what_was_dropped():
    part = ExactVectors(unit(3, 0), np.array([5, 1, 9]))
    part.drop(np.array([1, 1, 77]))
    part.put(np.arange(100, 3000), unit(2900, 1))
    part.drop(np.arange(100, 2900))
    part.put(np.arange(3000, 9000), unit(6000, 2))
    assert len(part) == 2 + 100 + 6000
    ids, _ = part.search(unit(1, 4), 10_000, None, None)
    assert set(ids[0][ids[0] >= 0]) == {5, 9, *range(2900, 3000), *range(3000, 9000)}


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0])
def test_what_reaches_the_bar_among_additions_is_what_exact_products_say(spread):
    """Copies in one byte alone, with no room for their error, would miss some of those that stand close together."""
    rng = np.random.default_rng(5)
    vectors = (unit(1, 6) + spread * rng.standard_normal((4000, D))).astype(np.float32)
    part = ExactVectors(np.zeros((0, D), np.float32), np.zeros(0, np.int64))
    part.put(np.arange(2500), unit(2500, 9))
    part.put(np.arange(4000), vectors)  # some get a new vector
    part.drop(np.arange(3990, 4000))
    queries = unit(3, 8)
    scores = products_of_rows(queries, vectors, np.arange(3990))
    bar = np.quantile(scores, 0.98, axis=1).astype(np.float32)
    ids, found = part.search(queries, 4000, None, None, bar)
    for row, score, of_query, least in zip(ids, found, scores, bar):
        assert set(np.flatnonzero(of_query >= least)) <= set(row[row >= 0])
        assert np.array_equal(score[row >= 0], of_query[row[row >= 0]])
    if spread == 1.0:
        assert (ids[0] >= 0).sum() < 1000


def test_an_index_of_an_earlier_version_says_so_and_what_to_do(tmp_path):
    (tmp_path / "index.json").write_text('{"is_flat": false, "config": {}, "effort": []}')
    with pytest.raises(InvalidInput, match=f"{tmp_path}: .*train a new release"):
        InvertedIndex.load(tmp_path)


def test_products_of_few_rows_and_of_each_querys_own_rows_equal_numpys():
    rng = np.random.default_rng(0)
    queries, rows = unit(3, 1), np.array([4, 0, 17])
    vectors = rng.integers(-30_000, 30_000, (20, D)).astype(np.int16)
    expected = queries @ vectors.astype(np.float32).T
    assert np.allclose(products_of_rows(queries, vectors, rows), expected[:, rows], rtol=1e-4)
    assert np.allclose(products(queries, vectors.astype(np.float32)), expected, rtol=1e-4)
    own = np.array([[1, -1], [19, 3], [0, 0]])
    found = products_of_own_rows(queries, vectors, own)
    assert np.isneginf(found[0, 1])
    assert np.allclose(found[1], expected[1, [19, 3]], rtol=1e-4)

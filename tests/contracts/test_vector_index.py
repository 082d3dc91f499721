"""What every VectorIndex must do, run through each implementation: exact, and inverted lists with calibrated effort, of every size of vectors."""

from functools import cache

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.id_set import IdSet
from upnext.retrieval.config import IndexConfig
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.nearest import best_of_each

N, D = 4000, 16
IVF = IndexConfig(flat_below=1, target_recall=0.97, lists_per_sqrt=1.0, n_calibration=16)


def clustered(n, rng):
    centres = rng.standard_normal((40, D))
    vectors = centres[rng.integers(0, 40, n)] + 0.5 * rng.standard_normal((n, D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def flat(vectors, item_id, folder):
    return InvertedIndex.build(vectors, item_id)


def lists(vectors, item_id, folder, kind="int16"):
    if len(vectors) < N:
        pytest.skip("inverted lists are never built over so few vectors")
    return InvertedIndex.of_lists(stored(kind))


@cache
def stored(kind):
    """What is built of the world's vectors; every index over it starts anew."""
    vectors, item_id, _ = made_world()
    return InvertedIndex.build(vectors, item_id, IVF.model_copy(update={"vectors": kind})).stored


def int8_lists(vectors, item_id, folder):
    return lists(vectors, item_id, folder, "int8")


def int4_lists(vectors, item_id, folder):
    return lists(vectors, item_id, folder, "int4")


def loaded_flat(vectors, item_id, folder):
    flat(vectors, item_id, folder).save(folder)
    return InvertedIndex.load(folder)


def loaded_lists(vectors, item_id, folder):
    lists(vectors, item_id, folder).save(folder)
    return InvertedIndex.load(folder)


def loaded_int4_lists(vectors, item_id, folder):
    int4_lists(vectors, item_id, folder).save(folder)
    return InvertedIndex.load(folder)


BUILDERS = [flat, lists, int8_lists, int4_lists, loaded_flat, loaded_lists, loaded_int4_lists]
pytestmark = pytest.mark.parametrize("build", BUILDERS)


def made_world():
    rng = np.random.default_rng(2)
    item_id = np.sort(rng.choice(2 * N, N, replace=False)).astype(np.int64)
    return clustered(N, rng), item_id, clustered(30, rng)


@pytest.fixture
def world():
    """(vectors, item ids with gaps, queries)."""
    return made_world()


def truth(vectors, item_id, query, k, usable=None):
    scores = vectors @ query
    if usable is not None:
        scores[~usable] = -np.inf
    best = np.argsort(-scores, kind="stable")[:k]
    return item_id[best[np.isfinite(scores[best])]]


def recall(index, world, k, allowed=None, without=None):
    vectors, item_id, queries = world
    usable = np.ones(len(item_id), bool)
    if allowed is not None:
        usable &= np.pad(allowed, (0, 2 * N - len(allowed)))[item_id]
    if without is not None:
        usable &= ~np.isin(item_id, without)
    hits = n = 0
    for query in queries:
        expected = truth(vectors, item_id, query, k, usable)
        ids, scores = index.search(
            query[None], k, allowed, without=None if without is None else IdSet(without)
        )
        found = ids[0][ids[0] >= 0]
        assert len(np.unique(found)) == len(found)
        assert usable[np.searchsorted(item_id, found)].all()
        assert np.all(np.diff(scores[0][: len(found)]) <= 0)
        hits, n = hits + len(np.intersect1d(expected, found)), n + len(expected)
    return hits / max(1, n)


def test_the_nearest_are_found(build, world, tmp_path):
    assert recall(build(*world[:2], tmp_path), world, 100) >= 0.95


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.03, 0.004])
@pytest.mark.parametrize("kind", ["random", "one side"])
def test_the_nearest_allowed_are_found_however_few_are_allowed(build, world, tmp_path, share, kind):
    index = build(*world[:2], tmp_path)
    rng = np.random.default_rng(1)
    allowed = np.zeros(2 * N, bool)
    if kind == "random":
        allowed = rng.random(2 * N) < share
    else:
        side = world[0] @ rng.standard_normal(D)
        allowed[world[1][side >= np.quantile(side, 1 - share)]] = True
    assert recall(index, world, 50, allowed, without=world[1][::7]) >= 0.9


def test_nothing_allowed_gives_minus_one_and_minus_infinity(build, world, tmp_path):
    ids, scores = build(*world[:2], tmp_path).search(world[2][:2], 5, np.zeros(2 * N, bool))
    assert ids.tolist() == [[-1] * 5] * 2
    assert np.isneginf(scores).all()


def test_k_beyond_the_index_is_padded(build, world, tmp_path):
    vectors, item_id, queries = world
    index = build(vectors[:50], item_id[:50], tmp_path)
    ids, scores = index.search(queries[:3], 80)
    assert ids.shape == scores.shape == (3, 80)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    for row, score in zip(ids, scores):
        assert set(row[row >= 0]) <= set(item_id[:50])
        assert np.all(row[np.isneginf(score)] == -1)
        assert np.all(np.isfinite(score[row >= 0]))


def test_an_empty_index_finds_nothing_and_takes_additions(build, tmp_path):
    index = build(np.zeros((0, D), np.float32), np.zeros(0, np.int64), tmp_path)
    ids, scores = index.search(np.ones((2, D), np.float32), 3)
    assert (ids == -1).all()
    assert np.isneginf(scores).all()
    index.add(np.array([7]), np.ones((1, D), np.float32))
    assert index.search(np.ones((1, D), np.float32), 2)[0].tolist() == [[7, -1]]


def test_an_added_video_is_found_and_an_updated_one_only_at_its_new_place(build, world, tmp_path):
    vectors, item_id, queries = world
    index = build(vectors, item_id, tmp_path)
    fresh = np.array([2 * N + 5, item_id[3]])
    index.add(fresh, np.stack([queries[0], -queries[0]]))
    assert index.search(queries[:1], 1)[0][0, 0] == fresh[0]
    ids, _ = index.search(-queries[:1], 1)
    assert ids[0, 0] == item_id[3]
    everything, _ = index.search(queries[:1], N + 1)
    assert np.sum(everything == item_id[3]) <= 1
    assert len(index) == N + 1


def test_a_removed_video_is_never_found_and_can_come_back(build, world, tmp_path):
    vectors, item_id, _ = world
    index = build(vectors, item_id, tmp_path)
    index.add(np.array([2 * N + 1]), vectors[:1])
    index.remove(np.array([item_id[0], 2 * N + 1, 10 * N]))
    assert index.search(vectors[:1], 20)[0].tolist()[0].count(item_id[0]) == 0
    assert len(index) == N - 1
    index.add(item_id[:1], vectors[:1])
    assert index.search(vectors[:1], 1)[0][0, 0] == item_id[0]


def test_filters_hold_for_added_videos_too_and_beyond_their_end_nothing_is_allowed(
    build, world, tmp_path
):
    vectors, item_id, queries = world
    index = build(vectors, item_id, tmp_path)
    index.add(np.array([2 * N + 2]), queries[:1])
    allowed = np.ones(2 * N, bool)  # ends before the new id
    assert (2 * N + 2) not in index.search(queries[:1], 10, allowed)[0]
    assert (2 * N + 2) not in index.search(queries[:1], 10, without=IdSet(np.array([2 * N + 2])))[0]
    short = np.ones(N // 2, bool)
    assert index.search(queries[:1], 50, short)[0].max() < N // 2


def test_scalar_searches_equal_a_batch(build, world, tmp_path):
    vectors, item_id, queries = world
    index = build(vectors, item_id, tmp_path)
    ids, scores = index.search(queries[:7], 11)
    for query, row, score in zip(queries, ids, scores):
        one_ids, one_scores = index.search(query[None], 11)
        assert one_ids[0].tolist() == row.tolist()
        assert np.allclose(one_scores[0], score, atol=1e-5)


def test_an_id_given_twice_is_refused(build, world, tmp_path):
    index = build(*world[:2], tmp_path)
    with pytest.raises(InvalidInput, match="unique"):
        index.add(np.array([3, 3]), world[0][:2])
    with pytest.raises(InvalidInput, match="unique"):
        InvertedIndex.build(world[0][:50], np.repeat(world[1][:25], 2), IVF)


def test_vectors_of_another_size_and_negative_ids_are_refused(build, world, tmp_path):
    index = build(*world[:2], tmp_path)
    with pytest.raises(InvalidInput, match=f"{D} numbers"):
        index.add(np.array([3]), np.ones((1, D + 1), np.float32))
    with pytest.raises(InvalidInput, match="ids from 0"):
        index.add(np.array([-3]), np.ones((1, D), np.float32))


def test_several_query_vectors_together_find_the_best_of_any(build, world, tmp_path):
    vectors, item_id, queries = world
    ids, scores = best_of_each(*build(vectors, item_id, tmp_path).search(queries[:3], 60))
    ids, scores = ids[:60], scores[:60]
    nearest = (vectors @ queries[:3].T).max(axis=1)
    expected = item_id[np.argsort(-nearest)[:60]]
    assert len(np.intersect1d(ids, expected)) >= 57
    assert np.allclose(scores, nearest[np.searchsorted(item_id, ids)], atol=1e-3)
    assert (np.diff(scores) <= 0).all()


def test_who_has_seen_the_surroundings_is_taken_further_out(build, world, tmp_path):
    vectors, item_id, queries = world
    index = build(vectors, item_id, tmp_path)
    found = n = 0
    for query in queries:
        order = item_id[np.argsort(-(vectors @ query))]
        ids, _ = index.search(query[None], 100, without=IdSet(order[:500]))
        found, n = found + len(np.intersect1d(ids, order[500:600])), n + 100
    assert found / n >= 0.95


def test_a_mask_that_can_not_change_is_read_anew_after_the_index_changed(build, tmp_path, world):
    vectors, item_id, queries = world
    index = build(vectors, item_id, tmp_path)
    for parity in (0, 1, 0):  # each filter gets its own answer, also when it comes again
        allowed = np.arange(2 * N) % 2 == parity
        allowed.setflags(write=False)
        for _ in range(2):
            ids, _ = index.search(queries[:1], 20, allowed)
            assert (ids[0] % 2 == parity).all()
    best = ids[0][:3].copy()
    index.remove(best)
    after, _ = index.search(queries[:1], 20, allowed)
    assert not np.isin(after[0], best).any()
    assert np.isin(ids[0][3:10], after[0]).all()
    writable = allowed.copy()
    index.search(queries[:1], 20, writable)
    writable[after[0][0]] = False
    assert after[0][0] not in index.search(queries[:1], 20, writable)[0][0]


def test_what_one_search_leaves_out_the_next_one_finds_again(build, tmp_path, world):
    vectors, item_id, queries = world
    index = build(vectors, item_id, tmp_path)
    allowed = np.ones(2 * N, bool)
    allowed.setflags(write=False)
    first, _ = index.search(queries[:1], 20, allowed)
    without = np.sort(np.concatenate([first[0][:10], first[0][:10], [-1, 10**9]]))
    second, _ = index.search(queries[:1], 20, allowed, without=IdSet(without))
    assert not np.isin(second[0], first[0][:10]).any()
    assert index.search(queries[:1], 20, allowed)[0].tolist() == first.tolist()

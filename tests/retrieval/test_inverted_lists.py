"""The walk over lists ends by usable vectors met, which a fixed number of lists can not do."""

from dataclasses import replace

import numpy as np
import pytest

from upnext.core.id_set import IdSet
from upnext.retrieval.calibrate import Effort
from upnext.retrieval.codes import Codes
from upnext.retrieval.inverted_lists import InvertedLists, StoredLists

N_LISTS, PER_LIST = 20, 10


def line():
    """Lists along a quarter circle; list i holds ids i * 10 to i * 10 + 9, all at its centroid but for a hair."""
    angle = np.linspace(0, np.pi / 2, N_LISTS)
    centroids = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    angles = np.repeat(angle, PER_LIST) + np.tile(np.linspace(0, 0.01, PER_LIST), N_LISTS)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    n = N_LISTS * PER_LIST
    return StoredLists(
        centroids=centroids, starts=np.arange(0, n + 1, PER_LIST),
        vectors=np.rint(vectors * 30_000).astype(np.int16), scale=1 / 30_000, codes=None,
        item_id=np.arange(n), row_of=np.arange(n, dtype=np.int32), depth=1.0,
        effort=(Effort(1.0, 15, 1.0),),
    )  # fmt: skip


FIRST = np.array([[1.0, 0.0]], np.float32)  # nearest to list 0


def test_lists_are_read_until_they_hold_enough_usable_vectors():
    index = InvertedLists(line())
    assert index.lists_read(FIRST, None) == 2  # 10 + 10 >= 15
    one_in_two = np.arange(200) % 2 == 0
    assert index.lists_read(FIRST, one_in_two) == 3  # 5 + 5 + 5


def test_lists_without_a_usable_vector_are_passed_over():
    """Two lists of a fixed nprobe would find nothing of a language at the far end."""
    far = np.arange(200) >= 120
    index = InvertedLists(line())
    assert index.lists_read(FIRST, far) == 2
    ids, _ = index.search(FIRST, 10, far, None)
    assert ids[0].tolist() == list(range(120, 130))
    # a fixed number of lists: the two nearest hold ids 0 to 19
    assert not far[:20].any()


def test_who_has_seen_the_first_lists_reads_on():
    index = InvertedLists(line())
    ids, _ = index.search(FIRST, 10, None, IdSet(np.arange(40)))
    assert ids[0].tolist() == list(range(40, 50))
    assert index.search(FIRST, 3, None, None)[0].tolist() == [[0, 1, 2]]  # all are back


def test_a_larger_k_reads_more_than_was_calibrated_for():
    index = InvertedLists(replace(line(), effort=(Effort(1.0, 50, 1.0),)))
    ids, _ = index.search(FIRST, 150, None, None)
    assert (ids[0] >= 0).sum() == 50
    ids, _ = index.search(FIRST, 1500, None, None)
    assert (ids[0] >= 0).sum() == 150  # three times five hundred: three times the effort


def test_few_usable_vectors_are_searched_exactly_wherever_they_lie():
    few = np.zeros(200, bool)
    few[[3, 77, 150, 199]] = True
    index = InvertedLists(line())
    assert index.lists_read(FIRST, few) == 0
    assert index.search(FIRST, 5, few, IdSet(np.array([77])))[0].tolist() == [[3, 150, 199, -1, -1]]


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.13)])
@pytest.mark.parametrize("d", [6, 7])
def test_codes_give_the_product_but_for_their_step(bits, most, d):
    rng = np.random.default_rng(0)
    spread = np.linspace(0.1, 3, d)
    left = (rng.standard_normal((400, d)) * spread).astype(np.float32)
    codes = Codes.learn(bits, left)
    packed = codes.encode(left)
    assert packed.nbytes == 400 * (d if bits == 8 else (d + 1) // 2)
    centroid = rng.standard_normal((1, d)).astype(np.float32)
    n = len(left)
    stored = StoredLists(
        centroids=centroid, starts=np.array([0, n]), vectors=np.zeros((n, d), np.int16), scale=1.0,
        codes=codes.of(packed), item_id=np.arange(n), row_of=np.arange(n, dtype=np.int32),
        depth=1.0, effort=(),
    )  # fmt: skip
    index = InvertedLists(stored)
    query = rng.standard_normal((2, d)).astype(np.float32)
    rows, scores = index.walk(query, n, index.filtered(None), n)
    expected = np.take_along_axis(query @ (centroid + left).T, rows, 1)
    error = np.sqrt(np.mean((scores - expected) ** 2)) / expected.std()
    assert error < most
    assert (np.sort(rows) == np.arange(n)).all()

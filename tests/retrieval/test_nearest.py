"""A trained generator as a source: one query vector, several, none."""

import numpy as np
import pytest
from retrieval_world import query_of

from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.nearest import Nearest, best_of_each

N, D = 40, 5


class Given:
    """A generator with the same query vectors for everybody."""

    def __init__(self, vectors):
        self._vectors = np.asarray(vectors, np.float32).reshape(-1, D)

    def vectors(self, query):
        return self._vectors


def videos():
    return np.random.default_rng(3).standard_normal((N, D)).astype(np.float32)


@pytest.mark.parametrize("n_vectors", [1, 2, 3])
def test_the_score_is_the_largest_inner_product_with_any_query_vector(n_vectors):
    queries = np.random.default_rng(8).standard_normal((n_vectors, D)).astype(np.float32)
    source = Nearest("several", Given(queries), InvertedIndex.build(videos(), np.arange(N)))
    found = source.fetch(query_of(items=[4, 7]), 9)
    best = (videos() @ queries.T).max(axis=1)
    best[[4, 7]] = -np.inf
    order = np.argsort(-best, kind="stable")[:9]
    assert found.item_id.tolist() == order.tolist()
    assert found.columns["source:several"] == pytest.approx(best[order], rel=1e-5)


def test_a_generator_that_knows_nothing_of_the_viewer_proposes_nothing():
    source = Nearest("silent", Given([]), InvertedIndex.build(videos(), np.arange(N)))
    assert len(source.fetch(query_of(), 9)) == 0


def test_the_best_of_each_video_counts_once_and_ties_go_by_id():
    ids = np.array([[5, 2, -1], [2, 9, 5]])
    scores = np.array([[0.9, 0.4, -np.inf], [0.7, 0.9, 0.1]], np.float32)
    found, best = best_of_each(ids, scores)
    assert found.tolist() == [5, 9, 2]
    assert best == pytest.approx([0.9, 0.9, 0.7])

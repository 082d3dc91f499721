"""Ward's clustering against scipy, on planted mixtures, and where points coincide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from upnext.retrieval.interests.ward import clusters_of, squared_distances, ward_merges


def points_of(n, d, seed):
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def as_linkage(n, kept, gone, cost):
    """Merges as scipy writes them: [a, b, height, size], cheapest first, clusters numbered by their merge."""
    name, size = list(range(n)), [1] * n
    rows = []
    for step, m in enumerate(np.argsort(cost, kind="stable")):
        a, b = kept[m], gone[m]
        size[a] += size[b]
        rows.append([*sorted((name[a], name[b])), np.sqrt(cost[m]), size[a]])
        name[a] = n + step
    return np.array(rows)


def same_partition(a, b):
    together = a[:, None] == a[None, :]
    return np.array_equal(together, b[:, None] == b[None, :])


def adjusted_rand(a, b):
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)
    pairs = (table * (table - 1) / 2).sum()
    of_a, of_b = (m * (m - 1) / 2 for m in (table.sum(1), table.sum(0)))
    chance = of_a.sum() * of_b.sum() / (len(a) * (len(a) - 1) / 2)
    return (pairs - chance) / ((of_a.sum() + of_b.sum()) / 2 - chance)


@pytest.mark.parametrize(("n", "d", "seed"), [(2, 3, 0), (7, 2, 1), (60, 5, 2), (200, 64, 3)])
def test_merges_and_their_costs_are_those_of_scipy(n, d, seed):
    points = points_of(n, d, seed)
    kept, gone, cost = ward_merges(points, np.inf)
    ours, theirs = as_linkage(n, kept, gone, cost), linkage(points.astype(np.float64), "ward")
    assert np.array_equal(ours[:, [0, 1, 3]], theirs[:, [0, 1, 3]])
    assert np.allclose(ours[:, 2], theirs[:, 2], rtol=1e-5)  # float32 against float64


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 10_000), st.floats(0.01, 40))
def test_clusters_at_any_stop_are_those_of_scipy_at_that_height(n, d, seed, stop):
    points = points_of(n, d, seed)
    tree = linkage(points.astype(np.float64), "ward")
    if np.abs(tree[:, 2] ** 2 - stop).min() < 1e-4 * stop:
        return  # a merge at the very stop may fall either way
    kept, gone, cost = ward_merges(points, stop)
    assert (cost <= stop).all()
    ours = clusters_of(n, kept, gone)
    assert same_partition(ours, fcluster(tree, np.sqrt(stop), "distance"))
    assert ours.max() + 1 == n - len(kept)


def test_by_hand_four_points_on_a_line():
    """0, 1 | 10, 12: pairs cost 1 and 4; their means .5 and 11 are 10.5 apart: 2 * 2 * 2 / 4 * 10.5^2 = 220.5."""
    points = np.array([[0], [1], [10], [12]], np.float32)
    assert sorted(ward_merges(points, np.inf)[2].tolist()) == [1.0, 4.0, 220.5]
    assert clusters_of(4, *ward_merges(points, 220)[:2]).tolist() == [0, 0, 1, 1]
    assert clusters_of(4, *ward_merges(points, 3.9)[:2]).tolist() == [0, 0, 1, 2]
    assert clusters_of(4, *ward_merges(points, 0.9)[:2]).tolist() == [0, 1, 2, 3]


def test_a_planted_mixture_is_found_and_single_merges_of_nearest_points_would_not():
    rng = np.random.default_rng(4)
    truth = rng.permutation(np.repeat(np.arange(5), 40))
    centre = 6 * rng.standard_normal((5, 8))
    points = (centre[truth] + 1.6 * rng.standard_normal((200, 8))).astype(np.float32)
    _, _, cost = ward_merges(points, np.inf)
    stop = np.sort(cost)[-5:-3].mean()  # between the last merge inside and the first across
    found = clusters_of(200, *ward_merges(points, stop)[:2])
    assert adjusted_rand(truth, found) > 0.95
    single = fcluster(linkage(points, "single"), 5, "maxclust") - 1
    assert adjusted_rand(truth, single) < 0.95


def test_equal_points_come_together_for_nothing_and_odd_sizes_are_no_trouble():
    points = np.repeat(points_of(3, 4, 5), 30, axis=0)
    kept, gone, cost = ward_merges(points, 0.0)
    assert np.array_equal(clusters_of(90, kept, gone), np.repeat(np.arange(3), 30))
    assert (cost == 0).all()
    for n in (0, 1):
        kept, gone, _ = ward_merges(np.zeros((n, 4), np.float32), 1.0)
        assert clusters_of(n, kept, gone).tolist() == list(range(n))


def test_distances_are_squared_and_infinite_to_oneself():
    distance = squared_distances(np.array([[0, 0], [3, 4]], np.float32))
    assert distance.tolist() == [[np.inf, 25], [25, np.inf]]

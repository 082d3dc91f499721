"""Tags that keep company come out near each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from upnext.content.tags import TagVectors
from upnext.learn.cbow import learn_tag_vectors

N_CLUSTERS, PER_CLUSTER = 6, 7


def _planted(n_videos: int, noise: float) -> npt.NDArray[np.int32]:
    """Videos of 3 to 5 tags of one cluster, now and then with a stray."""
    rng = np.random.default_rng(1)
    tags = np.full((n_videos, 8), -1, np.int32)
    for row in tags:
        n_tags = int(rng.integers(3, 6))
        cluster = int(rng.integers(N_CLUSTERS))
        row[:n_tags] = cluster * PER_CLUSTER + rng.choice(PER_CLUSTER, n_tags, replace=False)
        if rng.random() < noise:
            row[n_tags] = rng.integers(N_CLUSTERS * PER_CLUSTER)
    return tags


def _same_cluster_first(vectors: TagVectors) -> float:
    """The share of tags whose six nearest tags are all of their own cluster."""
    near = vectors.table @ vectors.table.T
    np.fill_diagonal(near, -2)
    nearest = np.argsort(-near, axis=1)[:, : PER_CLUSTER - 1] // PER_CLUSTER
    own = np.arange(len(near))[:, None] // PER_CLUSTER
    return float((nearest == own).all(axis=1).mean())


def _names(n_tags: int) -> list[str]:
    return [f"tag {i}" for i in range(n_tags)]


def test_planted_clusters_are_found_and_a_random_table_has_none() -> None:
    names = _names(N_CLUSTERS * PER_CLUSTER)
    learned = learn_tag_vectors(_planted(600, 0.2), names, size=12)
    blind = learn_tag_vectors(np.full((1, 8), -1, np.int32), names, size=12)
    assert _same_cluster_first(learned) > 0.95
    assert _same_cluster_first(blind) < 0.05
    np.testing.assert_allclose(np.linalg.norm(learned.table, axis=1), 1, atol=1e-5)
    assert learned.names == tuple(names)


def test_one_seed_gives_one_table() -> None:
    tags, names = _planted(50, 0.0), _names(42)
    a, b, c = (learn_tag_vectors(tags, names, size=5, epochs=2, seed=s).table for s in (4, 4, 5))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_tags_that_stand_alone_stay_nearly_at_right_angles() -> None:
    tags = np.full((30, 8), -1, np.int32)
    tags[:, 0] = np.arange(30) % 10
    tags[:, 1] = tags[:, 0]  # twice the same tag is still one tag
    table = learn_tag_vectors(tags, _names(10), size=64).table
    near = table @ table.T - np.eye(10)
    assert np.abs(near).max() < 0.5
    assert learn_tag_vectors(tags[:0], [], size=64).table.shape == (0, 64)

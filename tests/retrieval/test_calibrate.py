"""The effort is measured: more lists under narrower filters, and what is said to be reached is reached."""

import numpy as np
import pytest

from upnext.retrieval.calibrate import Effort, calibrate, exact, nprobe_for
from upnext.retrieval.config import IndexConfig
from upnext.retrieval.index import FaissIndex


def test_the_effort_of_the_next_smaller_measured_share_is_used():
    efforts = (Effort(1.0, 8, 1.0), Effort(0.5, 16, 1.0), Effort(0.1, 64, 1.0))
    assert [nprobe_for(efforts, share) for share in (1.0, 0.9, 0.5, 0.2, 0.1, 0.01)] == [
        8, 16, 16, 64, 64, 64,
    ]  # fmt: skip


def test_effort_never_falls_with_the_share_and_reaches_the_target():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6000, 12)).astype(np.float32)
    config = IndexConfig(flat_below=1, target_recall=0.9, n_calibration=32)
    index = FaissIndex.build(vectors, np.arange(6000), config)
    probes = [effort.nprobe for effort in index.effort]
    assert probes == sorted(probes)
    assert all(effort.recall >= 0.9 for effort in index.effort)
    least = FaissIndex.build(
        vectors, np.arange(6000), config.model_copy(update={"target_recall": 0.3})
    )
    assert least.effort[0].nprobe < index.effort[0].nprobe


def test_hardly_more_lists_are_read_than_the_target_needs():
    vectors = np.random.default_rng(2).standard_normal((600, 4)).astype(np.float32)

    def search(queries, k, allowed, nprobe):
        """Finds a share of the truth that grows with the lists read: all of it at 100."""
        return [row[: k * nprobe // 100] for row in exact(queries, vectors, k)]

    effort = calibrate(search, vectors, vectors[:8], 1000, 0.6, 0)[0]
    assert (effort.share, effort.nprobe) == (1.0, 70)  # 58 was tried before
    assert effort.recall == pytest.approx(0.7)


def test_exact_search_finds_the_largest_inner_products_among_the_rows():
    rng = np.random.default_rng(1)
    vectors, queries = rng.standard_normal((50, 3)), rng.standard_normal((11, 3)).astype(np.float32)
    rows = np.arange(0, 50, 2)
    found = exact(queries, vectors, 4, rows)
    for query, best in zip(queries, found):
        expected = rows[np.argsort(-(vectors[rows].astype(np.float32) @ query))[:4]]
        assert set(best) == set(expected)

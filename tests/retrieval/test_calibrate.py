"""The effort is measured: what is said to be reached is reached, and hardly more is read than that takes."""

import numpy as np
import pytest

from upnext.retrieval.calibrate import Effort, Rows, calibrate, exact, met_for, recall_of
from upnext.retrieval.config import IndexConfig
from upnext.retrieval.inverted_index import InvertedIndex


def test_the_effort_of_the_next_smaller_measured_share_is_used():
    efforts = (Effort(1.0, 800, 1.0), Effort(0.5, 1600, 1.0), Effort(0.1, 6400, 1.0))
    assert [met_for(efforts, share) for share in (1.0, 0.9, 0.5, 0.2, 0.1, 0.01)] == [
        800, 1600, 1600, 6400, 6400, 6400,
    ]  # fmt: skip
    assert met_for((), 0.5) == 0


def test_effort_never_falls_with_the_share_and_reaches_the_target():
    vectors = np.random.default_rng(0).standard_normal((5000, 12)).astype(np.float32)
    config = IndexConfig(flat_below=1, target_recall=0.9, n_calibration=16)
    index = InvertedIndex.build(vectors, np.arange(5000), config)
    met = [effort.n_met for effort in index.effort]
    assert met == sorted(met)
    assert all(effort.recall >= 0.9 for effort in index.effort)
    least = InvertedIndex.build(
        vectors, np.arange(5000), config.model_copy(update={"target_recall": 0.3})
    )
    assert least.effort[0].n_met < index.effort[0].n_met


def test_hardly_more_is_read_than_the_target_needs():
    rows = Rows(np.random.default_rng(2).standard_normal((6000, 4)).astype(np.float32), 1.0)

    def under(usable, n_met):
        """A search that finds a share of the truth which grows with what is read: all of it at 6000."""
        return lambda queries, k, n_met: exact(queries, rows, k, usable)[:, : k * n_met // 6000]

    effort = calibrate(under, rows, [rows.vectors[:8]], 0.6, 0)[0]
    assert (effort.share, effort.n_met) == (1.0, 3720)  # 3100 was tried before: .516
    assert effort.recall == pytest.approx(310 / 500)


def test_viewers_who_differ_ask_for_more_than_their_mean():
    rows = Rows(np.random.default_rng(2).standard_normal((4000, 4)).astype(np.float32), 1.0)

    def under(usable, n_met):
        """Half of the viewers find all, the others a share that grows with what is read."""

        def probe(queries, k, n_met):
            found = exact(queries, rows, k, usable)
            found[::2, k * n_met // 4000 :] = -1
            return found

        return probe

    effort = calibrate(under, rows, [rows.vectors[:8]], 0.9, 0)[0]
    assert effort.recall >= 0.95  # .9 on the mean would do at a recall of .8 for half of them


def test_exact_search_finds_the_largest_inner_products_among_the_rows(monkeypatch):
    monkeypatch.setattr("upnext.retrieval.calibrate._BLOCK", 16)
    rng = np.random.default_rng(1)
    vectors, queries = rng.standard_normal((50, 3)), rng.standard_normal((11, 3)).astype(np.float32)
    usable = np.arange(50) % 2 == 0
    found = exact(queries, Rows(vectors, 2.0), 4, usable)
    rows = np.flatnonzero(usable)
    for query, best in zip(queries, found):
        expected = rows[np.argsort(-(vectors[rows].astype(np.float32) @ query))[:4]]
        assert best.tolist() == expected.tolist()
    few = exact(queries, Rows(vectors, 2.0), 4, np.arange(50) < 3)
    assert (few[:, 3] == -1).all()
    assert recall_of(few, few).tolist() == [1.0] * 11

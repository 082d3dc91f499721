"""Joined lists by hand."""

import numpy as np

from upnext.evaluate.hybrids import parallel, sequential


def test_reciprocal_rank_fusion_sums_over_both_lists_and_breaks_ties_by_id() -> None:
    first = np.array([[4, 7, 2], [5, -1, -1]])
    second = np.array([[7, 9, 4], [-1, -1, -1]])
    # 7: 1/62 + 1/61, 4: 1/61 + 1/63, 9: 1/62, 2: 1/63
    assert parallel(first, second).tolist() == [[7, 4, 9], [5, -1, -1]]
    apart = parallel(np.array([[3, 1]]), np.array([[2, 0]]))
    assert apart.tolist() == [[2, 3]]


def test_the_sequential_hybrid_keeps_the_videos_and_takes_the_other_order() -> None:
    found = sequential(np.array([[4, 7, 2, -1]]), np.array([[0.1, 0.5, 0.5, 9.0]], np.float32))
    assert found.tolist() == [[2, 7, 4, -1]]

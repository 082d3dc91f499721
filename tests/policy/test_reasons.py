"""Reasons against counting who stands above whom."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from upnext.core.types import Candidates
from upnext.policy.reasons import strongest_sources

NAN = np.nan


def candidates(**scores: list[float]) -> Candidates:
    n = len(next(iter(scores.values())))
    columns = {f"source:{name}": np.array(score, np.float32) for name, score in scores.items()}
    return Candidates(np.arange(n), columns)


def test_places_count_and_scores_do_not_and_a_tie_goes_to_the_source_asked_first() -> None:
    found = candidates(small=[0.3, 0.2, 0.1, NAN], great=[NAN, 70.0, 90.0, NAN], third=[9.0, NAN, 9.0, NAN])  # fmt: skip
    # video 0 is first of `small` and of `third`; 1 second of `small` and of `great`; 2 first of `great`; 3 nobody's
    assert strongest_sources(found, np.array([0, 1, 2, 3])) == ("small", "small", "great", "ranked")


def test_equal_scores_share_a_place() -> None:
    found = candidates(a=[5.0, 5.0, 5.0, 1.0], b=[2.0, 3.0, NAN, 4.0])
    assert strongest_sources(found, np.array([2, 1, 3])) == ("a", "a", "b")


def test_without_sources_a_slot_is_there_for_its_rank() -> None:
    assert strongest_sources(Candidates(np.arange(3)), np.array([2, 0])) == ("ranked", "ranked")


@given(n=st.integers(1, 30), n_sources=st.integers(1, 4), seed=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_the_reason_is_found_by_sorting_each_sources_proposals(
    n: int, n_sources: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 6, (n_sources, n)).astype(np.float32)  # few different ones: ties
    score[rng.random((n_sources, n)) < 0.5] = np.nan
    found = candidates(**{f"s{s}": score[s].tolist() for s in range(n_sources)})
    for video, reason in enumerate(strongest_sources(found, np.arange(n))):
        places = {
            f"s{s}": sorted(score[s][~np.isnan(score[s])], reverse=True).index(score[s, video])
            for s in range(n_sources)
            if not np.isnan(score[s, video])
        }
        assert reason == (min(places, key=lambda s: places[s]) if places else "ranked")

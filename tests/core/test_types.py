"""The nouns keep their promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput
from upnext.core.randomness import key_of, rng_for
from upnext.core.types import Candidates, Request


def test_a_request_for_nothing_is_refused():
    with pytest.raises(InvalidInput, match="size: expected at least 1, got 0"):
        Request("r", "u", "home", 0, 0)


def test_the_union_keeps_every_source_that_proposed_a_video_and_its_score_there():
    a = Candidates.of_source("popular", np.array([7, 3]), np.array([2.0, 1.0]))
    b = Candidates.of_source("fresh", np.array([3, 9, 5]), np.array([0.3, 0.2, 0.1]))
    both = Candidates.union([a, b])
    assert both.item_id.tolist() == [7, 3, 9, 5]
    np.testing.assert_array_equal(
        both.columns["source:popular"], np.array([2, 1, np.nan, np.nan], np.float32)
    )
    np.testing.assert_array_equal(
        both.columns["source:fresh"], np.array([np.nan, 0.3, 0.2, 0.1], np.float32)
    )


def test_a_source_that_repeats_itself_keeps_each_videos_first_place():
    one = Candidates.of_source("x", np.array([4, 2, 4, 1, 2]), np.arange(5, 0, -1.0))
    assert one.item_id.tolist() == [4, 2, 1]
    assert one.columns["source:x"].tolist() == [5, 4, 2]


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=5))
def test_a_union_is_unique_aligned_and_complete(lists):
    parts = [
        Candidates.of_source(f"s{i}", np.array(ids, np.int64), np.arange(len(ids), 0, -1.0))
        for i, ids in enumerate(lists)
    ]
    union = Candidates.union(parts)
    assert len(set(union.item_id.tolist())) == len(union)
    assert set(union.item_id.tolist()) == {i for ids in lists for i in ids}
    for i, ids in enumerate(lists):
        if ids:
            proposed = ~np.isnan(union.columns[f"source:s{i}"])
            assert set(union.item_id[proposed].tolist()) == set(ids)


def test_candidates_with_a_column_of_another_length_are_refused():
    with pytest.raises(InvalidInput, match="candidates column 'x'"):
        Candidates(np.arange(3), {"x": np.arange(4)})


def test_keys_depend_on_each_part_and_on_where_one_ends():
    keys = {
        key_of("a", "bc"),
        key_of("ab", "c"),
        key_of("a", "b", "c"),
        key_of(1, "a"),
        key_of("1", "a"),
    }
    assert len(keys) == 5


def test_a_generator_is_a_function_of_its_words_alone():
    assert rng_for(1, "u", 5).random(3).tolist() == rng_for(1, "u", 5).random(3).tolist()
    assert rng_for(1, "u", 5).random() != rng_for(1, "u", 6).random()

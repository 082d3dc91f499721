"""What was searched for finds what speaks of it: BM25 by hand and against every pair, recency, later videos."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_world import Shelf, query_of

from upnext.features.search_tokens import tokens_of
from upnext.retrieval.config import SearchHistoryConfig
from upnext.retrieval.search_history import SearchHistory
from upnext.retrieval.word_index import WordIndex, texts_of, texts_of_columns

TEXTS = [["piano lesson", "jazz"], ["jazz piano"], ["cooking pasta"], [], ["pasta pasta"]]
ALL = SearchHistoryConfig(token_half_life=1e9)
words = st.lists(st.sampled_from("abcd"), max_size=5).map(" ".join)


def source_of(texts, config=None, n_items=20):
    index = WordIndex.build(texts, config)
    return SearchHistory(Shelf(n_items), index, config), index


def searched(*queries, **more):
    return query_of(searches=[t for query in queries for t in tokens_of(query)], **more)


def scores(source, query, k=20):
    found = source.fetch(query, k)
    return dict(
        zip(found.item_id.tolist(), found.columns["source:search_history"].tolist(), strict=True)
    )


def test_the_score_is_bm25():
    """pasta: 2 of the 4 videos with a text; lengths 4 (piano, lesson, the pair, jazz), 3, 3 and 3."""
    source, _ = source_of(TEXTS, ALL)
    idf, mean = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5)), 13 / 4
    long = 1 - 0.75 + 0.75 * 3 / mean
    once, twice = (tf * 2.2 / (tf + 1.2 * long) * idf for tf in (1, 2))
    assert scores(source, searched("pasta")) == pytest.approx({4: twice, 2: once})


def dense_bm25(texts, query, config):
    """Every video against every token, as the formula stands."""
    bags = [[t for part in parts for t in tokens_of(part)] for parts in texts]
    n = sum(1 for bag in bags if bag) or 1
    mean = sum(map(len, bags)) / n
    total = {}
    latest_first = list(dict.fromkeys(query.user.searches[::-1].tolist()))
    for item, bag in enumerate(bags):
        for token in latest_first:
            tf, df = bag.count(token), sum(1 for other in bags if token in other)
            if tf:
                long = 1 - config.length_norm + config.length_norm * len(bag) / mean
                idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
                back = query.user.searches[::-1].tolist().index(token)
                part = idf * tf * (config.saturation + 1) / (tf + config.saturation * long)
                total[item] = total.get(item, 0) + part * 2 ** (-back / config.token_half_life)
    return total


@settings(deadline=None)
@given(st.lists(st.lists(words, max_size=2), max_size=8), st.lists(words, min_size=1, max_size=3))
def test_the_index_finds_what_every_pair_compared_would(texts, queries):
    config = SearchHistoryConfig(token_half_life=3)
    source, _ = source_of(texts, config)
    query = searched(*queries)
    assert scores(source, query) == pytest.approx(dense_bm25(texts, query, config), rel=1e-5)


def test_a_pair_of_words_beats_the_same_words_apart():
    source, _ = source_of([["piano jazz"], ["jazz piano"], ["rock"], ["folk"]], ALL)
    assert source.fetch(searched("jazz piano"), 9).item_id.tolist() == [1, 0]


def test_what_was_searched_last_counts_more_and_what_is_too_long_ago_nothing():
    config = SearchHistoryConfig(n_tokens=2, token_half_life=1)
    source, _ = source_of([["rock"], ["folk"], ["jazz"]], config)
    assert source.fetch(searched("rock", "folk", "jazz"), 9).item_id.tolist() == [2, 1]
    assert source.fetch(searched("jazz", "folk", "rock"), 9).item_id.tolist() == [0, 1]


def test_a_viewer_who_searched_nothing_or_nothing_known_gets_nothing():
    source, _ = source_of(TEXTS)
    assert len(source.fetch(query_of(), 5)) == 0
    assert len(source.fetch(searched("astronomy"), 5)) == 0


def test_a_video_that_came_is_found_at_once_also_by_a_word_that_nobody_knew():
    source, index = source_of(TEXTS, ALL)
    index.bring(np.array([9]), [["zither pasta"]])
    assert set(source.fetch(searched("pasta"), 9).item_id) == {2, 4, 9}
    assert source.fetch(searched("zither"), 9).item_id.tolist() == [9]
    assert source.fetch(searched("zither"), 9).columns["source:search_history"][0] > 0


def test_a_video_with_another_title_is_found_by_that_alone():
    source, index = source_of(TEXTS, ALL)
    for title in ("gardening", "sailing"):  # one of the release, then one of later
        index.bring(np.array([2, 9]), [[title], [title]])
        assert set(source.fetch(searched(title), 9).item_id) == {2, 9}
    assert len(source.fetch(searched("gardening"), 9)) == 0
    assert source.fetch(searched("cooking pasta"), 9).item_id.tolist() == [4]


def test_of_a_word_only_the_best_videos_are_kept_and_of_one_in_too_many_none():
    few = SearchHistoryConfig(per_token=2, most_common=1.0)
    source, index = source_of([["jazz " + "x " * n] for n in (3, 0, 1)], few)
    assert source.fetch(searched("jazz"), 9).item_id.tolist() == [1, 2]
    index.bring(np.array([5, 6, 7]), [["jazz"]] * 3)  # and the newest of those that came later
    assert source.fetch(searched("jazz"), 9).item_id.tolist() == [1, 6, 7, 2]
    common = SearchHistoryConfig(per_token=2, most_common=0.5)
    source, index = source_of([["the jazz"], ["the folk"], ["the rock"]], common)
    index.bring(np.array([5]), [["the blues"]])
    assert len(source.fetch(searched("the"), 9)) == 0
    assert source.fetch(searched("the rock"), 9).item_id.tolist() == [2]


def test_the_saved_index_is_the_same_without_what_came_later(tmp_path):
    source, index = source_of(TEXTS, ALL)
    before = scores(source, searched("jazz piano", "pasta"))
    index.bring(np.array([2]), [["other"]])
    index.save(tmp_path)
    loaded = SearchHistory(Shelf(20), WordIndex.load(tmp_path), ALL)
    assert scores(loaded, searched("jazz piano", "pasta")) == before


def test_an_index_of_nothing_finds_what_comes():
    source, index = source_of([])
    assert len(source.fetch(searched("jazz"), 9)) == 0
    index.bring(np.array([3]), [["jazz"]])
    assert source.fetch(searched("jazz"), 9).item_id.tolist() == [3]


def test_a_videos_text_is_its_title_and_its_tags_whichever_way_it_is_read():
    rows = [{"title": "A b", "tags": ["c", "d e"]}, {"title": None, "tags": None}, {}]
    assert texts_of(rows) == [["A b", "c", "d e"], [], []]
    assert texts_of_columns(["A b", None, None], [["c", "d e"], None, None]) == texts_of(rows)

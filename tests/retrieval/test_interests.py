"""Several interests of a viewer: medoids, importance, draws, and the world in which one vector per viewer fails."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from retrieval_world import DAY_US, NOW_US, history_of, query_of

from upnext.core.types import Flag, Query, Request, User
from upnext.features.vector_table import VectorTable
from upnext.retrieval.config import TRAINED
from upnext.retrieval.interests.config import Base, InterestsConfig
from upnext.retrieval.interests.generator import InterestsGenerator, chosen_of
from upnext.retrieval.interests.summary import decayed, importance_of, medoids_of, parts_of

N_TOPICS, PER_TOPIC, SIZE = 20, 100, 24


@pytest.fixture(scope="module")
def topics():
    """float32[2000, 24] of length one: twenty topics of a hundred videos each, those of topic t from 100 t on."""
    rng = np.random.default_rng(1)
    centre = rng.standard_normal((N_TOPICS, SIZE))
    vectors = np.repeat(centre, PER_TOPIC, 0) + 0.5 * rng.standard_normal((2000, SIZE))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def generator_of(vectors, **settings):
    return InterestsGenerator(InterestsConfig(**settings), VectorTable(vectors.copy()))


def viewer_of(items, days_ago, flags=None, **request):
    time_us = NOW_US - (np.asarray(days_ago) * DAY_US).astype(np.int64)
    asked = Request("r", "u", "home", 10, NOW_US, **request)
    return Query(asked, User("u", history=history_of(items, flags, time_us)))


def test_a_showing_counts_by_what_the_viewer_did():
    flags = np.array([
        Flag.IMPRESSION | Flag.LIKE, Flag.WATCHED | Flag.WATCHED_HALF, Flag.WATCHED,
        Flag.IMPRESSION, Flag.WATCHED | Flag.SKIPPED, Flag.WATCHED_HALF | Flag.NOT_INTERESTED,
        Flag.LIKE | Flag.DISLIKE, Flag.CLICK, Flag.IMPRESSION,
    ], np.uint16)  # fmt: skip
    time_us = np.array([5, 5, 5, 5, 5, 5, 5, 5, 0])  # the last is of an imported history of watches
    part = parts_of(flags, time_us, 0.25)
    assert part.tolist() == [1, 1, 0.25, 0, 0, 0, 0, 0.25, 0.25]


def test_importance_is_the_sum_of_exponentially_decayed_parts():
    """exp(-.1 * 0) + .5 exp(-.1 * 10) in one cluster, exp(-.1 * 20) in the other; an untimed row is as old as the oldest, 20 days."""
    time_us = np.array([0, NOW_US - 20 * DAY_US, NOW_US - 10 * DAY_US, NOW_US])
    part = np.array([0.25, 1, 0.5, 1], np.float32)
    weight = decayed(part, time_us, NOW_US, 0.1)
    expected = [0.25 * np.exp(-2), np.exp(-2), 0.5 * np.exp(-1), 1.0]
    assert weight == pytest.approx(expected, rel=1e-6)
    total = importance_of(weight, np.array([1, 1, 0, 0]), 2)
    assert total == pytest.approx([1 + 0.5 * np.exp(-1), 1.25 * np.exp(-2)], rel=1e-6)
    untimed = decayed(np.ones(2, np.float32), np.zeros(2, np.int64), NOW_US, 0.1)
    assert untimed.tolist() == [1, 1]  # nothing says how old they are


def test_a_medoid_is_the_member_with_the_least_sum_of_squared_distances():
    rng = np.random.default_rng(3)
    points = rng.standard_normal((90, 6)).astype(np.float32)
    cluster = rng.integers(0, 7, 90)
    found = medoids_of(points, cluster, 7)
    for c in range(7):
        members = np.flatnonzero(cluster == c)
        apart = np.square(points[members, None] - points[None, members]).sum(2).sum(1)
        assert found[c] == members[apart.argmin()]


def test_every_interest_of_a_mixed_viewer_is_searched_where_one_vector_finds_only_the_first(topics):
    """METHODS G3. A viewer of three topics (40, 12 and 8 showings) gets a list of 60; the oracle gives each topic a third."""
    generator = generator_of(topics)
    rng = np.random.default_rng(2)
    recall, alone = np.zeros((30, 3)), np.zeros((30, 3))
    for viewer in range(30):
        own = rng.permutation(N_TOPICS)[:3]
        shown = [t * PER_TOPIC + rng.permutation(PER_TOPIC)[:n] for t, n in zip(own, (40, 12, 8))]
        items = rng.permutation(np.concatenate(shown))
        query = viewer_of(items, rng.uniform(0, 20, 60)[np.argsort(-rng.random(60))])
        queries = generator.vectors(query)
        mean = topics[items].mean(0, keepdims=True)
        for vectors, out in ((queries, recall), (mean, alone)):
            score = (vectors @ topics.T).max(0)
            score[items] = -np.inf
            listed = np.argsort(-score)[:60] // PER_TOPIC
            unseen = PER_TOPIC - np.array([40, 12, 8])
            out[viewer] = (listed[:, None] == own).sum(0) / unseen
    oracle = 20 / (PER_TOPIC - np.array([40, 12, 8]))
    assert (recall.mean(0) >= 0.8 * oracle)[1:].all()
    assert (alone.mean(0) < 0.1 * oracle)[1:].all()


def test_query_vectors_are_those_of_videos_of_the_history_most_important_first(topics):
    generator = generator_of(topics, n_queries=2, chosen="top")
    items = [*range(5), *range(300, 303), *range(700, 702)]
    query = viewer_of(items, np.zeros(10))
    found = generator.interests(query)
    assert (found.item_id // PER_TOPIC).tolist() == [0, 3, 7]
    assert found.size.tolist() == [5, 3, 2]
    assert found.importance.tolist() == [5, 3, 2]
    assert np.array_equal(generator.vectors(query), topics[found.item_id[:2]])
    longer = generator_of(3 * topics, n_queries=2, chosen="top")
    assert np.array_equal(longer.vectors(query), 3 * topics[found.item_id[:2]])  # vectors as given


def test_what_was_watched_a_moment_ago_is_an_interest_of_the_next_request(topics):
    generator = generator_of(topics, merge_cost=4.0)
    items = np.arange(20)
    before = generator.interests(viewer_of(items, np.full(20, 30.0)))
    after = generator.interests(viewer_of([*items, 900, 901], [30.0] * 20 + [0.0, 0.0]))
    assert (before.item_id // PER_TOPIC).tolist() == [0]
    assert (after.item_id // PER_TOPIC).tolist() == [0, 9]
    hurried = generator_of(topics, merge_cost=4.0, decay_per_d=0.2)  # 20 exp(-6) = .05 < 2
    found = hurried.interests(viewer_of([*items, 900, 901], [30.0] * 20 + [0.0, 0.0]))
    assert (found.item_id // PER_TOPIC).tolist() == [9, 0]


def test_a_viewer_who_watched_nothing_known_has_no_query_vector(topics):
    generator = generator_of(topics)
    for query in (
        query_of(),
        query_of(items=[5000]),
        query_of(items=[3], flags=[Flag.IMPRESSION]),
        query_of(items=[3], flags=[Flag.LIKE | Flag.NOT_INTERESTED]),
    ):
        assert generator.vectors(query).shape == (0, SIZE)
    without = np.vstack([topics[:3], np.zeros((1, SIZE), np.float32)])
    assert generator_of(without).vectors(query_of(items=[3])).shape == (0, SIZE)


def test_draws_are_in_proportion_to_importance_and_the_same_for_the_same_page():
    config = InterestsConfig(n_queries=1)
    importance = np.array([6, 3, 1], np.float32)
    request = Request("r", "u", "home", 10, NOW_US)
    first = np.array([
        chosen_of(importance, replace(request, page=page), config)[0] for page in range(4000)
    ])  # fmt: skip
    share = np.bincount(first, minlength=3) / 4000
    # three standard errors of a share over 4,000 draws are at most .024
    assert share == pytest.approx([0.6, 0.3, 0.1], abs=0.024)
    assert np.bincount(first).argmax() == 0
    again = replace(request, request_id="another", time_us=5)
    three = config.model_copy(update={"n_queries": 3})
    once = chosen_of(importance, request, three)
    assert np.array_equal(once, chosen_of(importance, again, three))
    assert sorted(once.tolist()) == [0, 1, 2]  # without replacement
    top = InterestsConfig(n_queries=2, chosen="top")
    assert {tuple(chosen_of(importance, replace(request, page=p), top)) for p in range(9)} == {
        (0, 1)
    }


def test_later_videos_count_once_the_other_generator_has_put_them_into_its_table(topics):
    table = VectorTable(topics.copy())
    generator = InterestsGenerator(InterestsConfig(), table)
    query = query_of(items=[2000])
    assert len(generator.vectors(query)) == 0
    table.put(np.array([2000]), topics[5:6])
    assert np.array_equal(generator.vectors(query), topics[5:6])


def test_any_generator_of_a_release_may_be_the_one_in_whose_space_interests_lie():
    assert get_args(Base) == ("two_tower", *TRAINED)

"""Co-visitation neighbours against the dense formula, and the source that sums them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_world import Shelf, query_of, showings_of

from upnext.core.types import Flag
from upnext.retrieval import covisits
from upnext.retrieval.config import ItemToItemConfig
from upnext.retrieval.covisits import Neighbours, neighbours_of
from upnext.retrieval.item_to_item import ItemToItem

N = 12
logs = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, N - 2), st.integers(1, 60), st.sampled_from([1, 17])
    ),
    min_size=1,
    max_size=60,
)


def dense_cosine(showings, bonus):
    table = np.zeros((len(showings.user_ids), N))
    weight = 1 + bonus * ((showings.flags & Flag.RELEVANT) > 0)
    np.maximum.at(table, (showings.user, showings.item_id), weight)
    norm = np.maximum(np.linalg.norm(table, axis=0), 1e-12)
    cosine = table.T @ table / norm[:, None] / norm[None, :]
    np.fill_diagonal(cosine, 0)
    return cosine


@settings(deadline=None)
@given(logs, st.sampled_from([0.0, 0.7]), st.sampled_from([3, 50, 4_000_000]))
def test_neighbours_are_the_dense_cosines_whatever_the_block(rows, bonus, pairs_per_block):
    showings = showings_of(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(covisits, "PAIRS_PER_BLOCK", pairs_per_block)
        found = neighbours_of(showings, N, ItemToItemConfig(n_neighbours=N, relevant_bonus=bonus))
    rebuilt = np.zeros((N, N))
    for item in range(N):
        known = found.item_id[item] >= 0
        rebuilt[item, found.item_id[item][known]] = found.score[item][known]
        assert np.all(np.diff(found.score[item]) <= 0)
    assert np.allclose(rebuilt, dense_cosine(showings, bonus), atol=1e-6)


def test_only_the_best_neighbours_and_the_latest_showings_count():
    rows = [(0, item, 1 + item, 1) for item in range(5)] + [(1, 4, 1, 1), (1, 3, 2, 1)]
    found = neighbours_of(showings_of(rows), N, ItemToItemConfig(n_neighbours=1, max_per_user=3))
    assert found.item_id[4].tolist() == [3]
    assert found.item_id[1].tolist() == [-1]  # user 0's first showings are beyond the cap


def two_islands():
    """Videos 0-3 are watched together, 4-7 are watched together."""
    rows = [(user, item + 4 * (user % 2), 1 + item, 1) for user in range(8) for item in range(4)]
    return neighbours_of(showings_of(rows), N, ItemToItemConfig(n_neighbours=5))


def test_the_neighbours_of_what_was_watched_are_proposed(tmp_path):
    two_islands().save(tmp_path)
    source = ItemToItem(Shelf(N), Neighbours.load(tmp_path))
    assert set(source.fetch(query_of(items=[0, 1]), 9).item_id) == {2, 3}
    assert len(source.fetch(query_of(items=[11]), 9)) == 0
    assert len(source.fetch(query_of(items=[10**6]), 9)) == 0


def test_the_video_being_watched_leads_and_is_not_proposed_itself():
    source = ItemToItem(Shelf(N), two_islands())
    found = source.fetch(query_of(items=[0, 1], current_video_id="v5"), 9)
    assert set(found.item_id[:3]) == {4, 6, 7}
    assert set(found.item_id[3:]) == {2, 3}
    unknown = source.fetch(query_of(items=[0, 1], current_video_id="v99"), 9)
    assert set(unknown.item_id) == {2, 3}


def test_a_recent_seed_weighs_more_than_an_old_one():
    source = ItemToItem(Shelf(N), two_islands(), ItemToItemConfig(seed_half_life=1))
    found = source.fetch(query_of(items=[0, 4], seen=[0, 4]), 9)
    assert set(found.item_id[:3]) == {5, 6, 7}

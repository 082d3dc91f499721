"""Similar viewers against the dense cosines, in worlds where who is similar is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_world import DAY_US, Shelf, query_of, showings_of

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.retrieval.config import UserKnnConfig
from upnext.retrieval.user_knn import UserKnn
from upnext.retrieval.viewers import Viewers, viewers_of

N = 14
EVEN = UserKnnConfig(seed_half_life=1e9, half_life_d=1e9)
logs = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(0, N - 1), st.integers(1, 90), st.sampled_from([1, 17])
    ),
    min_size=1,
    max_size=50,
    unique_by=lambda row: (row[0], row[1]),
)


def fetched(rows, query, config=EVEN, k=N):
    source = UserKnn(Shelf(N), viewers_of(showings_of(rows), N, config), config)
    found = source.fetch(query, k)
    return dict(zip(found.item_id.tolist(), found.columns["source:user_knn"].tolist(), strict=True))


def dense(rows, history, config):
    """{video: score}: the mean of what each video was worth to the most similar viewers, weighed by the cosine of idf-weighted sets."""
    showings = showings_of(rows)
    table = np.zeros((len(showings.user_ids), N))
    table[showings.user, showings.item_id] = 1
    idf = np.log1p(len(table) / np.maximum(table.sum(0), 1))
    cosine = (table * idf) @ (idf * np.isin(np.arange(N), history))
    cosine /= np.linalg.norm(table * idf, axis=1)
    worth = np.zeros_like(table)
    relevant = (showings.flags & Flag.RELEVANT) != 0
    worth[showings.user, showings.item_id] = np.where(relevant, 1.0, config.shown_weight)
    cosine[np.argsort(-cosine, kind="stable")[config.n_neighbours :]] = 0
    total = cosine @ worth / max(cosine.sum(), 1e-30)
    return {i: total[i] for i in range(N) if total[i] > 1e-9 and i not in history}


@settings(deadline=None)
@given(logs, st.sets(st.integers(0, N - 1), min_size=1, max_size=6), st.sampled_from([0.0, 0.5]))
def test_the_scores_are_the_dense_means_weighed_by_cosine(rows, history, shown_weight):
    config = EVEN.model_copy(update={"shown_weight": shown_weight})
    found = fetched(rows, query_of(items=sorted(history)), config)
    assert found == pytest.approx(dense(rows, sorted(history), config), rel=1e-5)


def two_tastes():
    """Viewers 0-3 watch 0-5, viewers 4-7 watch 6-11; everybody saw 12. Popularity alone can't tell them apart."""
    rows = []
    for viewer in range(8):
        first = 6 * (viewer // 4)
        rows += [(viewer, first + (viewer + j) % 6, 1 + j, 17) for j in range(5)]
        rows.append((viewer, 12, 9, 17))
    return rows


def test_viewers_of_one_taste_get_each_others_videos_where_popularity_gives_a_mixture():
    found = fetched(two_tastes(), query_of(items=[0, 1, 12]), EVEN, k=3)
    assert set(found) <= {2, 3, 4, 5}
    counts = np.bincount([item for _, item, _, _ in two_tastes()], minlength=N)
    popular = [i for i in np.argsort(-counts, kind="stable").tolist() if i not in (0, 1, 12)][:8]
    assert {i // 6 for i in popular} == {0, 1}


def test_a_video_that_everybody_saw_says_little():
    found = fetched(two_tastes(), query_of(items=[12, 6]))
    own, others = (max(found.get(i, 0) for i in part) for part in (range(7, 12), range(6)))
    assert own > 2 * others > 0


def test_only_the_most_similar_viewers_count():
    one = EVEN.model_copy(update={"n_neighbours": 1})
    rows = [(0, 0, 1, 17), (0, 1, 2, 17), (0, 2, 3, 17), (1, 0, 1, 17), (1, 3, 2, 17)]
    assert set(fetched(rows, query_of(items=[0, 1]), one)) == {2}
    assert set(fetched(rows, query_of(items=[0, 1]))) == {2, 3}


def test_the_latest_videos_of_viewer_and_neighbours_weigh_more():
    halving = UserKnnConfig(seed_half_life=1, half_life_d=1)
    rows = [(0, 0, DAY_US, 17), (0, 2, DAY_US, 17), (1, 1, DAY_US, 17), (1, 3, DAY_US, 17)]
    assert list(fetched(rows, query_of(items=[0, 1]), halving)) == [3, 2]
    assert list(fetched(rows, query_of(items=[1, 0]), halving)) == [2, 3]
    aged = [(0, 0, DAY_US, 17), (0, 2, DAY_US, 17), (0, 3, 3 * DAY_US, 17)]
    found = fetched(aged, query_of(items=[0]), halving)
    assert found[3] == pytest.approx(4 * found[2])


def test_memory_is_bounded_by_viewers_rows_and_viewers_of_a_video():
    rows = [(viewer, item, 10 * viewer + item + 1, 17) for viewer in range(6) for item in range(8)]
    config = UserKnnConfig(max_viewers=4, n_rows=3, n_viewers=2)
    kept = viewers_of(showings_of(rows), N, config)
    assert kept.n_viewers == 4
    assert kept.rows["item_id"].tolist() == [7, 6, 5] * 4  # the latest of each
    assert np.diff(kept.item_start).tolist() == [0] * 5 + [2] * 3 + [0] * (N - 8)
    of_seven = kept.places[kept.item_start[7] : kept.item_start[8]]
    assert of_seven["viewer"].tolist() == [3, 2]  # came last


def test_nothing_at_or_after_the_samples_end_is_in_it():
    rows = [*two_tastes(), (0, 13, 500, 17)]
    config, query = EVEN, query_of(items=[0, 1])
    source = UserKnn(Shelf(N), viewers_of(showings_of(rows).before(500), N, config), config)
    assert 13 in fetched(rows, query)
    assert 13 not in source.fetch(query, N).item_id


def test_videos_that_came_after_the_sample_say_nothing_and_are_no_error():
    assert fetched(two_tastes(), query_of(items=[N + 5, 10**6])) == {}
    known = fetched(two_tastes(), query_of(items=[0, 10**6]))
    assert set(known) >= {1, 2}


def test_the_saved_sample_gives_the_same(tmp_path):
    made = viewers_of(showings_of(two_tastes()), N, EVEN)
    made.save(tmp_path)
    loaded = Viewers.load(tmp_path)
    for ours, theirs in zip(made, loaded, strict=True):
        assert ours.tolist() == theirs.tolist()
        assert ours.dtype == theirs.dtype


def test_a_sample_of_nobody_proposes_nothing():
    empty = viewers_of(showings_of(two_tastes()).before(1), N)
    assert len(UserKnn(Shelf(N), empty).fetch(query_of(items=[0]), 5)) == 0


def test_viewers_of_an_earlier_version_say_to_train_anew(tmp_path):
    viewers_of(showings_of([(0, 1, 1, 17)]), N).save(tmp_path)
    (tmp_path / "rows.npy").unlink()
    with pytest.raises(InvalidInput, match="earlier version of UpNext trained: train a new"):
        Viewers.load(tmp_path)

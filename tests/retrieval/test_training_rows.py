"""Which showings become examples, and that nothing at or after the label is read (METHODS B3, T5 and T6)."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from retrieval_world import material_of, showings_of

from upnext.core.clock import DAY_US
from upnext.core.randomness import rng_for
from upnext.core.types import Flag
from upnext.retrieval.training_rows import cap_of, labels_of, strictly_before
from upnext.retrieval.two_tower.batches import BatchReader
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.user_inputs import windows

SHOWN, RELEVANT = Flag.IMPRESSION, Flag.IMPRESSION | Flag.LIKE
logs = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 6), st.sampled_from([1, 17])),
    min_size=1,
    max_size=40,
)


@given(logs)
def test_no_row_at_or_after_the_label_is_in_its_range(rows):
    showings = showings_of(rows)
    labels = labels_of(showings, TwoTowerConfig(only_first=False))
    for row, start, end in zip(labels.row, labels.start, labels.end):
        assert np.all(showings.user[start:end] == showings.user[row])
        if showings.time_us[row]:
            assert np.all(showings.time_us[start:end] < showings.time_us[row])
        else:
            assert end == row  # untimed rows are before each other by their order


@given(logs, st.lists(st.integers(0, 7), max_size=6))
def test_what_an_example_reads_happened_before_it(rows, searched_at):
    """METHODS T5, on the batch itself: every pooled video was shown to that viewer strictly before, every token searched before."""
    searches = {0: (np.sort(np.array(searched_at, np.int64)), np.arange(len(searched_at)))}
    showings = showings_of(rows, searches)
    config = TwoTowerConfig(only_first=False, search_buckets=64, n_uniform=3)
    labels = labels_of(showings, config)
    reader = BatchReader(material_of(showings, np.zeros((10, 2), np.float32)), labels, config,
                         np.arange(10))  # fmt: skip
    batch = reader.batch(np.arange(len(labels)), rng_for("test"))
    for i, row in enumerate(labels.row):
        at, same = showings.time_us[row], showings.user == showings.user[row]
        before = same & (showings.time_us < at) if at else same & (np.arange(len(same)) < row)
        for place, is_there in batch.history.values():
            assert set(batch.items[place[i][is_there[i]]]) <= set(showings.item_id[before])
        place, is_there = batch.history["watched"]
        assert is_there[i].sum() == min(before.sum(), config.n_watched)
        _, is_there = batch.searched
        n_before = sum(t < at for t in searched_at) if showings.user[row] == 0 else 0
        assert is_there[i].sum() == n_before


@given(logs, st.integers(1, 4))
def test_no_user_has_more_examples_than_the_cap_and_all_users_weigh_the_same(rows, cap):
    showings = showings_of(rows)
    config = TwoTowerConfig(max_per_user=cap, min_examples=0, equal_users=True)
    labels = labels_of(showings, config)
    user = showings.user[labels.row]
    assert np.bincount(user).max(initial=0) <= cap
    totals = np.bincount(user, labels.weight)
    assert np.allclose(totals[totals > 0], totals.max(initial=0))


def test_showings_of_one_instant_are_not_before_each_other():
    showings = showings_of([(0, 1, 5, SHOWN), (0, 2, 7, SHOWN), (0, 3, 7, SHOWN), (1, 4, 7, SHOWN)])
    assert strictly_before(showings).tolist() == [0, 1, 1, 3]


def test_a_video_shown_before_is_no_example_again():
    showings = showings_of([(0, 1, 0, SHOWN), (0, 1, 5, SHOWN), (0, 2, 6, SHOWN)])
    labels = labels_of(showings, TwoTowerConfig(label_histories=True))
    assert showings.item_id[labels.row].tolist() == [1, 2]
    assert labels.is_history.tolist() == [True, False]


def test_relevant_examples_weigh_as_much_more_as_the_setting_says():
    showings = showings_of([(0, 1, 5, SHOWN), (0, 2, 6, RELEVANT)])
    labels = labels_of(showings, TwoTowerConfig(relevant_weight=3))
    assert labels.weight.tolist() == [0.5, 1.5]  # mean 1, three to one
    only = labels_of(showings, TwoTowerConfig(labels="relevant"))
    assert showings.item_id[only.row].tolist() == [2]


def test_example_age_is_counted_back_from_the_newest_showing():
    showings = showings_of([(0, 1, 0, SHOWN), (0, 2, DAY_US, SHOWN), (0, 3, 3 * DAY_US, SHOWN)])
    labels = labels_of(showings, TwoTowerConfig(label_histories=True))
    assert labels.age_d.tolist() == [3.0, 2.0, 0.0]  # untimed: a day before the oldest


def test_the_latest_examples_are_kept_by_the_cap():
    showings = showings_of([(0, item, 1 + item, SHOWN) for item in range(9)])
    labels = labels_of(showings, TwoTowerConfig(max_per_user=4, min_examples=0))
    assert showings.item_id[labels.row].tolist() == [5, 6, 7, 8]


def test_windows_take_the_newest_rows_and_a_groups_own_members():
    start, end = np.array([0, 2]), np.array([5, 3])
    place, is_there = windows(start, end, 3)
    assert place[0].tolist() == [4, 3, 2]
    assert is_there[1].tolist() == [True, False, False]
    members_before = np.array([0, 1, 1, 2, 2, 3])  # rows 0, 2 and 4 are members
    place, is_there = windows(start, end, 2, members_before)
    assert place[0].tolist() == [2, 1]
    assert place[1][is_there[1]].tolist() == [1]


def test_the_cap_of_a_user_rises_until_there_are_enough_examples() -> None:
    user = np.repeat([0, 1, 2], [10, 4, 1])

    def cap(least: int) -> int:
        return cap_of(user, TwoTowerConfig(max_per_user=2, min_examples=least))

    assert [cap(n) for n in (0, 5, 6, 7, 9, 10, 15, 99)] == [2, 2, 3, 3, 4, 5, 10, 10]
    assert cap_of(user[:0], TwoTowerConfig(max_per_user=2)) == 2

"""The compiled walks of the sources against plain Python, at their edges too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval_world import Shelf, query_of

from upnext.core.id_set import IdSet
from upnext.retrieval.covisits import Neighbours
from upnext.retrieval.item_to_item import ItemToItem
from upnext.retrieval.short_list import ShortList, first_unseen, walk
from upnext.retrieval.two_tower.user_tower import pooled_groups

some_ids = st.lists(st.integers(0, 30), max_size=40).map(lambda ids: np.array(ids, np.int64))


def short(ids):
    return ShortList(np.array(ids, np.int64), -np.arange(len(ids), dtype=np.float32))


@settings(deadline=None)
@given(some_ids, some_ids, st.integers(0, 12))
def test_a_walk_finds_the_first_that_are_not_left_out(ids, left_out, k):
    table = IdSet(np.sort(left_out)).table
    unseen = [i for i, item in enumerate(ids) if item not in left_out]
    assert first_unseen(ids, table, k).tolist() == unseen[:k]


def test_a_second_list_fills_up_what_the_first_one_lacks_and_repeats_nothing():
    lists = [short([4, 7, 1]), short([7, 9, 4, 2, 8, 5])]
    found = walk(lists, query_of(seen=[7, 2]), 4, None, "x")
    assert found.item_id.tolist() == [4, 1, 9, 8]
    assert found.columns["source:x"].tolist() == [0, -2, -2, -4]
    assert len(walk([], query_of(seen=[]), 4, None, "x")) == 0
    assert len(walk(lists, query_of(seen=[]), 0, None, "x")) == 0


def test_a_list_remembers_what_a_mask_lets_pass_while_nobody_can_change_the_mask():
    videos, mask = short([5, 0, 3, 9]), np.array([True, False, False, True, True])
    assert videos.within(mask).item_id.tolist() == [0, 3]  # 5 and 9 lie beyond its end
    mask[3] = False
    assert videos.within(mask).item_id.tolist() == [0]
    mask.setflags(write=False)
    assert videos.within(mask) is videos.within(mask)
    other = np.ones(6, bool)
    other.setflags(write=False)
    assert videos.within(other).score.tolist() == [0, -1, -2]
    assert videos.within(mask).item_id.tolist() == [0]
    assert videos.within(None) is videos


def test_a_forgotten_mask_is_not_mistaken_for_a_new_one_in_its_place():
    videos = short(range(50))
    for share in range(
        2, 60
    ):  # each mask dies before the next is made, most often at the same address
        mask = np.arange(50) % share == 0
        mask.setflags(write=False)
        assert (videos.within(mask).item_id % share == 0).all()
        del mask


@settings(deadline=None)
@given(
    st.lists(st.integers(-1, 9), min_size=20, max_size=20), st.lists(st.integers(0, 7), max_size=6)
)
def test_sums_over_neighbours_are_those_of_a_dictionary(listed, watched):
    ids = np.array(listed, np.int32).reshape(5, 4)  # videos 5 to 7 came later
    scores = np.linspace(1, 0.1, 20, dtype=np.float32).reshape(5, 4)
    source = ItemToItem(Shelf(10), Neighbours(ids, scores))
    found = source.fetch(query_of(items=watched, seen=[3], current_video_id="v2"), 20)
    seeds, weight = source._seeds(query_of(items=watched, current_video_id="v2"))
    total: dict = {}
    for seed, w in zip(seeds.tolist(), weight):
        for item, score in zip(ids[seed], scores[seed]) if seed < 5 else ():
            if item not in (-1, 2, 3):
                total[int(item)] = total.get(int(item), 0.0) + float(w * score)
    ranked = sorted(total, key=lambda item: (-total[item], item))
    assert found.item_id.tolist() == ranked
    assert found.columns["source:item_to_item"].tolist() == pytest.approx(
        [total[i] for i in ranked]
    )


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 4, 16, 20])), max_size=25),
    st.integers(1, 6),
    st.integers(0, 25),
)
def test_pooled_groups_are_the_means_of_the_latest_members_that_have_a_vector(rows, size, oldest):
    items = np.array([item for item, _ in rows], np.int64)
    flags = np.array([flag for _, flag in rows], np.uint16)
    table = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    has_later = np.array([True, False])  # of videos 6 and 7; 8 and 9 are unknown
    of_group, sizes = np.array([0, 20, 16], np.uint16), np.array([size, size, 2])
    means, counts = pooled_groups(
        items, flags, oldest, of_group, sizes, table[:6], table[6:], has_later
    )
    for g, (wanted, n_last) in enumerate(zip(of_group, sizes)):
        members = [
            i for i, f in list(zip(items, flags))[oldest:] if not wanted or f & wanted
        ][-n_last:]  # fmt: skip
        known = [i for i in members if i <= 6]
        mean = table[known].mean(0) if known else np.zeros(3)
        assert counts[g] == len(members)
        assert means[g].tolist() == pytest.approx(mean.tolist(), abs=1e-6)

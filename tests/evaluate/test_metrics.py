"""Ranking metrics against hand-made tables, a reference library, and what must hold for any list."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upnext.core.errors import InvalidInput
from upnext.evaluate.metrics import METRICS, Places, measure, rank_by_score
from upnext.evaluate.user_items import UserItems


def sets_of(rows: list[list[int]]) -> UserItems:
    user = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return UserItems.of_pairs(user, np.array([i for row in rows for i in row], np.int64), len(rows))


def test_a_hand_computed_table_comes_out() -> None:
    # viewer 0: relevant 3, 4, 9 (9 is not listed); list 7 3 8 4 -> places 2 and 4
    # viewer 1: relevant 1; list 1 -> place 1.   viewer 2: nothing relevant.   viewer 3: relevant 5, not listed.
    truth = sets_of([[3, 4, 9], [1], [], [5]])
    ranked = np.array([[7, 3, 8, 4], [1, -1, -1, -1], [7, 3, 8, 4], [7, 3, 8, 4]])
    got = measure(Places.of(ranked, truth), [f"{name}@{k}" for name in METRICS for k in (2, 5)])
    log3, log5 = 1 / math.log2(3), 1 / math.log2(5)
    expected = {
        "recall@2": [1 / 3, 1, math.nan, 0],
        "recall@5": [2 / 3, 1, math.nan, 0],
        "recall_min@2": [1 / 2, 1, math.nan, 0],
        "recall_min@5": [2 / 3, 1, math.nan, 0],
        "precision@2": [1 / 2, 1 / 2, math.nan, 0],
        "precision@5": [2 / 5, 1 / 5, math.nan, 0],
        "map@2": [(1 / 2) / 2, 1, math.nan, 0],
        "map@5": [(1 / 2 + 2 / 4) / 3, 1, math.nan, 0],
        "ndcg@2": [log3 / (1 + log3), 1, math.nan, 0],
        "ndcg@5": [(log3 + log5) / (1 + log3 + 1 / 2), 1, math.nan, 0],
        "hr@2": [1, 1, math.nan, 0],
        "hr@5": [1, 1, math.nan, 0],
        "mrr@2": [1 / 2, 1, math.nan, 0],
        "mrr@5": [1 / 2, 1, math.nan, 0],
    }
    assert got.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=1e-14, err_msg=name)


def random_case(rng: np.random.Generator, n_users: int, n_items: int, k: int) -> tuple:
    ranked = np.stack([rng.permutation(n_items)[:k] for _ in range(n_users)])
    lengths = rng.integers(0, k + 1, n_users)
    ranked[np.arange(k) >= lengths[:, None]] = -1
    truth = [rng.permutation(n_items)[: rng.integers(1, 9)].tolist() for _ in range(n_users)]
    return ranked, truth


def in_ir_measures(ranked: np.ndarray, truth: list[list[int]], cuts: tuple[int, ...]) -> dict:
    """{our name: float64[u]} of every metric of ours as ir-measures computes it."""
    import ir_measures
    from ir_measures import AP, RR, P, R, Success, nDCG

    qrels = [ir_measures.Qrel(str(u), str(i), 1) for u, row in enumerate(truth) for i in row]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), float(-j))
        for u, row in enumerate(ranked)
        for j, i in enumerate(row)
        if i >= 0
    ]
    theirs = {"precision": P, "recall": R, "ndcg": nDCG, "hr": Success, "mrr": RR, "map": AP}
    pairs = {f"{name}@{k}": metric @ k for k in cuts for name, metric in theirs.items()}
    names = {str(metric): name for name, metric in pairs.items()}
    # a viewer with an empty list is 0 there too
    values = {name: np.zeros(len(truth)) for name in pairs}
    for found in ir_measures.iter_calc(list(pairs.values()), qrels, run):
        values[names[str(found.measure)]][int(found.query_id)] = found.value
    n_relevant = np.array([len(row) for row in truth])
    for k in cuts:
        at_most = n_relevant / np.minimum(k, n_relevant)
        values[f"map@{k}"] *= at_most  # there: over |R| instead of min(k, |R|)
        values[f"recall_min@{k}"] = values[f"recall@{k}"] * at_most  # has no name there
    return values


CUTS = (1, 10, 30)  # the last one is beyond every list


@pytest.mark.parity
def test_ten_thousand_random_lists_measure_as_in_ir_measures() -> None:
    """Every metric that there is; lists of 0 to 20 of 30 videos, 1 to 8 of them relevant."""
    ranked, truth = random_case(np.random.default_rng(7), 10_000, 30, 20)
    theirs = in_ir_measures(ranked, truth, CUTS)
    got = measure(Places.of(ranked, sets_of(truth)), list(theirs))
    assert {name.partition("@")[0] for name in theirs} == set(METRICS)
    for name, values in theirs.items():
        np.testing.assert_allclose(got[name], values, atol=1e-12, err_msg=name)


@pytest.mark.parity
def test_tied_scores_measure_as_in_ir_measures_once_the_worst_order_is_written_out() -> None:
    """Scores of three values over 12 videos: nearly every place is tied. The reference gets the same lists without ties."""
    rng = np.random.default_rng(8)
    score = rng.integers(0, 3, (2_000, 12)).astype(np.float64)
    truth = [rng.permutation(12)[: rng.integers(1, 6)].tolist() for _ in range(2_000)]
    ranked = rank_by_score(score, sets_of(truth), 12)
    theirs = in_ir_measures(ranked, truth, (1, 5))
    got = measure(Places.of(ranked, sets_of(truth)), list(theirs))
    by_id = np.argsort(-score, axis=1, kind="stable")  # must fail: it is paid for low ids
    lucky = measure(Places.of(by_id, sets_of(truth)), list(theirs))
    for name, values in theirs.items():
        np.testing.assert_allclose(got[name], values, atol=1e-12, err_msg=name)
        assert lucky[name].mean() > values.mean()


def test_ties_are_ranked_so_that_no_other_order_of_equals_earns_less() -> None:
    rng = np.random.default_rng(9)
    names = [f"{name}@{k}" for name in METRICS for k in (1, 2, 4)]
    every = np.array(list(itertools.permutations(range(5))))
    for _ in range(40):
        score = rng.integers(0, 2, (1, 5)).astype(np.float64)
        relevant = rng.permutation(5)[: rng.integers(1, 4)].tolist()
        truth = sets_of([relevant])
        ours = measure(Places.of(rank_by_score(score, truth, 5), truth), names)
        orders = every[(np.diff(score[0][every], axis=1) <= 0).all(1)]
        all_of_them = measure(Places.of(orders, sets_of([relevant] * len(orders))), names)
        for name in names:
            assert ours[name][0] == all_of_them[name].min(), name


LISTS = st.lists(st.permutations(range(8)).map(lambda p: p[:6]), min_size=1, max_size=6)


@given(LISTS, st.data())
def test_every_metric_lies_in_0_to_1_and_a_perfect_list_earns_1(
    lists: list[list[int]], data: st.DataObject
) -> None:
    truth = [
        data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=5, unique=True)) for _ in lists
    ]
    names = [f"{name}@{k}" for name in METRICS for k in (1, 3, 6)]
    got = measure(Places.of(np.array(lists), sets_of(truth)), names)
    assert all(((v >= 0) & (v <= 1)).all() for v in got.values())
    perfect = np.array([row + [i for i in range(8) if i not in row] for row in truth])
    best = measure(Places.of(perfect, sets_of(truth)), names)
    for name in ("recall_min@3", "map@3", "ndcg@3", "ndcg@6", "hr@1", "mrr@1", "recall@6"):
        np.testing.assert_allclose(best[name], 1.0)
    for name in names:
        assert (best[name] >= got[name] - 1e-12).all()


@given(LISTS, st.randoms())
def test_the_order_of_viewers_changes_nothing_but_the_order_of_values(
    lists: list[list[int]], random: object
) -> None:
    truth = [[(u + 1) % 8, (u + 4) % 8] for u in range(len(lists))]
    order = np.random.default_rng(len(lists)).permutation(len(lists))
    names = [f"{name}@4" for name in METRICS]
    one = measure(Places.of(np.array(lists), sets_of(truth)), names)
    other = measure(Places.of(np.array(lists)[order], sets_of([truth[u] for u in order])), names)
    for name in names:
        np.testing.assert_array_equal(one[name][order], other[name])


def test_a_random_recommender_finds_k_of_n_and_permuted_truth_falls_to_that_level() -> None:
    rng = np.random.default_rng(3)
    n_users, n_items, k = 20_000, 50, 10
    ranked = rng.permuted(np.tile(np.arange(n_items), (n_users, 1)), axis=1)[:, :k]
    truth = sets_of(rng.integers(0, n_items, (n_users, 1)).tolist())
    got = measure(Places.of(ranked, truth), ["hr@10", "recall@10", "ndcg@10"])
    error = math.sqrt(0.2 * 0.8 / n_users)
    assert abs(got["hr@10"].mean() - k / n_items) < 3 * error
    assert abs(got["recall@10"].mean() - k / n_items) < 3 * error
    ndcg = (1 / np.log2(np.arange(2, k + 2))).sum() / n_items
    assert abs(got["ndcg@10"].mean() - ndcg) < 3 * got["ndcg@10"].std() / math.sqrt(n_users)
    oracle = np.full((n_users, k), -1)
    oracle[:, 0] = truth.item_id
    shuffled = sets_of(rng.permutation(truth.item_id)[:, None].tolist())
    assert measure(Places.of(oracle, truth), ["ndcg@10"])["ndcg@10"].mean() == 1.0
    leaked = measure(Places.of(oracle, shuffled), ["hr@10"])["hr@10"].mean()
    assert abs(leaked - 1 / n_items) < 3 * math.sqrt(0.02 / n_users)


def test_a_constant_score_earns_nothing_because_ties_put_relevant_videos_last() -> None:
    truth = sets_of([[0, 1], [2]])
    ranked = rank_by_score(np.zeros((2, 5)), truth, 5)
    assert ranked.tolist() == [[2, 3, 4, 0, 1], [0, 1, 3, 4, 2]]
    naive = np.argsort(
        -np.zeros((2, 5)), axis=1, kind="stable"
    )  # must fail: it is paid for low ids
    assert measure(Places.of(naive, truth), ["ndcg@2"])["ndcg@2"][0] == 1.0
    assert measure(Places.of(ranked, truth), ["ndcg@2"])["ndcg@2"].sum() == 0.0


def test_excluded_and_minus_infinite_videos_are_never_listed() -> None:
    score = np.array([[0.1, -np.inf, 0.9, np.nan, 0.5], [5.0, 4.0, 3.0, 2.0, 1.0]])
    ranked = rank_by_score(score, sets_of([[0], [1]]), 4, excluded=sets_of([[2], [0, 4]]))
    assert ranked.tolist() == [[4, 0, -1, -1], [1, 2, 3, -1]]


@given(st.integers(0, 99))
def test_a_monotone_transform_of_scores_changes_no_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, 6, (3, 12)).astype(np.float64)
    truth = sets_of([[1], [2, 3], [4]])
    np.testing.assert_array_equal(
        rank_by_score(score, truth, 7), rank_by_score(np.exp(score) * 3 - 100, truth, 7)
    )


def test_a_segment_is_judged_as_if_it_were_all_there_is() -> None:
    truth = sets_of([[3, 4], [1]])
    places = Places.of(np.array([[4, 0], [0, 1]]), truth)
    part = measure(places.where(np.array([True, False, False])), ["recall@2"])["recall@2"]
    np.testing.assert_array_equal(part, [0.0, math.nan])


def test_unknown_metrics_and_k_of_0_are_refused() -> None:
    places = Places.of(np.zeros((1, 1), np.int64), sets_of([[0]]))
    for name in ("accuracy@10", "recall", "recall@x", "recall@0"):
        with pytest.raises(InvalidInput):
            measure(places, [name])


def test_empty_truth_and_empty_lists_give_nan_and_zero() -> None:
    nobody = measure(Places.of(np.zeros((0, 5), np.int64), sets_of([])), ["ndcg@10", "map@10"])
    assert all(len(values) == 0 for values in nobody.values())
    nothing = measure(
        Places.of(np.zeros((1, 0), np.int64), sets_of([[4]])), [f"{m}@3" for m in METRICS]
    )
    assert all(values.tolist() == [0.0] for values in nothing.values())

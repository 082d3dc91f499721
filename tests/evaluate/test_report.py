"""The reports: same figures as the metrics, stable keys, baseline, segments, and refusals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.evaluate import binary, regression
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.report import (
    Cases,
    Catalogue,
    Head,
    Judging,
    RankerReport,
    Report,
    RetrievalReport,
    evaluate_ranker,
    evaluate_retrieval,
)
from upnext.evaluate.segments import decile_segments, viewer_segments
from upnext.evaluate.user_items import UserItems

N_USERS, N_ITEMS, K, D = 300, 80, 20, 6


def retrieval(**options: object) -> tuple[RetrievalReport, UserItems, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    truth = UserItems.of_pairs(
        np.repeat(np.arange(N_USERS), 2), rng.integers(0, N_ITEMS, 2 * N_USERS), N_USERS
    )
    random = rng.permuted(np.tile(np.arange(N_ITEMS), (N_USERS, 1)), axis=1)[:, :K]
    good = random.copy()
    good[:, 2] = truth.item_id[truth.indptr[:-1]]
    liked = UserItems.of_pairs(np.arange(N_USERS), rng.integers(0, N_ITEMS, N_USERS), N_USERS)
    catalogue = Catalogue(
        N_ITEMS,
        rng.normal(size=(N_ITEMS, D)).astype(np.float32),
        rng.integers(-1, 5, N_ITEMS),
        rng.integers(0, 50, N_ITEMS),
    )
    lists = {"good": good, "random": lambda rows: random[rows]}
    judging = Judging(baseline="random", n_resamples=200)
    segments = viewer_segments((np.arange(N_USERS) % 3 == 0)[truth.users()])
    cases = Cases(truth, liked=liked, segments=segments)
    report = evaluate_retrieval(lists, cases, catalogue, judging, **options)
    return report, truth, {"good": good, "random": random}


def test_figures_are_the_means_of_the_metrics_inside_their_intervals() -> None:
    report, truth, lists = retrieval()
    assert list(report.rows) == ["good", "random"]
    for name, ranked in lists.items():
        direct = measure(Places.of(ranked, truth), ["recall@10", "ndcg@10", "map@10"])
        for metric, values in direct.items():
            figure = report.rows[name].figures[metric]
            assert figure.mean == pytest.approx(values.mean())
            assert figure.low < figure.mean < figure.high
            assert figure.n_effective == N_USERS


def test_better_is_said_of_a_paired_interval_that_excludes_zero() -> None:
    report, _, _ = retrieval()
    versus = report.to_json()["rows"]["good"]["versus_baseline"]
    assert versus["ndcg@10"]["is_better"]
    assert not versus["precision@1"]["is_better"]  # the planted video stands third
    assert report.rows["random"].versus == {}


def test_every_row_is_compared_with_the_lists_given_in_both_headlines() -> None:
    truth, lists = retrieval()[1:]
    both = {"ranked": lists["good"], "popular_7d": lists["random"], "peer": lists["random"]}
    judging = Judging(against=("peer",), n_resamples=200)
    report = evaluate_retrieval(both, Cases(truth), Catalogue(N_ITEMS), judging)
    versus = report.against["peer"]["ranked"]
    assert set(versus) == {"recall@100", "ndcg@10"}
    own, peer = (
        measure(Places.of(ranked, truth), ["ndcg@10"])["ndcg@10"] for ranked in lists.values()
    )
    assert versus["ndcg@10"].mean == pytest.approx((own - peer).mean())
    document = report.to_json()["against"]["peer"]
    assert document["ranked"]["ndcg@10"]["is_better"]
    assert not document["popular_7d"]["ndcg@10"]["is_better"]
    assert [(row["list"], row["less"]) for row in report.against_rows()] == [("ranked", "peer")]
    assert report.against_rows()[0]["ndcg@10"].endswith("better")
    assert retrieval()[0].to_json()["against"] == {}
    with pytest.raises(InvalidInput, match="baseline"):
        evaluate_retrieval(both, Cases(truth), Catalogue(N_ITEMS), Judging(against=("none",)))


def test_segments_are_judged_apart() -> None:
    report, truth, lists = retrieval()
    is_new = (np.arange(N_USERS) % 3 != 0)[truth.users()]
    direct = measure(Places.of(lists["good"], truth).where(is_new), ["ndcg@10"])["ndcg@10"]
    figure = report.rows["good"].segments["viewer=new"]["ndcg@10"]
    assert figure.mean == pytest.approx(np.nanmean(direct))
    assert figure.n_effective == 200


def test_the_retrieval_json_is_plain_stable_and_without_nan() -> None:
    report, _, _ = retrieval(about={"split": "abc"})
    text = json.dumps(report.to_json(), allow_nan=False)
    assert json.dumps(retrieval(about={"split": "abc"})[0].to_json(), allow_nan=False) == text
    row = json.loads(text)["rows"]["good"]
    assert set(row) == {"figures", "versus_baseline", "segments"}
    assert set(row["figures"]) == {
        "recall@10", "recall@50", "recall@100", "recall@500", "recall_min@50", "ndcg@10", "map@10", "precision@1",
        "precision@5", "precision@10", "hr@10", "mrr@10", "diversity@10", "category_diversity@10",
        "popularity_lift@10", "arp@10", "novelty@10", "coverage@10", "gini@10", "miscalibration@10",
    }  # fmt: skip
    assert set(row["figures"]["ndcg@10"]) == {"mean", "low", "high", "n", "verdict"}


def test_a_catalogue_of_which_nothing_is_known_only_loses_the_figures_that_need_it() -> None:
    truth = UserItems.of_pairs(np.array([0]), np.array([1]), 1)
    report = evaluate_retrieval({"a": np.array([[1, 0]])}, Cases(truth), Catalogue(3))
    assert report.rows["a"].figures["recall@10"].mean == 1.0
    assert "diversity@10" not in report.rows["a"].figures
    assert report.to_json()["random_diversity"] is None


def test_lists_of_another_shape_unknown_ids_and_unknown_baselines_are_refused() -> None:
    truth = UserItems.of_pairs(np.array([0]), np.array([1]), 1)
    for lists, words in (
        ({"a": np.array([[1], [2]])}, "lists 'a'"),
        ({"a": np.array([[9]])}, "below 3"),
        ({"a": np.array([[0.5]])}, "int64"),
    ):
        with pytest.raises(InvalidInput, match=words):
            evaluate_retrieval(lists, Cases(truth), Catalogue(3))
    with pytest.raises(InvalidInput, match="baseline"):
        evaluate_retrieval({}, Cases(truth), Catalogue(3), Judging(baseline="popular_7d"))
    cases = Cases(truth, segments={"x": np.ones(5, np.bool_)})
    with pytest.raises(InvalidInput, match="segment"):
        evaluate_retrieval({}, cases, Catalogue(3))


def ranker() -> tuple[RankerReport, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    n = 600
    column = {
        "user": rng.integers(100, 150, n),
        "click": np.where(rng.random(n) < 0.1, math.nan, rng.random(n) < 0.4),
        "p": rng.random(n),
        "watch_s": rng.exponential(20, n),
        "seconds": rng.exponential(20, n),
        "duration_s": np.where(rng.random(n) < 0.1, math.nan, rng.integers(5, 60, n)),
    }
    heads = {
        "click": Head(column["click"], column["p"]),
        "watch_s": Head(column["watch_s"], column["seconds"], "seconds"),
    }
    segments = decile_segments("duration", column["duration_s"])
    report = evaluate_ranker(
        heads, column["user"], duration_s=column["duration_s"], segments=segments, n_resamples=50
    )
    return report, column


def test_head_figures_are_those_of_the_metrics_on_labelled_rows() -> None:
    report, column = ranker()
    known = ~np.isnan(column["click"])
    label, p = column["click"][known], column["p"][known]
    user = np.unique(column["user"][known], return_inverse=True)[1]
    got = {name: figure.mean for name, figure in report.heads["click"].figures.items()}
    assert got["n_rows"] == known.sum()
    assert got["auc"] == pytest.approx(binary.auc(label, p))
    assert got["gauc"] == pytest.approx(binary.gauc(label, p, user).value)
    assert got["log_loss"] == pytest.approx(binary.log_loss(label, p))
    assert got["ece"] == pytest.approx(binary.ece(label, p, 10))
    assert got["ece_20"] == pytest.approx(binary.ece(label, p, 20))
    assert got["pcoc"] == pytest.approx(binary.pcoc(label, p))
    assert got["mean_prediction"] == pytest.approx(p.mean())
    seconds = {name: figure.mean for name, figure in report.heads["watch_s"].figures.items()}
    watch_s, predicted = column["watch_s"], column["seconds"]
    assert seconds["rmse"] == pytest.approx(regression.rmse(watch_s, predicted))
    assert seconds["mae"] == pytest.approx(regression.mae(watch_s, predicted))
    assert seconds["xauc"] == pytest.approx(regression.xauc(watch_s, predicted))
    assert seconds["mean_ratio"] == pytest.approx(regression.mean_ratio(watch_s, predicted))
    assert {"gxauc", "xauc_within_duration"} <= seconds.keys()


def test_head_segments_add_up_to_the_rows() -> None:
    report, column = ranker()
    rows = sum(part["n_rows"].mean for part in report.heads["watch_s"].segments.values())
    assert rows == len(column["user"])
    unknown = report.heads["watch_s"].segments["duration=unknown"]
    mask = np.isnan(column["duration_s"])
    assert unknown["rmse"].mean == pytest.approx(
        regression.rmse(column["watch_s"][mask], column["seconds"][mask])
    )


def test_a_head_without_a_single_label_is_not_identifiable_and_breaks_nothing() -> None:
    heads = {
        "like": Head(np.full(4, math.nan), np.full(4, 0.5)),
        "watch_s": Head(np.full(4, math.nan), np.ones(4), "seconds"),
    }
    report = evaluate_ranker(heads, np.arange(4), segments=viewer_segments(np.zeros(4)))
    text = json.dumps(report.to_json(), allow_nan=False)
    assert json.loads(text)["heads"]["like"]["figures"]["auc"]["verdict"] == "not identifiable"


def test_a_broken_head_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="head 'click'"):
        evaluate_ranker({"click": Head(np.ones(3), np.array([0.1, math.nan, 0.2]))}, np.arange(3))
    with pytest.raises(InvalidInput, match="head 'click'"):
        evaluate_ranker({"click": Head(np.ones(2), np.ones(3))}, np.arange(3))
    with pytest.raises(InvalidInput, match="segment"):
        evaluate_ranker(
            {"click": Head(np.ones(3), np.ones(3))},
            np.arange(3),
            segments={"x": np.ones(2, np.bool_)},
        )


def test_the_whole_report_is_one_json_and_a_table_per_part() -> None:
    part, _, _ = retrieval()
    report = Report({"seen_excluded": part}, ranker()[0], {"release": "r1"})
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert set(document) == {"version", "about", "retrieval", "ranker", "audit"}
    tables = report.to_rows()
    looks = "what the lists look like, seen_excluded"
    assert set(tables) == {"retrieval, seen_excluded", looks, "ranker"}
    assert {"arp@10", "miscalibration@10", "novelty@10"} <= set(tables[looks][0])
    assert tables["retrieval, seen_excluded"][0]["ndcg@10 vs random"].endswith("better")
    assert tables["retrieval, seen_excluded"][1]["ndcg@10 vs random"] == ""
    assert tables["retrieval, seen_excluded"][0]["recall@100 vs random"]
    apart = report.to_rows(with_segments=True)["segments, seen_excluded"]
    assert [row["segment"] for row in apart] == ["viewer=new", "viewer=known"]
    assert {"pairs", "viewers", "random ndcg@10"} <= set(apart[0])
    assert [row["list"] for row in tables["retrieval, seen_excluded"]] == ["good", "random"]
    cell = tables["retrieval, seen_excluded"][0]["ndcg@10"]
    assert cell.startswith("0.")
    assert "[" in cell
    by_head = {row["head"]: row for row in tables["ranker"]}
    assert by_head["click"]["rmse"] == ""
    assert by_head["click"]["n_rows"].isdecimal()
    assert Report({}).to_json()["ranker"] is None


def test_every_key_of_the_report_is_in_the_docs() -> None:
    from pathlib import Path

    docs = (Path(__file__).resolve().parents[2] / "docs" / "evaluate.md").read_text("utf-8")
    part, _, _ = retrieval()
    keys = (
        set(part.to_json())
        | set(part.rows["good"].figures)
        | {"versus_baseline", "is_better", "is_worse"}
    )
    heads = ranker()[0]
    keys |= set(heads.to_json()) | {name for head in heads.heads.values() for name in head.figures}
    keys |= {"mean", "low", "high", "n", "verdict", "version", "retrieval", "ranker", "audit"}
    assert [key for key in sorted(keys) if f"`{key}`" not in docs] == []


def test_several_cases_of_a_viewer_count_as_one_and_are_resampled_together() -> None:
    truth = UserItems.of_pairs(np.arange(4), np.array([0, 1, 2, 3]), 4)
    lists = {"a": np.array([[0], [5], [2], [3]])}  # viewer 0 has three cases, two of them found
    one = evaluate_retrieval(lists, Cases(truth, viewer=np.array([0, 0, 0, 1])), Catalogue(6))
    assert (one.n_users, one.n_lists, one.n_pairs) == (2, 4, 4)
    figure = one.rows["a"].figures["recall@10"]
    assert figure.mean == pytest.approx((2 / 3 + 1) / 2)
    assert figure.n_effective == 2
    assert figure.low == pytest.approx(2 / 3)  # both draws are viewer 0; cases alone would reach 0
    each = evaluate_retrieval(lists, Cases(truth), Catalogue(6))
    assert each.rows["a"].figures["recall@10"].low < 2 / 3


def test_less_miscalibration_is_better() -> None:
    from upnext.core.types import Estimate
    from upnext.evaluate.figures import difference_json

    down = Estimate(-0.2, -0.3, -0.1, 10)
    assert difference_json(down)["is_worse"]
    assert difference_json(down, higher_is_better=False)["is_better"]
    report, _, _ = retrieval()
    assert "miscalibration@10" in report.to_json()["rows"]["good"]["versus_baseline"]

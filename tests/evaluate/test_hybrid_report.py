"""The comparison of the plain hybrids with the merge: known differences, groups, and rows that can't be made."""

from __future__ import annotations

import json

import numpy as np
import pytest

from upnext.evaluate.hybrid_report import HybridReport, hybrid_report
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.user_items import UserItems

N, K = 60, 12  # viewers, places
COLLABORATIVE, CONTENT = "collaborative only", "content only"


def compared(**changed: object) -> HybridReport:
    """Every viewer is to find video 1 and video 2, which is new: collaborative lists hold the first, content's the second, merged ones both."""
    user = np.repeat(np.arange(N), 2)
    truth = UserItems.of_pairs(user, np.tile([1, 2], N), N)
    other = np.tile(np.arange(10, 10 + K), (N, 1))
    lists = {name: other.copy() for name in (COLLABORATIVE, CONTENT, "merged")}
    lists[COLLABORATIVE][:, 0] = 1
    lists[CONTENT][: N // 2, 0] = 2
    lists["merged"][:, :2] = [1, 2]
    segments = {"video=new": truth.item_id == 2, "taste=niche": truth.users() < 20}
    given = {"lists": lists, "segments": segments, "by_viewer": lambda values: values} | changed
    return hybrid_report(
        given["lists"], ("merged", COLLABORATIVE), truth, given["segments"], given["by_viewer"],
        ({COLLABORATIVE: "item_to_item"}, {}),
    )  # fmt: skip


def test_each_row_stands_on_all_pairs_on_new_videos_and_on_niche_viewers() -> None:
    groups = compared().groups
    recall = {
        group: {row: figures["recall@100"].mean for row, figures in found.rows.items()}
        for group, found in groups.items()
    }
    assert recall == {
        "overall": {COLLABORATIVE: 0.5, CONTENT: 0.25, "merged": 1.0},
        "new videos": {COLLABORATIVE: 0.0, CONTENT: 0.5, "merged": 1.0},
        "niche viewers": {COLLABORATIVE: 0.5, CONTENT: 0.5, "merged": 1.0},
    }
    assert [group.n_pairs for group in groups.values()] == [2 * N, N, 40]
    niche = groups["niche viewers"].rows["merged"]["ndcg@10"]
    assert niche.n_effective == 20


def test_differences_are_paired_and_say_what_is_better() -> None:
    report = compared()
    less = report.groups["new videos"].less
    assert set(less) == {"merged", COLLABORATIVE}
    certain = less["merged"][COLLABORATIVE]["recall@100"]
    assert (certain.mean, certain.low, certain.high) == (-1.0, -1.0, -1.0)
    content = less[COLLABORATIVE][CONTENT]["recall@100"]
    # half of 60 viewers: a standard error of .065
    assert content.mean == 0.5
    assert content.low == pytest.approx(0.5 - 1.96 * 0.065, abs=0.03)
    said = json.loads(json.dumps(report.to_json(), allow_nan=False))["groups"]["new videos"]["less"]
    assert said["merged"][CONTENT]["recall@100"]["is_worse"]
    assert said[COLLABORATIVE][CONTENT]["recall@100"]["is_better"]
    row = next(row for row in report.to_rows() if (row["on"], row["list"]) == ("overall", CONTENT))
    assert row["recall@100 less merged"].startswith("-0.7500 [")
    assert row["recall@100 less merged"].endswith("worse")


def test_several_cases_of_a_viewer_count_as_one() -> None:
    viewer = np.repeat(np.arange(N // 3), 3)

    def by_viewer(values: np.ndarray) -> np.ndarray:
        return np.bincount(viewer, values) / 3

    found = compared(by_viewer=by_viewer).groups["overall"].rows[CONTENT]["recall@100"]
    assert found.n_effective == N // 3
    assert found.mean == 0.25


def test_a_group_without_pairs_and_a_row_that_cannot_be_made_are_said() -> None:
    empty = compared(segments={})
    figure = empty.groups["new videos"].rows["merged"]["ndcg@10"]
    assert (empty.groups["new videos"].n_pairs, figure.verdict) == (0, "not identifiable")
    [row] = [row for row in empty.to_rows() if (row["on"], row["list"]) == ("new videos", "merged")]
    assert row == {
        "on": "new videos", "list": "merged", "viewers": "0", "recall@100": "-", "ndcg@10": "-",
    }  # fmt: skip
    json.dumps(empty.to_json(), allow_nan=False)
    report = HybridReport({}, {}, {CONTENT: "no video's content differs from another's"})
    assert report.to_rows() == [
        {"on": "-", "list": CONTENT, "viewers": "not made: no video's content differs from another's"}
    ]  # fmt: skip
    assert report.title() == "hybrids"
    assert "item_to_item" in compared().title()


def test_figures_are_those_of_the_metrics() -> None:
    truth = UserItems.of_pairs(np.arange(N), np.arange(N) % 7, N)
    ranked = np.random.default_rng(1).permuted(np.tile(np.arange(K), (N, 1)), axis=1)
    report = hybrid_report({"merged": ranked}, ("merged",), truth, {}, lambda v: v, ({}, {}))
    direct = measure(Places.of(ranked, truth), ["ndcg@10"])["ndcg@10"].mean()
    assert report.groups["overall"].rows["merged"]["ndcg@10"].mean == pytest.approx(direct)

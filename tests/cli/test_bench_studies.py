"""`upnext bench rewards` and `upnext bench corrections`: what their last lines claim is what the intervals hold."""

from __future__ import annotations

import json

from command_line import upnext

from upnext.cli.bench_rewards import verdict
from upnext.simulate.reward_study import Kept


def kept(reward: str, return_d1: float) -> Kept:
    return Kept(reward, return_d1, 1.0, 1.0, 0.0, 1.0, 1.0, 0.1)


def lines(immediate: float, later: float, last: float) -> list[Kept]:
    rows = (("uniform chance", 0.44), ("immediate", immediate), ("return", later))
    return [kept(*row) for row in rows] + [kept("incremental", last)]


def test_the_rewards_verdict_is_seed_by_seed_and_claims_no_more_than_its_intervals() -> None:
    """Gains .05, .06, .07: .06 +- 4.303 x .01 / sqrt(3) = .0248. Seeds move both rewards together by ten times as much."""
    found = [lines(0.30, 0.35, 0.36), lines(0.40, 0.46, 0.39), lines(0.50, 0.57, 0.51)]
    later, last, whole = verdict(found)
    assert later == (
        "return: back next day +0.0600 [+0.0352, +0.0848] over immediate: better than immediate"
    )
    assert last.endswith("not told apart from immediate")
    assert whole.endswith("than the immediate one: not shown for incremental")
    assert verdict([lines(0.3, 0.35, 0.35 + i / 1e3) for i in range(3)])[-1].endswith(": holds")
    worse = verdict([lines(0.3, 0.2 + i / 1e3, 0.4) for i in range(3)])
    assert worse[0].endswith("worse than immediate")
    alone = verdict([lines(0.3, 0.35, 0.35)])
    assert "one seed alone says nothing of noise" in alone[0]
    assert alone[-1].endswith("not shown for return, incremental")


def test_the_corrections_bench_prints_every_kind_of_propensity_beside_none() -> None:
    small = ("bench", "corrections", "--viewers", 60, "--videos", 20, "--seeds", 2)
    ran = upnext(*small, "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    kinds = [[line["kind"] for line in seed["lines"]] for seed in said["seeds"]]
    assert kinds == [["none", "counts", "learned", "true"]] * 2
    assert [line.split(":")[0] for line in said["verdict"]] == ["counts", "learned", "true"]
    for seed in said["seeds"]:
        values = [line["value"] for line in seed["lines"]]
        assert all(0 < value <= seed["best_value"] for value in values)
    assert upnext("bench", "corrections", "--seeds", 0).code == 2

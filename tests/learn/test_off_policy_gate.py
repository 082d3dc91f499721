"""The gate's off-policy word: a veto on what is known to be worse, silent on what the log does not know."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from upnext.evaluate.off_policy.logged_pages import REWARDS, Pages
from upnext.evaluate.off_policy.release_report import ReleaseReport
from upnext.evaluate.off_policy.release_value import values_of
from upnext.learn.off_policy_gate import OffPolicyWord, told, word_on

VALUE = REWARDS.index("value")


def pages_of(n: int, p_good: float, n_viewers: int | None = None) -> tuple[Pages, np.ndarray]:
    """Two slots, each a good or a bad video by the toss of a coin; the target would show the good one with probability p_good."""
    rng = np.random.default_rng(n)
    is_good = rng.random((n, 2)) < 0.5
    empty = np.zeros((n, 2, len(REWARDS)))
    reward = empty.copy()
    reward[..., VALUE] = is_good * (rng.random((n, 2)) < 0.8)
    pages = Pages(
        request_id=tuple(f"r{i}" for i in range(n)),
        user_id=tuple(f"u{i % (n_viewers or n)}" for i in range(n)),
        surface=("home",) * n,
        time_us=np.arange(n),
        n_slots=np.full(n, 2),
        item_id=is_good.astype(np.int64),
        logged=np.full((n, 2), 0.5),
        target=np.where(is_good, p_good, 1 - p_good),
        predicted=empty,
        expected=empty,
        drawn=empty,
        outside=np.full((n, 2), np.nan),
    )
    return pages, reward


def word(
    n: int, p_good: float, *, margin: float = 0.01, n_viewers: int | None = None
) -> OffPolicyWord:
    pages, reward = pages_of(n, p_good, n_viewers)
    report = ReleaseReport(values_of(pages, reward), n, 1.0, {"r1": n}, {})
    return word_on(report, "r1", margin)


def test_a_release_whose_whole_interval_is_worse_is_refused_with_its_figures() -> None:
    said = word(1000, 0.3)
    [reason] = said.reasons
    assert reason.startswith("off-policy value on home, first 2 of 2 slots: -")
    figures = said.figures["surfaces"]["home"]
    assert figures["verdict"] == "ok"
    # 2 slots x 0.8 x (0.3 - 0.5) = -0.32
    assert figures["difference"]["low"] < -0.32 < figures["difference"]["high"] < 0
    assert figures["value"]["mean"] - figures["logged"]["mean"] == pytest.approx(
        figures["difference"]["mean"]
    )


def test_a_release_that_may_be_worse_or_is_better_or_within_the_margin_is_not() -> None:
    assert word(1000, 0.5).reasons == ()
    pages, reward = pages_of(1000, 0.5)
    p_good = np.where(np.arange(1000) % 2, 0.1, 0.9)[:, None]  # another release, as good
    other = dataclasses.replace(pages, target=np.where(pages.item_id == 1, p_good, 1 - p_good))
    report = ReleaseReport(values_of(other, reward), 1000, 1.0, {"r1": 1000}, {})
    home = word_on(report, "r1", 0.01).figures["surfaces"]["home"]
    assert home["difference"]["low"] < -0.01 * home["logged"]["mean"]  # NDCG@10's rule refuses
    assert word_on(report, "r1", 0.01).reasons == ()
    assert word(1000, 0.7).reasons == ()
    assert word(1000, 0.3, margin=0.6).reasons == ()


def test_what_the_log_does_not_know_is_said_and_decides_nothing() -> None:
    few = word(150, 0.3)
    assert few.reasons == ()
    assert few.figures["surfaces"]["home"]["verdict"] == "not identifiable"
    assert "only 150 pages" in few.figures["surfaces"]["home"]["reason"]
    assert "only 20 viewers" in word(1000, 0.3, n_viewers=20).figures["surfaces"]["home"]["reason"]
    pages, reward = pages_of(1000, 0.5)
    lost = dataclasses.replace(pages, target=np.where(pages.item_id == 1, 0.5, 0.0))
    report = ReleaseReport(values_of(lost, reward), 1000, 1.0, {"r1": 1000}, {})
    said = word_on(report, "r1", 0.01)
    assert said.reasons == ()
    assert said.figures["surfaces"]["home"]["depth"] == 0
    assert "E[w] is 0.4" in said.figures["surfaces"]["home"]["reason"]
    assert told(said.figures) == "home: not identifiable"


def test_the_table_of_releases_tells_it_in_a_few_words() -> None:
    said = told(word(1000, 0.3).figures)
    assert said.startswith("home: -")
    assert said.endswith("(2 of 2 slots)")
    assert told({"surfaces": {}}) == "no pages"

"""The creators' side of a two-sided report, from a log made by hand: every figure known; and what a small corpus may be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from upnext.core.errors import InvalidInput
from upnext.core.randomness import rng_for
from upnext.evaluate.co_diversion import co_divert
from upnext.evaluate.experiments.corpora import Uploaded, check_corpora, corpus_sizes
from upnext.evaluate.experiments.creators import CreatorFigure, creators_report
from upnext.evaluate.experiments.definition import Arm, Experiment

from .slot_logs import EventMaker, at, slate, stored

UNTIL_US = at(10)
SPLIT = co_divert("s", {"control": 40, "boosted": 40}, layer="default")


def experiment() -> Experiment:
    arms = {name: Arm(share=40, buckets=b"") for name in SPLIT.arms}
    one = Experiment(
        name="exp", kind="two-sided", layer="default", salt="s", surfaces=["home"], arms=arms,
        started_us=at(0, 0),
    )  # fmt: skip
    return one.with_allocation(SPLIT.viewers).with_allocation(SPLIT.creators)


def of_row(row: int, n: int, prefix: str) -> list[str]:
    """The first n ids of this prefix whose arm is the row."""
    ids = [f"{prefix}{i}" for i in range(400)]
    side = SPLIT.creators if prefix == "c" else SPLIT.viewers
    return [one for one, arm in zip(ids, side.rows(ids).tolist(), strict=True) if arm == row][:n]


def uploaded(creators: list[str], codes: list[int], days: list[float | None]) -> Uploaded:
    return Uploaded(
        creators, np.array(codes), np.array([0 if day is None else at(0, 24 * day) for day in days]),
        np.ones(len(codes), np.bool_),
    )  # fmt: skip


def figures_of(figures: tuple[CreatorFigure, ...]) -> dict[str, CreatorFigure]:
    return {one.metric: one for one in figures}


def test_uploads_activity_exposure_and_likes_per_creator_by_hand(tmp_path: Path) -> None:
    quiet, lone = of_row(0, 2, "c")
    busy, fresh = of_row(1, 2, "c")
    (outside,) = of_row(-1, 1, "c")
    control, boosted, nobody = (of_row(row, 1, "u")[0] for row in (0, 1, -1))
    # items:     0 quiet, 1 lone, 2 busy, 3 busy since, 4 busy since, 5 fresh since (by its event), 6 outside, 7 no creator, 8 after the end
    found = uploaded(
        [quiet, lone, busy, fresh, outside], [0, 1, 2, 2, 2, 3, 4, -1, 0],
        [-30, -3, None, 1, 9, None, -30, -30, 11],
    )  # fmt: skip
    make = EventMaker()
    slates = [
        slate("before", control, at(-1), [0, 2]),
        slate("one", control, at(1), [0], arms={"exp": "control"}),
        slate("two", boosted, at(1), [2, 3, 5], arms={"exp": "boosted"}),
        slate("three", nobody, at(1), [6, 7]),
        slate("stray", control, at(1, 13), [2]),  # a leak, and counted as one
        slate("late", boosted, UNTIL_US + 1, [2, 3]),
    ]
    events = [
        make("upload", "someone", at(2), 5),
        make("upload", "someone", at(2), 0),  # the catalogue knows better: -30 days
        make("like", boosted, at(1), 3, request_id="two"),
        make("like", boosted, at(1), 5, request_id="two"),
        make("like", control, at(-1), 2, request_id="before"),
        make("watch", boosted, at(1), 2, request_id="two", watch_s=40.0, view_id="a"),
    ]
    said = creators_report(stored(tmp_path, slates, events), experiment(), found, UNTIL_US)
    assert said.n_creators == {"no arm": 1, "control": 2, "boosted": 2}
    assert said.n_joined == {"no arm": 0, "control": 0, "boosted": 1}
    assert (said.n_slots, said.n_across) == (7, 1)
    means = {name: (one.control_mean, one.mean) for name, one in figures_of(said.figures).items()}
    assert means == {
        "uploads": (0, 1.5),  # busy 2, fresh 1
        "active": (0.5, 1),  # quiet was shown, lone was not
        "exposure": (0.5, 2),  # busy in slots of "two" (2) and "stray" (1), fresh 1
        "likes": (0, 1),
        "watch_s": (0, 20),
    }
    assert (said.cost.n_control, said.cost.n_outside, said.cost.watch_s) == (1, 1, None)
    assert {one.arm: one.n_videos for one in said.corpora} == {
        "control": 3,
        "boosted": 4,
        "no arm": 2,
    }
    assert json.loads(json.dumps(said.to_json()))["n_across"] == 1


def test_what_was_known_before_takes_the_noise_out_and_the_truth_is_inside(tmp_path: Path) -> None:
    """Two in three uploads follow the creator's past; each creator of the arm uploads one more. Without the past the interval is twice as wide."""
    creators = [f"c{i}" for i in range(600)]
    rows, rng = SPLIT.creators.rows(creators), rng_for("uploads", 3)
    past = rng.integers(1, 15, len(creators))
    new = past + rng.integers(0, 3, len(creators)) + (rows == 1)
    codes = np.concatenate([np.repeat(np.arange(600), past), np.repeat(np.arange(600), new)])
    days = [-5.0] * int(past.sum()) + [5.0] * int(new.sum())
    found = uploaded(creators, codes.tolist(), [*days])
    said = creators_report(stored(tmp_path, [], []), experiment(), found, UNTIL_US)
    figure = figures_of(said.figures)["uploads"]
    assert figure.effect is not None
    effect = figure.effect.per_capita
    assert effect.low < 1 < effect.high
    assert effect.high - effect.low < 0.4
    assert figure.effect.total.mean == pytest.approx(600 * effect.mean)
    spread = 1.96 * np.sqrt(sum(new[rows == row].var() / (rows == row).sum() for row in (0, 1)))
    assert effect.high - effect.low < spread  # half of 2 * spread, the naive interval's width
    assert said.sample_ratio_p > 0.001


def test_a_corpus_of_a_few_videos_is_refused_and_a_video_without_a_creator_is_for_no_arm() -> None:
    creators = [f"c{i}" for i in range(60)]
    found = uploaded(creators, [*(np.arange(600) % 60).tolist(), -1], [-1.0] * 601)
    sizes = {one.arm: one for one in corpus_sizes(experiment(), found)}
    rows = SPLIT.creators.rows(creators)
    assert list(sizes) == ["control", "boosted", "no arm"]
    assert sizes["control"].n_videos == 10 * (rows == 0).sum()
    assert sizes["no arm"].n_videos == 10 * (rows == -1).sum() + 1
    assert sum(one.n_creators for one in sizes.values()) == 60
    check_corpora(experiment(), [one for one in sizes.values() if one.n_videos >= 100])
    hidden = Uploaded(creators, found.creator, found.uploaded_us, np.arange(601) % 60 < 5)
    with pytest.raises(InvalidInput, match="expected at least 100 videos for arm 'control', got"):
        check_corpora(experiment(), corpus_sizes(experiment(), hidden))


def test_an_arm_that_got_more_viewers_a_creator_by_chance_does_not_look_better(
    tmp_path: Path,
) -> None:
    """Nothing differs but the number of viewers: 60 in control, 120 in boosted, each with five slots of the own 20 creators."""
    creators = [*of_row(0, 20, "c"), *of_row(1, 20, "c")]
    viewers = [*of_row(0, 60, "u"), *of_row(1, 120, "u")]
    rng, make = rng_for("attention", 1), EventMaker()
    slates, events = [], []
    for row, user in zip(SPLIT.viewers.rows(viewers).tolist(), viewers, strict=True):
        items = (20 * row + rng.permutation(20)[:5]).tolist()
        slates.append(slate(f"r{user}", user, at(1), items, arms={"exp": SPLIT.arms[row]}))
        events += [make("like", user, at(1), item, request_id=f"r{user}") for item in items if rng.random() < 0.3]  # fmt: skip
    found = uploaded(creators, list(range(40)), [-30.0] * 40)
    said = creators_report(stored(tmp_path, slates, events), experiment(), found, UNTIL_US)
    assert said.attention == {"control": 3, "boosted": 6}
    figures = figures_of(said.figures)
    # 180 viewers with 5 slots over 40 creators, though counted plainly control has 15 and boosted 30
    assert (figures["exposure"].control_mean, figures["exposure"].mean) == pytest.approx(
        (22.5, 22.5)
    )
    for name in ("exposure", "likes"):
        effect = figures[name].effect
        assert effect is not None
        assert effect.per_capita.low < 0 < effect.per_capita.high
        assert effect.relative.low < 0 < effect.relative.high
        assert effect.total.high == pytest.approx(40 * effect.per_capita.high)
    plain = [[one.item_id for one in slates if one.arms["exp"] == arm] for arm in SPLIT.arms]
    assert [sum(map(len, one)) / 20 for one in plain] == [15, 30]

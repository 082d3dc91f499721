"""The report of an experiment from a log of slates and events made by hand: every figure known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.errors import InvalidInput
from upnext.core.event import Event
from upnext.evaluate.experiments.assignment import Layer, allocate
from upnext.evaluate.experiments.definition import Arm, Experiment
from upnext.evaluate.experiments.exposed import Counting, Exposed, exposed
from upnext.evaluate.experiments.report import (
    ExperimentReport,
    Figure,
    check_metrics,
    report_of,
)
from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord

from .slot_logs import EventMaker, at, slate, stored

UNTIL_US = at(10)


def experiment(**more: object) -> Experiment:
    given = {
        "name": "exp", "layer": "default", "salt": "s", "surfaces": ["home"], "started_us": at(0, 0),
        "arms": {"control": Arm(share=50, buckets=b""), "wide": Arm(share=50, buckets=b"")}, **more,
    }  # fmt: skip
    return Experiment(**given)  # type: ignore[arg-type]


def counted(log: SqliteEventLog, of: Experiment | None = None) -> Exposed:
    weights = {"relevant": 1.0, "like": 0.5, "skip": -1.0}
    return exposed(log, of or experiment(), Counting(weights, 1800.0, UNTIL_US))


def test_a_viewer_counts_from_the_first_page_logged_under_an_arm(tmp_path: Path) -> None:
    make = EventMaker()
    slates = [
        slate("before", "u", at(-1), [1, 2]),
        slate("one", "u", at(1), [1, 2, 3], arms={"exp": "wide"}),
        slate("two", "u", at(1, 14), [4, 5], arms={"exp": "wide"}),
        slate("shorts", "u", at(1, 14, 60), [6], surface="shorts"),
        slate("late", "u", UNTIL_US + 1, [7], arms={"exp": "wide"}),
        slate("other", "w", at(1), [1], arms={"another": "wide"}),
    ]
    events = [
        make("watch", "u", at(-1), 1, request_id="before", watch_s=30.0, view_id="a"),
        make("click", "u", at(1), 2, request_id="one"),
        make("watch", "u", at(1), 2, request_id="one", watch_s=95.0, view_id="b"),
        make("like", "u", at(2, 13), 4, request_id="two"),
        make("watch", "u", at(1, 14), 6, request_id="shorts", watch_s=10.0, view_id="c", surface="shorts"),
        make("watch", "u", UNTIL_US + 1, 7, request_id="late", watch_s=10.0, view_id="d"),
    ]  # fmt: skip
    seen = counted(stored(tmp_path, slates, events))
    (row,) = seen.viewers.to_dicts()
    assert row["user_id"] == "u"
    assert row["arm"] == 1
    assert row["exposed_us"] == at(1)
    # the completed watch is relevant (1), the like is relevant and a like (1 + .5); skip has no outcome
    assert row["value"] == 2.5
    assert row["watch_s"] == 105.0  # on any surface
    assert (row["slots"], row["slots_clicked"]) == (5, 1)  # of the experiment's surface
    assert (row["completed"], row["likes"]) == (1, 1)
    assert row["sessions"] == 2  # two hours lie between
    assert (row["before_watch_s"], row["before_slots"]) == (30.0, 2)
    assert (row["retained_d1"], row["retained_d7"]) == (1.0, 0.0)
    days = {day["day"]: day["watch_s"] for day in seen.by_day.to_dicts()}
    assert days == {0: 105.0}


def test_a_viewer_logged_under_two_arms_is_left_out_and_counted(tmp_path: Path) -> None:
    slates = [
        slate("a", "u", at(1), [1], arms={"exp": "wide"}),
        slate("b", "u", at(2), [2], arms={"exp": "control"}),
        slate("c", "w", at(2), [2], arms={"exp": "control"}),
    ]
    seen = counted(stored(tmp_path, slates, []))
    assert seen.n_crossed == 1
    assert seen.viewers.get_column("user_id").to_list() == ["w"]


def test_a_day_that_is_not_over_says_nothing_of_retention(tmp_path: Path) -> None:
    slates = [
        slate("a", "old", UNTIL_US - 2 * DAY_US, [1], arms={"exp": "wide"}),
        slate("b", "new", UNTIL_US - DAY_US, [1], arms={"exp": "wide"}),
    ]
    seen = counted(stored(tmp_path, slates, []))
    by_user = {row["user_id"]: row["retained_d1"] for row in seen.viewers.to_dicts()}
    assert by_user == {"new": None, "old": 0.0}


def made_up(
    folder: Path,
    *,
    lift: float,
    n: int = 600,
    shares: tuple[float, float] = (50, 50),
    seed: int = 0,
) -> tuple[SqliteEventLog, Experiment]:
    """Viewers with a page before the start and one after, who watch the longer for their arm and for who they are."""
    given = experiment(metrics=["watch_s"], guardrails={"dislikes": 0.5})
    allocation = allocate(Layer("default"), "s", dict(zip(given.arms, shares)))
    given = given.with_allocation(allocation)
    rng = np.random.default_rng(seed)
    make, slates, events = EventMaker(), list[SlateRecord](), list[Event]()
    for i in range(n):
        user = f"u{i}"
        arm = allocation.arm(user)
        taste = float(rng.lognormal(0.0, 0.5))
        for day in (-2, 1):
            arms = {"exp": arm} if day > 0 and arm is not None else {}
            request = f"{user}-{day}"
            time_us = at(day) + int(rng.integers(HOUR_US))
            slates.append(slate(request, user, time_us, [2 * i, 2 * i + 1], arms=arms))
            factor = 1 + lift * (arm == "wide") * (day > 0)
            watch_s = min(90.0, 15 * taste * factor * float(rng.lognormal(0, 0.1)))
            said = {"request_id": request, "watch_s": watch_s, "view_id": f"{request}v"}
            events.append(make("watch", user, time_us, 2 * i, **said))
    return stored(folder, slates, events, piece=2000), given


def figure_of(report: ExperimentReport, metric: str) -> Figure:
    return next(one for one in report.figures if one.metric == metric)


def test_a_lift_is_found_and_cuped_narrows_it_by_what_was_known_before(tmp_path: Path) -> None:
    log, given = made_up(tmp_path, lift=0.2)
    report = report_of(given, counted(log, given), UNTIL_US)
    figure = figure_of(report, "watch_s")
    assert sum(report.n_exposed.values()) == 600
    assert not report.sample_ratio_alarm
    assert figure.lift.low < 0.2 < figure.lift.high
    # log-normal with sigma .5 known before and .1 new each time: about 5 % of the variance is left
    assert figure.variance_left < 0.15
    width, narrowed = (one.high - one.low for one in (figure.difference, figure.adjusted))
    assert narrowed < 0.4 * width
    assert figure.adjusted.is_significant
    assert figure.p_holm == figure.adjusted.p < 0.001
    # ten and a half days so far: three times as many more are four times the viewers, half the least lift
    halved = report.detectable_after(figure, 3 * (UNTIL_US - given.started_us) / DAY_US)
    assert halved == pytest.approx(figure.detectable / 2)
    assert [day.day for day in report.by_day] == [0]  # nobody came on a later day
    json.dumps(report.to_json(), allow_nan=False)


def test_a_split_that_lost_viewers_is_an_alarm(tmp_path: Path) -> None:
    log, given = made_up(tmp_path, lift=0.0, shares=(60, 40))
    arms = {name: Arm(share=50, buckets=arm.buckets) for name, arm in given.arms.items()}
    told = experiment(arms=arms)
    report = report_of(told, counted(log, told), UNTIL_US)
    assert report.sample_ratio_alarm


def test_nobody_exposed_is_a_report_without_figures_to_believe(tmp_path: Path) -> None:
    log = stored(tmp_path, [slate("a", "u", at(1), [1])], [])
    report = report_of(experiment(), counted(log), UNTIL_US)
    assert report.n_exposed == {"control": 0, "wide": 0}
    assert figure_of(report, "value").adjusted.p == 1.0
    json.dumps(report.to_json(), allow_nan=False)


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="known: value, watch_s"):
        check_metrics(["watchtime"])

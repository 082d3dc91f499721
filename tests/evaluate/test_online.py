"""Online metrics: known answers on tiny logs, and a recount from the raw log that shares no code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from upnext.core.clock import DAY_US
from upnext.core.errors import InvalidInput
from upnext.core.event import Event
from upnext.core.types import Estimate
from upnext.evaluate.bootstrap import ratio
from upnext.evaluate.online import COUNTS, GroupMetrics, Span, online_metrics
from upnext.evaluate.slot_join import slot_outcomes
from upnext.evaluate.slot_log import LogPart, log_parts
from upnext.events.log import SqliteEventLog

from .naive_recount import recount, rows_of_log
from .slot_logs import EventMaker, at, slate, stored


def one_group(log: SqliteEventLog, span: Span | None = None) -> GroupMetrics:
    return online_metrics(log, [()], span, n_resamples=20).tables[()][0]


def simulated_log(folder: Path, seed: int) -> SqliteEventLog:
    """8 viewers, 12 videos, 9 days: pages of two releases, two experiments, and events in every disorder."""
    rng = np.random.default_rng(seed)
    make, slates, events = EventMaker(), [], []
    for r in range(150):
        user, items = f"u{rng.integers(8)}", rng.choice(12, 4, replace=False).tolist()
        time_us = at(int(rng.integers(9)), float(rng.uniform(0, 24)))
        surface = ("home", "shorts")[int(rng.integers(2))]
        if rng.random() < 0.8:
            fields: dict[str, Any] = {
                "surface": surface, "release_id": f"r{rng.integers(2)}",
                "arms": {"exp": f"a{rng.integers(2)}", "x": "on"} if rng.random() < 0.5 else {},
                "degraded": ["late:x"] if rng.random() < 0.2 else [],
                "is_repeat": (rng.random(4) < 0.2).tolist(),
            }  # fmt: skip
            slates.append(slate(f"q{r}", user, time_us, items, **fields))
        said = {"request_id": f"q{r}" if rng.random() < 0.6 else None, "surface": surface}
        for j, item in enumerate(items):
            events += _of_slot(make, rng, user, time_us + j * 7_000_000, item, said)
    events += [make("search", f"u{rng.integers(9)}", at(int(rng.integers(9)), 3)) for _ in range(9)]
    undone = [event for event in events if event.kind != "watch" and rng.random() < 0.15]
    events += [
        make("undo", event.user_id, event.time_us + int(rng.integers(3 * DAY_US)), event.item_id, undoes_event_id=event.event_id)
        for event in undone
    ]  # fmt: skip
    order = rng.permutation(len(events)).tolist()
    twice = [events[i] for i in order[:60]]
    return stored(folder, slates, [events[i] for i in order] + twice)


def _of_slot(
    make: EventMaker, rng: np.random.Generator, user: str, time_us: int, item: int, said: dict[str, Any]
) -> list[Event]:  # fmt: skip
    """What one slot came to: sometimes without an impression, by another's request, long after, or with no view."""
    made = [make("impression", user, time_us, item, **said)] if rng.random() < 0.8 else []
    late_us = int(rng.choice([0, 60_000_000, 26 * 3_600_000_000]))
    for kind in ("click", "like", "dislike", "share", "follow", "not_interested", "report"):
        if rng.random() < 0.15:
            fields = dict(said) if rng.random() < 0.7 else {"surface": "home"}
            if rng.random() < 0.05:
                fields["request_id"] = "q3"  # perhaps another viewer's
            made.append(make(kind, user, time_us + late_us + int(rng.integers(9)), item, **fields))
    if rng.random() < 0.4:
        view = f"w{rng.integers(400)}" if rng.random() < 0.8 else None
        for s in np.round(rng.uniform(1, 110, int(rng.integers(1, 4))), 1).tolist():
            fields = dict(said) if rng.random() < 0.5 else {}
            more: dict[str, Any] = {"watch_s": s, "view_id": view}
            if rng.random() < 0.2:
                more |= {"duration_s": None, "value": 1.0}
            when = time_us + late_us + int(rng.integers(1, 10**9))
            made.append(make("watch", user, when, item, **{**fields, **more}))
    return made


@pytest.mark.parametrize(
    "by", [(), ("day",), ("surface", "arm"), ("day", "surface", "release", "arm")]
)
def test_a_recount_from_the_raw_log_equals_the_report(tmp_path: Path, by: tuple[str, ...]) -> None:
    for seed in range(2):
        log = simulated_log(tmp_path / str(seed), seed)
        expected = recount(*rows_of_log(log), by)
        groups = online_metrics(log, [by], n_resamples=5).tables[by]
        assert {tuple(group.key.values()) for group in groups} == set(expected)
        for group in groups:
            told = expected[tuple(group.key.values())]
            for name in COUNTS:
                want = pytest.approx(told.get(name, 0), rel=1e-12)
                assert group.counts[name] == want, (seed, group.key, name)
        log.close()


def test_a_recount_of_a_span_equals_its_report(tmp_path: Path) -> None:
    log = simulated_log(tmp_path, 5)
    span = Span(at(2, 6), at(6, 7))
    expected = recount(*rows_of_log(log), ("release",), span.from_us, span.until_us)
    groups = online_metrics(log, [("release",)], span, n_resamples=5).tables[("release",)]
    assert {group.key["release"] for group in groups} == {"none", "r0", "r1"}
    for group in groups:
        told = expected[(group.key["release"],)]
        assert {n: group.counts[n] for n in told} == pytest.approx(dict(told), rel=1e-12)
    log.close()


def test_reading_the_log_in_parts_of_its_viewers_changes_no_count(tmp_path: Path) -> None:
    log = simulated_log(tmp_path, 7)
    by = ("day", "arm")
    whole = online_metrics(log, [by], n_resamples=5).tables[by]
    parts = online_metrics(log, [by], n_resamples=5, rows_at_once=200).tables[by]
    for a, b in zip(whole, parts, strict=True):
        assert a.key == b.key
        assert dict(a.counts) == pytest.approx(dict(b.counts), rel=1e-12)
    log.close()


def test_the_figures_of_a_tiny_log_are_those_counted_by_hand(tmp_path: Path) -> None:
    make, noon = EventMaker(), at(0)
    slates = [slate("q1", "ann", noon, [1, 2, 3, 4]), slate("q2", "bob", noon, [1, 2], degraded=["late:x"])]  # fmt: skip
    q1, q2 = {"request_id": "q1"}, {"request_id": "q2"}
    events = [
        *(make("impression", "ann", noon, item, **q1) for item in (1, 2, 3)),
        make("impression", "bob", noon, 1, **q2),
        make("click", "ann", noon + 1, 1, **q1),
        make("click", "ann", noon + 2, 1, **q1),  # the same slot again: one
        make("click", "bob", noon + 1, 2, **q2),  # a slot without an impression
        *(make("watch", "ann", noon + 9, 1, watch_s=s, view_id="w1", **q1) for s in (40.0, 95.0, 60.0)),
        make("watch", "ann", noon + 9, 1, watch_s=30.0, view_id="w2", **q1),
        make("like", "ann", noon + 9, 3, **q1),
        make("dislike", "bob", noon + 9, 1, **q2),
    ]  # fmt: skip
    log = stored(tmp_path, slates, events)
    group = one_group(log)
    log.close()
    counts, rates = group.counts, {name: rate.mean for name, rate in group.rates.items()}
    assert (counts["slots"], counts["impressions"], counts["viewers"]) == (6, 4, 2)
    assert rates["ctr_served"] == 2 / 6  # ann's 1 and bob's 2
    assert rates["ctr_seen"] == 1 / 4  # bob's was never seen
    assert counts["watch_s"] == 95 + 30  # naive sum of rows: 225
    assert (counts["completed"], counts["relevant"]) == (1, 2)  # 95 of 100 s; and the liked one
    assert rates["watch_s_per_viewer_day"] == 125 / 2
    assert (counts["likes"], counts["dislikes"], rates["like_rate"]) == (1, 1, 1 / 4)
    assert rates["degraded_share"] == 2 / 6
    assert group.rates["retention_d1"].verdict == "not identifiable"  # no later day in the log


def test_feedback_of_the_next_day_belongs_to_the_day_of_its_request(tmp_path: Path) -> None:
    make = EventMaker()
    slates = [slate("q1", "ann", at(0, 23.9), [1])]
    said = {"request_id": "q1"}
    events = [
        make("impression", "ann", at(0, 23.9), 1, **said),
        make("watch", "ann", at(1, 0.2), 1, watch_s=50.0, view_id="w", **said),
    ]
    log = stored(tmp_path, slates, events)
    [group] = online_metrics(log, [("day",)], n_resamples=5).tables[("day",)]
    assert (group.key["day"], group.counts["watch_s"]) == ("2024-10-07", 50.0)
    tokyo = online_metrics(log, [("day",)], Span(time_zone="Asia/Tokyo"), n_resamples=5)
    assert tokyo.tables[("day",)][0].key["day"] == "2024-10-08"
    log.close()


def test_an_undone_like_never_was_however_late_the_undo_and_whoever_else_undoes(
    tmp_path: Path,
) -> None:
    make = EventMaker()
    shown = [make("impression", "ann", at(0), item) for item in (1, 2)]
    likes = [make("like", "ann", at(0, 12, 5), item) for item in (1, 2)]
    undo = make("undo", "ann", at(3), 1, undoes_event_id=likes[0].event_id)
    others = make("undo", "bob", at(3), 2, undoes_event_id=likes[1].event_id)
    log = stored(tmp_path, [], [undo, *shown, *likes, others])
    assert one_group(log).counts["likes"] == 1
    log.close()


def test_a_row_that_stands_twice_counts_once(tmp_path: Path) -> None:
    """The log keeps an event_id once; frames from elsewhere may not."""
    log = simulated_log(tmp_path, 3)
    [part] = log_parts(log)
    twice = LogPart(part.slots, pl.concat([part.events, part.events.sample(fraction=0.3, seed=1)]))
    assert slot_outcomes(twice).equals(slot_outcomes(part))
    log.close()


def test_feedback_without_a_request_joins_the_latest_impression_of_a_day_at_most(
    tmp_path: Path,
) -> None:
    make = EventMaker()
    slates = [
        slate("q1", "ann", at(0, 10), [1], release_id="old"),
        slate("q2", "ann", at(0, 11), [1], release_id="new"),
    ]
    events = [
        make("impression", "ann", at(0, 10), 1, request_id="q1"),
        make("impression", "ann", at(0, 11), 1, request_id="q2"),
        make("like", "ann", at(1, 10.9), 1),  # 23.9 h after q2's
        make("share", "ann", at(1, 11.1), 1),  # 24.1 h after q2's: a showing of its own
        make("dislike", "bob", at(0, 12), 1, request_id="q1"),  # another viewer's request
    ]
    log = stored(tmp_path, slates, events)
    groups = online_metrics(log, [("release",)], n_resamples=5).tables[("release",)]
    told = {g.key["release"]: (g.counts["likes"], g.counts["shares"], g.counts["dislikes"]) for g in groups}  # fmt: skip
    assert told == {"none": (0, 1, 1), "old": (0, 0, 0), "new": (1, 0, 0)}
    log.close()


def test_a_late_heartbeat_stays_with_its_view(tmp_path: Path) -> None:
    """The view begins 23 h after the impression and ends 25 h after it; one of its events names the request."""
    make = EventMaker()
    slates = [slate("q1", "ann", at(0, 10), [1, 2])]
    events = [
        make("impression", "ann", at(0, 10), 1, request_id="q1"),
        make("impression", "ann", at(0, 10), 2),  # no request: the viewer's latest slot of video 2
        *(make("watch", "ann", at(1, h), 1, watch_s=s, view_id="w") for h, s in ((9, 10.0), (11, 70.0))),
        make("watch", "ann", at(9, 1), 2, watch_s=5.0, view_id="x", request_id="q1"),
        make("watch", "ann", at(9, 2), 2, watch_s=9.0, view_id="x"),
    ]  # fmt: skip
    log = stored(tmp_path, slates, events)
    [group] = online_metrics(log, [("release",)], n_resamples=5).tables[("release",)]
    assert (group.key["release"], group.counts["impressions"]) == ("r1", 2)
    assert group.counts["watch_s"] == 70 + 9
    log.close()


def test_retention_is_the_share_of_viewer_days_that_came_back_on_the_later_day(
    tmp_path: Path,
) -> None:
    """ann comes on days 0, 1, 7; bob on 0 and 2; the log's last day, 8, is not over."""
    make = EventMaker()
    days = {"ann": (0, 1, 7), "bob": (0, 2), "eve": (8,)}
    events = [make("impression", user, at(day), day) for user, ds in days.items() for day in ds]
    log = stored(tmp_path, [], events)
    group = one_group(log)
    # after 1 day: ann 0 yes, ann 1 no, bob 0 no, bob 2 no; ann 7 and eve 8 not known
    assert (group.counts["retained_d1"], group.counts["retainable_d1"]) == (1, 4)
    # after 7: ann 0 yes, bob 0 no; day 1's is day 8, which is not over
    assert group.rates["retention_d7"].mean == 1 / 2
    naive = 2 / 6  # over all viewer-days, as if the last days had been watched to their end
    assert group.rates["retention_d1"].mean == 1 / 4 != naive
    log.close()


def test_a_slot_counts_under_the_arm_of_each_of_its_experiments(tmp_path: Path) -> None:
    slates = [
        slate("q1", "ann", at(0), [1, 2, 3], arms={"a": "x", "b": "on"}),
        slate("q2", "bob", at(0), [1, 2], arms={"a": "y"}),
        slate("q3", "eve", at(0), [1]),
    ]
    log = stored(tmp_path, slates, [])
    groups = online_metrics(log, [("arm",)], n_resamples=5).tables[("arm",)]
    told = {group.key["arm"]: group.counts["slots"] for group in groups}
    assert told == {"a=x": 3, "a=y": 2, "b=on": 3, "none": 1}
    assert one_group(log).counts["slots"] == 6
    log.close()


def watched(viewers: int, rng: np.random.Generator) -> list[Event]:
    make = EventMaker()
    events = []
    for v in range(viewers):
        for item in range(int(rng.integers(1, 4))):
            events.append(make("impression", f"u{v}", at(0), item))
            if rng.random() < 0.4:
                events.append(make("click", f"u{v}", at(0, 12, 1), item))
    return events


def test_the_interval_is_the_viewer_bootstrap_of_the_ratio(tmp_path: Path) -> None:
    events = watched(60, np.random.default_rng(0))
    log = stored(tmp_path, [], events)
    figure = online_metrics(log, [()], n_resamples=1000).tables[()][0].rates["ctr_seen"]
    users = sorted({event.user_id for event in events})
    above = np.array([sum(e.user_id == u and e.kind == "click" for e in events) for u in users], float)  # fmt: skip
    below = np.array([sum(e.user_id == u and e.kind == "impression" for e in events) for u in users], float)  # fmt: skip
    want = ratio(above, below)
    assert (figure.mean, figure.n_effective) == (want.mean, 60)
    assert (figure.low, figure.high) == pytest.approx((want.low, want.high), abs=0.02)  # another order of viewers  # fmt: skip
    log.close()


def test_dealing_viewers_into_groups_keeps_the_width_of_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = stored(tmp_path, [], watched(1500, np.random.default_rng(1)), piece=5000)
    whole = one_of(log)
    monkeypatch.setattr("upnext.evaluate.online.MAX_UNITS", 300)
    dealt = one_of(log)
    [of_day] = online_metrics(log, [("day", "arm")], n_resamples=5).tables[("day", "arm")]
    assert of_day.counts["viewers"] == 1500
    assert of_day.rates["ctr_seen"].mean == whole.mean
    assert whole.mean == dealt.mean
    # a standard deviation from 300 groups is itself known to 1 / sqrt(600) = 4 %, and 1,000 draws add as much
    assert (dealt.high - dealt.low) == pytest.approx(whole.high - whole.low, rel=0.2)
    log.close()


def one_of(log: SqliteEventLog) -> Estimate:
    return online_metrics(log, [()], n_resamples=1000).tables[()][0].rates["ctr_seen"]


def test_an_empty_log_and_an_empty_span_have_no_groups(tmp_path: Path) -> None:
    log = stored(tmp_path, [], [])
    assert online_metrics(log, [(), ("day", "arm")]).tables == {(): [], ("day", "arm"): []}
    log.close()


def test_a_wrong_question_is_refused(tmp_path: Path) -> None:
    log = stored(tmp_path, [], [])
    with pytest.raises(InvalidInput, match="expected some of day, surface, release, arm"):
        online_metrics(log, [("colour",)])
    with pytest.raises(InvalidInput, match="each key once"):
        online_metrics(log, [("day", "day")])
    with pytest.raises(InvalidInput, match="Europe/Paris"):
        Span(time_zone="Mars")
    with pytest.raises(InvalidInput, match="after --from"):
        Span(5, 5)
    log.close()

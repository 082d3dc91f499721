"""Each finding of the audit on tables small enough to count."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.types import Flag
from upnext.evaluate.audit import Finding, audit, audit_json, audit_rows
from upnext.evaluate.sequentiality import order_lost

from .worlds import showings_of

HIT, MISS = Flag.IMPRESSION | Flag.WATCHED_HALF, Flag.IMPRESSION
START = 1_000 * DAY_US


def test_a_chain_loses_its_order_and_a_bag_has_none_to_lose() -> None:
    rng = np.random.default_rng(0)
    # each viewer goes through 40 of 2,000 videos in ascending order from an own start, two by two alike
    start = np.repeat(rng.integers(0, 2_000, 150), 2)
    chain = ((start[:, None] + np.arange(40)) % 2_000).ravel()
    user = np.repeat(np.arange(300), 40)
    lost = order_lost(user, chain, np.arange(len(chain)))
    assert lost.low > 0.8
    bag = rng.integers(0, 200, 300 * 40)
    nothing = order_lost(user, bag, np.arange(len(bag)))
    assert abs(nothing.mean) < 0.02
    few = order_lost(user[:10], chain[:10], np.arange(10))
    assert few.verdict == "not identifiable"


def test_rows_of_one_moment_have_no_order_to_lose() -> None:
    chain = np.tile(np.arange(30), 200)
    user = np.repeat(np.arange(200), 30)
    assert order_lost(user, chain, np.arange(len(chain))).mean > 0.0
    together = order_lost(user, chain, user)
    assert abs(together.mean) < 0.02


def platform(**changes: object) -> tuple[list[tuple[int, int, int, int]], pl.DataFrame, np.ndarray]:
    """Two viewers, five days, a page of two and single showings; (rows, events, upload times)."""
    rows = [
        (user, item, START + day * DAY_US + user * HOUR_US, HIT)
        for user in (0, 1)
        for day, item in enumerate((0, 1, 2, 3, 4))
    ]
    events = pl.DataFrame(
        {
            "user_id": [f"user{user}" for user, *_ in rows],
            "item_id": [item for _, item, *_ in rows],
            "kind": ["impression"] * len(rows),
            "time_us": [time_us for *_, time_us, _ in rows],
            "request_id": [f"r{i}" for i in range(len(rows))],
            "event_id": [f"e{i}" for i in range(len(rows))],
        }
    ).with_columns(**{name: pl.Series(values) for name, values in changes.items()})
    return rows, events, np.full(5, START)


def findings(**options: object) -> dict[str, Finding]:
    changes = options.pop("changes", {})
    rows, events, uploaded = platform(**changes)  # type: ignore[arg-type]
    rows = options.pop("rows", rows)  # type: ignore[assignment]
    uploaded = options.pop("uploaded", uploaded)  # type: ignore[assignment]
    found = audit(showings_of(rows, 2), events, uploaded, START + 4 * DAY_US, **options)  # type: ignore[arg-type]
    return {finding.name: finding for finding in found}


def value(found: dict[str, Finding], name: str) -> tuple[float, str]:
    return found[name].figure.mean, found[name].verdict


def test_a_clean_table_has_no_warning_but_what_its_size_brings() -> None:
    found = findings(learned_until_us=START + 4 * DAY_US)
    for name in ("tied_showings", "tied_last", "repeated_showings", "repeated_event_ids", "shown_before_upload",
                 "request_on_both_sides", "learned_after_instant", "days_without_data"):  # fmt: skip
        assert value(found, name) == (0.0, "ok"), name
    assert value(found, "days") == (5.0, "note")
    assert value(found, "share_after_instant") == (0.2, "ok")
    assert value(found, "cold_viewers") == (0.0, "ok")
    assert value(found, "cold_pairs") == (1.0, "warn")  # video 4 is in the window alone
    assert found["order_lost"].verdict == "note"
    assert value(found, "largest_gap_h") == (23.0, "ok")


def test_ties_count_but_not_those_of_one_page() -> None:
    times = [START + t for t in (0, 0, 2, 3, 4, 5, 6, 7, 9, 9)]
    own = findings(changes={"time_us": times})
    assert value(own, "tied_showings") == (0.4, "warn")
    assert value(own, "tied_last") == (pytest.approx(2 / 3), "warn")
    pages = ["p", "p", "a", "b", "c", "d", "e", "f", "q", "q"]
    paged = findings(changes={"time_us": times, "request_id": pages})
    assert value(paged, "tied_showings") == (0.0, "ok")
    assert value(paged, "tied_on_pages") == (0.4, "note")
    unknown = findings(changes={"time_us": times, "request_id": [None] * 10})
    assert value(unknown, "tied_showings") == (0.4, "warn")


def test_repeats_are_counted_once_less_than_they_occur() -> None:
    same = findings(changes={"item_id": [0] * 10, "time_us": [START] * 10})
    assert value(same, "repeated_showings") == (0.8, "warn")
    ids = findings(changes={"event_id": ["e"] * 3 + [f"e{i}" for i in range(7)]})
    assert value(ids, "repeated_event_ids") == (0.2, "warn")


def test_what_could_not_have_been_known_is_a_leak() -> None:
    early = findings(uploaded=np.array([START, START + 10 * DAY_US, 0, START, START]))
    assert value(early, "shown_before_upload") == (
        0.25,
        "warn",
    )  # video 1, of the four with a known time
    both = findings(changes={"request_id": ["x", "b", "c", "d", "x", "f", "g", "h", "i", "j"]})
    assert value(both, "request_on_both_sides") == (0.5, "warn")
    learned = findings(learned_until_us=START + 4 * DAY_US + 1)
    assert value(learned, "learned_after_instant") == (0.5, "warn")


def test_gaps_and_cold_viewers_are_seen() -> None:
    rows = [(0, 0, START, HIT), (0, 1, START + 3 * DAY_US, HIT), (1, 1, START + 4 * DAY_US, HIT)]
    found = findings(rows=rows)
    assert value(found, "days_without_data") == (0.4, "warn")
    assert value(found, "largest_gap_h") == (72.0, "warn")
    assert value(found, "share_after_instant") == (pytest.approx(1 / 3), "warn")
    assert value(found, "cold_viewers") == (1.0, "warn")
    assert value(found, "cold_pairs") == (0.0, "ok")
    assert value(found, "viewers_with_one_showing") == (0.5, "warn")
    assert value(found, "videos_with_one_showing") == (0.5, "ok")


def test_histories_alone_have_no_days() -> None:
    found = findings(rows=[(0, 0, 0, HIT), (1, 1, 0, MISS)])
    assert value(found, "days") == (0.0, "warn")


def test_the_audit_is_plain_json_and_a_table() -> None:
    found = list(findings().values())
    document = json.loads(json.dumps(audit_json(found), allow_nan=False))
    assert document["n_warnings"] == sum(finding.verdict == "warn" for finding in found)
    assert set(document["findings"]["days"]) == {
        "mean",
        "low",
        "high",
        "n",
        "verdict",
        "normal",
        "says",
    }
    assert "averaged over the test period" in document["not_seen"]
    assert [row["finding"] for row in audit_rows(found)] == list(document["findings"])

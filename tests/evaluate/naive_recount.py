"""The online metrics counted again with plain dictionaries, from the raw log, after the words of docs/report.md.

Shares no code with upnext.evaluate: it walks one event after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

DAY_US = 86_400_000_000
TAKES_BACK = {"click", "like", "dislike", "share", "comment", "follow", "not_interested", "report"}
Row = Mapping[str, Any]


def recount(
    events: Sequence[Row], slates: Sequence[Any], keys: Sequence[str], from_us: int = 0, until_us: int | None = None
) -> dict[tuple[str, ...], dict[str, float]]:  # fmt: skip
    """{values of the keys: {name of a count: its value}}."""
    showings = _showings(events, slates)
    days_of: dict[str, set[date]] = defaultdict(set)
    for row in events:
        days_of[row["user_id"]].add(_day(row["time_us"]))
    last = max((_day(row["time_us"]) for row in events), default=date.min)
    counts: dict[tuple[str, ...], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    here: dict[tuple[str, ...], set[tuple[str, date]]] = defaultdict(set)
    for one in showings:
        if one["time_us"] < from_us or (until_us is not None and one["time_us"] >= until_us):
            continue
        for key in _keys(one, keys):
            _count(counts[key], one)
            if one["events"]:
                here[key].add((one["user_id"], _day(one["time_us"])))
    for key, pairs in here.items():
        counts[key]["viewers"] = len({user for user, _ in pairs})
        counts[key]["viewer_days"] = len(pairs)
        for k in (1, 7):
            known = [(user, day) for user, day in pairs if day + timedelta(days=k) < last]
            counts[key][f"retainable_d{k}"] = len(known)
            counts[key][f"retained_d{k}"] = sum(day + timedelta(days=k) in days_of[user] for user, day in known)  # fmt: skip
    return {key: dict(found) for key, found in counts.items()}


def rows_of_log(log: Any) -> tuple[list[Row], list[Any]]:
    """(event rows, slates) as plain values, in order of the log."""
    rows = [row for table in log.scan() for row in table.to_pylist()]
    return rows, [record for records in log.scan_slates() for record in records]


def _day(time_us: int) -> date:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).date()


def _keys(one: Mapping[str, Any], keys: Sequence[str]) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    for key in keys:
        values = {
            "day": [str(_day(one["time_us"]))],
            "surface": [one["surface"] or "none"],
            "release": [one["release"]],
            "arm": [f"{name}={arm}" for name, arm in one["arms"].items()] or ["none"],
        }[key]
        found = [(*begun, value) for begun in found for value in values]
    return found


def _count(counts: dict[str, float], one: Mapping[str, Any]) -> None:
    kinds = {row["kind"] for row in one["events"]}
    views: dict[Any, float] = {}
    lengths: dict[Any, float] = {}
    said_long = False
    for row in one["events"]:
        if row["kind"] != "watch":
            continue
        if row["watch_s"] is not None:
            views[row["view_id"]] = max(views.get(row["view_id"], 0.0), row["watch_s"])
            if row["duration_s"]:
                lengths[row["view_id"]] = row["duration_s"]
        if row["value"] == 1 and (not row["duration_s"] or row["watch_s"] is None):
            said_long = True
    completed = any(s >= 0.95 * lengths[v] for v, s in views.items() if v in lengths)
    half = any(s >= 0.5 * lengths[v] for v, s in views.items() if v in lengths)
    relevant = half or said_long or "like" in kinds
    seen, clicked, served = "impression" in kinds, "click" in kinds, one["served"]
    for name, value in {
        "slots": served,
        "impressions": seen,
        "slots_clicked": served and clicked,
        "impressions_clicked": seen and clicked,
        "completed": completed,
        "impressions_completed": seen and completed,
        "relevant": relevant,
        "impressions_relevant": seen and relevant,
        "watch_s": sum(views.values()),
        "likes": "like" in kinds,
        "dislikes": "dislike" in kinds,
        "shares": "share" in kinds,
        "follows": "follow" in kinds,
        "not_interested": bool(kinds & {"not_interested", "report"}),
        "slots_degraded": served and one["degraded"],
        "slots_repeated": served and one["repeat"],
        "events": len(one["events"]),
    }.items():
        counts[name] += value


def _standing(events: Sequence[Row]) -> list[Row]:
    known: set[str] = set()
    once = []
    for row in events:
        if row["event_id"] not in known:
            known.add(row["event_id"])
            once.append(row)
    undone = {(row["user_id"], row["undoes_event_id"]) for row in once if row["kind"] == "undo"}
    return [
        row
        for row in once
        if row["kind"] != "undo"
        and not (row["kind"] in TAKES_BACK and (row["user_id"], row["event_id"]) in undone)
    ]


def _showings(events: Sequence[Row], slates: Sequence[Any]) -> list[dict[str, Any]]:
    showings: list[dict[str, Any]] = []
    by_request: dict[tuple[Any, ...], dict[str, Any]] = {}
    for record in slates:
        for j, item in enumerate(record.item_id):
            one = {
                "user_id": record.user_id, "item": item, "time_us": record.time_us,
                "surface": record.surface, "release": record.release_id, "arms": record.arms,
                "served": True, "degraded": bool(record.degraded), "repeat": record.is_repeat[j],
                "events": [],
            }  # fmt: skip
            showings.append(one)
            by_request[record.user_id, record.request_id, item] = one
    served = list(showings)
    standing = _standing(events)
    request_of_view: dict[tuple[Any, ...], str] = {}
    for row in standing:
        if row["request_id"] and row["view_id"] and row["item_id"] is not None:
            key = (row["user_id"], row["item_id"], row["view_id"])
            request_of_view.setdefault(key, row["request_id"])

    def own(row: Row) -> dict[str, Any]:
        one = {
            "user_id": row["user_id"], "item": row["item_id"], "time_us": None, "surface": None,
            "release": "none", "arms": {}, "served": False, "degraded": False, "repeat": False,
            "events": [],
        }  # fmt: skip
        showings.append(one)
        return one

    # events with a request, events about nothing, impressions, then what looks for an impression
    feedback, shown_at = [], defaultdict(list)
    for row in standing:
        key = (row["user_id"], row["item_id"], row["view_id"])
        request = row["request_id"] or (row["view_id"] and request_of_view.get(key))
        if row["item_id"] is None:
            own(row)["events"].append(row)
        elif request:
            name = (row["user_id"], request, row["item_id"])
            if name not in by_request:
                by_request[name] = own(row)
            by_request[name]["events"].append(row)
            if row["kind"] == "impression":
                shown_at[row["user_id"], row["item_id"]].append((row["time_us"], by_request[name]))
        elif row["kind"] == "impression":
            before = [
                one for one in served
                if (one["user_id"], one["item"], one["surface"])
                == (row["user_id"], row["item_id"], row["surface"])
                and 0 <= row["time_us"] - one["time_us"] <= DAY_US
            ]  # fmt: skip
            one = max(before, key=lambda one: one["time_us"]) if before else own(row)
            one["events"].append(row)
            shown_at[row["user_id"], row["item_id"]].append((row["time_us"], one))
        else:
            feedback.append(row)
    _attach(feedback, shown_at, own)
    for one in showings:
        if not one["served"]:
            rows = one["events"]
            shown = [row["time_us"] for row in rows if row["kind"] == "impression"]
            one["time_us"] = min(shown or [row["time_us"] for row in rows])
            rows = sorted(rows, key=lambda row: row["log_seq"])
            one["surface"] = next((row["surface"] for row in rows if row["surface"]), None)
    return showings


def _attach(feedback: list[Row], shown_at: Any, own: Any) -> None:
    begun: dict[tuple[Any, ...], int] = {}
    for row in feedback:
        if row["view_id"]:
            key = (row["user_id"], row["item_id"], row["view_id"])
            begun[key] = min(begun.get(key, row["time_us"]), row["time_us"])
    lost = []
    for row in feedback:
        asked = begun.get((row["user_id"], row["item_id"], row["view_id"]), row["time_us"])
        near = [
            (time_us, one) for time_us, one in shown_at[row["user_id"], row["item_id"]]
            if 0 <= asked - time_us <= DAY_US
        ]  # fmt: skip
        if near:
            max(near, key=lambda pair: pair[0])[1]["events"].append(row)
        else:
            lost.append((asked, row))
    latest: dict[tuple[Any, ...], tuple[int, Any]] = {}
    for asked, row in sorted(lost, key=lambda pair: pair[0]):
        key = (row["user_id"], row["item_id"])
        if key not in latest or asked - latest[key][0] > DAY_US:
            latest[key] = (asked, own(row))
        latest[key] = (asked, latest[key][1])
        latest[key][1]["events"].append(row)

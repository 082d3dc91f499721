"""Events as clients send them: each is checked alone, and one that breaks a rule never holds up its neighbours.

event_id is the client's key of idempotency; a row without one gets an id derived from its content, so that sending the same
row again is still the same event.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from upnext.core.columns import EVENTS_SENT
from upnext.core.event import Event
from upnext.serve.intake_words import EventStatus

MAX_ID_CHARS: Final = 2_048
MAX_TEXT_CHARS: Final = 10_000
MAX_EVENTS: Final = 10_000
_SENT: Final = frozenset(EVENTS_SENT.names)
_IDS: Final = ("event_id", "user_id", "session_id", "request_id", "video_id", "target_id",
               "undoes_event_id", "view_id", "surface", "device", "country")  # fmt: skip
_NEEDS_VIDEO: Final = frozenset(
    (
        "impression",
        "click",
        "watch",
        "like",
        "dislike",
        "share",
        "comment",
        "not_interested",
        "survey",
    )
)
_NEEDS_TARGET: Final = frozenset(("follow", "unfollow", "mute", "more", "less"))
_FAR_FUTURE_US: Final = 1 << 62
_ROWS: Final = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, list[msgspec.Raw]])
_ONE: Final = msgspec.json.Decoder(dict[str, Any])


class NotABatch(ValueError):
    """The body as a whole can't be read."""


def read_events(body: bytes) -> tuple[list[Event], list[EventStatus | None]]:
    """(the valid events in order, per row sent its refusal or None).

    body: a JSON array of events, or {"events": [...]}.
    Raises: NotABatch where the body is neither, or too long."""
    rows = _rows(body)
    events: list[Event] = []
    refusals: list[EventStatus | None] = []
    for row in rows:
        event, refusal = _read_one(bytes(row))
        refusals.append(refusal)
        if event is not None:
            events.append(event)
    return events, refusals


def _rows(body: bytes) -> Sequence[msgspec.Raw]:
    read: list[msgspec.Raw] | dict[str, list[msgspec.Raw]]
    try:
        read = _ROWS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotABatch(
            f'expected a JSON array of events or {{"events": [...]}}: {error}'
        ) from error
    if isinstance(read, dict):
        if set(read) != {"events"}:
            raise NotABatch(f'expected the one key "events", got {sorted(read)!r:.120}')
        read = read["events"]
    if len(read) > MAX_EVENTS:
        raise NotABatch(f"expected at most {MAX_EVENTS} events in a batch, got {len(read)}")
    return read


def _read_one(row: bytes) -> tuple[Event | None, EventStatus | None]:
    try:
        given = _ONE.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, _refused("", "a JSON object", row[:80].decode(errors="replace"))
    unknown = [key for key in given if key not in _SENT]
    if unknown:
        return None, _refused(unknown[0], f"one of {', '.join(EVENTS_SENT.names)}", unknown[0])
    if not given.get("event_id") and "event_id" in given and given["event_id"] is not None:
        return None, _refused("event_id", "a text that is not empty", given["event_id"])
    if given.get("event_id") is None:
        given["event_id"] = derived_id(given)
    try:
        event = msgspec.convert(given, Event)
    except msgspec.ValidationError as error:
        return None, _type_refusal(given, str(error))
    refusal = broken_rule(event)
    return (None, refusal) if refusal is not None else (event, None)


def derived_id(row: dict[str, Any]) -> str:
    """An id that depends on the row's content alone."""
    content = {key: value for key, value in row.items() if value is not None}
    canonical = msgspec.json.encode(content, order="sorted")
    return "row-" + hashlib.blake2b(canonical, digest_size=16).hexdigest()


def _type_refusal(given: dict[str, Any], message: str) -> EventStatus:
    """msgspec says 'Expected `int`, got `str` - at `$.time_us`', or 'Object missing required field `kind`'."""
    what, _, where = message.partition(" - at ")
    field = where.strip("`").removeprefix("$.")
    if "missing required field" in what:
        return _refused(what.split("`")[1], "a value", None)
    wanted = what.split(",")[0].removeprefix("Expected ").strip("`")
    if "Invalid enum value" in what:
        wanted = "a known kind"
    return _refused(field, wanted, given.get(field))


def broken_rule(event: Event) -> EventStatus | None:
    """The first rule that the event breaks; None where it breaks none."""
    for name in _IDS:
        value = getattr(event, name)
        if value is not None and len(value) > MAX_ID_CHARS:
            return _refused(name, f"at most {MAX_ID_CHARS} characters", f"{len(value)} characters")
    for name in ("event_id", "user_id"):
        if not getattr(event, name):
            return _refused(name, "a text that is not empty", getattr(event, name))
    return _broken_number(event) or _broken_kind(event)


def _broken_number(event: Event) -> EventStatus | None:
    if not 0 < event.time_us < _FAR_FUTURE_US:
        return _refused("time_us", "microseconds since 1970, above 0", event.time_us)
    if event.slot is not None and not 0 <= event.slot < 1 << 31:
        return _refused("slot", "a slot from 0", event.slot)
    for name, low, high in (("watch_s", 0.0, 1e9), ("latitude", -90.0, 90.0),
                            ("longitude", -180.0, 180.0), ("value", -1e18, 1e18)):  # fmt: skip
        number = getattr(event, name)
        if number is not None and not (math.isfinite(number) and low <= number <= high):
            return _refused(name, f"a number from {low:g} to {high:g}", number)
    for name in ("query", "text"):
        words = getattr(event, name)
        if words is not None and len(words) > MAX_TEXT_CHARS:
            return _refused(
                name, f"at most {MAX_TEXT_CHARS} characters", f"{len(words)} characters"
            )
    return None


def _broken_kind(event: Event) -> EventStatus | None:
    kind = event.kind
    if kind in _NEEDS_VIDEO and not event.video_id:
        return _refused("video_id", f"the video of a {kind}", event.video_id)
    if kind == "watch" and event.watch_s is None:
        return _refused("watch_s", "the seconds watched so far in this view", None)
    if kind == "search" and not event.query:
        return _refused("query", "what was searched for", event.query)
    if kind == "undo" and not event.undoes_event_id:
        return _refused("undoes_event_id", "the event_id to take back", event.undoes_event_id)
    if kind in _NEEDS_TARGET and not event.video_id and not (event.target_kind and event.target_id):
        return _refused(
            "target_id", f"target_kind and target_id, or video_id, of a {kind}", event.target_id
        )
    return None


def _refused(field: str, wanted: str, got: object) -> EventStatus:
    shown = repr(got)
    return EventStatus(
        "refused", 0, False, field, wanted, shown if len(shown) <= 120 else shown[:117] + "..."
    )

"""The facts that intake puts on an event, so that state is a function of the log alone.

received_us; a time in the future is set back to it and flagged; item_id (a placeholder row is made for a video nobody has
described yet); the video's duration as known now; and, for an undo, what it takes back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from upnext.core.event import Event
from upnext.core.types import Float64, Int64
from upnext.serve.intake_words import EventStatus


class Known(Protocol):
    """The log, asked for what it has."""

    def known(self, event_ids: Sequence[str]) -> list[Event | None]: ...


class Rows(Protocol):
    """The catalogue, asked for rows."""

    def item_ids(self, video_ids: Sequence[str], *, create: bool = False) -> Int64: ...

    def durations(self, item_ids: Int64) -> Float64: ...


def stamped(
    events: Sequence[Event], catalog: Rows, log: Known, received_us: int
) -> tuple[list[Event | None], list[EventStatus | None]]:
    """(events with their facts, refusals), aligned: exactly one of the two is None at each place."""
    originals = _originals(events, log)
    item_id, duration_s = _videos(events, catalog)
    done: list[Event | None] = []
    refused: list[EventStatus | None] = []
    for event in events:
        original = originals.get(event.undoes_event_id or "")
        refusal = _refusal(event, original)
        refused.append(refusal)
        if refusal is not None:
            done.append(None)
            continue
        facts = _video_facts(event, item_id, duration_s)
        if original is not None and event.kind == "undo":
            facts = _undo_facts(original, item_id, duration_s)
        clamped = event.time_us > received_us
        done.append(
            msgspec.structs.replace(
                event,
                received_us=received_us,
                time_us=min(event.time_us, received_us),
                is_clamped=clamped,
                **facts,
            )
        )
    return done, refused


def _originals(events: Sequence[Event], log: Known) -> dict[str, Event]:
    """What the undos among the events take back, from the log or from this very batch."""
    wanted = [e.undoes_event_id for e in events if e.kind == "undo" and e.undoes_event_id]
    if not wanted:
        return {}
    found = {e.event_id: e for e in events}
    found.update({e.event_id: e for e in log.known(wanted) if e is not None})
    return {event_id: found[event_id] for event_id in wanted if event_id in found}


def _videos(
    events: Sequence[Event], catalog: Rows
) -> tuple[dict[str, int], dict[str, float | None]]:
    video_ids = list(dict.fromkeys(e.video_id for e in events if e.video_id))
    if not video_ids:
        return {}, {}
    ids = catalog.item_ids(video_ids, create=True)
    durations = catalog.durations(ids)
    item_id = dict(zip(video_ids, ids.tolist(), strict=True))
    known = [None if math.isnan(d) else d for d in durations.tolist()]
    return item_id, dict(zip(video_ids, known, strict=True))


def _refusal(event: Event, original: Event | None) -> EventStatus | None:
    if event.kind != "undo":
        return None
    got = repr(event.undoes_event_id)[:120]
    if original is None or original.user_id != event.user_id:
        return EventStatus("refused", 0, False, "undoes_event_id", "an event of this user", got)
    if original.kind == "undo":
        return EventStatus("refused", 0, False, "undoes_event_id", "an event that is no undo", got)
    return None


def _video_facts(
    event: Event, item_id: dict[str, int], duration_s: dict[str, float | None]
) -> dict[str, object]:
    video_id = event.video_id or ""
    return {
        "item_id": item_id.get(video_id),
        "duration_s": duration_s.get(video_id),
        "undoes_kind": None,
    }


def _undo_facts(
    original: Event, item_id: dict[str, int], duration_s: dict[str, float | None]
) -> dict[str, object]:
    """The undo's row repeats what the original was about."""
    video_id = original.video_id or ""
    stamped_before = original.item_id is not None
    return {
        "item_id": original.item_id if stamped_before else item_id.get(video_id),
        "duration_s": original.duration_s if stamped_before else duration_s.get(video_id),
        "undoes_kind": original.kind,
        "video_id": original.video_id,
        "view_id": original.view_id,
        "target_kind": original.target_kind,
        "target_id": original.target_id,
        "request_id": original.request_id,
    }

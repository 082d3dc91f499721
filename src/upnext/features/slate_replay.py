"""Every logged slate's request again, with its viewer as the state stood when the page was drawn.

The log is applied in its own order, which is the order in which the state heard of things: feedback that came late was not known then and
is not known here (features/replay.py, which is for learning, goes by the time at which things happened). An event that arrived
while the page was drawn has a lower number than the slate and was not seen either; the times of both tell. Slates bring the session's
served videos, the seed, the size and what was excluded, so the request is the very one that was answered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, Protocol

import numpy as np

from upnext.core.clock import SECOND_US
from upnext.core.event import Event
from upnext.core.types import NO_ITEMS, Int64, Query, Request
from upnext.events.slate import SlateRecord
from upnext.features.config import FeaturesConfig
from upnext.features.event_rows import ReadLog, events_of
from upnext.features.replay import PastState
from upnext.features.session import Session, default_seed
from upnext.features.slate_context import SlateScan

_IN_THE_MAKING_US: Final = 10 * SECOND_US  # no page takes longer


class SlatesAndEvents(ReadLog, SlateScan, Protocol):
    """A log with both (events.SqliteEventLog, events.PastLog)."""


@dataclass(frozen=True, slots=True)
class ReplayedSlate:
    """One page of the past: the query as it was drawn for, and what was shown."""

    query: Query
    record: SlateRecord


class PastSessions:
    """What every session was served while the log goes by: what the state holds of sessions, in memory."""

    def __init__(self, config: FeaturesConfig) -> None:
        self._config = config
        self._of: dict[str, OrderedDict[str, Session]] = {}  # per viewer, the latest served last

    def served(self, request: Request) -> Int64:
        """int64[m]: the videos that the request's session was served, in that order."""
        session = self._of.get(request.user_id, _NONE).get(request.session_id)
        if session is None or self._is_over(session, request.session_id, request.time_us):
            return NO_ITEMS
        return np.array(session.item_id, np.int64)

    def add(self, record: SlateRecord) -> None:
        """Takes a slate in, as the live writer does."""
        sessions = self._of.setdefault(record.user_id, OrderedDict())
        session = sessions.pop(record.session_id, None)
        if session is None or self._is_over(session, record.session_id, record.time_us):
            session = Session()
        session.add(record)
        sessions[record.session_id] = session
        while len(sessions) > self._config.n_sessions:
            sessions.popitem(last=False)

    def _is_over(self, session: Session, session_id: str, time_us: int) -> bool:
        gap_us = self._config.session_gap_s * SECOND_US
        return not session_id and time_us - session.last_time_us > gap_us


_NONE: Final[OrderedDict[str, Session]] = OrderedDict()


def replay_slates(
    log: SlatesAndEvents,
    past: PastState,
    config: FeaturesConfig,
    *,
    after_us: int = 0,
    before_us: int | None = None,
) -> Iterator[ReplayedSlate]:
    """The slates with after_us <= time < before_us in order of the log; those before only move the state.

    `past`: a state of nothing, whose counters are kept up as the log goes by: features are read before the next slate is drawn."""
    past.start(log)
    coming = chain.from_iterable(events_of(table) for table in log.scan())
    upcoming = next(coming, None)
    sessions = PastSessions(config)
    for record in chain.from_iterable(log.scan_slates()):
        while upcoming is not None and _was_known(upcoming, record):
            past.apply(upcoming)
            upcoming = next(coming, None)
        if record.time_us >= after_us and (before_us is None or record.time_us < before_us):
            request = request_of(record)
            query = past.query(request)
            yield ReplayedSlate(replace(query, served=sessions.served(request)), record)
        sessions.add(record)


def _was_known(event: Event, record: SlateRecord) -> bool:
    if event.log_seq > record.log_seq:
        return False
    is_import = event.received_us == event.time_us and not event.is_clamped  # it has no arrival
    return is_import or not 0 < event.received_us - record.time_us <= _IN_THE_MAKING_US


def request_of(record: SlateRecord) -> Request:
    """The request that a slate answered; of a record older than `seed`, what it most likely was."""
    seed = record.seed
    if seed is None:
        seed = default_seed(record.user_id, record.session_id)
    return Request(
        request_id=record.request_id,
        user_id=record.user_id,
        surface=record.surface,
        size=record.size or max(1, len(record.item_id)),
        time_us=record.time_us,
        session_id=record.session_id,
        page=record.page,
        seed=seed,
        device=record.device,
        country=record.country,
        language=record.language,
        time_zone=record.time_zone,
        latitude=record.latitude,
        longitude=record.longitude,
        logged_in=record.logged_in is not False,
        current_video_id=record.current_video_id,
        exclude=tuple(record.exclude),
    )

"""Everything that writes, in one thread: the catalogue, the log and the state.

One call commits many connections' work: one transaction of the log (one fsync where it has events; a slate's answer waits for no
disk, events/log.py says why), then one of the state, then the answers. If the log's commit fails nothing was promised; if the state's fails the log is ahead of it, and the next commit first replays the
difference, because the state is a function of the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from upnext.core.clock import Clock
from upnext.core.errors import Unavailable, UpNextError
from upnext.core.event import Event
from upnext.events.fresh_rows import fresh_rows
from upnext.events.packed_slate import PackedSlate
from upnext.events.slate import SlateRecord
from upnext.features.live import SlateLog
from upnext.features.session import ServedSlate
from upnext.serve.intake_words import (
    Answer,
    AppendEvents,
    EventsDone,
    EventStatus,
    Failed,
    LogWork,
    SlateDone,
)
from upnext.serve.stamping import Known, Rows, stamped

log = logging.getLogger(__name__)


class Log(Known, SlateLog, Protocol):
    """What the writers need of the event log."""

    def append(self, events: Sequence[Event], slates: Sequence[PackedSlate] = ()) -> list[int]: ...

    def slate(self, request_id: str) -> SlateRecord | None: ...

    def last_seq(self) -> int: ...

    def seal(self, *, keep_rows: int = 100_000) -> int: ...


class State(Protocol):
    """What the writers need of the state."""

    def apply(
        self, events: Sequence[Event], slates: Sequence[ServedSlate], log_seq: int
    ) -> object: ...

    def conflicts(self, slate: ServedSlate) -> bool: ...

    def catch_up(self, log: Log) -> int: ...


@dataclass
class _Group:
    """Log work that will be one transaction."""

    events: list[Event]
    slates: list[PackedSlate]


class Writers:
    """Commits work; not thread-safe, so one thread owns it."""

    def __init__(self, catalog: Rows, event_log: Log, state: State, clock: Clock) -> None:
        self.catalog = catalog
        self.log = event_log
        self.state = state
        self.n_events = 0
        self.n_slates = 0
        self.n_commits = 0
        self._clock = clock
        self._applied_seq = event_log.last_seq()  # the state was caught up before it came here

    def commit(self, works: Sequence[LogWork]) -> list[Answer]:
        """The answers, aligned with `works`: all committed, or all Failed where a store can't take them."""
        answers: list[Answer | None] = [None] * len(works)
        waiting = list(range(len(works)))
        try:
            self._follow()
            while waiting:  # a second round only where two pages of one session came together
                waiting = self._commit_round(works, waiting, answers)
        except UpNextError as error:
            if (
                not isinstance(error, Unavailable) and len(works) > 1
            ):  # a row that can't be stored fails alone
                return [answer for work in works for answer in self.commit([work])]
            log.warning("commit failed", extra={"error": str(error), "n_works": len(works)})
            is_outage = isinstance(error, Unavailable)
            failed = Failed("unavailable" if is_outage else "invalid", str(error))
            return [failed if answer is None else answer for answer in answers]
        return [answer for answer in answers if answer is not None]

    def _follow(self) -> None:
        """Replays what the state lacks: a commit that it missed."""
        last_seq = self.log.last_seq()
        if self._applied_seq != last_seq:
            self._applied_seq = -1
            self.state.catch_up(self.log)
            self._applied_seq = last_seq

    def _commit_round(
        self, works: Sequence[LogWork], places: list[int], answers: list[Answer | None]
    ) -> list[int]:
        """Commits what can go together; the places that must wait for another round."""
        group = _Group([], [])
        later: list[int] = []
        sessions: set[tuple[str, str]] = set()
        slots: list[tuple[int, list[Event | None], list[EventStatus | None]]] = []
        slate_places: list[int] = []
        received_us = self._clock.now_us()
        for place in places:
            work = works[place]
            if isinstance(work, AppendEvents):
                done, refused = stamped(work.events, self.catalog, self.log, received_us)
                group.events += [event for event in done if event is not None]
                slots.append((place, done, refused))
                continue
            session = (work.slate.user_id, work.slate.session_id)
            if session in sessions:
                later.append(place)
                continue
            sessions.add(session)
            if self._is_conflict(work.slate):
                answers[place] = self._known(work.slate) or SlateDone("conflict")
            else:
                group.slates.append(work.slate)
                slate_places.append(place)
        numbers, before = self._write(group)
        seq = iter(numbers)
        for place, done, refused in slots:
            answers[place] = _events_done(done, refused, seq, before)
        for place, slate in zip(slate_places, group.slates, strict=True):
            number = next(seq)
            is_new = number > before
            answers[place] = SlateDone("stored", number) if is_new else self._known(slate)
        return later

    def _is_conflict(self, slate: PackedSlate) -> bool:
        """Whether another page of the session was stored meanwhile with a common video.

        A page drawn without the viewer's state could not know better; another draw would not either."""
        return "state" not in slate.degraded and self.state.conflicts(slate)

    def _known(self, slate: PackedSlate) -> SlateDone | None:
        """The answer to a request that was answered before; None for another."""
        known = self.log.slate(slate.request_id)
        return None if known is None else SlateDone("known", known.log_seq, known)

    def _write(self, group: _Group) -> tuple[list[int], int]:
        """(log_seq per event then per slate, the last log_seq before)."""
        before = self.log.last_seq()
        if not group.events and not group.slates:
            return [], before
        numbers = list(self.log.append(group.events, group.slates))
        n_events = len(group.events)
        new_events = fresh_rows(group.events, numbers[:n_events], before)
        new_slates = fresh_rows(group.slates, numbers[n_events:], before)
        if new_events or new_slates:
            self._apply(new_events, new_slates, max(numbers))
        self.n_commits += 1
        self.n_events += len(new_events)
        self.n_slates += len(new_slates)
        return numbers, before

    def _apply(self, events: list[Event], slates: list[PackedSlate], log_seq: int) -> None:
        self._applied_seq = -1  # until the state says otherwise
        self.state.apply(events, slates, log_seq)
        self._applied_seq = log_seq


def _events_done(
    done: Sequence[Event | None],
    refused: Sequence[EventStatus | None],
    seq: Iterator[int],
    before: int,
) -> EventsDone:
    statuses: list[EventStatus] = []
    for event, refusal in zip(done, refused, strict=True):
        if event is None or refusal is not None:
            assert refusal is not None
            statuses.append(refusal)
            continue
        number = next(seq)
        known = number <= before
        statuses.append(EventStatus("known" if known else "accepted", number, event.is_clamped))
    return EventsDone(statuses)

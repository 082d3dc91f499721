"""The online state: one writer applies the log, many readers hydrate requests.

Whatever is stored is a function of the log alone, event by event, so a rebuild gives the same bytes as live updates did. The
writer lives in the intake process; `apply` is one transaction that moves the watermark with the data.

A request sees what the state has: intake sets times in the future back to the time of arrival, so nothing lies after the request
but what its own viewer did at the same instant (read your own writes). The replay stops strictly before the request's time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from upnext.core.clock import SECOND_US
from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.core.protocols import StateStore
from upnext.core.types import Int64, Profile, Query, Request, User
from upnext.features.config import FeaturesConfig
from upnext.features.counter_store import counter_writes, refresh_table
from upnext.features.counters import CounterTable
from upnext.features.event_rows import ReadLog, events_of, history_rows
from upnext.features.first_viewers import FirstViewer, FirstViewers, first_viewers
from upnext.features.ring import history_of
from upnext.features.seen_days import SeenDays
from upnext.features.session import ServedSlate, Session, served_of
from upnext.features.state_keys import seen_key, session_key, sessions_key, user_key
from upnext.features.user_state import DEFAULT_CONFIG, UNTIMED_DAY, UserState
from upnext.features.viewer import Creators, decode_record, user_of

_BATCH: Final = 4096  # events of one transaction while rebuilding
_N_CACHED_SESSIONS: Final = 20_000


class Profiles(Creators, Protocol):
    """What a reader needs of the catalogue (CatalogView has it)."""

    def profile(self, user_id: str) -> Profile | None: ...


class WritableStore(StateStore, Protocol):
    """A state store that can be emptied."""

    def clear(self) -> None: ...


class SlateLog(ReadLog, Protocol):
    """A log with slates in it."""

    def scan_slates(
        self, after_seq: int = 0, *, batch_rows: int = 4096
    ) -> Iterator[Sequence[ServedSlate]]: ...


class _Viewer:
    """A viewer in the writer's memory, with the days of seen videos touched so far."""

    __slots__ = ("changed_days", "seen", "state", "stored_days")

    def __init__(self, state: UserState) -> None:
        self.state = state
        self.seen = SeenDays()
        self.stored_days = set(state.days)
        self.changed_days: set[int] = set()


class StateWriter:
    """Applies events and slates, in the order of the log, to the state store."""

    def __init__(self, store: WritableStore, config: FeaturesConfig = DEFAULT_CONFIG) -> None:
        """Reads the counters. Raises Unavailable when the store can't answer."""
        self._store = store
        self._config = config
        self._forget()

    def _forget(self) -> None:
        """Drops all that is in memory and reads the counters anew."""
        self._viewers: OrderedDict[str, _Viewer] = OrderedDict()
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._session_names: OrderedDict[str, list[str]] = OrderedDict()
        self.counters = CounterTable()
        refresh_table(self.counters, self._store)
        self._first = FirstViewers(self._store, self._config.n_first_viewers)
        self._is_behind = False

    def apply(self, events: Sequence[Event], slates: Sequence[ServedSlate], log_seq: int) -> None:
        """One transaction: the stamped events, then the slates; the watermark moves to `log_seq`.

        What carries a log_seq at or below the watermark is there already and is left out. Raises Unavailable when the store
        fails: the batch is then not applied, and nothing more is until `catch_up` has brought it from the log."""
        if self._is_behind:
            raise Unavailable(
                "the state is behind the log: expected catch_up before the next batch"
            )
        try:
            known = self._store.watermark()
            writes = self._apply_events([e for e in events if not 0 < e.log_seq <= known])
            for slate in slates:
                if not 0 < slate.log_seq <= known:
                    writes.update(self._apply_slate(slate))
            self._store.apply(writes, max(log_seq, known))
        except Unavailable:
            self._is_behind = True
            raise
        self._trim()

    def _apply_events(self, events: Sequence[Event]) -> dict[bytes, bytes | None]:
        if not events:  # a page alone touches neither viewers nor counters
            return {}
        self._load({event.user_id for event in events})
        touched: dict[str, _Viewer] = {}
        for event in events:
            viewer = self._viewers[event.user_id]
            touched[event.user_id] = viewer
            for delta in viewer.state.apply(event):
                self.counters.add(*delta, event.country)
                if delta.counter == "relevant":
                    self._first.note(
                        event.user_id, delta.item_id, delta.time_us, is_relevant=delta.amount > 0
                    )
            seen = viewer.state.newly_seen
            if seen is not None:
                self._mark_seen(event.user_id, viewer, seen.day, (seen.item_id,))
        return self._writes(touched)

    def _writes(self, touched: dict[str, _Viewer]) -> dict[bytes, bytes | None]:
        writes: dict[bytes, bytes | None] = {}
        for user_id, viewer in touched.items():
            days = set(viewer.state.days)
            for day in viewer.stored_days - days:
                writes[seen_key(user_id, day)] = None
            for day in viewer.changed_days & days:
                writes[seen_key(user_id, day)] = viewer.seen.day_bytes(day)
            viewer.seen.keep_only(days)
            viewer.stored_days = days
            viewer.changed_days = set()
            writes[user_key(user_id)] = viewer.state.to_bytes()
            self._viewers.move_to_end(user_id)
        writes.update(counter_writes(self.counters))
        writes.update(self._first.take_writes())
        return writes

    def _mark_seen(self, user_id: str, viewer: _Viewer, day: int, item_ids: Iterable[int]) -> None:
        """Puts the videos behind all others of the day."""
        if day not in viewer.seen and day in viewer.stored_days:
            (data,) = self._store.get([seen_key(user_id, day)])
            viewer.seen.load(day, data)
        viewer.seen.add(day, item_ids)
        viewer.changed_days.add(day)

    def _load(self, user_ids: Iterable[str]) -> None:
        missing = [user_id for user_id in user_ids if user_id not in self._viewers]
        for user_id, data in zip(missing, self._store.get([user_key(u) for u in missing])):
            state = UserState(self._config)
            if data is not None:
                state = UserState.from_bytes(data, self._config)
            self._viewers[user_id] = _Viewer(state)

    def _trim(self) -> None:
        self._first.trim()
        while len(self._viewers) > self._config.n_cached_users:
            self._viewers.popitem(last=False)
        for cache in (self._sessions, self._session_names):
            while len(cache) > _N_CACHED_SESSIONS:
                cache.popitem(last=False)

    def _apply_slate(self, slate: ServedSlate) -> dict[bytes, bytes | None]:
        key = session_key(slate.user_id, slate.session_id)
        session = self._session(key)
        gap_us = self._config.session_gap_s * SECOND_US
        if not slate.session_id and slate.time_us - session.last_time_us > gap_us:
            session = self._sessions[key] = Session()
        writes = self._keep_session(slate)
        session.add(slate)
        writes[key] = session.to_bytes()
        return writes

    def _keep_session(self, slate: ServedSlate) -> dict[bytes, bytes | None]:
        """Puts the session last in its viewer's list; those that were served least recently, beyond the limit, are dropped."""
        names = self._session_names.get(slate.user_id)
        list_key = sessions_key(slate.user_id)
        if names is None:
            (data,) = self._store.get([list_key])
            names = msgspec.msgpack.decode(data, type=list[str]) if data else []
            self._session_names[slate.user_id] = names
        if names and names[-1] == slate.session_id:
            return {}
        names = [name for name in names if name != slate.session_id] + [slate.session_id]
        writes: dict[bytes, bytes | None] = {}
        for name in names[: -self._config.n_sessions]:
            old = session_key(slate.user_id, name)
            writes[old] = None
            self._sessions[old] = Session()
        names = names[-self._config.n_sessions :]
        self._session_names[slate.user_id] = names
        writes[list_key] = msgspec.msgpack.encode(names)
        return writes

    def _session(self, key: bytes) -> Session:
        session = self._sessions.get(key)
        if session is None:
            (data,) = self._store.get([key])
            session = Session.from_bytes(data) if data is not None else Session()
            self._sessions[key] = session
        self._sessions.move_to_end(key)
        return session

    def conflicts(self, slate: ServedSlate) -> bool:
        """Whether another request of the same session already served one of its videos, repeats on purpose aside.

        A request_id that is there already is no conflict. Raises Unavailable."""
        session = self._session(session_key(slate.user_id, slate.session_id))
        gap_us = self._config.session_gap_s * SECOND_US
        if not slate.session_id and slate.time_us - session.last_time_us > gap_us:
            return False
        return session.conflicts(slate)

    def rebuild(self, log: SlateLog) -> None:
        """Empties the store and builds it from the stored histories and the whole log."""
        self._store.clear()
        self._forget()
        self._start(log.histories())
        self._follow(log)

    def catch_up(self, log: SlateLog) -> int:
        """Applies what the log has after the watermark -> how many events and slates that were.

        A state that has seen nothing of the log is built from the histories on, like a rebuild."""
        self._forget()
        if self._store.watermark() == 0:
            self._store.clear()
            self._forget()
            self._start(log.histories())
        return self._follow(log)

    def _follow(self, log: SlateLog) -> int:
        """The log's tail, slates and events together in the order of log_seq up to each transaction's end."""
        after = self._store.watermark()
        waiting: list[ServedSlate] = []
        slates = (slate for part in log.scan_slates(after) for slate in part)
        upcoming = next(slates, None)
        n_applied = 0
        for table in log.scan(after):
            for start in range(0, len(table), _BATCH):
                events = events_of(table.slice(start, _BATCH))
                last_seq = events[-1].log_seq
                while upcoming is not None and upcoming.log_seq <= last_seq:
                    waiting.append(upcoming)
                    upcoming = next(slates, None)
                self.apply(events, waiting, last_seq)
                n_applied += len(events) + len(waiting)
                waiting = []
        while upcoming is not None:
            waiting.append(upcoming)
            upcoming = next(slates, None)
            if upcoming is None or len(waiting) == _BATCH:
                self.apply((), waiting, waiting[-1].log_seq)
                n_applied += len(waiting)
                waiting = []
        return n_applied

    def _start(self, histories: pa.Table) -> None:
        """Starts viewers from histories without times, many viewers per transaction."""
        touched: dict[str, _Viewer] = {}
        for user_id, rows in history_rows(histories):
            viewer = self._viewers[user_id] = _Viewer(UserState(self._config))
            for delta in viewer.state.start_from(rows.item_id, rows.is_like, rows.is_relevant):
                self.counters.add(*delta)
            self._mark_seen(user_id, viewer, UNTIMED_DAY, rows.item_id)
            touched[user_id] = viewer
            if len(touched) == _BATCH:
                self._store.apply(self._writes(touched), 0)
                touched = {}
                self._trim()
        if touched:
            self._store.apply(self._writes(touched), 0)
            self._trim()


class StateReader:
    """Completes requests from the state: a Hydrator. `counters` is refreshed by a background thread of its owner."""

    def __init__(
        self, store: StateStore, view: Profiles, config: FeaturesConfig = DEFAULT_CONFIG
    ) -> None:
        """Reads no counters yet: call refresh_counters."""
        self._store = store
        self._view = view
        self._config = config
        self.counters = CounterTable()

    def hydrate(self, request: Request) -> Query:
        """The request with its viewer and what their session was served; when a store is down, what else is known, flagged "state"."""
        user_id = request.user_id
        profile = Profile()
        try:
            profile = self._view.profile(user_id) or profile
            record, session = self._store.get(
                [user_key(user_id), session_key(user_id, request.session_id)]
            )
            user = self._user(user_id, profile, record)
        except Unavailable:
            return Query(request, User(user_id, profile), degraded=("state",))
        if not request.session_id and session is not None and self._is_over(session, request):
            session = None
        return Query(request, user, served=served_of(session))

    def hydrate_past(self, request: Request) -> Query:
        """As `hydrate`, with the history's rows strictly before the request's time alone: a viewer as they were, by what is kept of them.

        For embedding viewers of the past: seen videos, controls and searches are those of now."""
        query = self.hydrate(request)
        history = query.user.history
        return replace(
            query,
            user=replace(query.user, history=history.where(history.time_us < request.time_us)),
        )

    def first_viewers(self, item_ids: Sequence[int]) -> list[list[FirstViewer]]:
        """Each video's first viewers, none for none. Raises Unavailable."""
        return first_viewers(self._store, item_ids)

    def _user(self, user_id: str, profile: Profile, data: bytes | None) -> User:
        if data is None:
            return User(user_id, profile)
        record = decode_record(data)
        days = self._store.get([seen_key(user_id, day) for day in record.days])
        seen_order = np.frombuffer(b"".join(day for day in days if day), np.int64)
        return user_of(record, history_of(record.ring), user_id, profile, seen_order, self._view)

    def _is_over(self, session: bytes, request: Request) -> bool:
        rest_us = request.time_us - Session.from_bytes(session).last_time_us
        return rest_us > self._config.session_gap_s * SECOND_US

    def session(self, user_id: str, session_id: str) -> Int64:
        """int64[m]: the videos that the session was served, in that order. Raises Unavailable."""
        (data,) = self._store.get([session_key(user_id, session_id)])
        return served_of(data)

    def refresh_counters(self) -> int:
        """Brings `counters` up to the state -> how many blocks of 64 videos changed. Raises Unavailable."""
        return refresh_table(self.counters, self._store)

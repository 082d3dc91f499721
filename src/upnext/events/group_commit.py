"""Many threads, one fsync: whoever comes while a commit is under way shares the next one (DeWitt et al. 1984, group commit).

A future resolves after its rows are on disk and `on_commit` has applied them to the state, so an acknowledged event is both.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import msgspec

from upnext.core.errors import InvalidInput, Overloaded, Unavailable, UpNextError
from upnext.core.event import Event
from upnext.events.slate import SlateRecord

Row = TypeVar("Row", Event, SlateRecord)
OnCommit = Callable[[list[Event], list[SlateRecord], int], None]
_MAX_GROUP: Final = 4096  # rows of one transaction


class Appendable(Protocol):
    """What a group commit needs of the log."""

    def append(
        self, events: Sequence[Event], slates: Sequence[SlateRecord] = ()
    ) -> Sequence[int]: ...

    def last_seq(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Submission:
    events: Sequence[Event]
    slates: Sequence[SlateRecord]
    done: Future[list[int]]

    @property
    def n_rows(self) -> int:
        return len(self.events) + len(self.slates)


class GroupCommit:
    """Owns the thread that appends to a log."""

    def __init__(
        self, log: Appendable, on_commit: OnCommit | None = None, *, max_queued_rows: int = 65_536
    ) -> None:
        """on_commit(new events with their log_seq, new slates with theirs, the last log_seq), in the writer's thread after each
        commit; rows that the log had before are left out. When it raises an UpNextError, the commit's futures fail with it, and
        before the next append it is called again with the same rows: it must leave out what it has applied (by log_seq)."""
        self._log = log
        self._on_commit = on_commit
        self._max_queued_rows = max_queued_rows
        self._queue: deque[_Submission] = deque()
        self._n_queued_rows = 0
        self._is_closed = False
        self._left: tuple[list[Event], list[SlateRecord], int] | None = None
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

    def submit(
        self, events: Sequence[Event], slates: Sequence[SlateRecord] = ()
    ) -> Future[list[int]]:
        """A future of the log_seq per event, then per slate; fails with what the log or `on_commit` raised.

        Raises Overloaded when the rows waiting exceed the bound, Unavailable after close."""
        submission = _Submission(events, slates, Future())
        with self._wake:
            if self._is_closed:
                raise Unavailable("event log: its writer has stopped")
            if self._queue and self._n_queued_rows + submission.n_rows > self._max_queued_rows:
                raise Overloaded(
                    f"event log: {self._n_queued_rows} rows waiting, at most {self._max_queued_rows}"
                )
            self._queue.append(submission)
            self._n_queued_rows += submission.n_rows
            self._wake.notify()
        return submission.done

    def close(self) -> None:
        """Commits what was submitted, then stops."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        group: list[_Submission] = []
        try:
            while group := self._next_group():
                group = [s for s in group if s.done.set_running_or_notify_cancel()]
                if group:
                    self._commit(group)
        finally:  # a bug stays loud (threading.excepthook), and nobody waits for ever
            with self._wake:
                self._is_closed = True
                left = group + list(self._queue)
                self._queue.clear()
            for submission in left:
                if not submission.done.done():
                    submission.done.set_exception(
                        Unavailable("event log: its writer has stopped on a bug; see the log")
                    )

    def _next_group(self) -> list[_Submission]:
        """What is there, up to the size of a group; waits for the first; empty when closed and drained."""
        with self._wake:
            while not self._queue and not self._is_closed:
                self._wake.wait()
            group: list[_Submission] = []
            n_rows = 0
            while self._queue and (not group or n_rows + self._queue[0].n_rows <= _MAX_GROUP):
                n_rows += self._queue[0].n_rows
                submission = self._queue.popleft()
                self._n_queued_rows -= submission.n_rows
                group.append(submission)
            return group

    def _commit(self, group: list[_Submission]) -> None:
        """Resolves every future. A row that can't be stored fails its own submission, not its neighbours'."""
        try:
            self._apply_left()
            answers = self._append(group)
        except InvalidInput as error:
            if len(group) == 1:
                group[0].done.set_exception(error)
                return
            for submission in group:
                self._commit([submission])
            return
        except UpNextError as error:
            for submission in group:
                submission.done.set_exception(error)
            return
        try:
            self._apply_left()
        except UpNextError as error:
            for submission in group:
                submission.done.set_exception(error)
            return
        for submission, numbers in zip(group, answers, strict=True):
            submission.done.set_result(numbers)

    def _append(self, group: list[_Submission]) -> list[list[int]]:
        """log_seq per row of every submission, on disk; the new rows are left for `_apply_left`."""
        events = [event for submission in group for event in submission.events]
        slates = [slate for submission in group for slate in submission.slates]
        before = self._log.last_seq()
        numbers = list(self._log.append(events, slates))
        new_events = fresh_rows(events, numbers[: len(events)], before)
        new_slates = fresh_rows(slates, numbers[len(events) :], before)
        if new_events or new_slates:
            self._left = (new_events, new_slates, max(numbers))
        answers: list[list[int]] = []
        at_event, at_slate = 0, len(events)
        for submission in group:
            next_event = at_event + len(submission.events)
            next_slate = at_slate + len(submission.slates)
            answers.append(numbers[at_event:next_event] + numbers[at_slate:next_slate])
            at_event, at_slate = next_event, next_slate
        return answers

    def _apply_left(self) -> None:
        """Hands the rows of the last commit to `on_commit`; they stay left when it fails, and nothing is appended before they went."""
        if self._left is not None and self._on_commit is not None:
            self._on_commit(*self._left)
        self._left = None


def fresh_rows(rows: Sequence[Row], numbers: Sequence[int], before: int) -> list[Row]:
    """The rows that got a number above `before`, each once, with it."""
    taken: dict[int, Row] = {}
    for row, number in zip(rows, numbers, strict=True):
        if number > before and number not in taken:
            taken[number] = msgspec.structs.replace(row, log_seq=number)
    return list(taken.values())

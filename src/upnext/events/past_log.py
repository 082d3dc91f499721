"""The log as it stood at one moment, for a job that runs for hours while events go on coming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from upnext.events.log import SqliteEventLog


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where the log ended at a moment."""

    log_seq: int  # the last event or slate that belongs to it
    n_histories: int  # the number of the last stored table of histories, 0: none


class PastLog:
    """features.event_rows.ReadLog without what came after `end`."""

    def __init__(self, log: SqliteEventLog, end: LogEnd) -> None:
        self._log = log
        self.end = end

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]:
        """As SqliteEventLog.scan, up to the end."""
        return self._log.scan(after_seq, batch_rows=batch_rows, until_seq=self.end.log_seq)

    def histories(self) -> pa.Table:
        """As SqliteEventLog.histories, of the tables that were there."""
        return self._log.histories(self.end.n_histories)

"""The log as it stood at one moment, for a job that runs for hours while events go on coming."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from upnext.events.log import SqliteEventLog
from upnext.events.slate import SlateRecord


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

    def scan_slates(
        self, after_seq: int = 0, *, batch_rows: int = 4096
    ) -> Iterator[list[SlateRecord]]:
        """As SqliteEventLog.scan_slates, up to the end."""
        for records in self._log.scan_slates(after_seq, batch_rows=batch_rows):
            kept = [record for record in records if record.log_seq <= self.end.log_seq]
            if kept:
                yield kept
            if len(kept) < len(records):
                return

    def histories(self) -> pa.Table:
        """As SqliteEventLog.histories, of the tables that were there."""
        return self._log.histories(self.end.n_histories)

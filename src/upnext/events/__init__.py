"""The log: append-only, durable before it is acknowledged; slates beside it.

`log.SqliteEventLog` is the room: live rows in SQLite (`database`, bodies by `event_body`), old and imported rows in Parquet
(`segments`, their ids in `imported_ids`), stored histories beside them (`histories`), answers served as `slate.SlateRecord`.
`past_log` is the log as it stood at a moment.
One process appends; it groups what many clients send into one fsync (serve/intake_process.py).
"""

from upnext.events.event_body import stamped
from upnext.events.log import SqliteEventLog
from upnext.events.past_log import LogEnd, PastLog
from upnext.events.segment_import import ImportCount
from upnext.events.slate import CandidateRecord, SlateRecord, slate_rows

__all__ = [
    "CandidateRecord",
    "ImportCount",
    "LogEnd",
    "PastLog",
    "SlateRecord",
    "SqliteEventLog",
    "slate_rows",
    "stamped",
]

"""The log: append-only, durable before it is acknowledged; slates beside it.

`log.SqliteEventLog` is the room: live rows in SQLite (`database`, bodies by `event_body`), old and imported rows in Parquet
(`segments`, their ids in `imported_ids`), stored histories beside them (`histories`), answers served as `slate.SlateRecord`.
`group_commit.GroupCommit` lets many threads share one fsync.
"""

from upnext.events.event_body import stamped
from upnext.events.group_commit import GroupCommit
from upnext.events.log import SqliteEventLog
from upnext.events.segment_import import ImportCount
from upnext.events.slate import CandidateRecord, SlateRecord, slate_rows

__all__ = [
    "CandidateRecord",
    "GroupCommit",
    "ImportCount",
    "SlateRecord",
    "SqliteEventLog",
    "slate_rows",
    "stamped",
]

"""The online state: bytes by key in LMDB, with the log_seq they reflect. The log is the durable truth; this can be rebuilt."""

from upnext.state.lmdb_state import LmdbState

__all__ = ["LmdbState"]

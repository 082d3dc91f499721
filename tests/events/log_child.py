"""A process that writes to a log until it is killed; every acknowledged batch is a line on stdout.

python log_child.py append|import|seal LOG_FOLDER FIRST_EVENT [STATE_FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from upnext.core.event import Event
from upnext.events import SqliteEventLog
from upnext.state import LmdbState

TABLE_ROWS = 500


def event_of(n: int) -> Event:
    return Event(event_id=f"e{n}", kind="click", user_id=f"u{n % 7}", time_us=n)


def import_table(first: int) -> pa.Table:
    ids = range(first, first + TABLE_ROWS)
    return pa.table(
        {
            "event_id": [f"i{n}" for n in ids],
            "kind": ["watch"] * TABLE_ROWS,
            "user_id": ["u"] * TABLE_ROWS,
            "time_us": list(ids),
        }
    )


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def append(log: SqliteEventLog, first: int, state: LmdbState) -> None:
    """Small batches, each applied to a state that keeps how many events it has seen before it is acknowledged."""
    n = first
    while True:
        size = 1 + n % 5
        numbers = log.append([event_of(n + i) for i in range(size)])
        catch_up(log, state)
        say(*[f"e{n + i}:{number}" for i, number in enumerate(numbers)])
        n += size


def catch_up(log: SqliteEventLog, state: LmdbState) -> None:
    """Applies what the log has after the watermark: per user the sum of their events' numbers."""
    for table in log.scan(state.watermark()):
        sums: dict[bytes, int] = {}
        for user_id, log_seq in zip(table["user_id"].to_pylist(), table["log_seq"].to_pylist()):
            sums[user_id.encode()] = sums.get(user_id.encode(), 0) + log_seq
        before = state.get(list(sums))
        deltas = {
            user: str(int(value or b"0") + sums[user]).encode() for user, value in zip(sums, before)
        }
        state.apply(deltas, table["log_seq"][-1].as_py())


def bulk(log: SqliteEventLog, first: int) -> None:
    """Imports over and over, each with half of what came before."""

    def tables() -> Iterator[pa.Table]:
        for step in range(3):
            yield import_table(first + step * TABLE_ROWS // 2)

    while True:
        count = log.import_sealed(tables())
        say("imported", first, count.n_new, count.n_known)
        first += TABLE_ROWS


def seal(log: SqliteEventLog, first: int) -> None:
    """Appends and seals by turns."""
    while True:
        numbers = log.append([event_of(first + i) for i in range(50)])
        say(*[f"e{first + i}:{number}" for i, number in enumerate(numbers)])
        log.seal(keep_rows=20)
        first += 50


def main() -> None:
    verb, folder, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    log = SqliteEventLog(folder)
    say("ready")
    if verb == "append":
        state = LmdbState(Path(sys.argv[4]), map_size=1 << 20)
        catch_up(log, state)
        append(log, first, state)
    elif verb == "import":
        bulk(log, first)
    else:
        seal(log, first)


if __name__ == "__main__":
    main()

"""How much memory the log takes in training, by what is asked of it.

    upnext import mapping.toml
    python benchmarks/training_memory.py upnext.toml            # the log as it is
    python benchmarks/training_memory.py upnext.toml --times 8  # eight times as many viewers, each with the same events

Each figure is the peak of a process of its own above what it had with the stores open: `frame` the log in order of time, `showings` what
retrieval learns from (with the join), `replay` every viewer's state beside it. Two values of --times give the cost of one event more.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from upnext.catalog.view import CatalogView
from upnext.events.log import SqliteEventLog
from upnext.features.counters import CounterTable
from upnext.features.past_events import events_by_time
from upnext.features.replay import replay
from upnext.features.showings import showings_of
from upnext.settings.settings import load

PARTS = ("frame", "showings", "replay")
NEVER_US = 1 << 62


class Copies:
    """A log with every viewer `times` times, without stored histories."""

    def __init__(self, log: SqliteEventLog, times: int) -> None:
        self._log = log
        self._times = times

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]:
        """The events of each copy after those of the one before."""
        for copy in range(self._times):
            for table in self._log.scan(after_seq, batch_rows=batch_rows):
                place = table.schema.get_field_index("user_id")
                users = pc.binary_join_element_wise(table.column(place), f"-{copy}", "")
                yield table.set_column(place, "user_id", users)

    def histories(self) -> pa.Table:
        """None."""
        return self._log.histories(0)


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(part: str, config: Path, times: int) -> None:
    """Prints one part's figure."""
    settings = load(config)
    view = CatalogView(settings.catalog_path)
    log = Copies(SqliteEventLog(settings.events_path, read_only=True), times)
    before, began = peak_bytes(), time.process_time()
    n_events = n_showings = 0
    if part == "frame":
        n_events = len(events_by_time(log))
    elif part == "showings":
        n_showings = len(showings_of(log, view, settings.features))
    else:
        counters = CounterTable(view.n_items)
        n_showings = sum(
            1 for _ in replay(log, view, counters, after_us=NEVER_US, config=settings.features)
        )
    taken, cpu_s = peak_bytes() - before, time.process_time() - began
    counted = f"{n_events:,} events" if n_events else f"{n_showings:,} showings"
    print(f"{part:9} x{times}: {taken / 1e6:8,.0f} MB, {cpu_s:6.1f} s CPU, {counted}")


def main() -> None:
    """Measures every part in a process of its own."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("config", type=Path)
    asked.add_argument("--times", type=int, default=1)
    asked.add_argument("--part", choices=PARTS)
    given = asked.parse_args()
    if given.part:
        measure(given.part, given.config, given.times)
        return
    for part in PARTS:
        command = [sys.executable, __file__, str(given.config), "--times", str(given.times)]
        subprocess.run([*command, "--part", part], check=True)


if __name__ == "__main__":
    main()

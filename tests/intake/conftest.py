"""What the intake's tests share: a log that remembers, and a place for files."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from upnext.catalog import Catalog
from upnext.intake import Stores

Counts = namedtuple("Counts", "n_new n_known")


class MemoryLog:
    """A log that keeps bulk imports in memory, idempotent by event_id and by (user_id, position)."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.history: dict[tuple[str, int], dict[str, object]] = {}
        self._known: set[str] = set()

    def import_sealed(self, tables: Iterable[pa.Table]) -> Counts:
        n_new = n_known = 0
        for table in tables:
            ids = table.column("event_id").to_pylist()
            fresh = []
            for event_id in ids:
                fresh.append(event_id not in self._known)
                self._known.add(event_id)
            self.tables.append(table.filter(pa.array(fresh, pa.bool_())))
            n_new += sum(fresh)
            n_known += len(fresh) - sum(fresh)
        return Counts(n_new, n_known)

    def add_histories(self, table: pa.Table) -> int:
        before = len(self.history)
        for row in table.to_pylist():
            self.history.setdefault((row["user_id"], row["position"]), row)
        return len(self.history) - before

    def events(self) -> list[dict[str, object]]:
        return [row for table in self.tables for row in table.to_pylist()]


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def stores(tmp_path: Path, log: MemoryLog) -> Stores:
    return Stores(Catalog(tmp_path / "catalog.db"), log)

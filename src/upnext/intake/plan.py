"""Everything one import reads: the sources of each table, and where rejected rows go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from upnext.intake.files import Source, open_sources
from upnext.intake.mapping import TABLE_NAMES, TableName, read_mapping


@dataclass(frozen=True)
class Plan:
    """Sources per table."""

    folder: Path  # rejected.jsonl is written here
    videos: tuple[Source, ...] = ()
    users: tuple[Source, ...] = ()
    histories: tuple[Source, ...] = ()
    events: tuple[Source, ...] = ()

    def tables(self) -> dict[TableName, tuple[Source, ...]]:
        """The tables that have sources, in the order of import: videos, users, histories, events."""
        found: dict[TableName, tuple[Source, ...]] = {n: getattr(self, n) for n in TABLE_NAMES}
        return {name: sources for name, sources in found.items() if sources}


def plan_of(path: Path) -> Plan:
    """The plan of a mapping file. Raises InvalidInput for a bad mapping or a file that isn't there."""
    mapping = read_mapping(path)
    folder = path.resolve().parent
    sources = {
        name: tuple(s for entry in getattr(mapping, name) for s in open_sources(entry, folder))
        for name in TABLE_NAMES
    }
    return Plan(folder, **sources)

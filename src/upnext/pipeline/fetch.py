"""Asks every source for its candidates; a source that can't answer costs its candidates, not the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upnext.core.errors import Unavailable
from upnext.core.protocols import Source
from upnext.core.types import Candidates, Query, Trace


@dataclass(frozen=True, slots=True)
class Quota:
    """A source and how many videos it may propose."""

    source: Source
    k: int


def fetch_all(
    quotas: Sequence[Quota], query: Query, trace: Trace, *, deeper: int = 1
) -> Candidates:
    """The union of what the sources propose, each asked for `deeper` times its quota."""
    parts: list[Candidates] = []
    for quota in quotas:
        name = quota.source.name
        try:
            part = quota.source.fetch(query, quota.k * deeper)
        except Unavailable:
            if name not in trace.late:
                trace.late.append(name)
                trace.degraded.append(f"source:{name}")
            trace.fetched.setdefault(name, 0)
            continue
        trace.fetched[name] = len(part)
        parts.append(part)
    return Candidates.union(parts)

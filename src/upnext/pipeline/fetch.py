"""Asks every source for its candidates; a source that can't answer costs its candidates, not the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
        except Unavailable as error:
            if name not in trace.late:
                trace.late.append(name)
                trace.degraded.append(f"source:{name}")
            trace.fetched.setdefault(name, 0)
            del error
            continue
        trace.fetched[name] = len(part)
        parts.append(part)
    return Candidates.union(parts)


def best_ranked(candidates: Candidates, n: int) -> Candidates:
    """At most n candidates, those with the best place in any source's list; ties keep their order."""
    if len(candidates) <= n:
        return candidates
    best = np.full(len(candidates), np.inf)
    for name in candidates.sources():
        score = candidates.columns[f"source:{name}"]
        proposed = np.flatnonzero(~np.isnan(score))
        places = np.empty(len(proposed))
        places[np.argsort(-score[proposed], kind="stable")] = np.arange(len(proposed))
        best[proposed] = np.minimum(best[proposed], places)
    return candidates.take(np.sort(np.argsort(best, kind="stable")[:n]))

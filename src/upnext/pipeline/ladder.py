"""What a page shows when the sources run dry: it is never empty while an allowed video exists.

Rungs, each flagged in the trace: (1) the same sources asked deeper; (2) popular in the viewer's language and country; (3) anything
allowed and unseen; (4) the least recently seen, flagged as repeats. Mutes, exclusions and safety hold on every rung.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from upnext.core.compiled import compiled
from upnext.core.errors import Unavailable
from upnext.core.protocols import Filter
from upnext.core.types import Bool, Candidates, Float64, Int64, Query, Trace
from upnext.pipeline.world import World


@dataclass(frozen=True, slots=True)
class Rungs:
    """Finds videos outside the sources, in the whole catalogue."""

    world: World

    def unseen(self, filters: Sequence[Filter], query: Query, n: int, trace: Trace) -> Candidates:
        """Up to n allowed, unseen videos: the popular ones in the viewer's language first, then any."""
        everything = Candidates(np.arange(self.world.n_items, dtype=np.int64))
        keep = votes(filters, query, everything, None, trace)
        ids = everything.item_id[keep]
        if not len(ids):
            return Candidates(ids)
        popularity = self.world.popularity(query.request.time_us)[ids]
        at_home = self.world.speaks(query)[ids]
        chosen = best_of(ids[at_home], popularity[at_home], n)
        if len(chosen) < n:
            rest = best_of(ids[~at_home], popularity[~at_home], n - len(chosen))
            chosen = np.concatenate([chosen, rest])
        trace.degraded.append("ladder:popular_at_home" if at_home.any() else "ladder:anything")
        score = np.linspace(1.0, 0.0, len(chosen), dtype=np.float32)
        trace.fetched["ladder"] = len(chosen)
        return Candidates.of_source("ladder", chosen, score)

    def repeats(self, filters: Sequence[Filter], query: Query, n: int, trace: Trace) -> Int64:
        """Up to n allowed videos already seen or served, least recently first."""
        allowed_filters = [f for f in filters if f.name != "seen"]
        order = np.concatenate([query.user.seen_order, query.served])
        latest: Int64 = order[np.sort(_last_places(order))]
        latest = latest[(latest >= 0) & (latest < self.world.n_items)]
        keep = votes(allowed_filters, query, Candidates(latest), None, trace)
        trace.degraded.append("repeat")
        return latest[keep][:n]


def votes(
    filters: Sequence[Filter],
    query: Query,
    candidates: Candidates,
    removed: dict[str, int] | None,
    trace: Trace,
) -> Bool:
    """bool[n]: kept by every filter; `removed` counts each video once, for the first filter against it."""
    kept = np.ones(len(candidates), np.bool_)
    for one in filters:
        try:
            keep = one.keep(query, candidates)
        except Unavailable:
            if one.is_safety:
                raise
            if f"filter:{one.name}" not in trace.degraded:
                trace.degraded.append(f"filter:{one.name}")
            continue
        n_removed = _take_out(kept, keep)
        if removed is not None:
            removed[one.name] = removed.get(one.name, 0) + n_removed
    return kept


@compiled
def _take_out(kept: Bool, keep: Bool) -> int:
    """Clears the rows of `kept` that one filter votes against -> how many were kept before."""
    n_removed = 0
    for i in range(len(kept)):
        n_removed += kept[i] and not keep[i]
        kept[i] &= keep[i]
    return n_removed


def best_of(ids: Int64, value: Float64, n: int) -> Int64:
    """int64[min(n, m)]: the ids int64[m], ascending, of the n largest values float64[m], best first; ties by id.

    Only the chosen ones are sorted: a catalogue of a million is passed over once."""
    if len(ids) > n:
        least = np.partition(value, -n)[-n]
        above, ties = np.flatnonzero(value > least), np.flatnonzero(value == least)
        rows = np.concatenate([above, ties[: n - len(above)]])
        ids, value = ids[rows], value[rows]
    return ids[np.lexsort((ids, -value))]


def _last_places(ids: Int64) -> Int64:
    """Positions of the last occurrence of each id."""
    _, first_in_reversed = np.unique(ids[::-1], return_index=True)
    return np.asarray(len(ids) - 1 - first_in_reversed, np.int64)

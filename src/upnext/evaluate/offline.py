"""A release judged on what happened after an instant: its own pipeline runs over the state as it was then, frozen.

Every viewer with something relevant to find asks once, in the context of their first showing of the window (hour, surface, device), with
the history they had at the instant (with another target than `all`: as of just before what is to be found). Each source, the merged candidates and the ranked list give their best 500; popularity over several
windows stands beside them. The ranker's heads are judged on the window's showings, each with the features that serving would have read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.event import Event
from upnext.core.protocols import Progress, Ranker
from upnext.core.types import (
    NO_ITEMS,
    Candidates,
    Features,
    Float32,
    Int64,
    Predictions,
    Query,
    Request,
    Trace,
)
from upnext.evaluate.given_lists import check_names
from upnext.evaluate.hybrid_report import hybrid_report
from upnext.evaluate.hybrid_rows import COLLABORATIVE_ONLY, hybrid_rows
from upnext.evaluate.pair_segments import pair_segments
from upnext.evaluate.popularity import popularity_lists
from upnext.evaluate.random_lists import random_lists
from upnext.evaluate.ranker_report import Head, RankerReport, evaluate_ranker
from upnext.evaluate.retrieval_report import (
    Cases,
    Catalogue,
    Judging,
    Lists,
    RetrievalReport,
    evaluate_retrieval,
)
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window, liked_before, showings_before
from upnext.features.event_rows import ReadLog
from upnext.features.past_events import decoded, events_by_time
from upnext.features.replay import PastState
from upnext.pipeline.assemble import Assembled
from upnext.pipeline.blend import best_blended
from upnext.pipeline.ladder import votes
from upnext.pipeline.rows import GatheredRows
from upnext.ranking.tasks import kind_of

DEPTH = 500
PIECE = 16_384


class PastHydrator:
    """A Hydrator over the state as of an instant, or one that goes by with the requests, which then come in order of time."""

    def __init__(self, past: PastState, coming: Iterator[Event] | None = None) -> None:
        """coming: the events after those that `past` holds, in order of time; they are applied as requests pass them."""
        self._past = past
        self._coming = coming if coming is not None else iter(())
        self._next = next(self._coming, None)

    def hydrate(self, request: Request) -> Query:
        """The request with its viewer as of the instant, or as of just before the request."""
        while self._next is not None and self._next.time_us < request.time_us:
            self._past.apply(self._next)
            self._next = next(self._coming, None)
        return self._past.query(request)


def advance(past: PastState, log: ReadLog, before_us: int, progress: Progress) -> None:
    """Brings `past` from nothing to the instant: stored histories, then every event before it."""
    past.start(log)
    events: pl.DataFrame = events_by_time(log, before_us)
    progress.start("replay to the instant", len(events), "events")
    for start in range(0, len(events), PIECE):
        piece = events.slice(start, PIECE)
        for event in decoded(piece):
            past.apply(event)
        progress.advance(len(piece))
    progress.done()


def lists_of(
    assembled: Assembled,
    requests: Sequence[Request],
    *,
    exclude_seen: bool,
    only_ranked: bool = False,
    is_live: bool = False,
    progress: Progress,
) -> dict[str, Int64]:
    """{source, "merged", "ranked": int64[u, 500]}, best first, -1 pads; only_ranked leaves the others out.

    is_live: the sources' lists are made anew as the requests' times go by. This is the product's own funnel, one request after
    another as it serves them; models that are vectors alone are ranked in blocks (full_ranking.py)."""
    pipeline = assembled.pipeline
    names = [] if only_ranked else [*assembled.sources, "merged"]
    lists = {name: np.full((len(requests), DEPTH), -1, np.int64) for name in [*names, "ranked"]}
    progress.start("lists of every source", len(requests), "viewers")
    for row, request in enumerate(requests):
        query = pipeline.hydrator.hydrate(request)
        if is_live:
            assembled.refresh_lists(request.time_us)
        if not exclude_seen:
            user = replace(query.user, seen=NO_ITEMS, seen_order=NO_ITEMS)
            query = replace(query, user=user)
        surface = pipeline.logged_surface(request.surface)
        if only_ranked:
            retrieved = pipeline.retrieved(query)
        else:
            parts = _fetched(assembled, query)
            for name, part in parts.items():
                _put(lists[name], row, part.item_id)
            # a source's shorter list is the beginning of its longer one
            quotas = [(q.source.name, q.k) for q in surface.quotas]
            cut = [parts[name].take(np.arange(min(k, len(parts[name])))) for name, k in quotas]
            retrieved = pipeline.blend.scored(query, Candidates.union(cut), surface.name)
            merged = best_blended(retrieved, min(DEPTH, surface.config.n_ranked))
            _put(lists["merged"], row, _by(merged, merged.columns["blend"]))
        scored = pipeline.score(query, retrieved)
        _put(lists["ranked"], row, _by(scored.candidates, scored.value))
        progress.advance(1)
    progress.done()
    return lists


def lists_over_time(
    assembled: Assembled, requests: Sequence[Request], *, exclude_seen: bool, progress: Progress
) -> dict[str, Int64]:
    """lists_of with the requests asked in order of time, for a hydrator whose state goes by with them; rows as given."""
    order = np.argsort([request.time_us for request in requests], kind="stable")
    in_order = [requests[row] for row in order.tolist()]
    lists = lists_of(
        assembled, in_order, exclude_seen=exclude_seen, is_live=True, progress=progress
    )
    row = np.argsort(order)
    return {name: table[row] for name, table in lists.items()}


def _fetched(assembled: Assembled, query: Query) -> dict[str, Candidates]:
    """Every source's best, kept by the filters."""
    filters = assembled.pipeline.filters
    parts = {}
    for name, source in assembled.sources.items():
        found = source.fetch(query, DEPTH)
        parts[name] = found.take(votes(filters, query, found, None, Trace()))
    return parts


def retrieval_report(
    assembled: Assembled,
    window: Window,
    view: CatalogView,
    *,
    exclude_seen: bool,
    given: Mapping[str, Int64],
    baseline: str,
    progress: Progress,
) -> RetrievalReport:
    """The table of every source, the merged candidates, the ranked list, popularity, random lists, and those given.

    given: {name: int64[u, K]} made elsewhere for the same split, with which ours are compared; baseline: the row with which all are.
    Raises InvalidInput for a given name that is one of ours and a baseline that is none."""
    split = window.split(exclude_seen=exclude_seen)
    beside = _without_model(split, window, view)
    check_names([*assembled.sources, "merged", "ranked", *beside], given, baseline)
    requests = window.requests(split)
    moments = window.moments(split)
    hybrids = hybrid_rows(assembled, view)
    asked = replace(assembled, sources={**assembled.sources, **hybrids.sources})
    make = lists_over_time if not window.is_at_once else lists_of
    made = make(asked, requests, exclude_seen=exclude_seen, progress=progress)
    compared = hybrids.lists({name: made.pop(name) for name in hybrids.sources})
    compared["merged"] = made["merged"]
    lists: dict[str, Lists] = dict(made)
    lists.update(beside)
    lists.update(given)
    release = assembled.release
    catalogue = Catalogue(
        n_items=view.n_items,
        vectors=release.vectors.rows(np.arange(view.n_items)) if release is not None else None,
        category=view.category,
        popularity=showings_before(split, view.n_items),
    )
    cases = Cases(
        split.truth,
        None if window.is_at_once else split.viewer(),
        liked_before(split),
        pair_segments(split, view, [m.country or m.profile.country for m in moments]),
    )
    about = {
        "from_us": window.from_us,
        "until_us": window.until_us,
        "split": window.kind,
        "target": window.target if window.kind == "time" else "last",
        "already_shown": "excluded" if exclude_seen else "kept",
        "split_sha256": split.checksum(),
        "counts": {**split.counts, "lists_drawn": len(split.user)},
    }
    judging = Judging(baseline=baseline, against=tuple(given))
    report = evaluate_retrieval(lists, cases, catalogue, judging, about=about, progress=progress)
    return replace(
        report,
        hybrids=hybrid_report(
            compared, ("merged", COLLABORATIVE_ONLY), cases.truth, cases.segments, cases.by_viewer,
            (hybrids.made_of, hybrids.missing),
        ),
    )  # fmt: skip


def _without_model(split: Split, window: Window, view: CatalogView) -> dict[str, Lists]:
    """Popularity over several windows, and luck."""
    seen = split.seen if split.is_seen_excluded else None
    # leave-last-out counts the future of others too, as papers do
    as_of_us = window.from_us if window.kind == "time" else _after_all(split)
    lists: dict[str, Lists] = dict(
        popularity_lists(split.train, view.n_items, as_of_us, seen, DEPTH)
    )
    is_active = view.status == VIDEO_STATUSES.index("active")
    if is_active.any():
        lists["random"] = random_lists(is_active, seen, DEPTH, window.seed)
    return lists


def _after_all(split: Split) -> int:
    return int(split.train.time_us.max(initial=0)) + 1


def ranker_report(
    gathered: GatheredRows, ranker: Ranker, progress: Progress, about: Mapping[str, object]
) -> RankerReport:
    """Every head on showings whose features were read as serving reads them."""
    predictions = predict_rows(gathered, ranker)
    rows = gathered.ranker
    heads = {
        task: Head(
            rows.labels[task],
            predictions.task(task),
            "seconds" if kind_of(task) == "seconds" else "probability",
        )
        for task in predictions.tasks
        if task in rows.labels and np.isfinite(rows.labels[task]).any()
    }
    return evaluate_ranker(heads, rows.group, about=about, progress=progress)


def predict_rows(gathered: GatheredRows, ranker: Ranker) -> Predictions:
    """The ranker's predictions, rows of one request together."""
    rows = gathered.ranker
    changes = np.ones(len(rows), np.bool_)
    changes[1:] = (rows.user[1:] != rows.user[:-1]).any(axis=1)
    starts = np.append(np.flatnonzero(changes), len(rows))
    parts: list[Float32] = []
    tasks: tuple[str, ...] = ()
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        features = Features(
            rows.user[start], rows.items[start:stop], rows.user_names, rows.item_names
        )
        found = ranker.predict(features)
        tasks = found.tasks
        parts.append(found.values)
    return Predictions(tasks, np.concatenate(parts) if parts else np.zeros((0, 0), np.float32))


def _by(candidates: Candidates, value: Float32) -> Int64:
    """The ids by descending value, ties by id."""
    return candidates.item_id[np.lexsort((candidates.item_id, -value))]


def _put(table: Int64, row: int, item_id: Int64) -> None:
    item_id = item_id[:DEPTH]
    table[row, : len(item_id)] = item_id

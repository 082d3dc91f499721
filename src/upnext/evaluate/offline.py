"""A release judged on what happened after an instant: its own pipeline runs over the state as it was then, frozen.

Every viewer with something relevant to find asks once, in the context of their first showing of the window (hour, surface, device), with
the history they had at the instant. Each source, the merged candidates and the ranked list give their best 500; popularity over several
windows stands beside them. The ranker's heads are judged on the window's showings, each with the features that serving would have read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from upnext.catalog.view import CatalogView
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress, Ranker
from upnext.core.randomness import rng_for
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
from upnext.evaluate.popularity import popularity_lists
from upnext.evaluate.ranker_report import Head, RankerReport, evaluate_ranker
from upnext.evaluate.retrieval_report import (
    Catalogue,
    Judging,
    Lists,
    RetrievalReport,
    evaluate_retrieval,
)
from upnext.evaluate.split import Split, time_split
from upnext.features.event_rows import ReadLog
from upnext.features.past_events import decoded, events_by_time
from upnext.features.replay import PastState
from upnext.features.showings import Showings
from upnext.pipeline.assemble import Assembled
from upnext.pipeline.blend import best_blended
from upnext.pipeline.ladder import votes
from upnext.pipeline.rows import GatheredRows
from upnext.ranking.tasks import kind_of

DEPTH = 500
PIECE = 16_384


class PastHydrator:
    """A Hydrator over the state as of an instant."""

    def __init__(self, past: PastState) -> None:
        self._past = past

    def hydrate(self, request: Request) -> Query:
        """The request with its viewer as of the instant."""
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


@dataclass(frozen=True)
class Window:
    """What is judged: the showings, an instant, an end, and how many viewers at most."""

    showings: Showings
    from_us: int
    until_us: int | None = None
    max_users: int = 20_000
    seed: int = 0

    def split(self, *, exclude_seen: bool) -> Split:
        """The split with its viewers drawn where there are too many. Raises InvalidInput when nothing is left to judge."""
        split = time_split(
            self.showings, self.from_us, end_us=self.until_us, exclude_seen=exclude_seen
        )
        if not len(split.user):
            raise InvalidInput("evaluate: no viewer has a relevant video in the window")
        if len(split.user) <= self.max_users:
            return split
        rng = rng_for(self.seed, "evaluated-viewers")
        rows = np.sort(rng.choice(len(split.user), self.max_users, replace=False))
        return Split(
            split.train,
            split.user[rows],
            split.truth.take(rows),
            split.seen.take(rows),
            split.is_seen_excluded,
        )

    def requests(self, split: Split) -> list[Request]:
        """One request per viewer of the split, in the context of the first showing of the window."""
        showings = self.showings
        late = np.flatnonzero(showings.time_us >= self.from_us)
        _, first = np.unique(showings.user[late], return_index=True)
        row_of = dict(zip(showings.user[late][first].tolist(), late[first].tolist(), strict=True))
        requests = []
        for user in split.user.tolist():
            moment = showings.moments[int(showings.moment[row_of[user]])]
            requests.append(
                Request(
                    request_id=f"evaluate-{user}",
                    user_id=showings.user_ids[user],
                    surface=moment.surface,
                    size=1,
                    time_us=moment.time_us,
                    device=moment.device,
                    country=moment.country,
                )
            )
        return requests


def lists_of(
    assembled: Assembled,
    requests: Sequence[Request],
    *,
    exclude_seen: bool,
    only_ranked: bool = False,
    progress: Progress,
) -> dict[str, Int64]:
    """{source, "merged", "ranked": int64[u, 500]}, best first, -1 pads; only_ranked leaves the others out."""
    pipeline = assembled.pipeline
    names = [] if only_ranked else [*assembled.sources, "merged"]
    lists = {name: np.full((len(requests), DEPTH), -1, np.int64) for name in [*names, "ranked"]}
    progress.start("lists of every source", len(requests), "viewers")
    for row, request in enumerate(requests):
        query = pipeline.hydrator.hydrate(request)
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
            retrieved = pipeline.blend.scored(query, Candidates.union(cut))
            merged = best_blended(retrieved, min(DEPTH, surface.config.n_ranked))
            _put(lists["merged"], row, _by(merged, merged.columns["blend"]))
        scored = pipeline.score(query, retrieved)
        _put(lists["ranked"], row, _by(scored.candidates, scored.value))
        progress.advance(1)
    progress.done()
    return lists


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
    progress: Progress,
) -> RetrievalReport:
    """The table of every source, the merged candidates, the ranked list and popularity."""
    split = window.split(exclude_seen=exclude_seen)
    requests = window.requests(split)
    made = lists_of(assembled, requests, exclude_seen=exclude_seen, progress=progress)
    lists: dict[str, Lists] = dict(made)
    seen = split.seen if exclude_seen else None
    lists.update(popularity_lists(split.train, view.n_items, window.from_us, seen, DEPTH))
    release = assembled.release
    counts = np.bincount(split.train.item_id, minlength=view.n_items)
    catalogue = Catalogue(
        n_items=view.n_items,
        vectors=release.vectors.rows(np.arange(view.n_items)) if release is not None else None,
        category=view.category,
        popularity=counts,
    )
    about = {
        "from_us": window.from_us,
        "until_us": window.until_us,
        "already_shown": "excluded" if exclude_seen else "kept",
        "split_sha256": split.checksum(),
    }
    judging = Judging(baseline="popular_7d")
    return evaluate_retrieval(
        lists, split.truth, catalogue, judging, about=about, progress=progress
    )


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

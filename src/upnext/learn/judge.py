"""The gate's hearing: a new release and the present one on one window that neither learned from.

The figures are NDCG@10 of the ranked list and the log loss of every head on what was shown; learn/off_policy_gate.py adds what the release would
have earned on the pages that the present one served. The first release faces popularity. A present
release whose data reach into the window can't be judged fairly on it; the window then begins where its data end, and when too little
is left the new release faces popularity, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from upnext.artifacts.manifest import Manifest
from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.errors import UpNextError
from upnext.core.protocols import Progress
from upnext.core.types import Array
from upnext.evaluate.gate import GateMetrics, Margins, gate, log_loss_sums
from upnext.evaluate.gather import OfflineSettings, gathered_parts, offline_parts
from upnext.evaluate.metrics import Places, measure
from upnext.evaluate.offline import (
    PastHydrator,
    advance,
    lists_of,
    predict_rows,
)
from upnext.evaluate.popularity import popularity_lists
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window
from upnext.events.past_log import PastLog
from upnext.features.counters import CounterTable
from upnext.features.replay import PastState
from upnext.features.showings import Showings
from upnext.learn.off_policy_gate import OffPolicyWord, off_policy_word
from upnext.pipeline.assemble import assemble
from upnext.pipeline.release_parts import ReleaseParts
from upnext.pipeline.rows import Drawing, GatheredRows, merged_rows
from upnext.ranking.onnx_ranker import OnnxRanker
from upnext.ranking.tasks import kind_of
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings

LEAST_VIEWERS = 30
GATE_REQUESTS = 6_000


@dataclass(frozen=True)
class Judgement:
    """The gate's verdict with what it rests on."""

    accepted: bool
    word: str  # "accepted" or "refused"
    against: str  # a release id, or "popular_7d"
    reasons: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    off_policy: Mapping[str, Any] = field(default_factory=dict)  # empty: no page to judge on

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "accepted": self.accepted,
            "word": self.word,
            "against": self.against,
            "reasons": list(self.reasons),
            "metrics": dict(self.metrics),
            "off_policy": dict(self.off_policy),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Judgement:
        """The inverse of to_json."""
        return Judgement(
            bool(data["accepted"]), str(data["word"]), str(data["against"]),
            tuple(data["reasons"]), dict(data["metrics"]), dict(data["off_policy"]),
        )  # fmt: skip


def judge(
    settings: Settings,
    view: CatalogView,
    log: PastLog,
    releases: ReleaseStore,
    candidate: Path,
    showings: Showings,
    from_us: int,
    until_us: int,
    progress: Progress,
) -> Judgement:
    """The verdict on the release in folder `candidate`, on showings of [from_us, until_us)."""
    present = _present(releases)
    start_us = from_us
    if present is not None:
        start_us = max(from_us, int(present.data_window.get("until_us", 0)))
    bench = _Bench(settings, view, log, showings, start_us, until_us, progress)
    against = "popular_7d"
    if present is not None and bench.n_viewers() >= LEAST_VIEWERS:
        against = present.release_id
    elif start_us != from_us:  # the present release has seen nearly all of the window
        bench = _Bench(settings, view, log, showings, from_us, until_us, progress)
    if bench.n_viewers() < LEAST_VIEWERS:
        reason = f"only {bench.n_viewers()} viewers in the window: nothing to compare"
        return Judgement(True, "accepted", "nothing", (reason,), {})
    new = bench.figures(candidate)
    if against == "popular_7d":
        old = GateMetrics(bench.popularity())
    else:
        old = bench.figures(releases.open(against).path)
    margins = Margins(settings.learn.gate_margin, settings.learn.gate_margin)
    verdict = gate(new, old, margins)
    word = _off_policy(settings, view, log, candidate, present, (from_us, until_us), progress)
    metrics = {
        "ndcg_at_10": float(np.nanmean(new.ndcg)),
        "ndcg_at_10_against": float(np.nanmean(old.ndcg)),
        "gate_viewers": float(len(new.ndcg)),
    }
    reasons = (*verdict.reasons, *word.reasons)
    said = "refused" if reasons else "accepted"
    return Judgement(not reasons, said, against, reasons, metrics, word.figures)


def _off_policy(
    settings: Settings,
    view: CatalogView,
    log: PastLog,
    candidate: Path,
    present: Manifest | None,
    window: tuple[int, int],
    progress: Progress,
) -> OffPolicyWord:
    """What the pages of the present release say; nothing without one, or where the settings ask for no pages."""
    learn = settings.learn
    if present is None or not learn.gate_pages:
        return OffPolicyWord((), {})
    progress.start("logged pages through the release", None, "pages")
    word = off_policy_word(
        offline_settings(settings, view.n_items, log.end), candidate, present.release_id, window,
        max_pages=learn.gate_pages, margin=learn.gate_margin, seed=learn.seed,
    )  # fmt: skip
    progress.advance(int(word.figures["n_pages"]))
    progress.done()
    return word


def _present(releases: ReleaseStore) -> Manifest | None:
    current = releases.current()
    if current is None:
        return None
    try:
        return releases.open(current).manifest
    except UpNextError:
        return None  # damaged: it can't defend its place


class _Bench:
    """The window, with the state as of its beginning for as many releases as are judged."""

    def __init__(
        self,
        settings: Settings,
        view: CatalogView,
        log: PastLog,
        showings: Showings,
        from_us: int,
        until_us: int,
        progress: Progress,
    ) -> None:
        self._settings, self._view, self._log = settings, view, log
        self._from_us, self._until_us, self._progress = from_us, until_us, progress
        self._window = Window(
            showings,
            from_us,
            until_us,
            max_users=settings.learn.gate_users,
            seed=settings.learn.seed,
        )
        self._split = self._split_or_none()
        self._past: PastState | None = None
        self._counters = CounterTable(view.n_items)

    def n_viewers(self) -> int:
        """How many viewers there are to judge on."""
        return 0 if self._split is None else len(self._split.user)

    def popularity(self) -> Array:
        """float64[u]: NDCG@10 of the last week's popular videos."""
        split = self._split
        assert split is not None
        made = popularity_lists(split.train, self._view.n_items, self._from_us, split.seen, 10)[
            "popular_7d"
        ]
        ranked = made(np.arange(len(split.user)))
        return measure(Places.of(ranked, split.truth), ["ndcg@10"])["ndcg@10"]

    def figures(self, release: Path) -> GateMetrics:
        """NDCG@10 per viewer, and per head each viewer's summed log loss on the window's showings."""
        split = self._split
        assert split is not None
        if self._past is None:
            self._past = PastState(self._view, self._counters, self._settings.features)
            advance(self._past, self._log, self._from_us, self._progress)
        parts = ReleaseParts.load(release)
        made = offline_parts(self._offline(), self._view, self._counters)
        assembled = assemble(replace(made, hydrator=PastHydrator(self._past)), parts)
        assembled.refresh_lists(self._from_us)
        requests = self._window.requests(split)
        ranked = lists_of(
            assembled, requests, exclude_seen=True, only_ranked=True, progress=self._progress
        )["ranked"]
        ndcg = measure(Places.of(ranked, split.truth), ["ndcg@10"])["ndcg@10"]
        return GateMetrics(ndcg, self._log_losses(release, parts.ranker, len(ndcg)))

    def _log_losses(
        self, release: Path, ranker: OnnxRanker | None, n_viewers: int
    ) -> dict[str, Array]:
        """{head: float64[u]}; the window's viewers are dealt into the u rows by number, which keeps both releases paired."""
        if ranker is None:
            return {}
        gathered = self._shown_rows(release)
        predictions = predict_rows(gathered, ranker)
        rows = gathered.ranker
        return {
            task: log_loss_sums(
                rows.labels[task], predictions.task(task), rows.group % n_viewers, n_viewers
            )
            for task in predictions.tasks
            if kind_of(task) == "binary" and task != "relevant" and task in rows.labels
        }

    def _shown_rows(self, release: Path) -> GatheredRows:
        showings = self._window.showings
        n = int(((showings.time_us >= self._from_us) & (showings.time_us < self._until_us)).sum())
        drawing = Drawing(min(1.0, GATE_REQUESTS / max(1, n)), 0, self._settings.learn.seed)
        self._progress.start("replay for the gate", n, "requests")
        window = (self._from_us, self._until_us)
        parts = gathered_parts(self._offline(), release, window, drawing, int(drawing.share * n))
        self._progress.advance(n)
        self._progress.done()
        return merged_rows(parts)

    def _offline(self) -> OfflineSettings:
        return offline_settings(self._settings, self._view.n_items, self._log.end)

    def _split_or_none(self) -> Split | None:
        try:
            return self._window.split(exclude_seen=True)
        except UpNextError:
            return None

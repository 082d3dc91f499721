"""The data doctor: reads everything, writes nothing to the stores, says what an import would drop and what looks wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from upnext.catalog import Catalog
from upnext.core.protocols import Progress
from upnext.core.types import Bool, Float64
from upnext.intake.clean import Clean, clean_rows
from upnext.intake.emit import ROW
from upnext.intake.plan import Plan
from upnext.intake.rejected import Rejected
from upnext.intake.report import N_EXAMPLES, Example, Report, TableReport
from upnext.intake.seen import Hashes, hashes_of
from upnext.intake.time_order import TimeSample

_YEAR_2000_US = 946_684_800_000_000


@dataclass
class Diagnosis:
    """The report, and what the import's second pass needs of the first."""

    report: Report = field(default_factory=Report)
    times: TimeSample = field(default_factory=TimeSample)


def validate(
    plan: Plan, progress: Progress, *, now_us: int, catalog: Catalog | None = None
) -> Report:
    """What an import of the plan would keep, drop and doubt. `catalog`: videos known from before.

    Raises InvalidInput when a file can't be read at all or lacks a mapped column."""
    return diagnose(plan, progress, now_us=now_us, catalog=catalog, rejected=None).report


def diagnose(
    plan: Plan,
    progress: Progress,
    *,
    now_us: int,
    catalog: Catalog | None,
    rejected: Path | None,
) -> Diagnosis:
    """The report and the events' times; bad rows go to the file `rejected`."""
    found = Diagnosis()
    videos = _Videos(catalog)
    with Rejected(rejected) as sink:
        for table, sources in plan.tables().items():
            report = found.report.tables[table] = TableReport(table)
            progress.start(f"check {table}", None, "rows")
            for clean in clean_rows(table, sources, report, sink, now_us, progress):
                if table == "videos":
                    videos.add(clean)
                    _look_at_uploads(clean, report, now_us)
                elif table == "events":
                    found.times.add(clean.events.get_column("time_us").to_numpy())
                    _look_at_events(clean, report, videos)
                elif table == "histories":
                    known = videos.known(clean.rows)
                    _warn(
                        "video isn't in the videos table",
                        ~known,
                        clean.rows,
                        "video_id",
                        clean,
                        report,
                    )
            progress.done()
    return found


class _Videos:
    """Which videos are known, with their durations: two arrays, searched by hash."""

    def __init__(self, catalog: Catalog | None) -> None:
        self._catalog = catalog
        self._hashes: list[Hashes] = []
        self._durations: list[Float64] = []
        self._sorted: tuple[Hashes, Float64] | None = None

    def add(self, clean: Clean) -> None:
        rows = clean.rows
        self._hashes.append(hashes_of(rows.select("video_id")))
        seconds = rows.get_column("duration_s") if "duration_s" in rows.columns else None
        gaps = np.full(rows.height, np.nan)
        self._durations.append(gaps if seconds is None else seconds.fill_null(np.nan).to_numpy())

    def known(self, rows: pl.DataFrame) -> Bool:
        """bool[n]: rows whose video_id is known."""
        return self.look_up(rows)[0]

    def look_up(self, rows: pl.DataFrame) -> tuple[Bool, Float64]:
        """(bool[n] known, float64[n] seconds or NaN) of the rows' video_id."""
        hashes, durations = self._index()
        wanted = hashes_of(rows.select("video_id"))
        if not len(hashes):
            known, seconds = np.zeros(len(wanted), np.bool_), np.full(len(wanted), np.nan)
        else:
            place = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
            known = hashes[place] == wanted
            seconds = np.where(known, durations[place], np.nan)
        if self._catalog is not None and not known.all():
            self._ask_catalog(self._catalog, rows.get_column("video_id"), known, seconds)
        return known, seconds

    def _index(self) -> tuple[Hashes, Float64]:
        if self._sorted is None:
            if not self._hashes:
                return np.zeros(0, np.uint64), np.zeros(0)
            hashes, durations = np.concatenate(self._hashes), np.concatenate(self._durations)
            order = np.argsort(hashes, kind="stable")
            self._sorted = hashes[order], durations[order]
            self._hashes, self._durations = [], []
        return self._sorted

    def _ask_catalog(
        self, catalog: Catalog, names: pl.Series, known: Bool, seconds: Float64
    ) -> None:
        asked = np.flatnonzero(~known & names.is_not_null().to_numpy())
        videos = names.gather(asked).unique(maintain_order=True)
        ids = catalog.item_ids(videos.to_list())
        table = pl.DataFrame({"v": videos, "has": ids >= 0, "s": catalog.durations(ids)})
        found = pl.DataFrame({"v": names.gather(asked)}).join(
            table, on="v", how="left", maintain_order="left"
        )
        known[asked] = found.get_column("has").to_numpy()
        seconds[asked] = found.get_column("s").to_numpy()


def _look_at_uploads(clean: Clean, report: TableReport, now_us: int) -> None:
    if "uploaded_us" in clean.rows.columns:
        late = (clean.rows.get_column("uploaded_us") > now_us).fill_null(False).to_numpy()
        _warn("uploaded in the future", late, clean.rows, "uploaded_us", clean, report)


def _look_at_events(clean: Clean, report: TableReport, videos: _Videos) -> None:
    events = clean.events
    early = (events.get_column("time_us") < _YEAR_2000_US).to_numpy()
    _warn("time before the year 2000", early, events, "time_us", clean, report)
    if "video_id" not in events.columns:
        return
    known, seconds = videos.look_up(events)
    named = events.get_column("video_id").is_not_null().to_numpy()
    _warn("video isn't in the videos table", named & ~known, events, "video_id", clean, report)
    if "watch_s" not in events.columns:
        return
    if "duration_s" in events.columns:
        own = events.get_column("duration_s").fill_null(np.nan).to_numpy()
        seconds = np.where(np.isnan(own), seconds, own)
    is_watch = (events.get_column("kind") == "watch").to_numpy()
    watch_s = events.get_column("watch_s").fill_null(0.0).to_numpy()
    _warn("duration unknown", is_watch & np.isnan(seconds), events, "video_id", clean, report)
    long = is_watch & (watch_s > 10 * np.nan_to_num(seconds, nan=np.inf))
    _warn("watched over 10 times the duration", long, events, "watch_s", clean, report)


def _warn(
    text: str, mask: Bool, rows: pl.DataFrame, column: str, clean: Clean, report: TableReport
) -> None:
    places = np.flatnonzero(mask)[:N_EXAMPLES]
    at = rows.get_column(ROW).to_numpy()[places] if ROW in rows.columns else places
    values = rows.get_column(column)
    shown = [
        Example(clean.file, int(clean.row[j]), repr(values[int(i)])[:120])
        for i, j in zip(places, at)
    ]
    report.warn(text, int(mask.sum()), shown)

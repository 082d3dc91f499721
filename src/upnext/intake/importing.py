"""`upnext import`: a platform's own files into the catalogue and the event log.

Two passes. The first reads everything and counts what is wrong; too much of it refuses the import while nothing is written yet.
The second writes videos, users, histories, then events in order of time. A second import of the same files adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from upnext.catalog import Catalog
from upnext.core.columns import EVENTS, HISTORIES, TABLES, USERS
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress
from upnext.core.types import Int64
from upnext.intake.clean import Clean, clean_rows, to_arrow
from upnext.intake.doctor import diagnose
from upnext.intake.emit import EMIT, ROW, identified
from upnext.intake.plan import Plan
from upnext.intake.rejected import Rejected
from upnext.intake.report import Report, TableReport
from upnext.intake.time_order import TimeSample, in_time_order

IMPORTED: Final = pa.schema([field for field in EVENTS if field.name != "log_seq"])


class Counted(Protocol):
    """What a bulk import of events says."""

    @property
    def n_new(self) -> int: ...

    @property
    def n_known(self) -> int: ...


class BulkLog(Protocol):
    """The part of the event log that an import writes to."""

    def import_sealed(self, tables: Iterable[pa.Table]) -> Counted: ...

    def add_histories(self, table: pa.Table) -> int: ...


@dataclass(frozen=True)
class Stores:
    """Where an import goes."""

    catalog: Catalog
    log: BulkLog


def import_tables(
    plan: Plan,
    stores: Stores,
    progress: Progress,
    *,
    now_us: int,
    max_bad_share: float = 0.01,
    rejected: Path | None = None,
) -> Report:
    """Imports every table of the plan; the report says what was kept, new, known, and left out for which reason.

    Bad rows go to `rejected` (by default rejected.jsonl in the plan's folder). Raises InvalidInput, before anything is
    written, when more than max_bad_share of a table's rows are bad."""
    path = rejected or plan.folder / "rejected.jsonl"
    found = diagnose(plan, progress, now_us=now_us, catalog=stores.catalog, rejected=path)
    for table in found.report.tables.values():
        _refuse(table, max_bad_share, path)
    for name, sources in plan.tables().items():
        report = found.report.tables[name]
        progress.start(f"import {name}", report.n_rows, "rows")
        with Rejected(None) as sink:
            again = TableReport(name)
            batches = clean_rows(name, sources, again, sink, now_us, progress)
            _write(name, batches, stores, report, found.times)
        progress.done()
    return found.report


def _refuse(report: TableReport, max_bad_share: float, path: Path) -> None:
    if report.bad_share <= max_bad_share:
        return
    problem, tally = max(report.bad.items(), key=lambda item: item[1].count)
    example = tally.examples[0]
    raise InvalidInput(
        f"{report.table}: {report.n_bad:,} of {report.n_rows:,} rows are bad ({report.bad_share:.1%}, "
        f"allowed {max_bad_share:.1%}); most often {problem.column}: expected {problem.expected}, "
        f"got {example.got} ({example.file}, row {example.row}). Nothing was imported; see {path}"
    )


def _write(
    name: str,
    batches: Iterator[Clean],
    stores: Stores,
    report: TableReport,
    times: TimeSample,
) -> None:
    if name == "events":
        frames = (identified(c.rows, c.events, c.spec).drop(ROW, EMIT) for c in batches)
        ordered = in_time_order(frames, times)
        counted = stores.log.import_sealed(stamped(frame, stores.catalog) for frame in ordered)
        report.n_new, report.n_known = counted.n_new, counted.n_known
        return
    for clean in batches:
        table = to_arrow(clean.rows, TABLES[name])
        if name == "videos":
            n_new = _put_videos(table, stores.catalog)
        elif name == "users":
            n_new = _put_users(table, stores.catalog)
        else:
            n_new = stores.log.add_histories(_with_items(table, stores.catalog))
        report.n_new += n_new
        report.n_known += table.num_rows - n_new


def stamped(events: pl.DataFrame, catalog: Catalog) -> pa.Table:
    """The events as the log keeps them, log_seq aside: item_id, duration_s, received_us (the event's own time)."""
    table = to_arrow(events, IMPORTED)
    columns = {name: table.column(name) for name in table.column_names}
    n_rows = table.num_rows
    columns["received_us"] = columns["time_us"]
    columns["is_clamped"] = pa.repeat(pa.scalar(False), n_rows)
    if "video_id" in columns:
        item_id = _item_ids(columns["video_id"], catalog)
        seconds = pa.array(catalog.durations(item_id), pa.float64(), from_pandas=True)
        own = columns.get("duration_s", pa.nulls(n_rows, pa.float64()))
        columns["item_id"] = pa.array(item_id, mask=item_id < 0)
        columns["duration_s"] = pc.coalesce(own, seconds)
    arrays = [columns.get(f.name, pa.nulls(n_rows, f.type)) for f in IMPORTED]
    return pa.table(arrays, schema=IMPORTED)


def _item_ids(video_ids: pa.ChunkedArray, catalog: Catalog) -> Int64:
    """int64[n]: -1 where there is no video; unknown videos get a placeholder row."""
    encoded = video_ids.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    known = catalog.item_ids(encoded.dictionary.to_pylist(), create=True)
    places = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    with_none: Int64 = np.append(known, -1)
    return np.asarray(with_none[places], np.int64)


def _with_items(table: pa.Table, catalog: Catalog) -> pa.Table:
    item_id = _item_ids(table.column("video_id"), catalog)
    arrays = [
        pa.array(item_id) if field.name == "item_id"
        else table.column(field.name) if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in HISTORIES
    ]  # fmt: skip
    return pa.table(arrays, schema=HISTORIES)


def _put_videos(table: pa.Table, catalog: Catalog) -> int:
    names = table.column("video_id").unique().to_pylist()
    known = catalog.item_ids(names)
    catalog.put_videos(table)
    return int((known < 0).sum())


def _put_users(table: pa.Table, catalog: Catalog) -> int:
    names = table.column(USERS.names[0]).unique().to_pylist()
    n_known = catalog.count_users(names)
    catalog.put_users(table)
    return len(names) - n_known

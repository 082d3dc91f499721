"""Source batches to rows that are right: convert, check, count what is wrong and why, leave out duplicates.

The same pass serves the data doctor, which keeps the counts, and the import, which keeps the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from upnext.catalog.rules import broken_rules, conform
from upnext.core.columns import REQUIRED, TABLES
from upnext.core.protocols import Progress
from upnext.core.types import Bool, Int64
from upnext.intake.convert import convert, field_of, holds
from upnext.intake.emit import ROW, broken_events, emitted
from upnext.intake.files import Batch, Source
from upnext.intake.mapping import Column, TableName, TableSpec, source_columns
from upnext.intake.rejected import Rejected
from upnext.intake.report import Example, Problem, TableReport
from upnext.intake.seen import SeenRows, hashes_of

_KEYS: dict[TableName, tuple[str, ...]] = {
    "videos": ("video_id",),
    "users": ("user_id",),
    "histories": ("user_id", "position"),
}


@dataclass(frozen=True)
class Clean:
    """The right rows of one batch."""

    file: str
    spec: TableSpec
    rows: pl.DataFrame  # [n] our columns (events: also those of each emit)
    row: Int64  # [n] where in the file
    events: pl.DataFrame  # of an events table: what the rows emit; else empty


@dataclass
class _Work:
    """One batch on its way: the rows still in, and those found bad."""

    file: str
    frame: pl.DataFrame
    row: Int64
    bad: Bool


def clean_rows(
    table: TableName,
    sources: Sequence[Source],
    report: TableReport,
    rejected: Rejected,
    now_us: int,
    progress: Progress,
) -> Iterator[Clean]:
    """The right rows of a table's sources, batch by batch; the report counts every other one under its reason."""
    cleaner = _Cleaner(table, report, rejected, now_us)
    for source in sources:
        for batch in source.read(source_columns(source.spec)):
            clean = cleaner.clean(batch, source.spec)
            progress.advance(len(batch.row) + len(batch.unreadable))
            if clean.rows.height:
                yield clean


class _Cleaner:
    """One pass over one table: remembers which rows it has seen."""

    def __init__(
        self, table: TableName, report: TableReport, rejected: Rejected, now_us: int
    ) -> None:
        self.table = table
        self.report = report
        self.rejected = rejected
        self.now_us = now_us
        self._unique = SeenRows()
        self._keys = SeenRows()

    def clean(self, batch: Batch, spec: TableSpec) -> Clean:
        """The right rows of a batch."""
        self._read(batch)
        work = self._choose(batch, spec)
        rows = self._convert(work, spec)
        events = self._check(work, rows, spec)
        self.report.n_bad += int(work.bad.sum())
        good = ~work.bad
        good &= self._not_again(rows, good)
        if self.table == "events" and not good.all():
            before = np.maximum(
                np.cumsum(good) - 1, 0
            )  # a bad row has no place, whatever stands there
            place = pl.Series(before).cast(events.schema[ROW])
            events = events.filter(pl.Series(good).gather(events.get_column(ROW)))
            events = events.with_columns(place.gather(events.get_column(ROW)).alias(ROW))
        kept = rows.filter(good)
        _count(kept, events, self.report)
        return Clean(batch.file, spec, kept, work.row[good], events)

    def _read(self, batch: Batch) -> None:
        self.report.n_rows += batch.frame.height + len(batch.unreadable)
        self.report.n_bad += len(batch.unreadable)
        for line in batch.unreadable:
            problem = Problem("the row", line.wanted)
            self.report.note(problem, 1, [Example(batch.file, line.row, repr(line.got)[:120])])
            self.rejected.write(batch.file, line.row, problem, line.got, None)

    def _choose(self, batch: Batch, spec: TableSpec) -> _Work:
        frame, row, report = batch.frame, batch.row, self.report
        if spec.unique:
            first = self._unique.first(hashes_of(frame.select(spec.unique)))
            report.n_duplicates += int((~first).sum())
            frame, row = frame.filter(first), row[first]
        for drop in spec.drop:
            gone = holds(frame, drop.when).to_numpy()
            report.dropped[drop.reason] = report.dropped.get(drop.reason, 0) + int(gone.sum())
            frame, row = frame.filter(~gone), row[~gone]
        return _Work(batch.file, frame, row, np.zeros(frame.height, np.bool_))

    def _convert(self, work: _Work, spec: TableSpec) -> pl.DataFrame:
        ours: dict[str, pl.Series] = {}
        for name, column in spec.columns.items():
            ours[name] = self._column(work, name, column)
        for i, emit in enumerate(spec.emit):
            for name, column in emit.columns.items():
                ours[f"{i}:{name}"] = self._column(work, name, column)
            if emit.when:
                ours[f"{i}:when"] = holds(work.frame, emit.when)
        return pl.DataFrame(ours)

    def _column(self, work: _Work, name: str, column: Column) -> pl.Series:
        got = convert(work.frame, column, field_of(self.table, name))
        rows = np.flatnonzero(got.failed.to_numpy()).astype(np.int64)
        if len(rows):
            origin = column.column
            source = work.frame.get_column(origin) if origin else None
            values = [column.constant if source is None else source[i] for i in rows.tolist()]
            shown = f"{name} (column {origin!r})" if origin else name
            self._note(work, Problem(shown, got.wanted), rows, values)
        return got.values

    def _check(self, work: _Work, rows: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
        if self.table == "events":
            events = emitted(rows, spec)
            for name, wanted, broken in broken_events(events, self.now_us):
                places = broken.get_column(ROW).to_numpy().astype(np.int64)
                self._note(work, Problem(name, wanted), places, broken.get_column("got").to_list())
            return events
        if self.table == "histories":
            for name in REQUIRED[self.table]:
                missing = np.flatnonzero(rows.get_column(name).is_null().to_numpy())
                self._note(work, Problem(name, "a value"), missing, [None] * len(missing))
            return pl.DataFrame()
        arrow = conform(to_arrow(rows, TABLES[self.table]), self.table)
        for rule in broken_rules(arrow, self.table):
            got = [arrow.column(rule.column)[i].as_py() for i in rule.rows.tolist()]
            self._note(work, Problem(rule.column, rule.wanted), rule.rows, got)
        return pl.DataFrame()

    def _note(self, work: _Work, problem: Problem, places: Int64, values: Sequence[object]) -> None:
        """Counts each row under the first reason found against it."""
        fresh = {p: v for p, v in zip(places.tolist(), values) if not work.bad[p]}
        if not fresh:
            return
        lines = {place: int(work.row[place]) for place in fresh}
        shown = [Example(work.file, lines[p], repr(v)[:120]) for p, v in fresh.items()]
        self.report.note(problem, len(fresh), shown)
        for place, value in fresh.items():
            row = work.frame.row(place, named=True)
            self.rejected.write(work.file, lines[place], problem, value, row)
        work.bad[list(fresh)] = True

    def _not_again(self, rows: pl.DataFrame, good: Bool) -> Bool:
        """bool[n]: rows to keep; a later equal event or history row goes, a later video or user replaces."""
        first = np.ones(len(good), np.bool_)
        first[good] = self._keys.first(hashes_of(_key(self.table, rows))[good])
        self.report.n_duplicates += int((~first).sum())
        return first if self.table in ("events", "histories") else np.ones(len(good), np.bool_)


def _key(table: TableName, rows: pl.DataFrame) -> pl.DataFrame:
    if table != "events":
        return rows.select(_KEYS[table])
    return rows.select("event_id") if "event_id" in rows.columns else rows


def _count(kept: pl.DataFrame, events: pl.DataFrame, report: TableReport) -> None:
    report.n_kept += kept.height
    for name in kept.columns:
        if ":" not in name:
            report.nulls[name] = report.nulls.get(name, 0) + kept.get_column(name).null_count()
    if not events.width or not events.height:
        return
    for kind, n in events.get_column("kind").value_counts().sort("kind").iter_rows():
        report.kinds[kind] = report.kinds.get(kind, 0) + n
    ends = events.select(
        pl.col("time_us").min().alias("low"), pl.col("time_us").max().alias("high")
    )
    low, high = ends.row(0)
    report.first_us = low if report.first_us is None else min(low, report.first_us)
    report.last_us = high if report.last_us is None else max(high, report.last_us)


def to_arrow(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """The columns of `rows` that the schema has, in the schema's types."""
    arrays, fields = [], []
    for field in schema:
        if field.name in rows.columns:
            arrays.append(_arrow_column(rows.get_column(field.name), field.type))
            fields.append(field)
    return pa.table(arrays, schema=pa.schema(fields))


def _arrow_column(values: pl.Series, kind: pa.DataType) -> pa.Array:
    array = values.to_arrow()
    if pa.types.is_map(kind):
        lists = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        pairs = lists.values
        offsets = pa.array(
            lists.offsets.to_numpy(), mask=np.append(values.is_null().to_numpy(), False)
        )
        return pa.MapArray.from_arrays(offsets, pairs.field(0), pairs.field(1))
    return array.cast(kind)

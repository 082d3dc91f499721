"""Files as a stream of batches with row numbers: CSV, JSON lines and Parquet, plain or gzipped.

A CSV's values arrive as text, a JSON line's too (lists as lists of texts), Parquet's typed. A row that the format itself can't
hold (too few fields, no JSON) is reported, not lost. Memory is one block, whatever the file's size.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Int64
from upnext.intake.mapping import Format, TableFile, TableSpec, check_header

BATCH_ROWS = 65_536
_BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class Unreadable:
    """A row that its format can't hold."""

    row: int
    wanted: str
    got: str


@dataclass(frozen=True)
class Batch:
    """Rows of one file: n rows of source columns."""

    file: str
    frame: pl.DataFrame
    row: Int64  # [n] line in the file from 1 (a header is line 1); in Parquet the row from 1
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class Source:
    """One file (or what acts like one) of one table."""

    name: str
    read: Callable[[Sequence[str]], Iterator[Batch]]  # of the wanted source columns
    spec: TableSpec


def open_sources(entry: TableFile, folder: Path) -> list[Source]:
    """A source per file that the entry's glob names, in order of names. Raises InvalidInput when there is none."""
    pattern = Path(entry.file)
    if pattern.is_absolute():
        paths = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    else:
        paths = sorted(folder.glob(entry.file))
    if not paths:
        raise expected(f"mapping, file {entry.file!r}", f"a file under {folder}", "none")
    return [Source(str(path), _reader(path, entry), entry) for path in paths]


def format_of(path: Path) -> Format:
    """The format that a file's name tells, .gz aside. Raises InvalidInput."""
    name = path.name.lower().removesuffix(".gz")
    endings: dict[str, Format] = {
        ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".dat": "csv",
        ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet",
    }  # fmt: skip
    for ending, kind in endings.items():
        if name.endswith(ending):
            return kind
    raise expected(
        f"file {path}", "a name that tells the format, or `format` in the mapping", path.name
    )


def _reader(path: Path, entry: TableFile) -> Callable[[Sequence[str]], Iterator[Batch]]:
    kind = entry.format or format_of(path)
    if kind == "parquet":
        return lambda wanted: read_parquet(path, wanted)
    if kind == "jsonl":
        return lambda wanted: read_jsonl(path, wanted)
    return lambda wanted: read_csv(path, wanted, entry.separator, entry.header, entry.encoding)


def read_csv(
    path: Path,
    wanted: Sequence[str],
    separator: str = ",",
    header: Sequence[str] = (),
    encoding: str = "utf-8",
) -> Iterator[Batch]:
    """Batches of the wanted columns as text; a separator of several characters is split line by line."""
    names = list(header) or _csv_header(path, separator, encoding)
    check_header(str(path), wanted, names)
    n_header = 0 if header else 1
    if len(separator) > 1:
        yield from _split_lines(path, wanted, separator, names, n_header, encoding)
        return
    skipped: list[Unreadable] = []

    def note(row: Any) -> str:
        got = "" if row.text is None else row.text
        skipped.append(Unreadable(int(row.number), f"{row.expected_columns} fields", got))
        return "skip"

    with _opened(path) as stream:
        reader = _explained(path, lambda: pa_csv.open_csv(
            stream,
            pa_csv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, encoding=encoding,
                column_names=list(header) or None,
            ),
            pa_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=note
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=list(wanted),
                strings_can_be_null=False,
            ),
        ))  # fmt: skip
        row, n_told = n_header + 1, 0
        while (block := _explained(path, lambda: next(reader, None))) is not None:
            numbers = _numbers(row, block.num_rows, [bad.row for bad in skipped])
            row = int(numbers[-1]) + 1 if len(numbers) else row
            told, n_told = tuple(skipped[n_told:]), len(skipped)
            yield Batch(str(path), _frame(block), numbers, told)
        if skipped[n_told:]:
            yield Batch(str(path), _empty(wanted), np.zeros(0, np.int64), tuple(skipped[n_told:]))


def read_jsonl(path: Path, wanted: Sequence[str]) -> Iterator[Batch]:
    """Batches of the wanted keys as text or lists of texts; a key that a line lacks is missing there."""
    decoder = msgspec.json.Decoder(dict[str, Any])
    with _opened(path) as stream:
        lines = enumerate(io.BufferedReader(stream), 1)
        while chunk := list(islice(lines, BATCH_ROWS)):
            rows: list[dict[str, Any]] = []
            numbers: list[int] = []
            bad: list[Unreadable] = []
            for number, line in chunk:
                if not line.strip():
                    continue
                try:
                    rows.append(decoder.decode(line))
                    numbers.append(number)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    bad.append(Unreadable(number, "a JSON object", line.decode(errors="replace")))
            columns = {name: _texts([row.get(name) for row in rows]) for name in wanted}
            yield Batch(str(path), pl.DataFrame(columns), np.array(numbers, np.int64), tuple(bad))


def read_parquet(path: Path, wanted: Sequence[str]) -> Iterator[Batch]:
    """Batches of the wanted columns with the file's own types."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidInput(f"file {path}: not readable as Parquet: {error}") from error
    with file:
        check_header(str(path), wanted, file.schema_arrow.names)
        row = 1
        for block in file.iter_batches(BATCH_ROWS, columns=list(wanted)):
            numbers = np.arange(row, row + block.num_rows, dtype=np.int64)
            row += block.num_rows
            yield Batch(str(path), _frame(block), numbers)


def _opened(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise InvalidInput(f"file {path}: {error}") from error
    return gzip.open(path, "rb") if is_gzip else path.open("rb")


def _explained(path: Path, act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (pa.ArrowInvalid, EOFError, OSError) as error:
        hint = " (say `encoding` in the mapping)" if "UTF8" in str(error) else ""
        raise InvalidInput(f"file {path}: not readable as CSV: {error}{hint}") from error


def _csv_header(path: Path, separator: str, encoding: str) -> list[str]:
    with _opened(path) as stream:
        code = "utf-8-sig" if encoding == "utf-8" else encoding
        text = io.TextIOWrapper(stream, encoding=code, errors="replace")  # rows are read strictly
        if len(separator) > 1:
            return text.readline().rstrip("\r\n").split(separator)
        names = next(csv.reader(text, delimiter=separator), [])
    if not names:
        raise expected(f"file {path}", "a header line", "an empty file")
    return names


def _split_lines(
    path: Path,
    wanted: Sequence[str],
    separator: str,
    names: Sequence[str],
    n_header: int,
    encoding: str,
) -> Iterator[Batch]:
    places = [list(names).index(name) for name in wanted]
    with _opened(path) as stream:
        lines = enumerate(io.TextIOWrapper(stream, encoding=encoding, newline="\n"), 1)
        next(lines, None) if n_header else None
        while chunk := list(islice(lines, BATCH_ROWS)):
            split = [(n, line.rstrip("\r\n").split(separator), line) for n, line in chunk]
            good = [(n, fields) for n, fields, _ in split if len(fields) == len(names)]
            bad = tuple(
                Unreadable(n, f"{len(names)} fields", line)
                for n, fields, line in split
                if len(fields) != len(names)
            )
            columns = {
                name: pl.Series([fields[place] for _, fields in good], dtype=pl.String)
                for name, place in zip(wanted, places)
            }
            numbers = np.array([n for n, _ in good], np.int64)
            yield Batch(str(path), pl.DataFrame(columns), numbers, bad)


def _numbers(first: int, n_rows: int, skipped: Sequence[int]) -> Int64:
    """The next n_rows line numbers from `first` that weren't skipped."""
    holes = np.array([number for number in skipped if number >= first], np.int64)
    numbers = np.arange(first, first + n_rows + len(holes), dtype=np.int64)
    return numbers[~np.isin(numbers, holes)][:n_rows]


def _frame(block: pa.RecordBatch) -> pl.DataFrame:
    table = pa.Table.from_batches([block])
    for i, field in enumerate(table.schema):
        if pa.types.is_map(field.type):  # as a list of pairs, which Polars can work on
            pair = [("key", field.type.key_type), ("value", field.type.item_type)]
            pairs = table.column(i).cast(pa.list_(pa.struct(pair)))
            table = table.set_column(i, field.name, pairs)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _empty(wanted: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series([], dtype=pl.String) for name in wanted})


def _texts(values: list[Any]) -> pl.Series:
    if any(isinstance(value, list) for value in values):
        rows = [[_text(v) for v in x] if isinstance(x, list) else _as_list(x) for x in values]
        return pl.Series(rows, dtype=pl.List(pl.String))
    return pl.Series([_text(value) for value in values], dtype=pl.String)


def _as_list(value: Any) -> list[str | None] | None:
    return None if value is None else [_text(value)]


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list | bool):
        return msgspec.json.encode(value).decode()
    return repr(value)

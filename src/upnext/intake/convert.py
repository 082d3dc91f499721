"""Source columns into our types, column at a time, with a reason for every value that doesn't fit.

A value that is there but can't be read as its type is a failure; a missing one (empty text, null, one of `null`) is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import polars as pl
import pyarrow as pa

from upnext.core.columns import TABLES
from upnext.core.errors import expected
from upnext.intake.mapping import Column, Condition

_FACTOR_US: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_TRUE: Final = ("1", "true", "yes", "t", "y")
_FALSE: Final = ("0", "false", "no", "f", "n")
_SCORES = pl.List(pl.Struct({"key": pl.String, "value": pl.Float32}))


@dataclass(frozen=True)
class Converted:
    """One column of ours: n values, and where a value was there but didn't fit."""

    values: pl.Series  # [n]
    failed: pl.Series  # bool[n]
    wanted: str


def field_of(table: str, name: str) -> pa.Field:
    """The Arrow field of one of our columns; events may carry the video's duration_s."""
    if table == "events" and name == "duration_s":
        return pa.field("duration_s", pa.float64())
    return TABLES[table].field(name)


def convert(frame: pl.DataFrame, column: Column, field: pa.Field) -> Converted:
    """The column's values as the field's type. Raises InvalidInput where the source's type can never fit."""
    if column.column is None:
        raw = pl.Series([_word(column.constant)], dtype=pl.String).new_from_index(0, frame.height)
    else:
        raw = frame.get_column(column.column)
    if isinstance(raw.dtype, pl.List | pl.Array):
        return _convert_list(raw, column, field)
    if raw.dtype == pl.Float32 or raw.dtype == pl.Float64:
        raw = raw.fill_nan(None)
    prepared = _prepared(raw, column)
    values, wanted = _typed(prepared, column, field)
    if column.map is not None:
        wanted = f"one of {', '.join(column.map)}"
        prepared_missing = _present(raw, column).is_null()
        return Converted(values, values.is_null() & ~prepared_missing, wanted)
    return Converted(values, values.is_null() & prepared.is_not_null(), wanted)


def holds(frame: pl.DataFrame, condition: Condition) -> pl.Series:
    """bool[n]: where the condition holds; never null."""
    raw = frame.get_column(condition.column)
    text = _text(raw)
    number = (
        raw if raw.dtype.is_numeric() else text.str.strip_chars().cast(pl.Float64, strict=False)
    )
    mask = raw.is_not_null()
    for name in ("ge", "gt", "le", "lt"):
        bound = getattr(condition, name)
        if bound is not None:
            mask &= getattr(number, name)(bound).fill_null(False)
    for name in ("eq", "ne"):
        value = getattr(condition, name)
        if value is not None:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            same = (number == value) if is_number else (text == _word(value))
            same = same.fill_null(False)
            mask &= same if name == "eq" else ~same
    return mask


def _present(raw: pl.Series, column: Column) -> pl.Series:
    """The texts that are there, after `null` and `extract`."""
    text = _text(raw)
    missing = ["", *column.null]
    text = (
        text.to_frame("x")
        .select(pl.when(~pl.col("x").is_in(missing)).then(pl.col("x")))
        .to_series()
    )
    if column.extract is not None:
        text = text.str.extract(column.extract, 1)
    return text


def _prepared(raw: pl.Series, column: Column) -> pl.Series:
    plain = not (column.null or column.extract or column.map or column.prefix)
    if plain and raw.dtype != pl.String:
        return raw
    text = _present(raw, column)
    if column.map is not None:
        words = {key: _word(value) for key, value in column.map.items()}
        text = text.replace_strict(words, default=None, return_dtype=pl.String)
    if column.prefix:
        text = column.prefix + text
    return text


def _text(raw: pl.Series) -> pl.Series:
    """Values as text; whole floats without their ".0", so that an id that went through a float stays an id."""
    if raw.dtype.is_float():
        whole = raw.cast(pl.Int64, strict=False)
        pair = pl.DataFrame({"x": raw, "whole": whole})
        is_whole = pl.col("x") == pl.col("whole")
        texts = (
            pl.when(is_whole)
            .then(pl.col("whole").cast(pl.String))
            .otherwise(pl.col("x").cast(pl.String))
        )
        return pair.select(texts.alias("x")).to_series()
    return raw.cast(pl.String)


def _word(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _typed(values: pl.Series, column: Column, field: pa.Field) -> tuple[pl.Series, str]:
    kind = field.type
    if pa.types.is_list(kind):
        return _split(values, column, field)
    if pa.types.is_map(kind):
        return _scores(values), 'an object of scores, such as {"violence": 0.5}'
    if pa.types.is_string(kind):
        return _text(values), "text"
    if pa.types.is_boolean(kind):
        low = _text(values).str.strip_chars().str.to_lowercase()
        yes = low.is_in(_TRUE)
        known = yes | low.is_in(_FALSE)
        return pl.DataFrame({"y": yes, "k": known}).select(
            pl.when(pl.col("k")).then(pl.col("y"))
        ).to_series(), "1 or 0, true or false"  # fmt: skip
    if field.name.endswith("_us"):
        return _times(values, column)
    if pa.types.is_integer(kind):
        number = _numbers(values)
        whole = number.cast(pl.Int64, strict=False)
        scaled = (number * column.scale).round().cast(pl.Int64, strict=False)
        return (_only(whole, whole == number) if column.scale == 1.0 else scaled), "a whole number"
    number = _numbers(values)
    number = number if number.dtype.is_float() else number.cast(pl.Float64)
    return _only(number * column.scale, number.is_finite()), "a finite number"


def _numbers(values: pl.Series) -> pl.Series:
    if values.dtype.is_numeric():
        return values
    if values.dtype == pl.Boolean:
        return values.cast(pl.Int64)
    return _text(values).str.strip_chars().cast(pl.Float64, strict=False)


def _times(values: pl.Series, column: Column) -> tuple[pl.Series, str]:
    if column.time is not None:
        return _parsed(_text(values), column), f"a time like {column.time!r}"
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        moment = values.cast(pl.Datetime("us", getattr(values.dtype, "time_zone", None)))
        if moment.dtype.time_zone is None:  # type: ignore[attr-defined]
            moment = moment.dt.replace_time_zone(
                column.time_zone, ambiguous="earliest", non_existent="null"
            )
        return moment.dt.timestamp("us"), "a time"
    wanted = f"a time in {column.unit} since 1970"
    if values.dtype.is_integer():
        whole = values.cast(pl.Int64, strict=False)
    else:
        text = _text(values).str.strip_chars()
        whole = text.cast(pl.Int64, strict=False)
    if column.unit == "ns":
        return whole // 1000, wanted
    factor = _FACTOR_US[column.unit]
    limit = (1 << 62) // factor
    exact = _only(whole * factor, whole.is_between(-limit, limit))
    number = _numbers(values).cast(pl.Float64)
    rounded = _only((number * factor).round(), (number * factor).abs() < 2.0**62).cast(pl.Int64)
    pair = pl.DataFrame({"exact": exact, "rounded": rounded, "whole": whole})
    filled = pl.when(pl.col("whole").is_null()).then("rounded").otherwise("exact")
    return pair.select(filled).to_series(), wanted


def _parsed(text: pl.Series, column: Column) -> pl.Series:
    form = column.time or ""
    if "%Y" in form and not any(part in form for part in ("%m", "%b", "%B", "%j", "%d", "%e")):
        text, form = text + "-01-01", form + "-%m-%d"  # a year alone is its first day
    moment = text.str.strip_chars().str.strptime(pl.Datetime("us"), form, strict=False)
    if isinstance(moment.dtype, pl.Datetime) and moment.dtype.time_zone is not None:
        return moment.dt.timestamp("us")
    return moment.dt.replace_time_zone(
        column.time_zone, ambiguous="earliest", non_existent="null"
    ).dt.timestamp("us")


def _split(values: pl.Series, column: Column, field: pa.Field) -> tuple[pl.Series, str]:
    if column.split is None:
        raise expected(f"column {column.column!r} for {field.name}", "a list, or `split`", "text")
    parts = _text(values).str.split(column.split)
    return _list_typed(parts, field)


def _convert_list(raw: pl.Series, column: Column, field: pa.Field) -> Converted:
    if pa.types.is_map(field.type) and raw.dtype == pl.List(pl.Struct):
        values = raw.cast(_SCORES, strict=False)
        return Converted(values, values.is_null() & raw.is_not_null(), "scores by label")
    if not pa.types.is_list(field.type):
        raise expected(
            f"column {column.column!r} for {field.name}", f"a {field.type}", str(raw.dtype)
        )
    values, wanted = _list_typed(raw, field)
    return Converted(values, values.is_null() & raw.is_not_null(), wanted)


def _list_typed(parts: pl.Series, field: pa.Field) -> tuple[pl.Series, str]:
    if pa.types.is_floating(field.type.value_type):
        numbers = parts.cast(pl.List(pl.String)).list.eval(
            pl.element().str.strip_chars().cast(pl.Float32, strict=False)
        )
        has_null = numbers.list.eval(pl.element().is_null()).list.any().fill_null(False)
        return _only(numbers, ~has_null), "a list of numbers"
    texts = parts.cast(pl.List(pl.String)).list.eval(pl.element().str.strip_chars())
    return texts.list.eval(pl.element().filter(pl.element() != "")), "a list of texts"


def _scores(values: pl.Series) -> pl.Series:
    def read(text: str | None) -> list[dict[str, object]] | None:
        if text is None:
            return None
        try:
            scores = msgspec.json.decode(text, type=dict[str, float])
        except msgspec.MsgspecError:
            return None
        return [{"key": key, "value": value} for key, value in scores.items()]

    return pl.Series([read(text) for text in _text(values)], dtype=_SCORES)


def _only(values: pl.Series, mask: pl.Series) -> pl.Series:
    """The values where the mask holds, else null."""
    both = pl.DataFrame({"v": values, "m": mask})
    return both.select(pl.when(pl.col("m")).then(pl.col("v"))).to_series()

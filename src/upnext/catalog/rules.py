"""What a row of videos or users must be: names, types and ranges, said once for the catalogue and the data doctor."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upnext.core.columns import REQUIRED, TABLES, VIDEO_STATUSES
from upnext.core.errors import expected
from upnext.core.types import Bool, Int64


@dataclass(frozen=True, slots=True)
class Broken:
    """One rule that some rows break."""

    column: str
    wanted: str
    rows: Int64  # positions in the table, ascending, at least one


def conform(rows: pa.Table, name: str) -> pa.Table:
    """`rows` with exactly the columns of the table `name`, in its order and types; absent ones are null.

    Raises InvalidInput for an unknown column, an absent required one or a value that its type can't hold."""
    schema: pa.Schema = TABLES[name]
    for column in rows.column_names:
        if column not in schema.names:
            raise expected(
                f"{name}: column", f"one that exists{suggest(column, schema.names)}", column
            )
    for column in REQUIRED[name]:
        if column not in rows.column_names:
            raise expected(f"{name}: columns", f"{column!r} among them", rows.column_names)
    columns = []
    for field in schema:
        if field.name in rows.column_names:
            columns.append(_cast(rows.column(field.name), field, name))
        else:
            columns.append(pa.nulls(rows.num_rows, field.type))
    return pa.table(columns, schema=schema)


def check(table: pa.Table, name: str) -> None:
    """Raises InvalidInput for the first broken rule of a conforming table, naming the row and its id."""
    for broken in broken_rules(table, name):
        row = int(broken.rows[0])
        row_id = table.column(0)[row].as_py()
        where = f"{name} row {row} ({table.column_names[0]} {row_id!r}), field {broken.column!r}"
        raise expected(where, broken.wanted, table.column(broken.column)[row].as_py())


def broken_rules(table: pa.Table, name: str) -> Iterator[Broken]:
    """Every rule that some row of a conforming table breaks, with those rows; nothing when all is well."""
    for column in REQUIRED[name]:
        yield from _report(column, "a value", pc.is_null(table.column(column)))
    for column, wanted, is_bad in _RULES[name]:
        values = table.column(column)
        if values.null_count < len(values):
            yield from _report(column, wanted, is_bad(values))
    if name == "videos":
        yield from _list_rules(table)


def suggest(name: str, names: list[str] | tuple[str, ...]) -> str:
    """' (did you mean ...?)' when one of the names is close, else ''."""
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _report(column: str, wanted: str, bad: pa.ChunkedArray | pa.Array) -> Iterator[Broken]:
    rows = np.flatnonzero(pc.fill_null(bad, False).to_numpy(zero_copy_only=False))
    if len(rows):
        yield Broken(column, wanted, rows.astype(np.int64))


def _cast(values: pa.ChunkedArray, field: pa.Field, name: str) -> pa.ChunkedArray:
    if values.type == field.type:
        return values
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not (pa.types.is_null(values.type) or _family(values.type) == _family(field.type)):
        wanted = f"values of type {field.type}"
        raise expected(f"{name}, column {field.name!r}", wanted, str(values.type))
    try:
        return values.cast(field.type)
    except pa.ArrowInvalid as error:
        row = _first_uncastable(values, field.type)
        where = f"{name} row {row}, field {field.name!r}"
        raise expected(where, f"a {field.type}", values[row].as_py()) from error


def _family(kind: pa.DataType) -> str:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    if pa.types.is_map(kind):
        return "map"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        return "list of any" if pa.types.is_null(inner) else f"list of {_family(inner)}"
    return str(kind)


def _first_uncastable(values: pa.ChunkedArray, kind: pa.DataType) -> int:
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            values.slice(low, middle - low).cast(kind)
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low


def _outside(low: float, high: float) -> Callable[[pa.ChunkedArray], pa.ChunkedArray]:
    def is_bad(values: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.invert(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high)))

    return is_bad


def _not_positive(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.invert(pc.and_(pc.greater(values, 0.0), pc.is_finite(values)))


def _empty(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(values, "")


def _bad_status(values: pa.ChunkedArray) -> pa.ChunkedArray:
    unlisted = pc.invert(pc.is_in(values, pa.array(VIDEO_STATUSES)))
    return pc.and_(unlisted, pc.is_valid(values))  # null means active


def _bad_country(values: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    return pc.invert(pc.match_substring_regex(values, "^[A-Za-z]{2}$"))


_COUNTRY = "a country as two letters (ISO 3166)"
_Rule = tuple[str, str, Callable[[pa.ChunkedArray], pa.ChunkedArray]]
_RULES: dict[str, tuple[_Rule, ...]] = {
    "videos": (
        ("video_id", "a text that isn't empty", _empty),
        ("creator_id", "a text that isn't empty, or null", _empty),
        ("category", "a text that isn't empty, or null", _empty),
        ("language", "a text that isn't empty, or null", _empty),
        ("duration_s", "seconds above 0, or null when unknown", _not_positive),
        ("latitude", "degrees from -90 to 90", _outside(-90, 90)),
        ("longitude", "degrees from -180 to 180", _outside(-180, 180)),
        ("min_age", "years from 0 to 150", _outside(0, 150)),
        ("status", f"one of {', '.join(VIDEO_STATUSES)}", _bad_status),
    ),
    "users": (
        ("user_id", "a text that isn't empty", _empty),
        ("age", "years from 0 to 150", _outside(0, 150)),
        ("country", _COUNTRY, _bad_country),
    ),
}


def _list_rules(table: pa.Table) -> Iterator[Broken]:
    for column in ("tags", "countries_allowed", "countries_blocked"):
        wanted = "a list of texts that aren't empty"
        if column != "tags":
            wanted = f"a list of {_COUNTRY}"
        values, parents = flat(table.column(column))
        if len(values):
            bad = _empty(values) if column == "tags" else _bad_country(values)
            yield from _parents(column, wanted, pc.fill_null(bad, True), parents)
    pairs, parents = flat(table.column("moderation"))
    if len(pairs):
        labels, scores = pairs.field(0), pairs.field(1)
        bad = pc.or_(pc.fill_null(_outside(0, 1)(scores), True), pc.fill_null(_empty(labels), True))
        yield from _parents("moderation", "scores from 0 to 1 by label", bad, parents)
    yield from _vector_rules(table.column("content_vector"))


def _vector_rules(column: pa.ChunkedArray) -> Iterator[Broken]:
    values, parents = flat(column)
    if not len(values) and column.null_count == len(column):
        return
    bad = pc.fill_null(pc.invert(pc.is_finite(values)), True)
    yield from _parents("content_vector", "finite numbers", bad, parents)
    sizes = pc.list_value_length(column)
    size = pc.first(sizes, skip_nulls=True).as_py()
    wanted = f"{size} numbers, as in the first vector" if size else "at least one number"
    odd = pc.or_(pc.not_equal(sizes, size), pc.equal(sizes, 0))
    yield from _report("content_vector", wanted, odd)


def flat(column: pa.ChunkedArray) -> tuple[pa.Array, Int64]:
    """All elements of a list or map column, and int64[n_elements]: the row each belongs to."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # zero chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if pa.types.is_map(array.type):
        pair = [("key", array.type.key_type), ("value", array.type.item_type)]
        array = array.cast(pa.list_(pa.struct(pair)))
    parents = pc.list_parent_indices(array).to_numpy(zero_copy_only=False).astype(np.int64)
    return array.flatten(), parents


def _parents(column: str, wanted: str, bad: pa.Array, parents: Int64) -> Iterator[Broken]:
    mask: Bool = bad.to_numpy(zero_copy_only=False)
    rows = np.unique(parents[mask])
    if len(rows):
        yield Broken(column, wanted, rows)


def python_value(field: pa.Field, value: object, where: str) -> pa.Array:
    """One value as an array of the field's type. Raises InvalidInput, never rounds: a 1.5 is no integer."""
    kind = field.type
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    wrong = (pa.types.is_integer(kind) and not (is_number and isinstance(value, int))) or (
        pa.types.is_floating(kind) and not is_number
    )
    if value is not None and wrong:
        raise expected(where, f"a {kind}", value)
    try:
        return pa.array([value], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        raise expected(where, f"a {kind}", value) from error

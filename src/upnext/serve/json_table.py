"""Rows of JSON values as an Arrow table of the catalogue's schema; what does not fit is named by row and field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from upnext.catalog.rules import suggest
from upnext.core.columns import TABLES
from upnext.core.errors import expected


def json_table(rows: Sequence[dict[str, Any]], name: str) -> pa.Table:
    """A table with the columns that some row names; the others count as null.

    Raises: InvalidInput for an unknown field, or a value that its type can't hold."""
    schema: pa.Schema = TABLES[name]
    given: dict[str, None] = {}
    for i, row in enumerate(rows):
        for key in row:
            if key not in schema.names:
                where = f"{name}[{i}]: field"
                raise expected(where, f"one that exists{suggest(key, schema.names)}", key)
            given[key] = None
    columns = {key: _column(rows, schema.field(key), name) for key in given}
    return pa.table(columns)


def _column(rows: Sequence[dict[str, Any]], field: pa.Field, name: str) -> pa.Array:
    values = [_value(row.get(field.name)) for row in rows]
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for i, value in enumerate(values):
            try:
                pa.array([value], field.type)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                got = rows[i].get(field.name)
                raise expected(f"{name}[{i}].{field.name}", str(field.type), got) from error
        raise


def _value(value: Any) -> Any:
    """JSON objects become the pairs that an Arrow map takes."""
    return list(value.items()) if isinstance(value, dict) else value

"""What a mapping file says: which files hold which table, and how their columns become ours.

The file is TOML and strict: an unknown key or column is an error that names the place and suggests the right one.
docs/import.md explains it for people.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from upnext.core.columns import EVENT_KINDS, TABLES
from upnext.core.errors import InvalidInput, expected

Scalar = str | int | float | bool
TableName = Literal["videos", "users", "histories", "events"]
TABLE_NAMES: Final[tuple[TableName, ...]] = ("videos", "users", "histories", "events")
Format = Literal["csv", "jsonl", "parquet"]
EVENT_COLUMNS: Final = (
    *TABLES["events"].names,
    "duration_s",
)  # duration_s: of the video, as the row knows it


class Strict(BaseModel):
    """A frozen table of settings that refuses what it doesn't know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Strict):
    """Where one of our columns comes from: a source column, or a constant, and what is done to it, in this order."""

    column: str | None = None
    constant: Scalar | None = None
    null: tuple[str, ...] = ()  # texts that mean "missing", besides the empty one
    extract: str | None = None  # a pattern; its first group is the value, no match is missing
    map: dict[str, Scalar] | None = None  # from text to value; a text that isn't there is an error
    prefix: str = ""
    split: str | None = None  # for lists
    time: str | None = None  # strptime format of a text
    time_zone: str = "UTC"  # of `time`
    unit: Literal["s", "ms", "us", "ns"] = "us"  # of a number that is a time
    scale: float = 1.0  # for other numbers

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"column": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.column is None) == (self.constant is None):
            raise ValueError("expected either `column` or `constant`")
        return self


class Condition(Strict):
    """True where a source column compares so; false where it is missing. Several comparisons: all must hold."""

    column: str
    eq: Scalar | None = None
    ne: Scalar | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    @model_validator(mode="after")
    def _compares(self) -> Self:
        if not self.model_fields_set - {"column"}:
            raise ValueError("expected one of eq, ne, ge, gt, le, lt")
        return self


class Drop(Strict):
    """Rows that are left out on purpose, counted under their reason."""

    when: Condition
    reason: str


class Emit(Strict):
    """One event that a row gives, where `when` holds; other keys are columns of that event."""

    kind: str
    when: Condition | None = None
    columns: dict[str, Column] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "columns" in data:
            return data
        own = {key: value for key, value in data.items() if key in ("kind", "when")}
        return own | {"columns": {k: v for k, v in data.items() if k not in own}}

    @model_validator(mode="after")
    def _known_kind(self) -> Self:
        if self.kind not in EVENT_KINDS:
            raise ValueError(f"kind {self.kind!r} doesn't exist{_suggest(self.kind, EVENT_KINDS)}")
        _check_columns(self.columns, EVENT_COLUMNS)
        return self


class TableSpec(Strict):
    """How rows of one source become rows of one table."""

    columns: dict[str, Column]
    unique: tuple[str, ...] = ()  # source columns: of rows equal in all of them the first stays
    drop: tuple[Drop, ...] = ()
    emit: tuple[Emit, ...] = ()


class TableFile(TableSpec):
    """One entry of a mapping file."""

    file: str  # relative to the mapping file; may be a glob
    format: Format | None = None  # by default from the name
    separator: str = Field(default=",", min_length=1)
    header: tuple[str, ...] = ()  # column names of a CSV without a header line
    encoding: str = "utf-8"


class Mapping(Strict):
    """A whole mapping file."""

    videos: tuple[TableFile, ...] = ()
    users: tuple[TableFile, ...] = ()
    histories: tuple[TableFile, ...] = ()
    events: tuple[TableFile, ...] = ()

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        for name in TABLE_NAMES:
            for entry in getattr(self, name):
                check_spec(name, entry)
        return self


def read_mapping(path: Path) -> Mapping:
    """The mapping in a TOML file. Raises InvalidInput naming the place, what was expected and what was found."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InvalidInput(f"mapping {path}: no such file") from error
    except IsADirectoryError as error:
        raise InvalidInput(
            f"mapping {path}: expected a TOML file, got a folder; for a public data set say which with --layout"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"mapping {path}: not TOML: {error}") from error
    try:
        return Mapping.model_validate(data)
    except ValidationError as error:
        raise InvalidInput(f"mapping {path}: {_first_line(error)}") from error


def check_spec(table: TableName, spec: TableSpec) -> None:
    """Raises ValueError for a column that the table doesn't have, or a needed one that nothing fills."""
    names = EVENT_COLUMNS if table == "events" else tuple(TABLES[table].names)
    _check_columns(spec.columns, names)
    if spec.emit and table != "events":
        raise ValueError("expected `emit` only for events")
    if spec.emit and "kind" in spec.columns:
        raise ValueError("expected `kind` in `emit` or in `columns`, not in both")
    needed = {
        "videos": ("video_id",),
        "users": ("user_id",),
        "histories": ("user_id", "position", "video_id"),
        "events": ("user_id", "time_us") if spec.emit else ("user_id", "time_us", "kind"),
    }[table]
    for name in needed:
        if name not in spec.columns:
            raise ValueError(f"expected a column for {name!r}, got {', '.join(spec.columns)}")


def source_columns(spec: TableSpec) -> tuple[str, ...]:
    """Every source column that the spec reads, once, in order of appearance."""
    named = [c.column for c in spec.columns.values()] + list(spec.unique)
    named += [drop.when.column for drop in spec.drop]
    for emit in spec.emit:
        named += [c.column for c in emit.columns.values()]
        named += [emit.when.column] if emit.when else []
    return tuple(dict.fromkeys(name for name in named if name is not None))


def check_header(where: str, wanted: Iterable[str], names: Iterable[str]) -> None:
    """Raises InvalidInput when a wanted source column isn't among the file's."""
    there = list(names)
    for name in wanted:
        if name not in there:
            hint = _suggest(name, there)
            raise expected(where, f"a column {name!r}{hint}", ", ".join(there))


def _check_columns(columns: Iterable[str], names: Iterable[str]) -> None:
    known = list(names)
    for name in columns:
        if name not in known:
            raise ValueError(f"column {name!r} doesn't exist{_suggest(name, known)}")


def _suggest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _first_line(error: ValidationError) -> str:
    found = error.errors(include_url=False)
    found.sort(key=lambda one: one["type"] != "extra_forbidden")  # a typo explains what is missing
    first = found[0]
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key{_suggest(str(first['loc'][-1]), _keys_beside(first['loc']))}"
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    return f"{place}: {message}{shown}"


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    words = [part for part in place[:-1] if isinstance(part, str)]
    if not words:
        return list(TABLE_NAMES)
    if "when" in words:
        return list(Condition.model_fields)
    if "columns" in words:
        return list(Column.model_fields)
    if "drop" in words:
        return list(Drop.model_fields)
    return list(TableFile.model_fields)

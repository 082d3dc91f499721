"""A log from any table: a mapping file says which columns hold reward, propensity, action and the target policy (docs/off-policy.md).

The target is either a column (its probability of the logged action), or a table of its own: probabilities of actions, per position or
per request where it has such a column; rows that repeat must agree. A target table without probabilities is the target policy's own log, and how often it took each action
stands for them: its logged propensities can't be averaged instead, because rows of an action are more where its propensity was high.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import polars as pl
from pydantic import ValidationError, model_validator

from upnext.catalog.rules import suggest
from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Array, Float64, Int64
from upnext.evaluate.off_policy.logged import Logged, Predicted
from upnext.evaluate.off_policy.slates import Slates
from upnext.intake.files import open_sources
from upnext.intake.mapping import Format, Strict, TableFile

MAX_TEXTS: Final = 1_000  # different texts of a context column: each becomes a column


class LogColumns(Strict):
    """Their names of our columns."""

    reward: str
    propensity: str  # of the logged action
    target: str | None = None  # the target's probability of the logged action
    action: str | None = None
    position: str | None = None
    user: str | None = None
    request: str | None = None  # joins a target table that differs by request
    predicted: str | None = None  # a reward model's word on the logged action
    predicted_target: str | None = None  # ... and its mean over the target's choices
    slate: str | None = None  # rows of one slate: propensities given the slots above
    context: tuple[str, ...] = ()  # numbers as they are, texts one column a value


class TargetColumns(Strict):
    """The same of the target's table."""

    action: str
    probability: str | None = None
    position: str | None = None
    request: str | None = None


class LogFile(Strict):
    """[log]"""

    file: str  # relative to the mapping file; may be a glob
    columns: LogColumns
    format: Format | None = None  # by default from the name


class TargetFile(Strict):
    """[target]"""

    file: str
    columns: TargetColumns
    format: Format | None = None


class LogMapping(Strict):
    """A whole mapping file."""

    log: LogFile
    target: TargetFile | None = None

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        columns = self.log.columns
        if (columns.target is None) == (self.target is None):
            raise ValueError("expected either `target` in log.columns or a table [target]")
        if self.target is not None:
            if columns.slate is not None:
                raise ValueError(
                    "expected `target` in log.columns for slates, got a table [target]"
                )
            for name in ("action", "position", "request"):
                theirs, ours = getattr(self.target.columns, name), getattr(columns, name)
                if theirs is not None and ours is None:
                    raise ValueError(f"expected {name!r} in log.columns too, as in target.columns")
        if (columns.predicted is None) != (columns.predicted_target is None):
            raise ValueError("expected both of 'predicted' and 'predicted_target', or neither")
        if columns.slate is not None and columns.position is None:
            raise ValueError("expected 'position' in log.columns beside 'slate'")
        return self


@dataclass(frozen=True, slots=True)
class Rows:
    """A file's columns with the line of each row."""

    name: str
    frame: pl.DataFrame
    line: Int64  # [n]

    def number(self, column: str) -> Float64:
        """float64[n]. Raises InvalidInput with file, line and column where it isn't a number."""
        values = self.frame[column]
        numbers = values.cast(pl.Float64, strict=False)
        if values.dtype == pl.String:
            numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
        out = numbers.fill_null(np.nan).to_numpy()
        self.check(column, np.isfinite(out), "a number")
        return np.asarray(out, np.float64)

    def word(self, column: str) -> Array:
        """Texts [n]. Raises InvalidInput where one is missing."""
        values = self.frame[column].cast(pl.String)
        self.check(column, (values.is_not_null() & (values != "")).to_numpy(), "a value")
        return values.to_numpy()

    def check(self, column: str, is_good: Array, wanted: str) -> None:
        """Raises InvalidInput at the first row that isn't good."""
        if not is_good.all():
            row = int(np.argmin(is_good))
            where = f"{self.name}, line {self.line[row]}, column {column!r}"
            raise expected(where, wanted, self.frame[column][row])


def read_log(mapping_path: Path) -> Logged | Slates:
    """The log that a mapping file names. Raises InvalidInput with file, line and column."""
    return log_of(read_log_mapping(mapping_path), mapping_path.parent)


def log_of(mapping: LogMapping, folder: Path) -> Logged | Slates:
    """The log that a mapping names, its files relative to a folder; Slates when it names their column."""
    columns = mapping.log.columns
    named = columns.model_dump(exclude={"context"}).values()
    wanted = list(dict.fromkeys([*(c for c in named if c is not None), *columns.context]))
    rows = _read(mapping.log.file, mapping.log.format, wanted, folder)
    logged = rows.number(columns.propensity)
    rows.check(columns.propensity, (logged > 0) & (logged <= 1), "a propensity in (0, 1]")
    action, target, target_all, distribution = _target(mapping, rows, folder)
    user = rows.word(columns.user) if columns.user else None
    slate = rows.word(columns.slate) if columns.slate else None
    log = Logged(
        rows.number(columns.reward),
        logged,
        target,
        user=user if user is not None else slate,
        action=action,
        position=_codes(rows.word(columns.position)) if columns.position else None,
        context=_context(rows, columns.context) if columns.context else None,
        target_all=target_all,
        distribution=distribution,
        predicted=_predicted(rows, columns),
    )
    if slate is None:
        return log
    _check_slates(rows, columns)
    return Slates(log, slate)


def _check_slates(rows: Rows, columns: LogColumns) -> None:
    """Raises InvalidInput at the first row whose position its slate has already, or of another viewer than its slate's first."""
    assert columns.slate is not None
    assert columns.position is not None
    slate, position = rows.word(columns.slate), rows.word(columns.position)
    known = pl.DataFrame({"slate": slate, "position": _codes(position)})
    is_first = known.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    rows.check(columns.position, is_first, "each position once in a slate")
    if columns.user is not None:
        user = pl.DataFrame({"slate": slate, "user": rows.word(columns.user)})
        is_same = user.select(pl.col("user") == pl.col("user").first().over("slate"))
        rows.check(columns.user, is_same.to_series().to_numpy(), "one viewer a slate")


def read_log_mapping(path: Path) -> LogMapping:
    """The mapping in a TOML file. Raises InvalidInput naming the place, what was expected and what was found."""
    try:
        return LogMapping.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InvalidInput(f"mapping {path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"mapping {path}: not TOML: {error}") from error
    except ValidationError as error:
        raise InvalidInput(f"mapping {path}: {_said(error)}") from error


def _said(error: ValidationError) -> str:
    first = min(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        known = _KEYS[tuple(str(part) for part in first["loc"][:-1])]
        return f"{place}: unknown key{suggest(str(first['loc'][-1]), known)}"
    got = "" if isinstance(first["input"], dict) else f", got {first['input']!r}"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}{got}"


_KEYS = {
    (): tuple(LogMapping.model_fields),
    ("log",): tuple(LogFile.model_fields),
    ("target",): tuple(TargetFile.model_fields),
    ("log", "columns"): tuple(LogColumns.model_fields),
    ("target", "columns"): tuple(TargetColumns.model_fields),
}


def _read(file: str, kind: Format | None, wanted: Sequence[str], folder: Path) -> Rows:
    frames, lines = [], []
    entry = TableFile(file=file, format=kind, columns={})
    sources = open_sources(entry, folder)
    for source in sources:
        for batch in source.read(wanted):
            for bad in batch.unreadable:
                raise expected(f"{source.name}, line {bad.row}", bad.wanted, bad.got)
            frames.append(batch.frame)
            lines.append(batch.row)
    if not frames or not sum(map(len, frames)):
        raise expected(f"file {file}", "at least one row", "none")
    name = sources[0].name if len(sources) == 1 else file
    return Rows(name, pl.concat(frames), np.concatenate(lines))


def _predicted(rows: Rows, columns: LogColumns) -> Predicted | None:
    if columns.predicted is None or columns.predicted_target is None:
        return None
    return Predicted(rows.number(columns.predicted), rows.number(columns.predicted_target))


def _target(
    mapping: LogMapping, rows: Rows, folder: Path
) -> tuple[Int64 | None, Float64, Float64 | None, Int64 | None]:
    """(action codes, the target's probability of the logged action, its distributions, which one each row has)."""
    columns = mapping.log.columns
    if columns.target is not None:
        target = rows.number(columns.target)
        rows.check(columns.target, (target >= 0) & (target <= 1), "a probability in [0, 1]")
        action = _codes(rows.word(columns.action)) if columns.action else None
        return action, target, None, None
    assert mapping.target is not None
    assert columns.action is not None
    theirs = mapping.target.columns
    named = [c for c in theirs.model_dump().values() if c is not None]
    table = _read(mapping.target.file, mapping.target.format, named, folder)
    both = np.concatenate([rows.word(columns.action), table.word(theirs.action)])
    code = _codes(both)
    action, wanted = code[: len(rows.line)], code[len(rows.line) :]
    pairs = [
        (getattr(columns, name), getattr(theirs, name))
        for name in ("position", "request")
        if getattr(theirs, name) is not None
    ]
    distribution, group = _groups(pairs, rows, table)
    target_all = _distributions(table, theirs, group, wanted, int(code.max()) + 1)
    return action, target_all[distribution, action], target_all, distribution


def _groups(pairs: list[tuple[str, str]], rows: Rows, table: Rows) -> tuple[Int64, Int64]:
    """Which distribution holds in each row of the log and of the target's table: one per position and request."""
    n, m = len(rows.line), len(table.line)
    group = np.zeros(n + m, np.int64)
    for ours, theirs in pairs:
        code = _codes(np.concatenate([rows.word(ours), table.word(theirs)]))
        group = np.unique(group * (int(code.max()) + 1) + code, return_inverse=True)[1]
    there, codes = np.unique(group[n:], return_inverse=True)
    found = np.minimum(np.searchsorted(there, group[:n]), len(there) - 1)
    if pairs:
        beside = " beside " + ", ".join(repr(ours) for ours, _ in pairs[1:]) if pairs[1:] else ""
        rows.check(pairs[0][0], there[found] == group[:n], f"one that {table.name} has too{beside}")
    return found.astype(np.int64), codes.astype(np.int64)


def _distributions(
    table: Rows, columns: TargetColumns, group: Int64, action: Int64, n_actions: int
) -> Float64:
    n_groups = int(group.max()) + 1
    cell = group * n_actions + action
    count = np.bincount(cell, minlength=n_groups * n_actions).reshape(n_groups, n_actions)
    if columns.probability is None:
        return np.asarray(count / count.sum(axis=1, keepdims=True), np.float64)
    p = table.number(columns.probability)
    table.check(columns.probability, (p >= 0) & (p <= 1), "a probability in [0, 1]")
    summed = np.bincount(cell, p, n_groups * n_actions).reshape(n_groups, n_actions)
    out = summed / np.maximum(count, 1)
    is_one = np.abs(out.ravel()[cell] - p) < 1e-9
    table.check(columns.probability, is_one, "one probability of an action in a distribution")
    total = out.sum(axis=1)
    is_sum = np.abs(total - 1) < 1e-6
    table.check(columns.probability, is_sum[group], _sum_of(total, group, is_sum))
    return np.asarray(out / total[:, None], np.float64)


def _sum_of(total: Float64, group: Int64, is_sum: Array) -> str:
    bad = total[group][~is_sum[group]]
    return "probabilities that sum to 1 with those beside it" + (
        f" (they sum to {bad[0]:.6g})" if len(bad) else ""
    )


def _context(rows: Rows, columns: Sequence[str]) -> Float64:
    """float64[n, d]: numbers standardised, texts one column a value (a missing text is one of them).

    Raises InvalidInput for a number that is missing or not finite, and for more than MAX_TEXTS texts."""
    parts = []
    for column in columns:
        values = rows.frame[column].cast(pl.String).str.strip_chars().fill_null("")
        there = values.filter(values != "")
        if len(there) and there.cast(pl.Float64, strict=False).null_count() == 0:
            x = rows.number(column)
            parts.append(((x - x.mean()) / (x.std() or 1.0))[:, None])
            continue
        if values.n_unique() > MAX_TEXTS:
            raise expected(
                f"{rows.name}, column {column!r}", f"at most {MAX_TEXTS:,} texts as context",
                values.n_unique(),
            )  # fmt: skip
        parts.append(values.to_frame().to_dummies().to_numpy())
    return np.concatenate(parts, axis=1).astype(np.float64)


def _codes(words: Array) -> Int64:
    """int64[n]: numbers in the order of numbers, texts in that of texts."""
    distinct, code = np.unique(words.astype(str), return_inverse=True)
    try:
        order = np.argsort(distinct.astype(np.float64), kind="stable")
    except ValueError:
        return code.astype(np.int64)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[code]

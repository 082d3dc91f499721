"""What an import or the data doctor found: counts with reasons and first examples, as plain data that a page or a terminal can draw."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

N_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One place where a problem was seen."""

    file: str
    row: int  # line in the file from 1; in Parquet the row from 1
    got: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A column and what was expected there."""

    column: str
    expected: str


@dataclass(slots=True)
class Tally:
    """How often, and the first few places."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, count: int, examples: list[Example]) -> None:
        """Adds `count` cases, of which some are shown."""
        self.count += count
        self.examples += examples[: N_EXAMPLES - len(self.examples)]


@dataclass(slots=True)
class TableReport:
    """One table: n_rows read = n_bad + dropped + duplicates left out + n_kept."""

    table: str
    n_rows: int = 0
    n_kept: int = 0
    n_bad: int = 0  # rows that break a rule: left out, written to the rejected file
    bad: dict[Problem, Tally] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)  # by the mapping's own reasons
    n_duplicates: int = 0  # events, histories: left out; videos, users: a later row replaces them
    nulls: dict[str, int] = field(
        default_factory=dict
    )  # kept rows without a value, per mapped column
    kinds: dict[str, int] = field(default_factory=dict)  # events by kind, of kept rows
    warnings: dict[str, Tally] = field(default_factory=dict)  # odd but kept
    first_us: int | None = None
    last_us: int | None = None
    n_new: int = 0  # written: rows (events: events) that the stores didn't have
    n_known: int = 0  # already there

    @property
    def bad_share(self) -> float:
        """Bad rows over rows read; 0 without rows."""
        return self.n_bad / self.n_rows if self.n_rows else 0.0

    def note(self, problem: Problem, count: int, examples: list[Example]) -> None:
        """Counts rows under a problem."""
        self.bad.setdefault(problem, Tally()).add(count, examples)

    def warn(self, text: str, count: int, examples: list[Example]) -> None:
        """Counts rows that are odd but kept."""
        if count:
            self.warnings.setdefault(text, Tally()).add(count, examples)

    def null_shares(self) -> dict[str, float]:
        """Share of kept rows without a value, per mapped column."""
        return {name: n / max(1, self.n_kept) for name, n in self.nulls.items()}

    def to_json(self) -> dict[str, Any]:
        """The report as plain lists and numbers."""
        return {
            "table": self.table,
            "rows": self.n_rows,
            "kept": self.n_kept,
            "bad": self.n_bad,
            "bad_by_reason": [_tally(t, column=p.column, expected=p.expected) for p, t in self.bad.items()],
            "dropped": dict(self.dropped),
            "duplicates": self.n_duplicates,
            "null_share": self.null_shares(),
            "events_by_kind": dict(self.kinds),
            "warnings": [_tally(t, warning=text) for text, t in self.warnings.items()],
            "first_us": self.first_us,
            "last_us": self.last_us,
            "new": self.n_new,
            "known": self.n_known,
        }  # fmt: skip


@dataclass(slots=True)
class Report:
    """All tables, in the order in which they are imported."""

    tables: dict[str, TableReport] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as plain lists and numbers, per table."""
        return {name: table.to_json() for name, table in self.tables.items()}


def _tally(tally: Tally, **words: str) -> dict[str, Any]:
    examples = [{"file": e.file, "row": e.row, "got": e.got} for e in tally.examples]
    return {**words, "count": tally.count, "examples": examples}

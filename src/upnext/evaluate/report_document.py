"""A report as data: sections of words, tables and plots. The page and the JSON are two readings of the same document.

A cell keeps its raw value; its column's kind says how a person reads it. So a figure on the page can't differ from the JSON's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from upnext.core.types import Estimate
from upnext.evaluate.figures import figure_json

Cell = str | float | Estimate
Kind = Literal["text", "count", "share", "points", "change", "seconds", "number", "row"]
REPORT_PAGE_VERSION = 1
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, and how its cells are read.

    share: a fraction, read as percent; points: a difference of fractions, in percentage points; change: a relative difference, in percent; row: as
    the row's kind says.
    """

    name: str
    kind: Kind = "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; a caption, and remarks below."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    row_kinds: Sequence[Kind] = ()  # per row, for columns of kind "row"

    def texts(self) -> list[list[str]]:
        """Every cell as a person reads it."""
        return [
            [cell_text(cell, self._kind(i, j)) for j, cell in enumerate(row)]
            for i, row in enumerate(self.rows)
        ]

    def _kind(self, row: int, column: int) -> Kind:
        kind = self.columns[column].kind
        return self.row_kinds[row] if kind == "row" else kind

    def to_json(self) -> dict[str, object]:
        """{"caption", "columns": [{"name", "kind"}], "rows": [[raw value, or a figure]], "row_kinds", "notes"}."""
        return {
            "caption": self.caption,
            "columns": [{"name": c.name, "kind": c.kind} for c in self.columns],
            "rows": [[_raw(cell) for cell in row] for row in self.rows],
            "row_kinds": list(self.row_kinds),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Series:
    """One line or set of bars: a figure per place of the plot's axis."""

    name: str
    figures: Sequence[Estimate]


@dataclass(frozen=True)
class Plot:
    """A picture of figures that stand in a table too; `alt` says in words what it shows."""

    title: str
    alt: str
    places: Sequence[str]
    series: Sequence[Series]
    unit: Kind = "number"
    is_line: bool = True
    axis: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    title: str
    words: Sequence[str] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    parts: Sequence[Section] = ()

    def to_json(self) -> dict[str, object]:
        """{"title", "words", "tables", "sections"}; plots repeat the tables' figures and are left out."""
        return {
            "title": self.title,
            "words": list(self.words),
            "tables": [table.to_json() for table in self.tables],
            "sections": [part.to_json() for part in self.parts],
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """Sentences under one heading, and a remark on how many comparisons they were picked from."""

    title: str
    lines: Sequence[str]
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """{"title", "lines", "note"}."""
        return {"title": self.title, "lines": list(self.lines), "note": self.note}


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    about: Sequence[tuple[str, str]]
    summary: Sequence[Summary]
    sections: Sequence[Section] = field(default_factory=tuple)

    def to_json(self) -> dict[str, object]:
        """{"version", "title", "about", "summary", "sections"}, plain values."""
        return {
            "version": REPORT_PAGE_VERSION,
            "title": self.title,
            "about": dict(self.about),
            "summary": [part.to_json() for part in self.summary],
            "sections": [section.to_json() for section in self.sections],
        }


def excludes_zero(figure: Estimate) -> bool:
    """Whether a difference's interval lies on one side of zero."""
    return figure.verdict == "ok" and (figure.low > 0 or figure.high < 0)


def cell_text(cell: Cell, kind: Kind) -> str:
    """A cell as a person reads it: "12.3 % [11.8, 12.9]"; a dash for what is not known."""
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Estimate):
        return _number(float(cell), kind) + _unit(kind)
    if not math.isfinite(cell.mean):
        return NOTHING
    text = _number(cell.mean, kind) + _unit(kind)
    if not math.isfinite(cell.low):
        return text
    return f"{text} [{_number(cell.low, kind)}, {_number(cell.high, kind)}]"


def _unit(kind: Kind) -> str:
    return {"share": " %", "points": " pp", "change": " %", "seconds": " s"}.get(kind, "")


def _number(value: float, kind: Kind) -> str:
    if not math.isfinite(value):
        return NOTHING
    if kind == "count":
        return f"{value:,.0f}"
    if kind == "share":
        return f"{100 * value:.1f}" if abs(value) >= 0.0995 else f"{100 * value:.2f}"
    if kind in ("points", "change"):
        return f"{100 * value:+.1f}" if abs(value) >= 0.00995 else f"{100 * value:+.2f}"
    if kind == "seconds":
        return f"{value:,.0f}" if abs(value) >= 99.5 else f"{value:.1f}"
    return f"{value:.4g}"


def _raw(cell: Cell) -> object:
    if isinstance(cell, Estimate):
        return figure_json(cell)
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell

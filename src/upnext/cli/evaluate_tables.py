"""Tables of `upnext evaluate` and `upnext bench evaluate` on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def draw(title: str, rows: list[dict[str, str]], out: Console) -> None:
    """Prints rows under the columns that any of them has, in order of first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    out.print(table)

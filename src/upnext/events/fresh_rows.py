"""Which rows of an append the log did not have before: what the state has yet to apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from upnext.core.event import Event
from upnext.events.packed_slate import PackedSlate

Row = TypeVar("Row", Event, PackedSlate)


def fresh_rows(rows: Sequence[Row], numbers: Sequence[int], before: int) -> list[Row]:
    """The rows that got a number above `before` (the log's last one before the append), each once, with it as log_seq."""
    taken: dict[int, Row] = {}
    for row, number in zip(rows, numbers, strict=True):
        if number > before and number not in taken:
            taken[number] = msgspec.structs.replace(row, log_seq=number)
    return list(taken.values())

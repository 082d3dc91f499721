"""What a feed item shows of a video, kept decoded for a while.

Only what is shown is kept here; whether a video may be shown is the filters' question, asked anew at every request.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
import numpy as np

from upnext.core.types import Int64

_N_KEPT: Final = 200_000


class Card(msgspec.Struct):
    """The shown fields of one video."""

    title: str | None
    creator_id: str | None
    duration_s: float | None
    thumbnail_url: str | None
    category: str | None


class VideoRows(Protocol):
    """The catalogue's rows."""

    def shown(self, item_ids: Int64) -> list[dict[str, object]]: ...


class Cards:
    """Cards by item_id, in two generations: `age` ends the older one, so no card outlives two calls of it."""

    def __init__(self, rows: VideoRows) -> None:
        self._rows = rows
        self._young: dict[int, Card] = {}
        self._old: dict[int, Card] = {}

    def of(self, item_ids: Int64) -> list[Card]:
        """The card of each video. Raises Unavailable when the catalogue can't be read."""
        ids = np.asarray(item_ids).tolist()
        young, old = self._young, self._old
        found = {i: young.get(i) or old.get(i) for i in ids}
        missing = [i for i, card in found.items() if card is None]
        if missing:
            rows = self._rows.shown(np.array(missing, np.int64))
            read = {i: _card(row) for i, row in zip(missing, rows, strict=True)}
            if len(young) > _N_KEPT:
                self.age()
            self._young.update(read)
            found.update(read)
        return [card for card in (found[i] for i in ids) if card is not None]

    def age(self) -> None:
        """Drops the older generation; the younger becomes the older."""
        self._young, self._old = {}, self._young


def _card(row: dict[str, object]) -> Card:
    return msgspec.convert({name: row.get(name) for name in Card.__struct_fields__}, Card)

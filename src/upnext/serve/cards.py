"""What a feed item shows of a video, kept decoded: a catalogue read of 30 whole rows costs more than a millisecond."""

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

    def videos(self, item_ids: Int64) -> list[dict[str, object]]: ...


class Cards:
    """Cards by item_id; `forget` what the catalogue changed."""

    def __init__(self, rows: VideoRows) -> None:
        self._rows = rows
        self._kept: dict[int, Card] = {}

    def of(self, item_ids: Int64) -> list[Card]:
        """The card of each video. Raises Unavailable when the catalogue can't be read."""
        ids = np.asarray(item_ids).tolist()
        kept = self._kept
        missing = [i for i in ids if i not in kept]
        found: dict[int, Card] = {}
        if missing:
            rows = self._rows.videos(np.array(missing, np.int64))
            found = {i: _card(row) for i, row in zip(missing, rows, strict=True)}
            if len(kept) + len(found) > _N_KEPT:
                self._kept = kept = {}
            kept.update(found)
        return [found[i] if i in found else kept[i] for i in ids]

    def forget(self, item_ids: Int64) -> None:
        """The next ask reads these anew."""
        if len(item_ids) > len(self._kept):
            self._kept = {}
        for item_id in np.asarray(item_ids).tolist():
            self._kept.pop(item_id, None)


def _card(row: dict[str, object]) -> Card:
    return msgspec.convert({name: row.get(name) for name in Card.__struct_fields__}, Card)

"""Who first found each video relevant: what a video is to its first viewers says where it belongs before any training knows it.

first/<item_id> holds up to n viewers with the time of their showing, in the order of the log. A viewer who takes it back leaves the list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from upnext.core.protocols import StateStore
from upnext.features.state_keys import first_key

_N_CACHED: Final = 50_000  # videos


class FirstViewer(NamedTuple):
    """One of a video's first viewers, and when they were shown it."""

    user_id: str
    time_us: int


class FirstViewers:
    """The writer's side."""

    def __init__(self, store: StateStore, n_viewers: int) -> None:
        self._store = store
        self._n_viewers = n_viewers
        self._lists: OrderedDict[int, list[FirstViewer]] = OrderedDict()
        self._changed: set[int] = set()

    def note(self, user_id: str, item_id: int, time_us: int, *, is_relevant: bool) -> None:
        """A viewer found a video relevant, or took that back. Raises Unavailable."""
        viewers = self._of(item_id)
        others = [viewer for viewer in viewers if viewer.user_id != user_id]
        if is_relevant and len(others) == len(viewers) < self._n_viewers:
            viewers.append(FirstViewer(user_id, time_us))
        elif not is_relevant and len(others) < len(viewers):
            self._lists[item_id] = others
        else:
            return
        self._changed.add(item_id)

    def _of(self, item_id: int) -> list[FirstViewer]:
        viewers = self._lists.get(item_id)
        if viewers is None:
            (viewers,) = first_viewers(self._store, [item_id])
            self._lists[item_id] = viewers
        self._lists.move_to_end(item_id)
        return viewers

    def take_writes(self) -> dict[bytes, bytes | None]:
        """What the store lacks since the last call."""
        changed, self._changed = sorted(self._changed), set()
        writes: dict[bytes, bytes | None] = {}
        for item_id in changed:
            viewers = self._lists[item_id]
            writes[first_key(item_id)] = msgspec.msgpack.encode(viewers) if viewers else None
        return writes

    def trim(self) -> None:
        """Forgets the videos touched least recently; everything noted must have been taken."""
        while len(self._lists) > _N_CACHED:
            self._lists.popitem(last=False)


def first_viewers(store: StateStore, item_ids: Sequence[int]) -> list[list[FirstViewer]]:
    """Each video's first viewers, none for none. Raises Unavailable."""
    stored = store.get([first_key(item_id) for item_id in item_ids])
    return [
        msgspec.msgpack.decode(data, type=list[FirstViewer]) if data is not None else []
        for data in stored
    ]

"""The world as the pipeline sees it."""

from __future__ import annotations

import numpy as np
import pytest

from upnext.core.errors import NotFound
from upnext.core.types import Int64
from upnext.features.counters import CounterTable
from upnext.pipeline import world
from upnext.pipeline.world import CatalogWorld


class View:
    """Ten videos, and what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def video_ids(self, item_ids: Int64) -> list[str]:
        self.asked.append(item_ids.tolist())
        if item_ids.max() >= 10:
            raise NotFound("no such video")
        return [f"v{item}" for item in item_ids]


def ids_of(made: CatalogWorld, *items: int) -> list[str]:
    return made.video_ids(np.array(items, np.int64))


def test_the_id_of_a_shown_video_is_read_once() -> None:
    view = View()
    made = CatalogWorld(view, CounterTable())  # type: ignore[arg-type]
    assert ids_of(made, 3, 1) == ["v3", "v1"]
    assert ids_of(made, 1, 2, 3) == ["v1", "v2", "v3"]
    assert ids_of(made) == []
    assert view.asked == [[3, 1], [2]]
    with pytest.raises(NotFound):
        ids_of(made, 1, 10)
    assert ids_of(made, 2, 4) == ["v2", "v4"]


def test_when_too_many_ids_are_kept_all_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "_N_KEPT", 2)
    view = View()
    made = CatalogWorld(view, CounterTable())  # type: ignore[arg-type]
    assert ids_of(made, 0, 1, 2) == ["v0", "v1", "v2"]
    assert ids_of(made, 2, 5) == ["v2", "v5"]
    assert view.asked == [[0, 1, 2], [2, 5]]

"""Small platforms with a known truth, stored as a catalogue and a log, and counted for a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.columns import USERS, VIDEOS
from upnext.core.event import Event
from upnext.core.protocols import NoProgress
from upnext.evaluate.online import Span
from upnext.evaluate.report_log import Counted, counted
from upnext.evaluate.slot_log import ROWS_AT_ONCE
from upnext.events.slate import SlateRecord

from .slot_logs import stored


def catalogue(folder: Path, videos: Sequence[dict[str, Any]], users: Sequence[dict[str, Any]]) -> CatalogView:  # fmt: skip
    """A catalogue of these rows; what a row leaves out is null."""
    folder.mkdir(parents=True, exist_ok=True)
    one = Catalog(folder / "catalog.db")
    one.put_videos(pa.Table.from_pylist([dict.fromkeys(VIDEOS.names) | v for v in videos], VIDEOS))
    one.put_users(pa.Table.from_pylist([dict.fromkeys(USERS.names) | u for u in users], USERS))
    one.close()
    return CatalogView(folder / "catalog.db")


def counts_of(
    folder: Path,
    videos: Sequence[dict[str, Any]],
    users: Sequence[dict[str, Any]],
    slates: Sequence[SlateRecord],
    events: Sequence[Event],
    releases: Sequence[str] = (),
    rows_at_once: int = ROWS_AT_ONCE,
) -> Counted:
    """Everything a report counts of a platform."""
    view = catalogue(folder, videos, users)
    log = stored(folder / "events", slates, events, piece=20_000)
    found = counted(log, view, Span(), NoProgress(), releases=releases, rows_at_once=rows_at_once)
    log.close()
    view.close()
    assert found is not None
    return found

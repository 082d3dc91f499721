"""Stores opened for a command that runs beside or without a server."""

from __future__ import annotations

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.errors import InvalidInput
from upnext.events.log import SqliteEventLog
from upnext.settings.settings import Settings


def readers(settings: Settings) -> tuple[CatalogView, SqliteEventLog, ReleaseStore]:
    """(catalogue, log, releases), read only. Raises InvalidInput before the first import."""
    if not settings.catalog_path.exists() or not settings.events_path.exists():
        raise InvalidInput(f"no data in {settings.folder}: run `upnext import` first")
    return (
        CatalogView(settings.catalog_path),
        SqliteEventLog(settings.events_path, read_only=True),
        ReleaseStore(settings.releases_path),
    )

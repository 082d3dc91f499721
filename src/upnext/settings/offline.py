"""The part of the settings that a pipeline outside serving is made of."""

from __future__ import annotations

from upnext.evaluate.gather import OfflineSettings
from upnext.settings.settings import Settings


def offline_settings(settings: Settings) -> OfflineSettings:
    """The paths of the catalogue and the log, and each room's section."""
    return OfflineSettings(
        settings.catalog_path,
        settings.events_path,
        settings.surfaces,
        settings.pipeline,
        settings.filters,
        settings.retrieval,
        settings.features,
    )

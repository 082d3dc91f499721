"""The part of the settings that a pipeline outside serving is made of."""

from __future__ import annotations

from upnext.evaluate.gather import OfflineSettings
from upnext.events.past_log import LogEnd
from upnext.settings.settings import Settings


def offline_settings(
    settings: Settings, n_videos: int | None = None, log_end: LogEnd | None = None
) -> OfflineSettings:
    """The paths of the catalogue and the log, how far they are to be seen (None: whole), and each room's section."""
    return OfflineSettings(
        settings.catalog_path,
        settings.events_path,
        settings.surfaces,
        settings.pipeline,
        settings.filters,
        settings.retrieval,
        settings.features,
        n_videos,
        log_end,
    )

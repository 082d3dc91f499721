"""A pipeline that serves a copied platform, and what tests ask of it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "learn"))

from pipeline_world import NOW_US, Hydrated, viewer

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.clock import ManualClock
from upnext.core.types import Request
from upnext.features.counters import CounterTable
from upnext.pipeline.assemble import Parts
from upnext.pipeline.serving import Serving
from upnext.settings.settings import Settings

TITLE = "Sourdough bread for beginners"


def serving_of(settings: Settings) -> Serving:
    parts = Parts(
        view=CatalogView(settings.catalog_path),
        counters=CounterTable(),
        hydrator=Hydrated(viewer(country="US")),
        surfaces=settings.surfaces,
        pipeline=settings.pipeline,
        filters=settings.filters,
        retrieval=settings.retrieval,
    )
    return Serving(parts, ReleaseStore(settings.releases_path), ManualClock(NOW_US))


def asked(request_id: str = "r", surface: str = "home", size: int = 12) -> Request:
    return Request(request_id, "u", surface, size, NOW_US, session_id="s")


def again(store: ReleaseStore, *, promote: bool = True) -> str:
    """The current release published a second time."""
    current = store.current() or ""
    folder = store.begin()
    for one in store.open(current).path.iterdir():
        if one.name != "manifest.json":
            (shutil.copytree if one.is_dir() else shutil.copy)(one, folder / one.name)
    return store.publish(
        folder, settings={}, data_window={}, metrics={}, parent=current, promote=promote
    )


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))

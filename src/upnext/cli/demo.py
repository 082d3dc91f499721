"""`upnext demo` and `upnext simulate`: a made-up platform, from tables to pages, with no network but its own.

Nothing is special-cased: the world writes ordinary tables, and the commands that everyone uses import them, train on them and serve.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.store import Catalog
from upnext.cli.progress import RichProgress
from upnext.core.clock import SystemClock
from upnext.events.log import SqliteEventLog
from upnext.intake import Stores, import_tables, plan_of
from upnext.settings.settings import CONFIG_NAME, Settings, load
from upnext.settings.template import render
from upnext.simulate.history import simulate_history
from upnext.simulate.tables import write_tables
from upnext.simulate.world import World


def run(
    folder: Path, port: int, viewers: int, videos: int, seed: int, once: bool, err: Console
) -> None:
    """Builds what is missing under `folder`, prints the URL and serves."""
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / CONFIG_NAME
    if not config.exists():
        config.write_text(demo_settings(), "utf-8")
    settings = load(config)
    if ReleaseStore(settings.releases_path).current() is None:
        _build(settings, folder, viewers, videos, seed, err)
    serve = settings.serve.model_copy(update={"port": port})
    err.print(f"ready after {time.monotonic() - began:.0f} s", highlight=False)
    if once:
        return
    from upnext.cli.serve import run_settings

    run_settings(settings.model_copy(update={"serve": serve}), err)


def demo_settings() -> str:
    """The commented file with its defaults, but the ranker's trees: a demo is to be ready soon."""
    return render().replace("\nteacher_share = 0.5\n", "\nteacher_share = 0.0\n")


def _build(
    settings: Settings, folder: Path, viewers: int, videos: int, seed: int, err: Console
) -> None:
    now_us = SystemClock().now_us()
    world = World.make(viewers, videos, seed, end_us=now_us)
    mapping = write_tables(simulate_history(world), folder / "tables")
    err.print(
        f"wrote the tables of {viewers} viewers and {videos} videos: {mapping}", highlight=False
    )
    progress = RichProgress(err)
    catalog, log = Catalog(settings.catalog_path), SqliteEventLog(settings.events_path)
    import_tables(plan_of(mapping), Stores(catalog, log), progress, now_us=SystemClock().now_us())
    log.close()
    catalog.close()
    from upnext.cli.opened import readers
    from upnext.learn.train import Training

    view, reader, releases = readers(settings)
    report = Training(settings, view, reader, releases, progress).run(
        None, resume=False, force=True
    )
    judgement = report.judgement
    figures = ", ".join(f"{k} {v:.4g}" for k, v in judgement.metrics.items())
    err.print(f"gate: {judgement.word}, against {judgement.against}: {figures}", highlight=False)

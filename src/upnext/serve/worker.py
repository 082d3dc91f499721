"""`python -m upnext.serve.worker`: one worker, started by the supervisor.

It opens the stores read-only, assembles the current release's pipeline, and follows both in the background: the catalogue,
the release pointer and the experiments every second, the counters every two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.clock import Clock, SystemClock
from upnext.core.errors import UpNextError
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.events.log import SqliteEventLog
from upnext.features.live import StateReader
from upnext.pipeline.assemble import Parts
from upnext.pipeline.serving import Serving
from upnext.serve.app import Brain, create_app
from upnext.serve.background import Chore
from upnext.serve.cards import Cards
from upnext.serve.child import read_errand
from upnext.serve.log_lines import log_as_json
from upnext.serve.run_worker import run_worker
from upnext.serve.simulated_clock import clock_of
from upnext.serve.trials import TrialsFollower
from upnext.serve.worker_metrics import WorkerMetrics
from upnext.settings.settings import Settings
from upnext.state.lmdb_state import LmdbState

log = logging.getLogger(__name__)
CATALOG_EVERY_S: Final = 1.0
COUNTERS_EVERY_S: Final = 2.0
RELEASE_EVERY_S: Final = 1.0
TRIALS_EVERY_S: Final = 1.0
CARDS_EVERY_S: Final = 15.0


def main(extend: Callable[[FastAPI], None] = lambda app: None) -> None:
    """Serves the API, with whatever `extend` adds to the app, until the supervisor says stop or is gone."""
    errand = read_errand()
    log_as_json(errand.name, errand.log_level)
    settings = errand.read_settings()
    clock = clock_of(settings)
    brain = brain_of(settings, clock)
    app = create_app(settings, brain, Path(errand.intake_socket), clock=clock)
    extend(app)
    run_worker(app, errand)


def brain_of(settings: Settings, clock: Clock | None = None) -> Brain:
    """The stores and the running pipeline of a data folder.

    Raises: Unavailable, NotFound where a store is not there: intake makes them all before the first worker starts."""
    clock = clock or SystemClock()
    view = CatalogView(settings.catalog_path)
    store = LmdbState(settings.state_path, read_only=True)
    reader = StateReader(store, view, settings.features)
    reader.refresh_counters()
    slates = SqliteEventLog(settings.events_path, read_only=True)
    parts = Parts(
        view=view,
        counters=reader.counters,
        hydrator=reader,
        surfaces=settings.surfaces,
        pipeline=settings.pipeline,
        filters=settings.filters,
        retrieval=settings.retrieval,
    )
    releases = ReleaseStore(settings.releases_path)
    threads = settings.serve.ranker_threads
    serving = Serving(parts, releases, clock, reader=reader, threads=threads)
    trials = TrialsFollower(ExperimentStore(settings.experiments_path), releases, settings, serving)
    try:
        trials.follow()  # before the first request: a restart moves nobody to the base
    except UpNextError as error:  # said again, and counted, at each turn of the chore
        log.error("experiments can't be followed", extra={"error": str(error)})

    def users(n: int) -> list[dict[str, Any]]:
        return list(view.users(n).to_pylist())

    def close() -> None:
        slates.close()
        store.close()
        view.close()

    return Brain(
        pipeline=lambda: serving.answering,
        rows=view,
        slates=slates,
        surfaces=settings.surfaces,
        weights=trials.weights,
        chores=lambda cards, metrics: _chores(serving, trials, cards, metrics),
        users=users,
        refused_release=lambda: serving.refused,
        close=close,
    )


def _chores(
    serving: Serving, trials: TrialsFollower, cards: Cards, metrics: WorkerMetrics
) -> list[Chore]:
    def follow_release() -> None:
        try:
            if serving.follow_release():
                metrics.swaps.inc()
        except UpNextError:
            metrics.refused_releases.inc()
            raise

    return [
        Chore("catalogue", CATALOG_EVERY_S, serving.follow_catalog),
        Chore("counters", COUNTERS_EVERY_S, serving.follow_counters),
        Chore("release", RELEASE_EVERY_S, follow_release),
        Chore("experiments", TRIALS_EVERY_S, trials.follow),
        Chore("cards", CARDS_EVERY_S, cards.age),
    ]


if __name__ == "__main__":
    main()

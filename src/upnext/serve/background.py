"""Work that a worker repeats in threads of its own: follow the catalogue, the counters, the current release."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from upnext.core.errors import UpNextError
from upnext.serve.worker_metrics import WorkerMetrics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chore:
    """One function and how often it runs."""

    name: str
    every_s: float
    run: Callable[[], object]


class Background:
    """One thread per chore. A failure is logged, counted, and tried again at the next turn."""

    def __init__(self, chores: list[Chore], metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(chore,), name=chore.name, daemon=True)
            for chore in chores
        ]

    def start(self) -> None:
        """Begins; the first turn comes after a part of the first rest."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends after the turns under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5.0)

    def _repeat(self, chore: Chore) -> None:
        last_failure = ""
        # workers start together: their chores must not meet
        rest_s = chore.every_s * random.random()
        while not self._stop.wait(rest_s):
            rest_s = chore.every_s
            try:
                chore.run()
                last_failure = ""
            except UpNextError as error:
                self._metrics.refresh_failures.labels(chore.name).inc()
                if str(error) != last_failure:  # said once, counted always
                    last_failure = str(error)
                    log.warning("chore failed", extra={"chore": chore.name, "error": last_failure})
            except Exception:  # the worker's loop: a bug in a chore must not end it in silence
                self._metrics.refresh_failures.labels(chore.name).inc()
                log.exception("a bug in a chore", extra={"chore": chore.name})

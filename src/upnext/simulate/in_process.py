"""The system that serves, in this process: its pipeline and its writers over real stores, and a clock that the simulation moves.

A page goes the way it goes behind HTTP (serve/feed.py, serve/writers.py): hydrate, fetch, filter, rank, draw; the slate is in the log
before the viewer sees it, and drawn again where another page of the session came first. Events are stamped, appended and applied to
the state by the intake process's own writers. What the folder holds afterwards is an ordinary data folder, whose log ends in
simulated time: `upnext train`, `evaluate` and `recommend` run on it.

Not here: HTTP, several workers, and the seconds that pass before a worker sees new counters and experiments. Those are read every
`follow_every_s` simulated seconds instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.clock import SECOND_US, ManualClock
from upnext.core.errors import Unavailable
from upnext.core.event import Event
from upnext.core.types import Request
from upnext.evaluate.experiments.store import ExperimentStore
from upnext.events.packed_slate import pack_slate
from upnext.features.live import StateReader
from upnext.pipeline.assemble import Parts
from upnext.pipeline.serving import Serving
from upnext.serve.intake_words import AppendEvents, AppendSlate, EventsDone, Failed, SlateDone
from upnext.serve.stores import open_stores
from upnext.serve.trials import TrialsFollower
from upnext.settings.settings import Settings

FOLLOW_EVERY_S: Final = 600.0  # simulated seconds between two looks at the counters
MAX_DRAWS: Final = 8


class InProcess:
    """A Recommender over a data folder. Not thread-safe; nobody else may serve the folder meanwhile."""

    def __init__(
        self, settings: Settings, start_us: int, *, follow_every_s: float = FOLLOW_EVERY_S
    ) -> None:
        """Opens the folder of `settings` at the simulated instant `start_us`, and makes it where it is absent.

        Raises Unavailable where another process writes it."""
        self.settings = settings
        self.clock = ManualClock(start_us)
        self._stores = open_stores(settings, self.clock, synced=False)
        self._view = CatalogView(settings.catalog_path)
        reader = StateReader(self._stores.store, self._view, settings.features)
        reader.refresh_counters()
        parts = Parts(
            self._view, reader.counters, reader, settings.surfaces, settings.pipeline,
            settings.filters, settings.retrieval,
        )  # fmt: skip
        self.releases = ReleaseStore(settings.releases_path, self.clock)
        self.serving = Serving(parts, self.releases, self.clock, reader=reader)
        experiments = ExperimentStore(settings.experiments_path)
        self._trials = TrialsFollower(experiments, self.releases, settings, self.serving)
        self._trials.follow()
        self._follow_us = int(follow_every_s * SECOND_US)
        self._followed_us = start_us

    def feed(self, requests: Sequence[Request]) -> list[list[str]]:
        """The video_ids of each request's page, logged; the clock moves to its time. Raises Unavailable where the log can't take a slate."""
        return [self._page(request) for request in requests]

    def send(self, events: Sequence[Event], time_us: int) -> None:
        """Commits the events as received at `time_us`. Raises Unavailable where one can't be taken."""
        self._move_to(time_us)
        if not events:
            return
        (said,) = self._stores.writers.commit([AppendEvents(list(events))])
        if isinstance(said, Failed):
            raise Unavailable(f"simulated events: {said.message}")
        assert isinstance(said, EventsDone)
        for event, status in zip(events, said.statuses, strict=True):
            if status.status == "refused":
                raise Unavailable(
                    f"event {event.event_id}: {status.field}: expected {status.expected}, got {status.got}"
                )

    def put(self, videos: pa.Table, users: pa.Table) -> None:
        """Writes whole rows of core.columns.VIDEOS and USERS as PUT does; the pipeline sees them at once."""
        if len(videos):
            self._stores.catalog.put_videos(videos)
        if len(users):
            self._stores.catalog.put_users(users)
        self.serving.follow_catalog()

    def follow_release(self) -> bool:
        """Serves the current release from now on -> whether it is another than before. Raises UpNextError for a damaged one."""
        return self.serving.follow_release()

    def close(self) -> None:
        """Syncs and closes the stores."""
        self._view.close()
        self._stores.close()

    def _page(self, request: Request) -> list[str]:
        self._move_to(request.time_us)
        for _ in range(MAX_DRAWS):
            record = self.serving.answering.recommend(request).record
            (said,) = self._stores.writers.commit([AppendSlate(pack_slate(record))])
            if isinstance(said, Failed):
                raise Unavailable(f"slate of {request.request_id}: {said.message}")
            assert isinstance(said, SlateDone)
            if said.status != "conflict":
                return list((said.slate or record).video_id)
        raise Unavailable(f"request {request.request_id}: every draw met another page's videos")

    def _move_to(self, time_us: int) -> None:
        """The clock never goes back; counters, lists and experiments are read anew when they are old."""
        self.clock.set(max(time_us, self.clock.now_us()))
        if self.clock.now_us() - self._followed_us >= self._follow_us:
            self._followed_us = self.clock.now_us()
            self.serving.follow_counters()
            self._trials.follow()

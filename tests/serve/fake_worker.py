"""A worker over real stores whose pipeline just takes the next videos that its viewer was not shown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from serve_worlds import slate_record

from upnext.catalog import CatalogView
from upnext.core.randomness import rng_for
from upnext.core.types import Request, Trace
from upnext.events.log import SqliteEventLog
from upnext.features.live import StateReader
from upnext.serve.app import Brain, create_app
from upnext.serve.background import Chore
from upnext.serve.child import read_errand
from upnext.serve.log_lines import log_as_json
from upnext.serve.run_worker import run_worker
from upnext.settings.settings import Settings
from upnext.state.lmdb_state import LmdbState


@dataclass
class Drawn:
    """What pipeline.recommend answers, as far as serve looks at it."""

    record: Any
    trace: Trace


class NextVideos:
    """A pipeline of one line."""

    release_id = "r-fake"

    def __init__(self, view: CatalogView, hydrator: StateReader) -> None:
        self.view = view
        self.hydrator = hydrator

    def recommend(self, request: Request, *, cheap: bool = False, share: bool = False) -> Drawn:
        active = np.flatnonzero(self.view.status == 0)
        order = active[
            rng_for(request.seed, request.page, request.time_us).permutation(len(active))
        ]
        return self._drawn(request, order, ["cheap"] if cheap else [])

    def rank(self, request: Request, item_ids: list[int]) -> Drawn:
        ids = np.array(item_ids, np.int64)
        return self._drawn(request, ids[self.view.status[ids] == 0], [])

    def _drawn(self, request: Request, order: Any, degraded: list[str]) -> Drawn:
        query = self.hydrator.hydrate(request)
        excluded = self.view.item_ids(list(request.exclude))
        taken = np.concatenate([query.user.seen, query.served, excluded])
        ids = order[~np.isin(order, taken)][: request.size]
        record = slate_record(
            request.request_id, request.user_id, request.session_id, ids.tolist(), page=request.page,
            time_us=request.time_us, surface=request.surface,
        )  # fmt: skip
        record = msgspec.structs.replace(
            record, video_id=self.view.video_ids(ids), degraded=degraded + list(query.degraded)
        )
        return Drawn(record, Trace(stage_ms={"all": 1.0}))


def brain(settings: Settings) -> Brain:
    for _ in range(200):
        if settings.state_path.joinpath("data.mdb").exists():
            break
        time.sleep(0.05)
    view = CatalogView(settings.catalog_path)
    reader = StateReader(LmdbState(settings.state_path, read_only=True), view, settings.features)
    slates = SqliteEventLog(settings.events_path, read_only=True)
    pipeline = NextVideos(view, reader)
    return Brain(
        pipeline=lambda: pipeline,
        rows=view,
        slates=slates,
        surfaces=settings.surfaces,
        weights=lambda surface, arms: settings.surfaces[surface].weights,
        chores=lambda cards, _: [Chore("catalogue", 0.1, view.refresh)],
        users=lambda n: view.users().slice(0, n).to_pylist(),
    )


def main() -> None:
    errand = read_errand()
    log_as_json(errand.name, errand.log_level)
    settings = errand.read_settings()
    app = create_app(settings, brain(settings), Path(errand.intake_socket))
    from upnext.dashboard.pages import mount

    mount(app)
    run_worker(app, errand)


if __name__ == "__main__":
    main()

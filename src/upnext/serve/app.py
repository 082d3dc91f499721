"""The web application of one worker: the API's routes over a running pipeline."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

import upnext
from upnext.core.clock import Clock, SystemClock
from upnext.core.types import Int64
from upnext.pipeline.config import SurfaceConfig
from upnext.serve.access import Access
from upnext.serve.api_types import HealthAnswer
from upnext.serve.background import Background, Chore
from upnext.serve.cards import Cards, VideoRows
from upnext.serve.feed import Feed, Ids, RunningPipeline, SlateLog, WeightsOf
from upnext.serve.http_edge import JSON, error_answer, guarded
from upnext.serve.intake_client import IntakeClient
from upnext.serve.openapi import openapi
from upnext.serve.routes import Api
from upnext.serve.simulated_clock import SimulatedClock
from upnext.serve.worker_metrics import WorkerMetrics
from upnext.settings.settings import Settings

SWITCH_INTERVAL_S: Final = (
    0.0005  # the event loop waits at most this long for the pipeline's thread
)


class Rows(Ids, VideoRows, Protocol):
    """What the edge needs of the catalogue's view."""

    def video_ids(self, item_ids: Int64) -> list[str]: ...

    def videos(self, item_ids: Int64) -> list[dict[str, object]]: ...


@dataclass(frozen=True)
class Brain:
    """What answers: made by worker.py from the stores, by tests from fakes."""

    pipeline: Callable[[], RunningPipeline]  # the current release's
    rows: Rows
    slates: SlateLog
    surfaces: Mapping[str, SurfaceConfig]
    chores: Callable[[Cards, WorkerMetrics], list[Chore]]  # followed in the background
    weights: WeightsOf  # of the value, by surface and arms
    users: Callable[[int], list[dict[str, Any]]] = lambda n: []  # some users' rows, to pick from
    refused_release: Callable[[], str | None] = lambda: None  # the current one while it is damaged
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Edge:
    """What routes outside the API (pages) may use; found at `app.state.edge`."""

    feed: Feed
    intake: IntakeClient
    rows: Rows
    cards: Cards
    users: Callable[[int], list[dict[str, Any]]]
    access: Access
    metrics: WorkerMetrics
    clock: Clock
    settings: Settings


def create_app(
    settings: Settings,
    brain: Brain,
    intake_socket: Path,
    *,
    clock: Clock | None = None,
) -> FastAPI:
    """The app; its lifespan starts and ends the background work."""
    clock = clock or SystemClock()
    metrics = WorkerMetrics()
    metrics.started.set(SystemClock().now_us() / 1e6)
    metrics.without_release.set_function(lambda: brain.refused_release() is not None)
    cards = Cards(brain.rows)
    intake = IntakeClient(intake_socket)
    access = Access(settings.serve.api_keys)
    feed = Feed(
        brain.pipeline, brain.surfaces, brain.weights, brain.rows, cards, intake, brain.slates,
        metrics, clock,
    )  # fmt: skip
    background = Background(brain.chores(cards, metrics), metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        background.start()
        yield
        background.stop()
        await intake.close()
        feed.close()
        brain.close()

    # no docs pages: FastAPI's load scripts from a CDN
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.edge = Edge(
        feed, intake, brain.rows, cards, brain.users, access, metrics, clock, settings
    )

    def ready() -> HealthAnswer:
        lacks = [] if brain.refused_release() is None else ["release"]
        time_us = clock.now_us() if isinstance(clock, SimulatedClock) else None
        return HealthAnswer("ready", brain.pipeline().release_id, lacks, time_us)

    api = Api(feed, intake, metrics, ready)
    routes = api.routes()
    for route in routes:
        handler = guarded(route.handler, route.scope, access, metrics, clock)
        app.add_route(route.path, handler, methods=[route.method])
    page = msgspec.json.encode(openapi(routes, upnext.__version__))

    async def openapi_page(_: Request) -> Response:
        return Response(page, media_type=JSON)

    app.add_route("/openapi.json", openapi_page)
    app.add_exception_handler(404, _no_route)
    app.add_exception_handler(405, _no_method)
    return app


async def _no_route(request: Request, error: Exception) -> Response:
    return error_answer(404, "not_found", f"no route {request.url.path!r:.200}; see /openapi.json")


async def _no_method(request: Request, error: Exception) -> Response:
    what = f"{request.method} {request.url.path!r:.200}"
    return error_answer(405, "method_not_allowed", f"{what}: see /openapi.json for its methods")

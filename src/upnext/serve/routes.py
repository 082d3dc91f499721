"""Every route of the API in one table: what the app serves, what the OpenAPI page documents, what the tests check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from upnext.core.errors import NotFound, Unavailable
from upnext.serve.access import Scope
from upnext.serve.api_types import (
    DoneAnswer,
    EventResult,
    EventsAnswer,
    EventsBody,
    ExplainAnswer,
    FeedAnswer,
    FeedQuery,
    HealthAnswer,
    RankBody,
    VideosBody,
)
from upnext.serve.event_input import NotABatch, read_events
from upnext.serve.feed import Feed
from upnext.serve.http_edge import BadInput, Handler, body_of, json_answer, query_of
from upnext.serve.intake_client import IntakeClient
from upnext.serve.intake_words import (
    Answer,
    AppendEvents,
    DeleteUser,
    DeleteVideo,
    EventsDone,
    EventStatus,
    Failed,
    PatchUser,
    PatchVideo,
    PutUsers,
    PutVideos,
    Work,
)
from upnext.serve.worker_metrics import WorkerMetrics

ROW = dict[str, Any]


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    summary: str
    scope: Scope
    handler: Handler
    answer: Any
    query: type[msgspec.Struct] | None = None
    body: Any = None
    statuses: tuple[int, ...] = field(default=(422, 503))


class Api:
    """The handlers of one worker."""

    def __init__(
        self,
        feed: Feed,
        intake: IntakeClient,
        metrics: WorkerMetrics,
        ready: Callable[[], HealthAnswer],
    ) -> None:
        self._feed = feed
        self._intake = intake
        self._metrics = metrics
        self._ready = ready

    def routes(self) -> list[Route]:
        """The table."""
        read: Scope = "read"
        write: Scope = "write"
        gone = (404, 422, 503)
        return [
            Route("GET", "/v1/feed/{surface}", "A page of a viewer's feed", read, self.feed,
                  FeedAnswer, FeedQuery, statuses=gone),
            Route("POST", "/v1/rank", "Your own candidates, filtered, scored and arranged", read,
                  self.rank, FeedAnswer, body=RankBody, statuses=gone),
            Route("POST", "/v1/events", "What viewers did: a batch, on disk when answered", write,
                  self.events, EventsAnswer, body=EventsBody),
            Route("POST", "/v1/videos", "Many videos, whole rows", write, self.put_videos,
                  DoneAnswer, body=VideosBody),
            Route("PUT", "/v1/videos/{id:path}", "A video, the whole row", write, self.put_video,
                  DoneAnswer, body=ROW),
            Route("PATCH", "/v1/videos/{id:path}", "Some fields of a video", write, self.patch_video,
                  DoneAnswer, body=ROW, statuses=gone),
            Route("DELETE", "/v1/videos/{id:path}", "A video that must not be shown again", write,
                  self.delete_video, DoneAnswer, statuses=gone),
            Route("PUT", "/v1/users/{id:path}", "A user's profile, the whole row", write,
                  self.put_user, DoneAnswer, body=ROW),
            Route("PATCH", "/v1/users/{id:path}", "Some fields of a user's profile", write,
                  self.patch_user, DoneAnswer, body=ROW, statuses=gone),
            Route("DELETE", "/v1/users/{id:path}", "Forget a user's profile", write,
                  self.delete_user, DoneAnswer, statuses=gone),
            Route("GET", "/v1/explain/{request_id}/{video_id:path}", "Why a video stood in its slot",
                  read, self.explain, ExplainAnswer, statuses=gone),
            Route("GET", "/v1/health/live", "The process answers", "none", self.live, HealthAnswer),
            Route("GET", "/v1/health/ready", "Requests can be answered", "none", self.ready, HealthAnswer),
            Route("GET", "/metrics", "Prometheus metrics of all processes", read, self.metrics, str),
        ]  # fmt: skip

    # feeds
    async def feed(self, request: Request) -> Response:
        """GET /v1/feed/{surface}."""
        query = query_of(request, FeedQuery)
        if (
            not query.request_id
        ):  # the dispatcher's own: its retry on another worker must not draw twice
            query.request_id = request.headers.get("x-upnext-request-id", "")
        cheap = request.headers.get("x-upnext-degrade") == "cheap"
        share = request.headers.get("x-upnext-idle") == "yes"
        surface = request.path_params["surface"]
        return json_answer(await self._feed.page(surface, query, cheap=cheap, share=share))

    async def rank(self, request: Request) -> Response:
        """POST /v1/rank."""
        body = await body_of(request, RankBody)
        if not body.request_id:
            body.request_id = request.headers.get("x-upnext-request-id", "")
        return json_answer(await self._feed.rank(body))

    async def explain(self, request: Request) -> Response:
        """GET /v1/explain/{request_id}/{video_id}."""
        ids = request.path_params
        return json_answer(await self._feed.explain(ids["request_id"], ids["video_id"]))

    # events
    async def events(self, request: Request) -> Response:
        """POST /v1/events."""
        try:
            events, refusals = read_events(await request.body())
        except NotABatch as error:
            raise BadInput("", str(error)) from error
        statuses: list[EventStatus] = []
        if events:
            said = self._checked(await self._intake.call(AppendEvents(events)))
            assert isinstance(said, EventsDone)
            statuses = said.statuses
        answer = events_answer(refusals, statuses)
        for status in ("accepted", "known", "refused"):
            self._metrics.events(status, getattr(answer, status))
        return json_answer(answer)

    # the catalogue
    async def put_videos(self, request: Request) -> Response:
        """POST /v1/videos."""
        body = await body_of(request, VideosBody)
        for i, row in enumerate(body.videos):
            if not isinstance(row.get("video_id"), str):
                raise BadInput(f"videos[{i}].video_id", f"videos[{i}].video_id: expected a text")
        return await self._change(PutVideos(body.videos), len(body.videos))

    async def put_video(self, request: Request) -> Response:
        """PUT /v1/videos/{id}."""
        return await self._change(PutVideos([await _row(request, "video_id")]))

    async def patch_video(self, request: Request) -> Response:
        """PATCH /v1/videos/{id}."""
        row = await _row(request, "video_id")
        return await self._change(PatchVideo(row.pop("video_id"), row))

    async def delete_video(self, request: Request) -> Response:
        """DELETE /v1/videos/{id}."""
        return await self._change(DeleteVideo(request.path_params["id"]))

    async def put_user(self, request: Request) -> Response:
        """PUT /v1/users/{id}."""
        return await self._change(PutUsers([await _row(request, "user_id")]))

    async def patch_user(self, request: Request) -> Response:
        """PATCH /v1/users/{id}."""
        row = await _row(request, "user_id")
        return await self._change(PatchUser(row.pop("user_id"), row))

    async def delete_user(self, request: Request) -> Response:
        """DELETE /v1/users/{id}."""
        return await self._change(DeleteUser(request.path_params["id"]))

    async def _change(self, work: Work, n: int = 1) -> Response:
        self._checked(await self._intake.call(work))
        return json_answer(DoneAnswer("done", n))

    def _checked(self, answer: Answer) -> Answer:
        """The answer, where it is no failure."""
        if not isinstance(answer, Failed):
            return answer
        if answer.kind == "invalid":
            raise BadInput("", answer.message)
        if answer.kind == "not_found":
            raise NotFound(answer.message)
        raise Unavailable(answer.message)

    # health
    async def live(self, request: Request) -> Response:
        """GET /v1/health/live."""
        return json_answer(HealthAnswer("live"))

    async def ready(self, request: Request) -> Response:
        """GET /v1/health/ready."""
        return json_answer(self._ready())

    async def metrics(self, request: Request) -> Response:
        """GET /metrics: of this worker; the dispatcher sums the workers."""
        return Response(self._metrics.text(), 200, media_type="text/plain; version=0.0.4")


def events_answer(refusals: list[EventStatus | None], statuses: list[EventStatus]) -> EventsAnswer:
    """Puts the rows refused here and the statuses of the others back into the order sent."""
    done = iter(statuses)
    counts = {"accepted": 0, "known": 0, "refused": 0}
    results: list[EventResult] = []
    for index, refusal in enumerate(refusals):
        said = refusal if refusal is not None else next(done)
        counts[said.status] += 1
        if said.status != "accepted" or said.is_clamped:
            results.append(
                EventResult(index, said.status, said.log_seq, said.is_clamped,
                            said.field, said.expected, said.got)
            )  # fmt: skip
    return EventsAnswer(results=results, **counts)


async def _row(request: Request, key: str) -> ROW:
    """The body with the path's id in it. Raises: BadInput where the body names another id."""
    row = await body_of(request, ROW)
    wanted = request.path_params["id"]
    if row.get(key, wanted) != wanted:
        raise BadInput(key, f"{key}: expected the path's {wanted!r:.120}, got {row[key]!r:.120}")
    row[key] = wanted
    return row

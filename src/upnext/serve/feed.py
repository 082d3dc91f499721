"""A page of a feed: run the pipeline, put the slate into the log, then show it.

The pipeline is synchronous and runs in one thread, so that a worker is single-minded and its event loop stays responsive. That
thread sends the slate to intake, and makes its page while intake writes. Intake answers `stored`, `known` (this request was
answered before: that very slate is shown) or `conflict` (another page of the session came first with a common video: draw again).
When the log can't take the slate the page is still served, flagged `unlogged`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import msgspec
import numpy as np

from upnext.core.clock import Clock
from upnext.core.errors import InvalidInput, NotFound, Unavailable, expected
from upnext.core.protocols import Hydrator
from upnext.core.types import Int64, Request, User
from upnext.events.packed_slate import pack_slate
from upnext.events.slate import SlateRecord
from upnext.explain.slots import REASONS, explain_slot
from upnext.features.session import default_seed
from upnext.pipeline.config import SurfaceConfig
from upnext.pipeline.recommend import Answer as PipelineAnswer
from upnext.serve.api_types import Context, ExplainAnswer, FeedAnswer, FeedItem, FeedQuery, RankBody
from upnext.serve.cards import Cards
from upnext.serve.intake_client import IntakeClient, Posted
from upnext.serve.intake_words import Answer, AppendSlate, Failed, SlateDone
from upnext.serve.time_ordered_id import time_ordered_id
from upnext.serve.worker_metrics import WorkerMetrics

MAX_DRAWS: Final = 8  # of pages asked at once, each round stores at least one
LOG_PATIENCE_S: Final = 3.0
UNLOGGED: Final = "unlogged"
_SEEDS: Final = 1 << 64  # what the log of slates can hold
_T = TypeVar("_T")
WeightsOf = Callable[
    [str, Mapping[str, str], int], Mapping[str, float]
]  # (surface, arms, time_us of the slate) -> of the value


class RunningPipeline(Protocol):
    """One release, ready to answer (pipeline.recommend.Pipeline)."""

    @property
    def release_id(self) -> str: ...

    @property
    def hydrator(self) -> Hydrator: ...

    def recommend(
        self, request: Request, *, cheap: bool = False, share: bool = False
    ) -> PipelineAnswer: ...

    def rank(self, request: Request, item_ids: Sequence[int]) -> PipelineAnswer: ...


class Ids(Protocol):
    """The catalogue's ids."""

    def item_ids(self, video_ids: Sequence[str]) -> Int64: ...


class SlateLog(Protocol):
    """The slates log, read only."""

    def slate(self, request_id: str) -> SlateRecord | None: ...


@dataclass(frozen=True, slots=True)
class _Page:
    """A slate as its viewer gets it."""

    answer: FeedAnswer
    body: bytes  # the same as JSON


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A slate that the log has not taken yet."""

    record: SlateRecord
    work: AppendSlate | Failed  # Failed: it can't be logged
    posted: Posted | None
    page: _Page
    stage_ms: Mapping[str, float]


class Feed:
    """Pages, rankings and explanations of one worker."""

    def __init__(
        self,
        pipeline: Callable[[], RunningPipeline],
        surfaces: Mapping[str, SurfaceConfig],
        weights: WeightsOf,
        ids: Ids,
        cards: Cards,
        intake: IntakeClient,
        slates: SlateLog,
        metrics: WorkerMetrics,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._surfaces = surfaces
        self._weights = weights
        self._ids = ids
        self._cards = cards
        self._intake = intake
        self._slates = slates
        self._metrics = metrics
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        self._lookups = ThreadPoolExecutor(1, thread_name_prefix="lookups")

    async def page(
        self, surface: str, query: FeedQuery, *, cheap: bool, share: bool = False
    ) -> bytes:
        """The FeedAnswer of a feed request as JSON; `share`: other workers' cores are idle.

        Raises: NotFound (unknown surface), InvalidInput, Unavailable."""
        return (await self._fed(surface, query, cheap=cheap, share=share)).body

    async def answer(self, surface: str, query: FeedQuery, *, cheap: bool = False) -> FeedAnswer:
        """The same as a value: for pages of the dashboard."""
        return (await self._fed(surface, query, cheap=cheap)).answer

    async def _fed(
        self, surface: str, query: FeedQuery, *, cheap: bool, share: bool = False
    ) -> _Page:
        size = self._size(surface, query.n, None)
        request = self._request(surface, query, size, tuple(query.exclude))

        def run(now_us: int) -> PipelineAnswer:
            return self._pipeline().recommend(_at(request, now_us), cheap=cheap, share=share)

        return await self._logged(request, run)

    async def rank(self, body: RankBody) -> bytes:
        """The FeedAnswer of the caller's own candidates as JSON.

        Raises: NotFound (unknown surface), InvalidInput, Unavailable."""
        size = self._size(body.surface, body.n, len(body.video_ids))
        if not body.session_id:  # candidates may come again: they share no served set
            request_id = body.request_id or _request_id()
            session_id = f"rank:{request_id}"
            body = msgspec.structs.replace(body, request_id=request_id, session_id=session_id)
        request = self._request(body.surface, body, size, ())
        wanted = list(dict.fromkeys(body.video_ids))

        def run(now_us: int) -> PipelineAnswer:
            ids = self._ids.item_ids(wanted)
            return self._pipeline().rank(_at(request, now_us), ids[ids >= 0].tolist())

        return (await self._logged(request, run)).body

    async def explain(self, request_id: str, video_id: str) -> bytes:
        """The ExplainAnswer of one slot of a logged slate as JSON. Raises: NotFound, Unavailable."""
        return self._encoder.encode(await self.explanation(request_id, video_id))

    async def explanation(self, request_id: str, video_id: str) -> ExplainAnswer:
        """The same as a value: for pages of the dashboard."""
        record = await self.look_up(self._slates.slate, request_id)
        if record is None:
            raise NotFound(f"request {request_id!r:.200}: no slate is logged under this id")
        slot = record.video_id.index(video_id) if video_id in record.video_id else 0
        arms = record.arms_of(slot)
        weights = await self.look_up(self._weights, record.surface, arms, record.time_us)
        said = explain_slot(record, video_id, weights)
        given = {name: getattr(said, name) for name in _SHARED}
        return ExplainAnswer(
            **given,
            sources=dict(said.sources),
            predictions=dict(said.predictions),
            contributions=dict(said.contributions),
            degraded=list(said.degraded),
            time_us=record.time_us,
            arms=arms,
            trace=record.trace,
        )

    def viewer(self, user_id: str) -> User:
        """What is known of a viewer now; blocking, for the lookup thread. Raises: Unavailable."""
        request = self._request("home", Context(user_id=user_id), 1, ())
        query = self._pipeline().hydrator.hydrate(request)
        if query.degraded:
            raise Unavailable("the viewer's state can't be read now")
        return query.user

    async def look_up(self, function: Callable[..., _T], *args: Any) -> _T:
        """Runs a blocking read in the lookup thread."""
        return await asyncio.get_running_loop().run_in_executor(self._lookups, function, *args)

    def close(self) -> None:
        """Ends the threads."""
        self._thread.shutdown(cancel_futures=True)
        self._lookups.shutdown(cancel_futures=True)

    # one slate
    async def _logged(self, request: Request, run: Callable[[int], PipelineAnswer]) -> _Page:
        """Draws until the log takes the slate; see the module's story."""
        loop = asyncio.get_running_loop()
        for _ in range(MAX_DRAWS):
            drawn = await loop.run_in_executor(self._thread, self._drawn, run)
            said = await self._said(drawn)
            if isinstance(said, SlateDone) and said.status == "conflict":
                self._metrics.conflicts.inc()
                continue
            self._metrics.stages(drawn.stage_ms)
            page = drawn.page
            if isinstance(said, SlateDone) and said.slate is not None:
                page = await loop.run_in_executor(self._thread, self._page, said.slate)
            elif not isinstance(said, SlateDone):
                record = drawn.record
                record = msgspec.structs.replace(record, degraded=[*record.degraded, UNLOGGED])
                page = await loop.run_in_executor(self._thread, self._page, record)
            answer = page.answer
            n_slots = len(answer.items)
            self._metrics.page(answer.surface, n_slots, answer.n_repeats, answer.degraded)
            self._metrics.arms(answer.arms)
            return page
        raise Unavailable("other pages of this session are being drawn; try again")

    def _drawn(self, run: Callable[[int], PipelineAnswer]) -> _Drawn:
        """A slate, on its way to the log, and its page: made while intake writes, and nearly always what is shown."""
        answer = run(self._clock.now_us())
        record = answer.record
        try:
            work = AppendSlate(pack_slate(record))
        except InvalidInput as error:
            sent: AppendSlate | Failed = Failed("invalid", str(error))
            return _Drawn(record, sent, None, self._page(record), answer.trace.stage_ms)
        posted = self._intake.post(work)
        return _Drawn(record, work, posted, self._page(record), answer.trace.stage_ms)

    async def _said(self, drawn: _Drawn) -> Answer:
        """What the log says of a slate."""
        if isinstance(drawn.work, Failed):
            return drawn.work
        try:
            return await self._intake.call(
                drawn.work, posted=drawn.posted, patience_s=LOG_PATIENCE_S
            )
        except Unavailable as error:
            return Failed("unavailable", str(error))

    def _page(self, record: SlateRecord) -> _Page:
        answer = self._shown(record)
        return _Page(answer, self._encoder.encode(answer))

    def _shown(self, record: SlateRecord) -> FeedAnswer:
        """The answer of a logged slate; a function of the record and the videos' shown fields."""
        n_repeats = sum(record.is_repeat)
        return FeedAnswer(
            request_id=record.request_id,
            user_id=record.user_id,
            session_id=record.session_id,
            surface=record.surface,
            page=record.page,
            next_page=record.page + 1 if record.item_id else None,
            items=self._items(record),
            degraded=list(record.degraded),
            n_repeats=n_repeats,
            release_id=record.release_id,
            policy_version=record.policy_version,
            arms=record.arms,
        )

    def _items(self, record: SlateRecord) -> list[FeedItem]:
        cards = self._cards.of(np.array(record.item_id, np.int64))
        return [
            FeedItem(
                video_id=record.video_id[slot],
                slot=slot,
                title=card.title,
                creator_id=card.creator_id,
                duration_s=card.duration_s,
                thumbnail_url=card.thumbnail_url,
                category=card.category,
                reason=record.reason[slot],
                reason_text=REASONS.get(record.reason[slot], record.reason[slot]),
                sources=record.sources[slot],
                value=record.value[slot],
                propensity=record.propensity[slot],
                is_repeat=record.is_repeat[slot],
            )
            for slot, card in enumerate(cards)
        ]

    # the request
    def _size(self, surface: str, n: int | None, given: int | None) -> int:
        config = self._surfaces.get(surface)
        if config is None:
            known = ", ".join(sorted(self._surfaces))
            raise NotFound(f"surface {surface!r:.100}: not configured; known: {known}")
        if n is None:
            return min(given or config.size, config.max_size)
        if n > config.max_size:
            raise InvalidInput(str(expected("n", f"at most {config.max_size} on {surface!r}", n)))
        return n

    def _request(
        self, surface: str, asked: Context, size: int, exclude: tuple[str, ...]
    ) -> Request:
        request_id = asked.request_id or _request_id()
        session_id = asked.session_id or f"s-{request_id}"
        user_id = asked.user_id or f"anon-{session_id}"
        seed = default_seed(user_id, session_id) if asked.seed is None else asked.seed % _SEEDS
        logged_in = bool(asked.user_id) if asked.logged_in is None else asked.logged_in
        return Request(
            request_id=request_id,
            user_id=user_id,
            surface=surface,
            size=size,
            time_us=self._clock.now_us(),
            session_id=session_id,
            page=asked.page,
            seed=seed,
            device=asked.device,
            country=asked.country,
            language=asked.language,
            time_zone=asked.time_zone,
            latitude=asked.lat,
            longitude=asked.lon,
            logged_in=logged_in,
            current_video_id=asked.video_id,
            exclude=exclude,
        )


_SHARED: Final = (
    "request_id", "slot", "video_id", "reason", "reason_text", "value", "propensity", "n_eligible",
    "release_id", "policy_version",
)  # fmt: skip


def _at(request: Request, now_us: int) -> Request:
    """The request at the moment when it is really drawn: later events of its viewer count."""
    return dataclasses.replace(request, time_us=now_us)


def _request_id() -> str:
    return time_ordered_id().decode()

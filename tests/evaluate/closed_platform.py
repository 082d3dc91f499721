"""A small platform in one process with a log on disk: pages are drawn by the pipeline that serves, logged, and answered by viewers whose law is known.

Lists and counters are as fresh as the request, as a replay has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from memory_state import MemoryState
from upnext.catalog import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.clock import DAY_US, SECOND_US
from upnext.core.event import Event
from upnext.core.randomness import rng_for
from upnext.core.types import Request
from upnext.evaluate.gather import OfflineSettings
from upnext.events import SqliteEventLog
from upnext.features.config import FeaturesConfig
from upnext.features.live import StateReader, StateWriter
from upnext.filters.config import FiltersConfig
from upnext.pipeline.assemble import Assembled, Parts, assemble
from upnext.pipeline.config import PipelineConfig, SurfaceConfig
from upnext.pipeline.recommend import Answer
from upnext.pipeline.release_parts import ReleaseParts
from upnext.policy.config import PolicyConfig
from upnext.retrieval.config import FreshConfig, PopularConfig, RetrievalConfig, TrendingConfig
from upnext.simulate.tables import users_table, videos_table
from upnext.simulate.truth import rates
from upnext.simulate.world import World

ALWAYS_FRESH = RetrievalConfig(
    popular=PopularConfig(refresh_s=0),
    trending=TrendingConfig(refresh_s=0),
    fresh=FreshConfig(refresh_s=0),
)


LOOK = 1 / (1 + 0.2 * np.arange(12))  # P(a slot is looked at)


def home(size: int = 4, n_popular: int = 14, **policy: float) -> SurfaceConfig:
    """A surface without a model: popular, fresh and followed videos."""
    return SurfaceConfig(
        size=size,
        sources={"popular": n_popular, "fresh": 8, "followed": 4},
        weights={"relevant": 1.0},
        n_ranked=n_popular + 6,
        policy=PolicyConfig(**policy),
    )


class ClosedPlatform:
    """Catalogue, log, state and viewers."""

    def __init__(
        self,
        folder: Path,
        n_viewers: int,
        n_videos: int,
        *,
        retrieval: RetrievalConfig = ALWAYS_FRESH,
    ) -> None:
        self.retrieval = retrieval
        self.world = World.make(n_viewers, n_videos, seed=1)
        self.folder = folder
        catalog = Catalog(folder / "catalog.db")
        catalog.put_videos(videos_table(self.world))
        catalog.put_users(users_table(self.world))
        self._durations = catalog.durations(np.arange(n_videos)).tolist()
        catalog.close()
        self.view = CatalogView(folder / "catalog.db")
        self.log = SqliteEventLog(folder / "events")
        self.time_us = self.world.end_us
        self._row = {video_id: row for row, video_id in enumerate(self.world.video_ids)}
        store = MemoryState()
        self._writer, self.reader = StateWriter(store), StateReader(store, self.view)

    def settings(self, surface: SurfaceConfig, share: float = 0.0) -> OfflineSettings:
        """What a pipeline outside serving is made of."""
        return OfflineSettings(
            self.folder / "catalog.db",
            self.folder / "events",
            {"home": surface},
            PipelineConfig(candidate_log_share=share),
            FiltersConfig(),
            self.retrieval,
            FeaturesConfig(),
        )

    def serving(
        self, surface: SurfaceConfig, release: ReleaseParts | None = None, *, share: float = 0.0
    ) -> Assembled:
        """The pipeline over the live state."""
        settings = self.settings(surface, share)
        parts = Parts(
            self.view, self.reader.counters, self.reader, settings.surfaces, settings.pipeline,
            settings.filters, settings.retrieval,
        )  # fmt: skip
        return assemble(parts, release, "r1")

    def page(self, assembled: Assembled, viewer: int, name: str, **asked: object) -> Answer:
        """One page for a viewer, drawn now and logged."""
        self.time_us += 5 * SECOND_US
        self.reader.refresh_counters()
        assembled.refresh_lists(self.time_us)
        given = {
            "request_id": name, "user_id": self.world.user_ids[viewer], "surface": "home", "size": 4,
            "time_us": self.time_us, "session_id": f"s{viewer}", "seed": viewer,
        }  # fmt: skip
        answer = assembled.pipeline.recommend(Request(**{**given, **asked}))
        [log_seq] = self.log.append([], [answer.record])
        record = msgspec.structs.replace(answer.record, log_seq=log_seq)
        self._writer.apply([], [record], log_seq)
        return answer

    def reactions(self, viewer: int, answer: Answer) -> list[Event]:
        """What the viewer does with a page: looks down it ever less, clicks what attracts, watches half of it and may like it."""
        record = answer.record
        rows = np.array([self._row[video_id] for video_id in record.video_id])
        likely = LOOK[: len(rows)] * self.attract(viewer)[rows]
        draws = rng_for("reactions", record.request_id).random((len(rows), 2))
        events = []
        for j, video_id in enumerate(record.video_id):
            kinds = ["impression"]
            kinds += ["click", "watch"] if draws[j, 0] < likely[j] else []
            kinds += ["like"] if draws[j, 0] < likely[j] and draws[j, 1] < 0.3 else []
            for kind in kinds:
                watch_s = 0.6 * self._durations[rows[j]] if kind == "watch" else None
                events.append(
                    Event(
                        event_id=f"{record.request_id}:{j}:{kind}",
                        kind=kind,
                        video_id=video_id,
                        user_id=record.user_id,
                        session_id=record.session_id,
                        slot=j,
                        surface="home",
                        request_id=record.request_id,
                        watch_s=watch_s,
                        time_us=record.time_us + (j + 1) * SECOND_US,
                    )
                )
        return events

    def attract(self, viewer: int) -> np.ndarray:
        """float64[n_videos]: P(click | looked at), the world's truth."""
        everything = np.arange(self.world.n_videos)
        return rates(self.world, np.full(len(everything), viewer), everything, "home").attract

    def hear(self, events: Sequence[Event]) -> None:
        """Takes events in, as intake does, after whatever has happened."""
        if not events:
            return
        self.time_us = max(self.time_us, *(event.time_us for event in events)) + SECOND_US
        stamped = [
            msgspec.structs.replace(
                event,
                received_us=self.time_us,
                item_id=self._row[event.video_id or ""],
                duration_s=self._durations[self._row[event.video_id or ""]],
            )
            for event in events
        ]
        numbers = self.log.append(stamped)
        stamped = [msgspec.structs.replace(e, log_seq=n) for e, n in zip(stamped, numbers)]
        self._writer.apply(stamped, [], numbers[-1])

    def told(self, n_showings: int) -> None:
        """A past in which videos that attract more were liked more: counters that a popularity ranker can go by."""
        rng = rng_for("told", self.world.seed)
        n = self.world.n_videos
        chance = 0.05 + 0.9 * np.argsort(np.argsort(self.attraction())) / n
        events = []
        for i in range(n_showings):
            user, video = f"past{i}", i % n
            shared = {"user_id": user, "video_id": self.world.video_ids[video], "request_id": user,
                      "time_us": self.time_us - DAY_US + i}  # fmt: skip
            events.append(Event(event_id=f"{user}:i", kind="impression", **shared))
            if rng.random() < chance[video]:
                events.append(Event(event_id=f"{user}:l", kind="like", **shared))
        self.hear(events)

    def attraction(self) -> np.ndarray:
        """float64[n_videos]: how likely each video is to be clicked when it is looked at, over the first viewers."""
        return np.mean([self.attract(v) for v in range(min(20, self.world.n_viewers))], axis=0)


def hot(surface: SurfaceConfig, **policy: float) -> SurfaceConfig:
    """The same surface with other settings of the draw."""
    return surface.model_copy(update={"policy": surface.policy.model_copy(update=policy)})

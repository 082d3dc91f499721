"""A small catalogue with the pipeline over it, viewers made by hand, and sources and filters that do as they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView
from upnext.core.columns import VIDEOS
from upnext.core.errors import Unavailable
from upnext.core.protocols import Filter, Source
from upnext.core.types import Candidates, Profile, Query, Request, User
from upnext.features.counters import CounterTable
from upnext.filters.config import FiltersConfig
from upnext.pipeline.assemble import Assembled, Parts, assemble
from upnext.pipeline.config import PipelineConfig, SurfaceConfig
from upnext.pipeline.fetch import Quota
from upnext.pipeline.recommend import Pipeline
from upnext.retrieval.config import RetrievalConfig

N_VIDEOS = 60
NOW_US = 1_764_547_200_000_000
LANGUAGES = ("en", "de", "fr")
WEIGHTS = {"relevant": 1.0}


def rows(n: int = N_VIDEOS) -> list[dict]:
    """Video i: language i % 3, creator i % 12; every tenth is blocked in DE, every eleventh from 18, every thirteenth hidden."""
    return [
        {
            "video_id": f"v{i}", "creator_id": f"c{i % 12}", "category": f"k{i % 5}", "language": LANGUAGES[i % 3],
            "tags": [f"t{i % 4}"], "duration_s": 30.0, "uploaded_us": NOW_US - (i + 1) * 3_600_000_000,
            "countries_blocked": ["DE"] if i % 10 == 0 else None, "min_age": 18 if i % 11 == 0 else None,
            "status": "hidden" if i % 13 == 0 else "active",
        }
        for i in range(n)
    ]  # fmt: skip


def view_of(folder: Path, n: int = N_VIDEOS) -> CatalogView:
    """The view of a new catalogue with `rows(n)`."""
    catalog = Catalog(folder / "catalog.db")
    catalog.put_videos(pa.Table.from_pylist(rows(n), schema=VIDEOS))
    catalog.close()
    return CatalogView(folder / "catalog.db")


class Hydrated:
    """A Hydrator that gives every request the same viewer."""

    def __init__(
        self, user: User = User("u"), served: Sequence[int] = (), degraded: tuple[str, ...] = ()
    ) -> None:
        self.user, self.served, self.degraded = user, np.array(served, np.int64), degraded

    def hydrate(self, request: Request) -> Query:
        return Query(request, self.user, served=self.served, degraded=self.degraded)


class Says:
    """A Source that proposes given ids, and counts its calls."""

    def __init__(self, name: str, ids: Sequence[int], *, is_late: bool = False) -> None:
        self.name, self.ids, self.is_late = name, np.array(ids, np.int64), is_late
        self.n_calls = 0

    def fetch(self, query: Query, k: int) -> Candidates:
        self.n_calls += 1
        if self.is_late:
            raise Unavailable("late")
        ids = self.ids[:k]
        return Candidates.of_source(self.name, ids, -np.arange(len(ids), dtype=np.float32))


class Fails:
    """A Filter whose store is down."""

    def __init__(self, name: str, *, is_safety: bool) -> None:
        self.name, self.is_safety = name, is_safety

    def keep(self, query: Query, candidates: Candidates) -> np.ndarray:
        raise Unavailable("down")


def viewer(seen: Sequence[int] = (), *, language: str | None = None, age: int | None = 30, country: str | None = "FR",
           muted: Sequence[int] = ()) -> User:  # fmt: skip
    """A viewer who saw `seen` in that order."""
    order = np.array(seen, np.int64)
    return User(
        "u", Profile(language=language, age=age, country=country), seen=np.unique(order), seen_order=order,
        muted_creators=np.unique(np.array(muted, np.int64)),
    )  # fmt: skip


def request(size: int = 10, **more: object) -> Request:
    """A request of home."""
    given = {
        "request_id": "r1",
        "user_id": "u",
        "surface": "home",
        "time_us": NOW_US,
        "session_id": "s",
    }
    return Request(**{**given, "size": size, **more})


def assembled(
    view: CatalogView, hydrator: object, sources: Mapping[str, int], counters: CounterTable | None = None, *,
    share: float = 0.0,
) -> Assembled:  # fmt: skip
    """What serving has before the first release."""
    parts = Parts(
        view=view,
        counters=counters or CounterTable(),
        hydrator=hydrator,
        surfaces={"home": SurfaceConfig(sources=dict(sources), weights=WEIGHTS, n_ranked=40)},
        pipeline=PipelineConfig(candidate_log_share=share),
        filters=FiltersConfig(),
        retrieval=RetrievalConfig(),
    )
    made = assemble(parts, None)
    made.refresh_lists(NOW_US)
    return made


def with_sources(pipeline: Pipeline, *sources: Source, k: int = 100) -> Pipeline:
    """The pipeline with other sources."""
    home = pipeline.surfaces["home"]
    other = dataclasses.replace(home, quotas=tuple(Quota(source, k) for source in sources))
    return dataclasses.replace(pipeline, surfaces={"home": other})


def with_filter(pipeline: Pipeline, one: Filter) -> Pipeline:
    """The pipeline with one more filter."""
    return dataclasses.replace(pipeline, filters=(*pipeline.filters, one))


def allowed_ids(age: int = 30, country: str = "FR", n: int = N_VIDEOS) -> set[int]:
    """What `rows` lets such a viewer see."""
    return {
        i for i in range(n)
        if not (i % 10 == 0 and country == "DE") and (i % 11 or age >= 18) and i % 13
    }  # fmt: skip

"""The verbs: small Protocols that the rooms implement and nobody inherits from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy.typing as npt
import pyarrow as pa

from upnext.core.event import Event
from upnext.core.types import (
    Bool,
    Candidates,
    Features,
    Float32,
    Float64,
    Int64,
    Predictions,
    Query,
    Request,
    Slate,
)


class Hydrator(Protocol):
    """Completes a request with its viewer, as known strictly before the request's time."""

    def hydrate(self, request: Request) -> Query: ...


class Source(Protocol):
    """One candidate generator."""

    @property
    def name(self) -> str: ...

    def fetch(self, query: Query, k: int) -> Candidates:
        """At most k videos, best first, with the column `source:<name>`; fewer when it knows fewer."""
        ...


class Filter(Protocol):
    """One reason not to show a video."""

    @property
    def name(self) -> str: ...

    @property
    def is_safety(self) -> bool:
        """A safety filter never fails open; another may be skipped, flagged, when its store is down."""
        ...

    def keep(self, query: Query, candidates: Candidates) -> Bool:
        """bool[n]: True where the video may be shown."""
        ...


class FeatureReader(Protocol):
    """The compiled plan of all features."""

    user_names: tuple[str, ...]
    item_names: tuple[str, ...]

    def read(self, query: Query, candidates: Candidates) -> Features: ...


class Ranker(Protocol):
    """Predicts every task for every candidate."""

    def predict(self, features: Features, *, share: bool = False) -> Predictions:
        """`share`: other cores are idle and may take a part; it changes nothing else."""
        ...


class Policy(Protocol):
    """Draws a slate and says how likely each slot was."""

    def arrange(self, query: Query, candidates: Candidates, value: Float32) -> Slate: ...

    def propensity(
        self, query: Query, candidates: Candidates, value: Float32, slate: Slate
    ) -> Float64:
        """float64[k]: the probability of each slot of `slate` given the slots before it."""
        ...

    def distributions(
        self, query: Query, candidates: Candidates, value: Float32, slate: Slate
    ) -> Float64:
        """float64[k, n]: the probability of every candidate for each slot of `slate`, given the slots before it."""
        ...


class EventLog(Protocol):
    """The durable truth."""

    def append(self, events: Sequence[Event]) -> Sequence[int]:
        """The log_seq of every event, on disk when this returns; one known by event_id keeps its number."""
        ...

    def scan(self, after_seq: int = 0, *, batch_rows: int = 65_536) -> Iterator[pa.Table]:
        """Tables of core.columns.EVENTS in order of log_seq, strictly after `after_seq`."""
        ...


class StateStore(Protocol):
    """Bytes by key, with the log_seq they reflect; one writer, many readers."""

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def apply(self, deltas: Mapping[bytes, bytes | None], log_seq: int) -> None:
        """One transaction: sets (None deletes) every key and moves the watermark to log_seq."""
        ...

    def watermark(self) -> int: ...


class VectorIndex(Protocol):
    """Nearest vectors by inner product."""

    def search(
        self, vectors: Float32, k: int, allowed: Bool | None = None
    ) -> tuple[Int64, Float32]:
        """(ids int64[b, k], scores float32[b, k]), best first, -1 and -inf where fewer exist.

        vectors float32[b, d]; allowed bool[n_items] indexed by item_id, None: all."""
        ...

    def add(self, item_id: Int64, vectors: Float32) -> None: ...

    def remove(self, item_id: Int64) -> None: ...


class Learner(Protocol):
    """A model in training."""

    def learn(self, examples: Any) -> Mapping[str, float]: ...

    def snapshot(self) -> Mapping[str, npt.NDArray[Any]]: ...


class Progress(Protocol):
    """Tells a person how far a long job is. The edge draws it; NoProgress is silent."""

    def start(self, task: str, total: int | None, unit: str) -> None: ...

    def advance(self, n: int, **shown: float) -> None: ...

    def done(self) -> None: ...


class NoProgress:
    """Says nothing."""

    def start(self, task: str, total: int | None, unit: str) -> None:
        """Nothing."""

    def advance(self, n: int, **shown: float) -> None:
        """Nothing."""

    def done(self) -> None:
        """Nothing."""

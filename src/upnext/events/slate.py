"""One answer as it was served: who asked, what stood in every slot, why, and how likely it was.

Off-policy evaluation reads propensities from here, explanations read everything. A seeded share of requests carries all candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from upnext.core.columns import SLATES
from upnext.core.errors import InvalidInput, expected
from upnext.core.types import Array, Float32

INTERLEAVED: Final = "interleaved"  # the arm of pages on which two rankings take turns


class CandidateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Every candidate of one request, n aligned rows."""

    item_id: list[int]
    sources: dict[
        str, list[float]
    ]  # source -> its score of each candidate, NaN where it did not propose it
    value: list[float]
    user_features: bytes  # float32[f_user]
    item_features: bytes  # float32[n, n_item_features], row-major
    n_item_features: int
    share: float  # the share of requests that are logged with all candidates

    def items(self) -> Float32:
        """float32[n, f_item]: the item columns."""
        flat = np.frombuffer(self.item_features, np.float32)
        return flat.reshape(len(self.item_id), self.n_item_features)


class SlateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request's answer: request-level fields, then k aligned entries, one per slot."""

    request_id: str
    log_seq: int  # 0 until the log has given it
    time_us: int
    user_id: str
    session_id: str
    page: int
    surface: str
    release_id: str
    policy_version: str
    policy: str  # the policy's parameters, JSON
    draw_key: int
    arms: dict[str, str]
    degraded: list[str]
    item_id: list[int]
    video_id: list[str]
    sources: list[list[str]]
    source_scores: list[list[float]]
    tasks: list[str]
    predictions: list[list[float]]  # [k][t]
    value: list[float]
    propensity: list[float]
    n_eligible: list[int]
    reason: list[str]
    is_repeat: list[bool]
    features: bytes  # float32[k, n_features], row-major: user columns, then item columns
    n_features: int
    trace: dict[str, Any]
    candidates: CandidateRecord | None = None
    teams: list[str] = []  # [k] of an interleaved page: the arm that picked each slot; else empty
    # what the request told of its context
    logged_in: bool | None = None  # None: the record is older than these fields, nothing is known
    device: str | None = None
    country: str | None = None
    language: str | None = None
    time_zone: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    current_video_id: str | None = None
    # what else its candidates and its draw are a function of
    seed: int | None = None  # None: the record is older than these fields
    size: int | None = None  # slots asked for; the page may have fewer
    exclude: list[str] = []  # video_ids

    def rows(self) -> pa.Table:
        """One row per slot: core.columns.SLATES. Raises InvalidInput when a column has not k entries."""
        return slate_rows([self])

    def arms_of(self, slot: int) -> dict[str, str]:
        """The arms under which a slot's video was chosen: on an interleaved page that of the team that picked it."""
        if not self.teams:
            return self.arms
        return {
            name: self.teams[slot] if arm == INTERLEAVED else arm for name, arm in self.arms.items()
        }

    def feature_rows(self) -> Float32:
        """float32[k, f]: the rows that were scored."""
        flat = np.frombuffer(self.features, np.float32)
        return flat.reshape(len(self.item_id), self.n_features)


_PER_SLOT: Final = (
    "item_id", "video_id", "sources", "source_scores", "predictions", "value", "propensity",
    "n_eligible", "reason", "is_repeat",
)  # fmt: skip
_PER_REQUEST: Final = (
    "request_id", "log_seq", "time_us", "user_id", "session_id", "page", "surface", "release_id",
    "policy_version", "policy", "draw_key", "tasks", "arms", "degraded",
    "logged_in", "device", "country", "language", "time_zone", "latitude", "longitude",
    "current_video_id", "seed", "size", "exclude",
)  # fmt: skip


def slate_rows(records: Sequence[SlateRecord]) -> pa.Table:
    """One row per slot of every record, in order: core.columns.SLATES; no records: an empty table.

    Raises InvalidInput when a record's columns are not aligned."""
    for record in records:
        check_aligned(record)
    request = np.repeat(np.arange(len(records)), [len(r.item_id) for r in records])
    columns: dict[str, pa.Array] = {}
    for name in _PER_REQUEST:
        columns[name] = _request_column(name, records).take(pa.array(request))
    for name in _PER_SLOT:
        values = chain.from_iterable(map(attrgetter(name), records))
        columns[name] = pa.array(values, SLATES.field(name).type, size=len(request))
    slots = (np.arange(len(r.item_id), dtype=np.int32) for r in records)
    columns["slot"] = pa.array(_joined(slots, np.int32))
    columns["features"] = _feature_lists(records)
    return pa.table({name: columns[name] for name in SLATES.names}, schema=SLATES)


def check_aligned(record: SlateRecord) -> None:
    """Raises InvalidInput naming the column that has not one entry per slot."""
    k = len(record.item_id)
    where = f"slate of request {record.request_id!r}"
    for name in _PER_SLOT:
        if len(getattr(record, name)) != k:
            raise expected(f"{where}: {name}", f"{k} slots", len(getattr(record, name)))
    if len(record.features) != 4 * k * record.n_features:
        raise InvalidInput(
            f"{where}: features: expected {k} x {record.n_features} float32, got {len(record.features)} bytes"
        )


def _request_column(name: str, records: Sequence[SlateRecord]) -> pa.Array:
    field: Callable[[SlateRecord], Any] = attrgetter(name)
    values = [list(field(r).items()) if name == "arms" else field(r) for r in records]
    return pa.array(values, SLATES.field(name).type)


def _feature_lists(records: Sequence[SlateRecord]) -> pa.Array:
    values = np.frombuffer(b"".join(r.features for r in records), np.float32)
    sizes = (np.full(len(r.item_id), r.n_features, np.int32) for r in records)
    ends = np.cumsum(_joined(sizes, np.int32), dtype=np.int32)
    offsets = np.concatenate([np.zeros(1, np.int32), ends])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _joined(parts: Iterable[Array], dtype: type[np.generic]) -> Array:
    return np.concatenate([np.zeros(0, dtype), *parts])

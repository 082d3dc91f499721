"""One answered request as the log keeps it: every slot with where it came from, its value and its exact propensity."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from upnext.core.columns import SLATES
from upnext.core.types import Float32


class CandidateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Every candidate of one request of the seeded share: n rows."""

    item_id: list[int]
    sources: dict[str, list[float]]  # source -> score[n], NaN where it did not propose
    value: list[float]
    user_features: bytes  # float32[f_user]
    item_features: bytes  # float32[n, f_item], row by row
    n_item_features: int
    share: float  # the probability with which a request is recorded so


class SlateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """k slots; the lists per slot are aligned."""

    request_id: str
    log_seq: int = 0
    time_us: int
    user_id: str
    session_id: str = ""
    page: int = 0
    surface: str
    release_id: str = ""
    policy_version: str = ""
    policy: str = "{}"  # parameters, JSON
    draw_key: int = 0
    arms: dict[str, str] = {}
    degraded: list[str] = []
    item_id: list[int]
    video_id: list[str]
    sources: list[list[str]] = []
    source_scores: list[list[float]] = []
    tasks: list[str] = []
    predictions: list[list[float]] = []
    value: list[float] = []
    propensity: list[float] = []
    n_eligible: list[int] = []
    reason: list[str] = []
    is_repeat: list[bool] = []
    features: bytes = b""  # float32[k, n_features], row by row: user columns, then item columns
    n_features: int = 0
    trace: dict[str, Any] = {}
    candidates: CandidateRecord | None = None

    def feature_rows(self) -> Float32:
        """float32[k, n_features]: the rows that were scored."""
        rows: Float32 = np.frombuffer(self.features, np.float32).reshape(-1, max(1, self.n_features))
        return rows

    def rows(self) -> pa.Table:
        """k rows of core.columns.SLATES."""
        return slates_to_table([self])


_PER_SLOT = ("item_id", "video_id", "sources", "source_scores", "value", "propensity", "n_eligible",
             "reason", "is_repeat")  # fmt: skip
_PER_REQUEST = ("request_id", "log_seq", "time_us", "user_id", "session_id", "page", "surface",
                "release_id", "policy_version", "policy", "draw_key", "degraded", "tasks")  # fmt: skip


def slates_to_table(records: list[SlateRecord]) -> pa.Table:
    """One row per slot of every record, in core.columns.SLATES."""
    columns: dict[str, list[Any]] = {name: [] for name in SLATES.names}
    for record in records:
        k = len(record.item_id)
        for name in _PER_REQUEST:
            columns[name] += [getattr(record, name)] * k
        for name in _PER_SLOT:
            values = getattr(record, name)
            columns[name] += list(values) if len(values) == k else [None] * k
        columns["predictions"] += record.predictions if len(record.predictions) == k else [None] * k
        columns["slot"] += range(k)
        columns["arms"] += [list(record.arms.items())] * k
        columns["features"] += list(record.feature_rows()) if record.n_features else [None] * k
    return pa.table({name: columns[name] for name in SLATES.names}, schema=SLATES)

"""The slates log's record of one answer: what was shown, why, and how likely it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from upnext.core.randomness import rng_for
from upnext.core.types import Candidates, Query, Slate, Trace
from upnext.events.slate import CandidateRecord, SlateRecord

if TYPE_CHECKING:
    from upnext.pipeline.recommend import Pipeline, Scored, Surface


def record_of(
    pipeline: Pipeline,
    query: Query,
    surface: Surface,
    scored: Scored,
    slate: Slate,
    trace: Trace,
) -> SlateRecord:
    """The request with one entry per slot; a seeded share of requests carries every candidate too."""
    request = query.request
    rows = _rows_of(scored.candidates, slate)
    names, scores = _sources_of(scored.candidates, rows)
    features = _feature_rows(scored, rows)
    k = len(slate)
    policy = msgspec.json.encode(surface.config.policy.model_dump()).decode()
    return SlateRecord(
        request_id=request.request_id,
        log_seq=0,
        time_us=request.time_us,
        user_id=request.user_id,
        session_id=request.session_id,
        page=request.page,
        surface=request.surface,
        release_id=pipeline.release_id,
        policy_version=surface.policy_version,
        policy=policy,
        draw_key=slate.draw_key,
        arms=dict(query.arms),
        degraded=list(trace.degraded),
        item_id=slate.item_id.tolist(),
        video_id=pipeline.world.video_ids(slate.item_id),
        sources=names,
        source_scores=scores,
        tasks=list(scored.predictions.tasks),
        predictions=scored.predictions.values[rows].tolist(),
        value=slate.value.tolist(),
        propensity=slate.propensity.tolist(),
        n_eligible=slate.n_eligible.tolist(),
        reason=list(slate.reason),
        is_repeat=slate.is_repeat.tolist() if len(slate.is_repeat) else [False] * k,
        features=features.tobytes(),
        n_features=features.shape[1],
        trace={
            "fetched": dict(trace.fetched),
            "removed": dict(trace.removed),
            "n_unique": trace.n_unique,
            "shown": trace.shown,
            "late": list(trace.late),
            "stage_ms": {k: round(v, 3) for k, v in trace.stage_ms.items()},
        },
        candidates=_candidate_record(pipeline, request.request_id, scored),
    )


def _rows_of(candidates: Candidates, slate: Slate) -> np.ndarray:
    """int64[k]: each slot's row among the candidates."""
    order = np.argsort(candidates.item_id, kind="stable")
    return order[np.searchsorted(candidates.item_id[order], slate.item_id)]


def _sources_of(
    candidates: Candidates, rows: np.ndarray
) -> tuple[list[list[str]], list[list[float]]]:
    names: list[list[str]] = [[] for _ in rows]
    scores: list[list[float]] = [[] for _ in rows]
    for source in candidates.sources():
        column = candidates.columns[f"source:{source}"][rows]
        for slot in np.flatnonzero(~np.isnan(column)):
            names[slot].append(source)
            scores[slot].append(float(column[slot]))
    return names, scores


def _feature_rows(scored: Scored, rows: np.ndarray) -> np.ndarray:
    """float32[k, f]: user columns, then item columns."""
    user = np.broadcast_to(scored.features.user, (len(rows), len(scored.features.user)))
    return np.ascontiguousarray(np.hstack([user, scored.features.items[rows]]), np.float32)


def _candidate_record(
    pipeline: Pipeline, request_id: str, scored: Scored
) -> CandidateRecord | None:
    share = pipeline.candidate_log_share
    if share <= 0 or rng_for(pipeline.seed, "candidate-log", request_id).random() >= share:
        return None
    candidates, features = scored.candidates, scored.features
    return CandidateRecord(
        item_id=candidates.item_id.tolist(),
        sources={
            name: candidates.columns[f"source:{name}"].tolist() for name in candidates.sources()
        },
        value=scored.value.tolist(),
        user_features=features.user.tobytes(),
        item_features=features.items.tobytes(),
        n_item_features=features.items.shape[1],
        share=share,
    )

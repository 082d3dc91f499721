"""The slates log's record of one answer: what was shown, why, and how likely it was."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from upnext.core.randomness import key_of
from upnext.core.types import Candidates, Float32, Int64, Query, Slate, Trace
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
        policy=surface.policy_settings,
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
        teams=[surface.rival.teams[i] for i in slate.team.tolist()] if surface.rival else [],
        is_repeat=slate.is_repeat.tolist() if len(slate.is_repeat) else [False] * k,
        features=features.tobytes(),
        n_features=features.shape[1],
        trace=_trace_of(trace),
        candidates=_candidate_record(pipeline, request.request_id, scored),
        logged_in=request.logged_in,
        device=request.device,
        country=request.country,
        language=request.language,
        time_zone=request.time_zone,
        latitude=request.latitude,
        longitude=request.longitude,
        current_video_id=request.current_video_id,
        seed=request.seed,
        size=request.size,
        exclude=list(request.exclude),
    )


def _trace_of(trace: Trace) -> dict[str, Any]:
    return {
        "fetched": dict(trace.fetched),
        "removed": dict(trace.removed),
        "n_unique": trace.n_unique,
        "shown": trace.shown,
        "late": list(trace.late),
        "stage_ms": {stage: round(ms, 3) for stage, ms in trace.stage_ms.items()},
    }


def _rows_of(candidates: Candidates, slate: Slate) -> Int64:
    """int64[k]: each slot's row among the candidates."""
    order = np.argsort(candidates.item_id)
    return order.take(candidates.item_id.take(order).searchsorted(slate.item_id))


def _sources_of(candidates: Candidates, rows: Int64) -> tuple[list[list[str]], list[list[float]]]:
    """([k] the names of the sources that proposed each slot's video, [k] their scores)."""
    names = candidates.sources()
    if not names:
        return [[] for _ in rows], [[] for _ in rows]
    score = np.array([candidates.columns[f"source:{name}"].take(rows) for name in names]).T
    slot, source = np.nonzero(score == score)  # NaN: not proposed
    proposers = [names[i] for i in source.tolist()]
    scores: list[float] = score[slot, source].tolist()
    starts = slot.searchsorted(np.arange(len(rows) + 1)).tolist()
    slots = list(pairwise(starts))
    return [proposers[i:j] for i, j in slots], [scores[i:j] for i, j in slots]


def _feature_rows(scored: Scored, rows: Int64) -> Float32:
    """float32[k, f]: user columns, then item columns."""
    user, items = scored.features.user, scored.features.items
    features = np.empty((len(rows), len(user) + items.shape[1]), np.float32)
    features[:, : len(user)] = user
    features[:, len(user) :] = items.take(rows, axis=0)
    return features


def _candidate_record(
    pipeline: Pipeline, request_id: str, scored: Scored
) -> CandidateRecord | None:
    share = pipeline.candidate_log_share
    if share <= 0 or key_of("candidate-log", pipeline.seed, request_id) >= share * 2.0**64:
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

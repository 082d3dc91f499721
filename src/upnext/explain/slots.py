"""Why a video stands in its slot, read from the slates log: sources, predictions, value, propensity, reason.

Nothing is computed anew, so the explanation is of the decision that was made, even after a model swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from upnext.core.errors import NotFound
from upnext.events.slate import SlateRecord
from upnext.ranking.value import contributions

REASONS: Mapping[str, str] = {
    "relevant": "matches what you watched lately",
    "item_to_item": "watched by people who watched the same videos",
    "popular": "popular right now",
    "trending": "rising fast",
    "local": "popular near you",
    "fresh": "new, be among the first to see it",
    "followed": "from a creator you follow",
    "search_history": "matches what you searched for",
    "user_knn": "watched by people like you",
    "content_profile": "like videos that you liked",
    "interests": "close to one of the things you watch",
    "factorisation": "fits what you like to watch",
    "warp": "fits what you like to watch",
    "sequence": "often watched next",
    "off_policy": "worth your time, others found",
    "variational": "something you may come to like",
    "ladder": "popular in your language",
    "repeat": "you saw everything else; here it is again",
    "given": "among the candidates that were sent",
}


@dataclass(frozen=True, slots=True)
class SlotExplanation:
    """One slot and everything that put it there."""

    request_id: str
    slot: int
    video_id: str
    sources: Mapping[str, float]  # source -> its score
    predictions: Mapping[str, float]  # task -> calibrated prediction
    contributions: Mapping[str, float]  # task -> its part of the value
    value: float
    propensity: float
    n_eligible: int
    reason: str
    reason_text: str
    release_id: str
    policy_version: str
    degraded: tuple[str, ...]


def explain_slots(record: SlateRecord, weights: Mapping[str, float]) -> list[SlotExplanation]:
    """One explanation per slot of a logged slate; `weights` are those of its surface."""
    tasks = tuple(record.tasks)
    predictions = np.asarray(record.predictions, np.float32).reshape(
        len(record.item_id), len(tasks)
    )
    parts = contributions(tasks, predictions, weights)
    return [
        SlotExplanation(
            request_id=record.request_id,
            slot=slot,
            video_id=record.video_id[slot],
            sources=dict(zip(record.sources[slot], record.source_scores[slot], strict=True)),
            predictions=dict(zip(tasks, predictions[slot].tolist(), strict=True)),
            contributions={name: float(part[slot]) for name, part in parts.items()},
            value=record.value[slot],
            propensity=record.propensity[slot],
            n_eligible=record.n_eligible[slot],
            reason=record.reason[slot],
            reason_text=REASONS.get(record.reason[slot], record.reason[slot]),
            release_id=record.release_id,
            policy_version=record.policy_version,
            degraded=tuple(record.degraded),
        )
        for slot in range(len(record.item_id))
    ]


def explain_slot(
    record: SlateRecord, video_id: str, weights: Mapping[str, float]
) -> SlotExplanation:
    """The explanation of one video of the slate. Raises NotFound when it is not in it."""
    for explanation in explain_slots(record, weights):
        if explanation.video_id == video_id:
            return explanation
    raise NotFound(f"video {video_id!r} is not in the slate of request {record.request_id!r}")

"""What a training or a fine-tuning job did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from upnext.learn.judge import Judgement


@dataclass(frozen=True)
class TrainReport:
    """What a training job did."""

    release_id: str | None  # None: the gate refused it
    is_promoted: bool
    judgement: Judgement
    metrics: Mapping[str, float]
    notes: tuple[str, ...]

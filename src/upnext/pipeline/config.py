"""Settings of a request: surfaces with their sources, sizes and weights; remote sources; the ladder."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from upnext.policy.config import PolicyConfig
from upnext.ranking.config import DEFAULT_WEIGHTS
from upnext.ranking.tasks import SIGN
from upnext.retrieval.config import TRAINED

SOURCES: Final = (
    "relevant", "item_to_item", "popular", "trending", "local", "fresh", "followed", "search_history",
    "user_knn", "interests", *TRAINED,
)  # fmt: skip


class HttpSourceConfig(BaseModel):
    """A candidate generator of the platform's own, asked over HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        description="POSTed {user_id, surface, k, current_video_id}; answers {video_ids, scores}"
    )
    deadline_ms: Annotated[float, Field(gt=0)] = Field(
        40.0, description="a later answer costs its candidates, not the request"
    )
    max_in_flight: Annotated[int, Field(ge=1)] = Field(4, description="calls under way at once")
    retry_after_s: Annotated[float, Field(gt=0)] = Field(
        5.0, description="rest after five failures in a row"
    )


class SurfaceConfig(BaseModel):
    """One place where videos are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1)] = Field(
        30, description="slots of a page when none is asked for"
    )
    max_size: Annotated[int, Field(ge=1)] = Field(100, description="most slots of one page")
    n_ranked: Annotated[int, Field(ge=1)] = Field(
        500, description="candidates that the ranker scores at most"
    )
    sources: dict[str, int] = Field(
        default_factory=dict, description="source name -> how many videos it may propose"
    )
    weights: dict[str, float] = Field(
        default_factory=dict, description="task -> weight in the value of a video"
    )
    policy: PolicyConfig = Field(default_factory=PolicyConfig, description="how the slate is drawn")

    @field_validator("weights")
    @classmethod
    def _of_declared_sign(cls, weights: dict[str, float]) -> dict[str, float]:
        for task, weight in weights.items():
            if weight * SIGN.get(task, 0) < 0:
                is_good = SIGN[task] > 0
                kind, bound = ("positive", "at least") if is_good else ("negative", "at most")
                raise ValueError(f"{task} is {kind} feedback: expected {bound} 0, got {weight:g}")
        return weights


HOME = SurfaceConfig(
    size=30,
    sources={
        "relevant": 500, "factorisation": 500, "item_to_item": 300, "user_knn": 200,
        "popular": 500, "trending": 60, "local": 40, "fresh": 40, "followed": 40,
    },
    weights=dict(DEFAULT_WEIGHTS),
)  # fmt: skip
SHORTS = SurfaceConfig(
    size=10,
    sources={
        "relevant": 400, "factorisation": 400, "item_to_item": 200, "user_knn": 100,
        "popular": 200, "trending": 80, "local": 40, "fresh": 60, "followed": 40,
    },
    weights=dict(DEFAULT_WEIGHTS),
)  # fmt: skip
UPNEXT = SurfaceConfig(
    size=12,
    sources={"item_to_item": 300, "relevant": 300, "followed": 40, "popular": 100, "trending": 40},
    weights=dict(DEFAULT_WEIGHTS),
)


class PipelineConfig(BaseModel):
    """What every request has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate_log_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.02, description="share of requests that log every candidate with scores and features"
    )
    http_sources: dict[str, HttpSourceConfig] = Field(
        default_factory=dict, description="remote candidate generators by name"
    )
    surface_map: dict[str, str] = Field(
        default_factory=dict,
        description="surface names of imported logs -> ours; others count as home",
    )
    seed: int = Field(0, description="of draws and of the candidate log's share")

"""Settings of several interests per viewer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]
Base = Literal[
    "two_tower", "sequence", "factorisation", "warp", "off_policy", "variational", "content_profile",
]  # fmt: skip


class InterestsConfig(BaseModel):
    """Several interests of each viewer (PinnerSage, Pal 2020)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vectors_of: Base = Field(
        "two_tower",
        description="generator of the release whose video vectors are clustered, and whose index is searched",
    )
    history_rows: Positive = Field(200, description="latest showings that are clustered at most")
    merge_cost: NotNegative = Field(
        2.0,
        description="two clusters whose merge costs more stay apart; two single videos cost their squared distance (0 to 4)",
    )
    decay_per_d: NotNegative = Field(
        0.01,
        description="rate per day at which a showing's part in its interest's importance falls",
    )
    watched_weight: NotNegative = Field(
        0.25, description="part of a watched showing in importance where a relevant one has 1"
    )
    n_queries: Positive = Field(3, description="interests searched with per request at most")
    chosen: Literal["sampled", "top"] = Field(
        "sampled",
        description="which interests: drawn in proportion to importance, the same for every asking of one page, or the most important",
    )

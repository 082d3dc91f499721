"""Settings of viewers' state: how much of a viewer is kept, and for how long a video counts as seen."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class FeaturesConfig(BaseModel):
    """What the online state keeps of a viewer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seen_days: Annotated[int, Field(ge=1)] = Field(
        default=90,
        description="days for which an impression keeps a video out of the viewer's feeds",
    )
    n_history: Annotated[int, Field(ge=1)] = Field(
        default=200, description="latest showings kept of a viewer"
    )
    n_search_tokens: Annotated[int, Field(ge=0)] = Field(
        default=50, description="latest searched tokens kept of a viewer"
    )
    n_sessions: Annotated[int, Field(ge=1)] = Field(
        default=4,
        description="sessions of a viewer whose served videos are kept, the latest served; "
        "an older one may repeat what it served without an impression being reported",
    )
    session_gap_s: Annotated[float, Field(gt=0)] = Field(
        default=1800.0,
        description="rest after which a viewer without a session id starts a new session",
    )
    page_gap_s: Annotated[float, Field(gt=0)] = Field(
        default=300.0,
        description="a log without request ids: impressions of a viewer and surface with no longer rest between them are one page",
    )
    page_slots: Annotated[int, Field(ge=1)] = Field(
        default=10, description="a log without request ids: most impressions of one page"
    )
    n_first_viewers: Annotated[int, Field(ge=0)] = Field(
        default=16,
        description="first viewers kept of each video, who place it before it is trained",
    )
    n_cached_users: Annotated[int, Field(ge=1)] = Field(
        default=20_000, description="viewers that the state's writer keeps decoded in memory"
    )

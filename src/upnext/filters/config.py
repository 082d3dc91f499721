"""Settings of the filters."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Score = Annotated[float, Field(ge=0, le=1)]


class FiltersConfig(BaseModel):
    """What may be shown to whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unknown_age_sees: Annotated[int, Field(ge=0)] = Field(
        default=13, description="highest min_age shown to a viewer whose age is unknown"
    )
    moderation_max: dict[str, Score] = Field(
        default_factory=dict,
        description="moderation label -> highest score that may still be shown; other labels don't hide",
    )

"""Settings of the draw: how random, how diverse, and how many of one creator or category."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class PolicyConfig(BaseModel):
    """How the slate of one surface is drawn (policy/plackett_luce.py has the formulas)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[float, Field(ge=0)] = Field(
        0.2,
        description="softness of the draw, in standard deviations of the best 50 values; 0: the best one",
    )
    epsilon: Share = Field(
        0.01, description="share of each slot's probability spread evenly over its eligible set"
    )
    mmr_lambda: Share = Field(
        0.85, description="1: value alone; lower: more distance to the videos already in the slate"
    )
    max_per_creator: Count = Field(2, description="videos of one creator in a page; 0: no cap")
    max_per_category: Count = Field(
        3, description="videos of one category in any run of category_window slots; 0: no cap"
    )
    category_window: Count = Field(6, description="slots of that run; 0: the whole page")
    duplicate_similarity: Annotated[float, Field(gt=0, le=1)] = Field(
        0.98, description="above this cosine two videos don't share a page; 1: off"
    )

"""Settings of off-policy training: the network, the correction for the logging policy, and what counts as a reward."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
AboveZero = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class RewardConfig(BaseModel):
    """What a showing was worth (rewards.py)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["immediate", "future_watch", "return", "incremental"] = Field(
        "immediate", description="what the viewer did with it, or what it did to what came after"
    )
    shown: NotNegative = Field(1.0, description="immediate: of a showing that came to nothing")
    click: NotNegative = Field(1.0, description="immediate: of a click, or a play that began")
    relevant: NotNegative = Field(4.0, description="immediate: liked, or watched at least half")
    completed: NotNegative = Field(4.0, description="immediate: watched to the end")
    premium_weight: NotNegative = Field(
        0.0, description="a premium video's reward is multiplied by 1 + this"
    )
    horizon_h: AboveZero = Field(
        72.0, description="hours after a showing that count, for every kind but immediate"
    )
    daily_discount: Annotated[float, Field(gt=0, le=1)] = Field(
        0.8, description="what a second watched a day later counts, of one watched now"
    )
    session_gap_min: AboveZero = Field(
        30.0, description="minutes without a showing after which a viewer has come back"
    )
    prior_showings: NotNegative = Field(
        30.0, description="incremental: showings without effect that a video's mean is shrunk by"
    )


class OffPolicyConfig(BaseModel):
    """Off-policy training of a candidate generator (METHODS D1; Chen 2019)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    correction: Literal["none", "counts", "learned"] = Field(
        "none", description="propensities: none, smoothed counts, or the network's second head"
    )
    objective: Literal["softmax", "reinforce"] = Field(
        "softmax", description="rewards over propensities weigh log pi, or pi over propensity does"
    )
    cap: AboveZero = Field(10.0, description="the largest weight that a reward of 1 may get")
    top_k: Positive = Field(1, description="slots filled at once: gradients times K(1-pi)^(K-1)")
    self_normalise: bool = Field(False, description="weights divided by their mean in the batch")
    count_window_h: AboveZero = Field(24.0, description="counts are of windows of so many hours")
    count_smoothing: NotNegative = Field(
        100.0, description="showings of the whole log's shares that a window's counts are added to"
    )
    reward: RewardConfig = Field(default_factory=RewardConfig, description="what counts")
    embedding_size: Positive = Field(64, description="size of the vectors that are compared")
    input_size: Positive = Field(64, description="size of a video's input vector")
    state_size: Positive = Field(64, description="size of the recurrent state")
    content_hidden: Positive = Field(128, description="ReLU layer of the content side")
    n_history: Annotated[int, Field(ge=2)] = Field(
        60, description="latest showings that make the state"
    )
    id_dropout: Share = Field(0.1, description="chance that a video is seen by content alone")
    label_histories: bool = Field(
        False, description="imported untimed showings are actions too, of a policy at no known time"
    )
    n_uniform: Positive = Field(
        1024, description="uniform negatives of a step; no more videos than this are all scored"
    )
    temperature: AboveZero = Field(0.07, description="divides the cosine")
    learning_rate: AboveZero = Field(3e-3, description="peak of Adam's rate")
    reg: NotNegative = Field(1e-4, description="weight decay of dense layers")
    batch_size: Positive = Field(64, description="histories a step; every showing of one counts")
    epochs: Positive = Field(4, description="passes over the log")
    seed: int = Field(0, description="of weights, order, dropout and negatives")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where it is")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on CUDA that has it, else float32"
    )

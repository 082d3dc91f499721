"""Settings of the ranker: its network, its training, its export, and default weights of the tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class RankingConfig(BaseModel):
    """The multi-task ranker and its training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trunk: Literal["mmoe", "ple", "shared_bottom"] = Field(
        "mmoe",
        description="what stands between inputs and heads: experts that all tasks share, also some of each task's own, or one network as wide as all experts",
    )
    experts: Positive = Field(8, description="expert networks that all tasks share")
    task_experts: Annotated[int, Field(ge=0)] = Field(
        1, description="expert networks of each task's own, where trunk = ple"
    )
    expert_hidden: tuple[Positive, ...] = Field((64, 32), description="ReLU layers of each expert")
    head_hidden: Positive = Field(32, description="ReLU layer of each task's head")
    gate_dropout: Share = Field(0.1, description="chance that a gate ignores an expert in training")
    dropout: Share = Field(0.2, description="of the experts' first layer in training")
    quantiles: bool = Field(
        True,
        description="columns with many values are read as quantiles too, with squares and roots",
    )
    clip: Annotated[float, Field(gt=0)] = Field(
        5.0, description="standardised inputs beyond this many deviations are cut"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="of AdamW, at its peak")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.3, description="of AdamW")
    batch_size: Positive = Field(512, description="rows per step")
    epochs: Positive = Field(4, description="passes over the rows at most")
    patience: Positive = Field(
        2, description="epochs without a better held-out loss before it stops"
    )
    holdout: Literal["time", "groups"] = Field(
        "time",
        description="held out for early stopping and calibration: the latest rows, or whole groups",
    )
    holdout_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="how much of the rows"
    )
    watch_cap_s: Annotated[float, Field(gt=0)] = Field(
        600.0, description="watch times count up to this"
    )
    task_weights: dict[str, float] = Field(
        default_factory=dict, description="weight of a task's loss in training, 1 where not given"
    )
    start_columns: dict[str, str] = Field(
        default_factory=lambda: {"relevant": "score:blend"},
        description="task -> item column whose logistic regression the task's linear part starts from",
    )
    list_weight: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="weight of the softmax over each request's candidates in the loss of the relevant head; 0: each row alone",
    )
    teacher_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5,
        description="of a head's target, what boosted trees predict from the same columns, beside what happened; 0: no trees. For heads that are given a showing",
    )
    teacher_folds: Annotated[int, Field(ge=2)] = Field(
        3, description="folds of viewers: trees predict those that they did not learn from"
    )
    int8: Literal["auto", "never"] = Field(
        "auto",
        description="auto: the quantised network serves when it predicts as well on held-out rows",
    )


# What a task weighs in the value of a video where a surface does not say otherwise, on the units of ranking/value.py. The relevant head is a
# probability among retrieved candidates, most of them never shown: a few hundredths on average. The others are given a showing, so their
# weights are small beside it.
DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {
    "relevant": 1.0, "like": 0.1, "share": 0.1, "follow": 0.1, "dislike": -0.5, "skip": -0.01,
}  # fmt: skip

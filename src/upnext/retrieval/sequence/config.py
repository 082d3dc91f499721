"""Settings of the sequence model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


class SequenceConfig(BaseModel):
    """The sequence model and its training (METHODS C; Kang & McAuley 2018; Hidasi 2016; Tikhonovich 2025)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: Positive = Field(64, description="size of a step and of a video's vector")
    layer: Literal["gru", "sasrec", "ligr"] = Field(
        "ligr", description="recurrent, plain transformer, or gated transformer with SwiGLU"
    )
    n_layers: Positive = Field(2, description="layers, one after another")
    n_heads: Positive = Field(1, description="attention heads; must divide embedding_size")
    length: Positive = Field(50, description="latest showings that are read")
    dropout: Share = Field(0.2, description="of steps and of what layers add")
    content: bool = Field(True, description="a video's vector reads its content too")
    content_hidden: Positive = Field(128, description="ReLU layer of the content side")
    id_dropout: Share = Field(0.1, description="chance that a video is seen by content alone")
    codes: bool = Field(
        True, description="a video's vector reads category, creator and language too"
    )
    feedback: bool = Field(
        True, description="a step says what the viewer did: share watched, like, skip and so on"
    )
    context: bool = Field(
        True, description="the hour of a step and the context of the request cross in"
    )
    time_bias: bool = Field(
        True, description="attention is shifted by the time from a step to the request"
    )
    popularity: bool = Field(
        True, description="how popular a video was lately stands beside its vector"
    )
    popularity_days: Positive = Field(30, description="latest days whose popularity is kept")
    category_weight: NotNegative = Field(
        0.1, description="of the category of the next video as a second task; 0: none"
    )
    loss: Literal["full", "sampled", "gbce"] = Field(
        "sampled", description="softmax over every video, over shared negatives, or gBCE"
    )
    n_uniform: Annotated[int, Field(ge=0)] = Field(
        1024, description="different negatives drawn evenly, shared by a batch"
    )
    n_popular: Annotated[int, Field(ge=0)] = Field(
        0, description="negatives drawn as often as videos are targets, shared by a batch"
    )
    gbce_calibration: Share = Field(
        0.75, description="t of gBCE: 1 is calibrated, 0 is plain binary cross-entropy"
    )
    exclude_seen: bool = Field(
        True, description="videos seen before are neither targets nor negatives, as in serving"
    )
    relevant_weight: Annotated[float, Field(gt=0)] = Field(
        4.0, description="weight of a relevant target where a plain showing has 1"
    )
    untimed_weight: NotNegative = Field(
        1.0, description="multiplies the weight of imported showings without times; 0: no targets"
    )
    half_life_d: NotNegative = Field(
        0.0, description="days after which a target weighs half; 0: age does not count"
    )
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="peak of Adam's rate")
    reg: NotNegative = Field(0.0, description="weight decay")
    batch_size: Positive = Field(64, description="sequences a step")
    epochs: Positive = Field(3, description="passes over the sequences")
    seed: int = Field(0, description="of weights, order, dropout and negatives")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where it is")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on CUDA that has it, else float32"
    )

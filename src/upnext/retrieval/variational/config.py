"""Settings of the variational embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
AboveZero = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Directions = Literal["uniform", "signs", "normal", "mean", "optimistic"]


class VariationalConfig(BaseModel):
    """Embeddings with a mean and a variance, and their training (METHODS F1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: Positive = Field(64, description="size of means and variances")
    input_size: Positive = Field(
        64, description="size of a video's input vector, pooled by history"
    )
    hidden: tuple[Positive, ...] = Field((256, 128), description="ReLU layers of the viewer side")
    content_hidden: Positive = Field(128, description="ReLU layer of the content side")
    n_watched: Positive = Field(50, description="latest showings that are pooled")
    n_relevant: Positive = Field(50, description="latest relevant showings, pooled apart")
    n_liked: Positive = Field(20, description="latest liked showings, pooled apart")
    n_recent: Positive = Field(5, description="the very latest showings, pooled apart")
    history_rows: Positive = Field(200, description="rows of history that serving keeps at least")
    relevant_weight: AboveZero = Field(
        4.0, description="weight of a relevant example where a plain showing has 1"
    )
    max_per_user: Positive = Field(30, description="latest examples of one user at most")
    min_examples: Annotated[int, Field(ge=0)] = Field(
        200_000, description="with fewer examples than this, the cap per user rises"
    )
    id_dropout: Share = Field(
        0.1, description="chance that a video is drawn from what its content says alone"
    )
    beta: NotNegative = Field(0.1, description="weight of the Kullback-Leibler terms; 1: the ELBO")
    temperature: AboveZero = Field(0.07, description="divides inner products")
    n_uniform: Positive = Field(512, description="uniform negatives shared by a batch")
    n_queries: Positive = Field(3, description="query vectors of a request")
    directions: Directions = Field(
        "uniform",
        description="query vectors mean + d * stdev: one d in [0, 1) each (uniform), +1 or -1 or N(0, 1) per dimension (signs, normal), or the mean alone; optimistic: one vector that scores mean + optimism * variance",
    )
    optimism: NotNegative = Field(
        1.0, description="weight of the score's variance where directions = optimistic"
    )
    learning_rate: AboveZero = Field(2e-3, description="peak of Adam's rate")
    reg: NotNegative = Field(1e-4, description="weight decay of dense layers")
    batch_size: Positive = Field(512, description="examples a step")
    epochs: Positive = Field(2, description="passes over the examples")
    seed: int = Field(0, description="of weights, order, dropout, negatives and draws")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where it is")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on CUDA that has it, else float32"
    )

"""Settings of the two-tower network and its training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Dropped = Annotated[float, Field(ge=0, lt=1)]


class TwoTowerConfig(BaseModel):
    """The two-tower network and its training (METHODS B; Covington 2016; Yi 2019)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: Positive = Field(64, description="size of the vectors that are compared")
    input_size: Positive = Field(
        64, description="size of an item's input vector, pooled by history"
    )
    hidden: tuple[Positive, ...] = Field((256, 128), description="ReLU layers of the user tower")
    content_hidden: Positive = Field(128, description="ReLU layer of the content side")
    n_watched: Positive = Field(50, description="latest showings that are pooled")
    n_relevant: Count = Field(50, description="latest relevant showings, pooled apart; 0: no such")
    n_liked: Count = Field(20, description="latest liked showings, pooled apart; 0: no such part")
    n_recent: Count = Field(5, description="the very latest showings, pooled apart; 0: no such")
    history_rows: Positive = Field(200, description="rows of history that serving keeps at least")
    n_searches: Positive = Field(50, description="latest search tokens pooled, order hidden")
    example_age: bool = Field(
        True, description="the age of an example is an input, 0 when serving (Covington 2016)"
    )
    video_parts: Literal["both", "id", "content"] = Field(
        "both", description="what a video is known by: id alone is collaborative filtering"
    )
    search_buckets: Positive = Field(4096, description="rows of the hashed search token table")
    id_dropout: Share = Field(0.1, description="chance that a video is seen by content alone")
    labels: Literal["impressions", "relevant"] = Field(
        "impressions", description="what counts as an example: every showing, or relevant ones"
    )
    relevant_weight: Annotated[float, Field(gt=0)] = Field(
        4.0, description="weight of a relevant example where a plain showing has 1"
    )
    label_histories: bool = Field(True, description="imported untimed showings are examples too")
    only_first: bool = Field(True, description="a showing of a video seen before is no example")
    max_per_user: Positive = Field(30, description="latest examples of one user at most")
    min_examples: Annotated[int, Field(ge=0)] = Field(
        200_000, description="with fewer examples than this, the cap per user rises"
    )
    equal_users: bool = Field(False, description="every user's examples weigh the same in sum")
    loss: Literal["softmax", "binary"] = Field(
        "softmax", description="sampled softmax, or cross-entropy of single pairs (design A)"
    )
    negatives_per_positive: Annotated[float, Field(gt=0)] = Field(
        4.0, description="binary: what random videos weigh beside one relevant showing"
    )
    imbalance: Literal["weights", "downsample"] = Field(
        "weights",
        description="binary: all uniform negatives at that weight in sum, or as many of them at 1",
    )
    hard_weight: Annotated[float, Field(ge=0)] = Field(
        0.0, description="of a term that ranks a relevant showing above one not watched; 0: none"
    )
    pairing: Literal["candidate", "importance", "refined"] = Field(
        "candidate", description="how the sampled softmax is corrected (METHODS B1 a, b, c)"
    )
    mask_seen: bool = Field(
        True,
        description="videos in the pooled history, or in another example of the viewer, are no negatives",
    )
    frequency: Literal["counts", "streaming"] = Field(
        "counts", description="the proposal's popularity: counted first, or estimated on the way"
    )
    frequency_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.02, description="streaming: weight of the newest gap between two draws (Yi 2019)"
    )
    frequency_hashes: Positive = Field(2, description="streaming: tables, each with its own hash")
    frequency_buckets: Positive = Field(1 << 20, description="streaming: rows of a table")
    n_uniform: Positive = Field(512, description="uniform negatives shared by a batch")
    dropout: Dropped = Field(0.0, description="of the user row and the user tower's layers")
    temperature: Annotated[float, Field(gt=0)] = Field(0.07, description="divides the cosine")
    learning_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="peak of Adam's rate")
    reg: Annotated[float, Field(ge=0)] = Field(1e-4, description="weight decay of dense layers")
    batch_size: Positive = Field(512, description="examples a step")
    epochs: Positive = Field(2, description="passes over the examples")
    seed: int = Field(0, description="of weights, order, dropout and negatives")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where it is")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on CUDA that has it, else float32"
    )

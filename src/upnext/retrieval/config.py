"""Settings of candidate generation: the two-tower network, the vector index and every source."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from upnext.retrieval.off_policy.config import OffPolicyConfig

TRAINED: Final[tuple[str, ...]] = (
    "off_policy",
)  # sources that learn, besides the two-tower network
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


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
    n_relevant: Positive = Field(50, description="latest relevant showings, pooled apart")
    n_liked: Positive = Field(20, description="latest liked showings, pooled apart")
    n_recent: Positive = Field(5, description="the very latest showings, pooled apart")
    history_rows: Positive = Field(200, description="rows of history that serving keeps at least")
    n_searches: Positive = Field(50, description="latest search tokens pooled, order hidden")
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
    pairing: Literal["candidate", "importance", "refined"] = Field(
        "candidate", description="how the sampled softmax is corrected (METHODS B1 a, b, c)"
    )
    mask_seen: bool = Field(
        True, description="videos in the pooled history are no negatives: serving excludes them"
    )
    n_uniform: Positive = Field(512, description="uniform negatives shared by a batch")
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


class IndexConfig(BaseModel):
    """The vector index (DEPS section 1: flat below 100k vectors, inverted lists of fp16 above)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flat_below: Positive = Field(100_000, description="exact search for fewer vectors than this")
    target_recall: Share = Field(0.95, description="recall@500 that the search effort is set for")
    lists_per_sqrt: Annotated[float, Field(gt=0)] = Field(
        4.0, description="inverted lists = this times the square root of the number of vectors"
    )
    brute_below: Share = Field(
        0.005, description="filters that allow a smaller share are searched exactly"
    )
    n_calibration: Positive = Field(64, description="queries that measure recall at each build")
    seed: int = Field(0, description="of the calibration's queries and filters")


class PopularConfig(BaseModel):
    """Popular videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter: str = Field("relevant_1d", description="counter whose largest values are popular")
    tie_counter: str = Field("relevant_total", description="a thousandth of it is added")
    by_language: bool = Field(True, description="videos in the viewer's language first")
    size: Positive = Field(4096, description="videos in a short list")
    refresh_s: Annotated[float, Field(ge=0)] = Field(5.0, description="age of a list at most")


class TrendingConfig(BaseModel):
    """Trending videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter_6h: str = Field("relevant_6h", description="what happens lately")
    counter_7d: str = Field("relevant_7d", description="what the week predicts")
    min_count: Annotated[float, Field(ge=0)] = Field(2.0, description="least decayed count")
    size: Positive = Field(2048, description="videos in the short list")
    refresh_s: Annotated[float, Field(ge=0)] = Field(5.0, description="age of the list at most")


class LocalConfig(BaseModel):
    """Videos near the viewer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter: str = Field("relevant_7d", description="popularity near a place")
    cell_degrees: Annotated[float, Field(gt=0, le=90)] = Field(1.0, description="side of a cell")
    rings: tuple[int, ...] = Field(
        (1, 3, 8), description="cells around the viewer's, wider in turn"
    )
    per_cell: Positive = Field(100, description="videos read of one cell")
    half_distance_km: Annotated[float, Field(gt=0)] = Field(50.0, description="halves a score")
    size: Positive = Field(1024, description="videos in a language's list")
    refresh_s: Annotated[float, Field(ge=0)] = Field(30.0, description="age of the cells at most")


class FreshConfig(BaseModel):
    """New videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_life_h: Annotated[float, Field(gt=0)] = Field(
        48.0, description="halves a new video's value"
    )
    prior_impressions: Annotated[float, Field(gt=0)] = Field(
        100.0, description="impressions after which a video counts as explored"
    )
    size: Positive = Field(2048, description="newest videos that are drawn from")
    refresh_s: Annotated[float, Field(ge=0)] = Field(5.0, description="age of the list at most")


class FollowedConfig(BaseModel):
    """Videos of followed creators."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_creator: Positive = Field(20, description="newest videos read of one creator")
    refresh_s: Annotated[float, Field(ge=0)] = Field(10.0, description="age of the lists at most")


class ItemToItemConfig(BaseModel):
    """Videos shown to the same viewers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_neighbours: Positive = Field(200, description="neighbours kept of each video")
    max_per_user: Positive = Field(200, description="latest showings of a viewer that count")
    relevant_bonus: Annotated[float, Field(ge=0)] = Field(
        0.0, description="added to the weight 1 of a showing that was relevant"
    )
    n_seeds: Positive = Field(50, description="latest showings whose neighbours are summed")
    seed_half_life: Annotated[float, Field(gt=0)] = Field(
        20.0, description="showings back after which a seed counts half"
    )
    relevant_seed_bonus: Annotated[float, Field(ge=0)] = Field(
        0.5, description="added to the weight 1 of a seed that was relevant"
    )
    current_weight: Annotated[float, Field(gt=0)] = Field(
        3.0, description="of the video being watched, relative to all seeds together"
    )


class RetrievalConfig(BaseModel):
    """Candidate generation as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    two_tower: TwoTowerConfig = Field(default_factory=TwoTowerConfig, description="the network")
    index: IndexConfig = Field(default_factory=IndexConfig, description="nearest vectors")
    popular: PopularConfig = Field(default_factory=PopularConfig, description="popular now")
    trending: TrendingConfig = Field(default_factory=TrendingConfig, description="rising fast")
    local: LocalConfig = Field(default_factory=LocalConfig, description="near the viewer")
    fresh: FreshConfig = Field(default_factory=FreshConfig, description="new")
    followed: FollowedConfig = Field(
        default_factory=FollowedConfig, description="by creators followed"
    )
    item_to_item: ItemToItemConfig = Field(
        default_factory=ItemToItemConfig, description="watched together"
    )
    off_policy: OffPolicyConfig = Field(
        default_factory=OffPolicyConfig, description="a policy learned from logged choices"
    )

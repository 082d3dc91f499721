"""Settings of candidate generation: the two-tower network, the vector index and every source."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from upnext.retrieval.factorisation.config import FactorisationConfig, WarpConfig
from upnext.retrieval.interests.config import InterestsConfig
from upnext.retrieval.off_policy.config import OffPolicyConfig
from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.variational.config import VariationalConfig

TRAINED: Final = (
    "sequence", "factorisation", "warp", "off_policy", "variational", "content_profile",
)  # sources that learn, besides the two-tower network  # fmt: skip
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class IndexConfig(BaseModel):
    """The vector index (docs/scale.md: flat below 100k vectors, inverted lists above)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flat_below: Positive = Field(100_000, description="exact search for fewer vectors than this")
    vectors: Literal["int16", "int8", "int4"] = Field(
        "int16",
        description="what a search reads: 2 bytes a number, 1, or half a byte; int8 and int4 "
        "re-rank by int16, which may stay on disk",
    )
    target_recall: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.97, description="recall@500 that the search effort is set for"
    )
    lists_per_sqrt: Annotated[float, Field(gt=0)] = Field(
        4.0, description="inverted lists = this times the square root of the number of vectors"
    )
    n_calibration: Positive = Field(
        128, description="viewers of each kind that measure recall at each build"
    )
    seed: int = Field(0, description="of the lists, and of the calibration's viewers and filters")


class PopularConfig(BaseModel):
    """Popular videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter: str = Field("relevant_1d", description="counter whose largest values are popular")
    tie_counter: str = Field("relevant_total", description="a thousandth of it is added")
    by_language: bool = Field(True, description="videos in the viewer's language first")
    country_prior: Annotated[float, Field(gt=0)] = Field(
        200.0,
        description="relevant showings that everyone's taste counts for beside those of the viewer's country",
    )
    size: Positive = Field(4096, description="videos in a short list")
    refresh_s: Annotated[float, Field(ge=0)] = Field(5.0, description="age of a list at most")


class TrendingConfig(BaseModel):
    """Trending videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    counter_6h: str = Field("relevant_6h", description="what happens lately")
    counter_7d: str = Field("relevant_7d", description="what the week predicts")
    min_count: Annotated[float, Field(ge=0)] = Field(2.0, description="least decayed count")
    size: Positive = Field(2048, description="videos in a short list")
    refresh_s: Annotated[float, Field(ge=0)] = Field(5.0, description="age of a list at most")


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
    n_seeds: Positive = Field(30, description="latest showings whose neighbours are summed")
    seed_half_life: Annotated[float, Field(gt=0)] = Field(
        20.0, description="showings back after which a seed counts half"
    )
    relevant_seed_bonus: Annotated[float, Field(ge=0)] = Field(
        0.5, description="added to the weight 1 of a seed that was relevant"
    )
    current_weight: Annotated[float, Field(gt=0)] = Field(
        3.0, description="of the video being watched, relative to all seeds together"
    )


class SearchHistoryConfig(BaseModel):
    """Videos that match what the viewer searched for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_tokens: Positive = Field(
        30, description="latest searched words and pairs that count; [features] keeps more"
    )
    token_half_life: Annotated[float, Field(gt=0)] = Field(
        10.0, description="searched tokens back after which one counts half"
    )
    per_token: Positive = Field(250, description="best videos kept of each token")
    most_common: Share = Field(
        0.1, description="tokens in a larger share of the videos than this say nothing"
    )
    saturation: Annotated[float, Field(ge=0)] = Field(
        1.2, description="BM25's k1: how much a repeated token adds"
    )
    length_norm: Share = Field(0.75, description="BM25's b: how much a long text loses")


class UserKnnConfig(BaseModel):
    """Videos of similar viewers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_viewers: Positive = Field(200_000, description="viewers kept, those active last")
    n_rows: Positive = Field(20, description="latest different videos kept of each")
    n_viewers: Positive = Field(60, description="latest viewers kept of each video")
    n_seeds: Positive = Field(50, description="latest showings that similar viewers are found by")
    seed_half_life: Annotated[float, Field(gt=0)] = Field(
        50.0, description="showings back after which one counts half"
    )
    n_neighbours: Positive = Field(200, description="similar viewers whose videos are summed")
    shown_weight: Share = Field(
        0.5,
        description="of a neighbour's video that was not relevant to them, where a relevant one has 1",
    )
    half_life_d: Annotated[float, Field(gt=0)] = Field(
        7.0,
        description="days before the sample's end after which a neighbour's showing counts half",
    )


class ContentProfileConfig(BaseModel):
    """Videos like those the viewer liked, by content alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Positive = Field(32, description="principal components of the content that are compared")
    n_rows: Positive = Field(50, description="latest showings that the profile is made of")
    half_life: Annotated[float, Field(gt=0)] = Field(
        20.0, description="showings back after which one counts half"
    )
    dislike_weight: Annotated[float, Field(ge=0)] = Field(
        1.0, description="of a disliked video, taken off, where a relevant one adds 1"
    )
    flat_below: Positive = Field(20_000, description="exact search for fewer videos than this")
    target_recall: Share = Field(
        0.5, description="recall@500 that its index is set for: it proposes, others judge"
    )

    def index_of(self, index: IndexConfig) -> IndexConfig:
        """The settings of its index, the rest as for any other."""
        return index.model_copy(
            update={"flat_below": self.flat_below, "target_recall": self.target_recall}
        )


class RetrievalConfig(BaseModel):
    """Candidate generation as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    two_tower: TwoTowerConfig = Field(default_factory=TwoTowerConfig, description="the network")
    sequence: SequenceConfig = Field(
        default_factory=SequenceConfig, description="the next watch from the latest ones"
    )
    factorisation: FactorisationConfig = Field(
        default_factory=FactorisationConfig, description="weighted least squares"
    )
    variational: VariationalConfig = Field(
        default_factory=VariationalConfig, description="with a mean and a spread"
    )
    warp: WarpConfig = Field(default_factory=WarpConfig, description="the older baseline")
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
    search_history: SearchHistoryConfig = Field(
        default_factory=SearchHistoryConfig, description="what was searched for"
    )
    user_knn: UserKnnConfig = Field(default_factory=UserKnnConfig, description="of similar viewers")
    content_profile: ContentProfileConfig = Field(
        default_factory=ContentProfileConfig, description="like what was liked"
    )
    interests: InterestsConfig = Field(
        default_factory=InterestsConfig, description="near each of several interests"
    )
    off_policy: OffPolicyConfig = Field(
        default_factory=OffPolicyConfig, description="a policy learned from logged choices"
    )

"""Settings of matrix factorisation: weighted least squares, and WARP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]


class ConfidenceConfig(BaseModel):
    """What a viewer's showings of one video say: c > 0 pulls the score to 1 with weight c, c < 0 to 0 with weight -c (`implicit`'s convention)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shown: float = Field(1.0, description="shown, and nothing of what follows")
    relevant: float = Field(2.0, description="watched at least half")
    liked: float = Field(2.0, description="liked")
    skipped: float = Field(1.0, description="skipped and not relevant")
    disliked: float = Field(-1.0, description="disliked or not interested, whatever else happened")
    half_life_d: AboveZero | None = Field(
        None, description="days that halve a confidence; None: age does not matter"
    )


class FactorisationConfig(BaseModel):
    """Weighted least squares (METHODS A; Hu, Koren, Volinsky 2008; Rendle et al. 2022)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: Positive = Field(96, description="factors")
    confidence: ConfidenceConfig = Field(
        default_factory=ConfidenceConfig, description="what a showing says"
    )
    unobserved_weight: Weight = Field(
        0.05, description="of pairs that were never shown (W, alpha0)"
    )
    weighs: Literal["unobserved", "all"] = Field(
        "unobserved",
        description="pairs with unobserved_weight: those never shown (design A, Hu 2008), or all (Rendle 2022)",
    )
    reg: AboveZero = Field(0.01, description="of squared factors")
    reg_exponent: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="reg grows with the weight of a viewer's or video's pairs to this power"
    )
    solver: Literal["cg", "block", "sgd"] = Field(
        "cg",
        description="conjugate gradients; exact blocks of factors (of embedding_size: Cholesky); stochastic gradients",
    )
    cg_steps: Positive = Field(3, description="steps per row and epoch, from where it stands")
    block_size: Positive = Field(32, description="factors solved at once by solver = block")
    learning_rate: AboveZero = Field(0.05, description="of Adagrad, solver = sgd")
    epochs: Positive = Field(15, description="times that viewers, then videos are solved")
    popularity_weight: Weight = Field(
        0.8,
        description="of the log of recent relevant showings, in deviations over videos, beside the match, in deviations over videos",
    )
    popularity_half_life_d: AboveZero = Field(1.0, description="days that halve a showing there")
    init_scale: AboveZero = Field(0.1, description="length of a factor row at the start, about")
    threads: Positive = Field(2, description="threads; the factors are the same for any number")
    seed: int = Field(0, description="of the first factors, and of what solver = sgd draws")


class WarpConfig(BaseModel):
    """WARP (Weston, Bengio, Usunier 2011): a viewer is the mean of learned vectors of the own videos."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_size: Positive = Field(64, description="numbers in a vector")
    confidence: ConfidenceConfig = Field(
        default_factory=ConfidenceConfig, description="what a showing says; positives are above 0"
    )
    margin: AboveZero = Field(1.0, description="by which a positive has to be ahead of a negative")
    max_draws: Positive = Field(200, description="negatives looked at before a positive is left")
    max_norm: AboveZero = Field(4.0, description="longest vector")
    learning_rate: AboveZero = Field(0.05, description="of Adagrad")
    epochs: Positive = Field(10, description="passes over the positives")
    seed: int = Field(0, description="of first vectors, order and negatives")

"""Viewers and videos as diagonal Gaussians in one space (Kingma 2014; Liang 2018), trained by the evidence lower bound.

u ~ N(mu_u, diag sigma_u^2), v ~ N(mu_v, diag sigma_v^2), and a viewer picks a video with probability softmax(u . v / temperature).

A video's prior is what its content says: N(out(content_mlp(content)), diag s_v^2). Its posterior adds an id part to the mean. A viewer's
prior is the average viewer N(m, diag s_u^2); the mean of the posterior is read off the pooled history. m, s_u and s_v are learned (empirical
Bayes). Precisions add up as a Gaussian's do with n independent observations: 1 / sigma^2 = (1 + n p) / s^2, where n are a video's examples or
the viewer's pooled showings and p >= 0, per dimension, is what the network finds one of them to tell. So who watched nothing, and a video that
nobody was shown, are as uncertain as their priors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from upnext.retrieval.two_tower.user_inputs import N_AGE
from upnext.retrieval.variational.config import VariationalConfig
from upnext.retrieval.variational.viewer_row import pooled_groups_of, row_size


@dataclass(frozen=True)
class Gaussian:
    """n diagonal Gaussians."""

    mean: Tensor  # float32[n, d]
    stdev: Tensor  # float32[n, d], above 0

    def draw(self, noise: Tensor) -> Tensor:
        """float32[n, d]: mean + noise * stdev, of noise float32[n, d] from N(0, I): gradients reach both (reparameterisation)."""
        return self.mean + noise * self.stdev


def kl_divergence(posterior: Gaussian, prior: Gaussian) -> Tensor:
    """float32[n]: KL(posterior || prior), summed over dimensions."""
    ratio = (posterior.stdev / prior.stdev).square()
    apart = ((posterior.mean - prior.mean) / prior.stdev).square()
    return 0.5 * (ratio + apart - 1 - ratio.log()).sum(-1)


class VideoSide(nn.Module):
    """Content to a prior; with an id part and a count of examples, to a posterior."""

    def __init__(self, n_content: int, config: VariationalConfig) -> None:
        super().__init__()
        size = config.embedding_size
        self.content = nn.Sequential(
            nn.Linear(n_content, config.content_hidden),
            nn.ReLU(),
            nn.Linear(config.content_hidden, config.input_size),
        )
        self.out = nn.Linear(config.input_size, size)
        self.log_prior = nn.Parameter(torch.full((size,), -0.5 * torch.tensor(size).log().item()))
        self.told = nn.Linear(config.input_size, size)  # to p, before softplus
        nn.init.constant_(self.told.bias, -4.0)  # a video has thousands of examples, or none

    def forward(self, content: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(input vectors float32[n, d_in], means, stdevs float32[n, d]) of videos known by content alone."""
        inputs = self.content(content)
        prior = self.prior(inputs)
        return inputs, prior.mean, prior.stdev

    def prior(self, by_content: Tensor) -> Gaussian:
        """The Gaussians of input vectors float32[n, d_in] without an id part."""
        mean = self.out(by_content)
        return Gaussian(mean, self.log_prior.exp().expand_as(mean))

    def posterior(self, inputs: Tensor, n_examples: Tensor) -> Gaussian:
        """The Gaussians of whole input vectors float32[n, d_in], after n_examples float32[n] each."""
        return Gaussian(self.out(inputs), _stdev(self.log_prior, n_examples, self.told(inputs)))


class ViewerSide(nn.Module):
    """A viewer's row to the Gaussian of the viewer."""

    def __init__(self, n_context: int, config: VariationalConfig) -> None:
        super().__init__()
        size = config.embedding_size
        layers: list[nn.Module] = []
        width_in = row_size(config, n_context)
        for width in config.hidden:
            layers += [nn.Linear(width_in, width), nn.ReLU()]
            width_in = width
        self.layers = nn.Sequential(*layers)
        self.mean = nn.Linear(width_in, size, bias=False)
        self.told = nn.Linear(width_in, size)  # to p, before softplus
        self.n_column = len(pooled_groups_of(config)) * config.input_size  # of the watched group
        self.prior_mean = nn.Parameter(torch.zeros(size))
        self.log_prior = nn.Parameter(torch.full((size,), -0.5 * torch.tensor(size).log().item()))
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            # columns of words that training never sees must say nothing when serving sees them
            first.weight[:, -(n_context + N_AGE) :] = 0

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, stdev) float32[b, d] of rows float32[b, f]."""
        hidden = self.layers(row)
        n_watched = torch.expm1(4 * row[:, self.n_column])
        stdev = _stdev(self.log_prior, n_watched, self.told(hidden))
        return self.prior_mean + self.mean(hidden), stdev

    def prior(self, n: int) -> Gaussian:
        """The average viewer, n times."""
        return Gaussian(self.prior_mean.expand(n, -1), self.log_prior.exp().expand(n, -1))


def _stdev(log_prior: Tensor, n: Tensor, told: Tensor) -> Tensor:
    """float32[b, d]: of the prior's log stdev float32[d], n float32[b] observations, and what each tells float32[b, d] before softplus."""
    return log_prior.exp() * (1 + n[:, None] * functional.softplus(told)).rsqrt()


class VariationalNetwork(nn.Module):
    """Both sides with the table of ids they share."""

    features: Tensor  # float32[n_items, c], content by item_id
    n_examples: Tensor  # float32[n_items], examples of each video so far

    def __init__(self, content: Tensor, n_context: int, config: VariationalConfig) -> None:
        super().__init__()
        self.config = config
        self.groups = pooled_groups_of(config)
        self.register_buffer("features", content, persistent=False)
        self.register_buffer("n_examples", torch.zeros(len(content)))
        self.video = VideoSide(content.shape[1], config)
        self.viewer = ViewerSide(n_context, config)
        self.ids = nn.Embedding(len(content), config.input_size, sparse=True)
        nn.init.zeros_(self.ids.weight)  # an id that is never trained adds nothing

    def videos(self, items: Tensor, kept: Tensor) -> tuple[Tensor, Gaussian, Gaussian]:
        """(input vectors float32[v, d_in], posteriors, priors) of items int64[v].

        Where kept float32[v] is 0 the id part is dropped and the posterior is the prior."""
        by_content = self.video.content(self.features[items])
        inputs = by_content + self.ids(items) * kept[:, None]
        posterior = self.video.posterior(inputs, self.n_examples[items] * kept)
        return inputs, posterior, self.video.prior(by_content)

    def viewer_rows(self, batch: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """float32[b, f]: as viewer_row lays it out, with gradients into the pooled vectors."""
        pooled, counts = [], []
        for group in self.groups:
            is_there = batch[f"{group.name}:is_there"]
            share = is_there / is_there.sum(1, keepdim=True).clamp_min(1)
            pooled.append(
                functional.embedding_bag(
                    batch[group.name], inputs, mode="sum", per_sample_weights=share
                )
            )
            counts.append(is_there.sum(1))
        shown = torch.log1p(torch.stack(counts, 1)) / 4
        return torch.cat([*pooled, shown, batch["context"], batch["age"]], 1)

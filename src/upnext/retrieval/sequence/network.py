"""The sequence model: a viewer's latest showings, in order, to a vector that is compared with videos' vectors by inner product.

A video's vector is content_mlp(content) + embeddings of its category, creator and language + its id embedding; it is what a step of the
history reads and what a target is scored with (tied embeddings). A step adds what the viewer did there; the clock of the step
crosses in before the layers and the context of the request after them, as (1 + W c) * h with W = 0 at the start (latent cross,
Beutel 2018). Beside the inner product a query has weights for a video's bias and recent popularity (recent.py):
query = (h, 1, w(h)), video = (e, b, p).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.sequence.layers import LigrLayer, SasrecLayer
from upnext.retrieval.sequence.recent import N_RECENT
from upnext.retrieval.sequence.steps import N_CLOCK, N_FEEDBACK, N_GAPS

INITIAL = 0.02  # deviation of embeddings at the start


@dataclass(frozen=True)
class Sizes:
    """How many of everything the network knows."""

    n_items: int
    n_content: int
    n_categories: int
    n_creators: int
    n_languages: int
    n_context: int


class CrossIn(nn.Module):
    """Context that crosses into a vector: (1 + W c) * h, the identity until W is learned."""

    def __init__(self, n_context: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Linear(n_context, size, bias=False)
        nn.init.zeros_(self.weight.weight)

    def forward(self, vector: Tensor, context: Tensor) -> Tensor:
        """float32[..., d] of vectors float32[..., d] and contexts float32[..., c]."""
        crossed: Tensor = vector * (1 + self.weight(context))
        return crossed


class VideoSide(nn.Module):
    """Videos to vectors, by what is known of them without anyone having watched them."""

    def __init__(self, sizes: Sizes, config: SequenceConfig) -> None:
        super().__init__()
        size, hidden = config.embedding_size, config.content_hidden
        self.content = nn.Sequential(
            nn.Linear(sizes.n_content, hidden), nn.ReLU(), nn.Linear(hidden, size)
        )
        self.tables = nn.ModuleList(
            nn.Embedding(n + 1, size)
            for n in (sizes.n_categories, sizes.n_creators, sizes.n_languages)
        )
        for table in self.tables:
            assert isinstance(table, nn.Embedding)
            nn.init.zeros_(table.weight)
        last = self.content[2]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=INITIAL)

    def forward(self, content: Tensor | None, codes: Tensor | None) -> Tensor:
        """float32[..., d] of content float32[..., c] and codes int64[..., 3]; row 0 of each table stands for unknown."""
        parts: list[Tensor] = [] if content is None else [self.content(content)]
        if codes is not None:
            parts += [table(codes[..., i]) for i, table in enumerate(self.tables)]
        return torch.stack(parts).sum(0)


class SequenceNetwork(nn.Module):
    """Steps to query vectors, videos to vectors."""

    features: Tensor  # float32[i, c] content by item_id
    codes: Tensor  # int64[i, 3]
    is_trained: Tensor  # float32[i]: 1 where the id occurs in training

    def __init__(
        self, features: Tensor, codes: Tensor, sizes: Sizes, config: SequenceConfig
    ) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        size = config.embedding_size
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("is_trained", torch.zeros(sizes.n_items))
        self.ids = nn.Embedding(sizes.n_items, size, sparse=config.loss != "full")
        nn.init.normal_(self.ids.weight, std=INITIAL)
        self.videos = VideoSide(sizes, config) if config.content or config.codes else None
        self.start = nn.Parameter(torch.randn(size) * INITIAL * size**0.5)
        self.position = nn.Parameter(torch.randn(config.length + 1, size) * INITIAL)
        self.feedback = nn.Linear(N_FEEDBACK, size, bias=False) if config.feedback else None
        self.before = CrossIn(N_CLOCK, size) if config.context else None
        self.after = CrossIn(sizes.n_context, size) if config.context else None
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(_layers(config))
        self.norm = nn.LayerNorm(size)
        self.gaps = None
        if config.time_bias and config.layer != "gru":
            self.gaps = nn.Parameter(torch.zeros(config.n_layers, N_GAPS, config.n_heads))
        self.bias, self.recent = None, None
        if config.popularity:
            self.bias = nn.Embedding(sizes.n_items, 1, sparse=config.loss != "full")
            self.recent = nn.Linear(size, N_RECENT)
            for weight in (self.bias.weight, self.recent.weight, self.recent.bias):
                nn.init.zeros_(weight)
        self.category = nn.Linear(size, sizes.n_categories + 1) if config.category_weight else None

    def vectors(self, items: Tensor, kept: Tensor | None = None) -> Tensor:
        """float32[..., d] of videos int64[...]; kept float32[...] is 0 where the id part is left out."""
        share = self.is_trained[items]
        if kept is not None:
            share = share * kept
        by_id: Tensor = self.ids(items) * share[..., None]
        if self.videos is None:
            return by_id
        content = self.features[items] if self.config.content else None
        codes = self.codes[items] if self.config.codes else None
        known: Tensor = self.videos(content, codes)
        return known + by_id

    def biased(self, videos: Tensor, items: Tensor) -> Tensor:
        """float32[v, d (+ 1)]: vectors float32[v, d] of videos int64[v] with their bias, where there is one."""
        if self.bias is None:
            return videos
        bias = self.bias(items) * self.is_trained[items][:, None]  # else only ever pushed down
        return torch.cat([videos, bias], 1)

    def hidden(self, steps: Tensor, feedback: Tensor, clock: Tensor, gaps: Tensor | None) -> Tensor:
        """float32[b, h + 1, d]: what is known after each step, of h videos' vectors float32[b, h, d].

        feedback float32[b, h, N_FEEDBACK], clock float32[b, h, N_CLOCK], gaps int64[b, h + 1, h + 1]."""
        size = self.config.embedding_size
        steps = steps * size**0.5
        if self.feedback is not None:
            steps = steps + self.feedback(feedback)
        if self.before is not None:
            steps = self.before(steps, clock)
        start = self.start.expand(len(steps), 1, size)
        steps = torch.cat([start, steps], 1) + self.position[: steps.shape[1] + 1]
        steps = self.dropout(steps)
        for number, layer in enumerate(self.layers):
            if isinstance(layer, nn.GRU):
                steps, _ = layer(steps)
            else:
                steps = layer(steps, self._bias(number, gaps))
        found: Tensor = self.norm(steps)
        return found

    def queries(self, hidden: Tensor, context: Tensor) -> Tensor:
        """float32[t, d (+ 1 + p)]: what is asked, of hidden float32[t, d] in contexts float32[t, c]."""
        if self.after is not None:
            hidden = self.after(hidden, context)
        if self.recent is None:
            return hidden
        return torch.cat([hidden, hidden.new_ones(len(hidden), 1), self.recent(hidden)], 1)

    def _bias(self, layer: int, gaps: Tensor | None) -> Tensor | None:
        """float32[b, heads, h + 1, h + 1], -inf above the diagonal."""
        if self.gaps is None or gaps is None:
            return None
        shift = self.gaps[layer][gaps].permute(0, 3, 1, 2)
        later = torch.ones(gaps.shape[1:], dtype=torch.bool, device=gaps.device).triu(1)
        return shift.masked_fill(later, -torch.inf)


def _layers(config: SequenceConfig) -> Sequence[nn.Module]:
    size = config.embedding_size
    if config.layer == "gru":
        dropout = config.dropout if config.n_layers > 1 else 0.0
        return [nn.GRU(size, size, config.n_layers, batch_first=True, dropout=dropout)]
    kind = LigrLayer if config.layer == "ligr" else SasrecLayer
    return [kind(size, config.n_heads, config.dropout) for _ in range(config.n_layers)]

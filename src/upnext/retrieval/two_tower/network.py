"""The two-tower network: viewers and videos in one space, trained by sampled softmax (Covington 2016; Yi 2019).

A video's input vector is content_mlp(content) + its id embedding; the id part is dropped at random in training, so that a video
whose id was never trained has a place from its content at once. The same input vectors are pooled as a viewer's history (tied
embeddings). Both outputs are L2-normalised; the score is their cosine over the temperature, and serving adds no correction.
`learner` trains it, `export` writes what serving reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.user_inputs import N_AGE, groups_of, row_size


class ItemTower(nn.Module):
    """Content to input vectors to output vectors."""

    def __init__(self, n_content: int, config: TwoTowerConfig) -> None:
        super().__init__()
        self.content = nn.Sequential(
            nn.Linear(n_content, config.content_hidden),
            nn.ReLU(),
            nn.Linear(config.content_hidden, config.input_size),
        )
        self.out = nn.Linear(config.input_size, config.embedding_size)

    def forward(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """(input vectors float32[n, d_in], output vectors float32[n, d]) of videos known by content alone."""
        inputs: Tensor = self.content(content)
        return inputs, self.vectors(inputs)

    def vectors(self, inputs: Tensor) -> Tensor:
        """float32[n, d], L2-normalised."""
        return functional.normalize(self.out(inputs), dim=-1)


class UserTower(nn.Module):
    """The user row of user_inputs to a vector."""

    def __init__(self, n_columns: int, n_context: int, config: TwoTowerConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = n_columns
        for width in config.hidden:
            layers += [nn.Dropout(config.dropout), nn.Linear(size, width), nn.ReLU()]
            size = width
        layers.append(nn.Linear(size, config.embedding_size))
        self.layers = nn.Sequential(*layers)
        first = layers[1]
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            # columns of words that training never sees must say nothing when serving sees them
            first.weight[:, -(n_context + N_AGE) :] = 0

    def forward(self, row: Tensor) -> Tensor:
        """float32[b, d], L2-normalised, of user rows float32[b, f]."""
        return functional.normalize(self.layers(row), dim=-1)


class TwoTower(nn.Module):
    """Both towers with the tables they share."""

    features: Tensor  # float32[n_items, c], content by item_id
    is_trained: Tensor  # bool[n_items]: the label of an example at least once

    def __init__(self, content: Tensor, n_context: int, config: TwoTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("features", content, persistent=False)
        self.register_buffer("is_trained", torch.zeros(len(content), dtype=torch.bool))
        self.item = ItemTower(content.shape[1], config)
        self.user = UserTower(row_size(config, n_context), n_context, config)
        self.ids = nn.Embedding(len(content), config.input_size, sparse=True)
        self.tokens = nn.Embedding(config.search_buckets, config.input_size, sparse=True)
        nn.init.zeros_(self.ids.weight)  # an id that is never trained adds nothing
        # of the binary loss: how rare relevance is among what it sees
        self.bias = nn.Parameter(torch.tensor([-math.log(config.negatives_per_positive)]))
        nn.init.zeros_(self.tokens.weight)

    def inputs(self, items: Tensor, kept: Tensor | None = None) -> Tensor:
        """float32[v, d_in]: the input vectors of items int64[v]; kept float32[v] is 0 where the id part is dropped."""
        by_content: Tensor = self.item.content(self.features[items])
        if self.config.video_parts == "content":
            return by_content
        by_id: Tensor = self.ids(items)
        if kept is not None:
            by_id = by_id * kept[:, None]
        return by_id if self.config.video_parts == "id" else by_content + by_id

    def user_rows(self, batch: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """float32[b, f]: as user_inputs.assemble lays it out, with gradients into the pooled vectors."""
        pooled, counts = [], []
        for group in groups_of(self.config):
            is_there = batch[f"{group.name}:is_there"]
            pooled.append(_mean_of(batch[group.name], is_there, inputs))
            counts.append(is_there.sum(1))
        searched = _mean_of(batch["searched"], batch["searched:is_there"], self.tokens.weight, True)
        n_searched = batch["searched:is_there"].sum(1)
        shown = torch.log1p(torch.stack(counts, 1)) / 4
        sought = torch.log1p(n_searched)[:, None] / 4
        return torch.cat([*pooled, shown, searched, sought, batch["context"], batch["age"]], 1)


def _mean_of(place: Tensor, is_there: Tensor, table: Tensor, sparse: bool = False) -> Tensor:
    """float32[b, d]: the mean of the table's rows at place int64[b, l] where is_there float32[b, l] is 1; zeros for none."""
    share = is_there / is_there.sum(1, keepdim=True).clamp_min(1)
    return functional.embedding_bag(
        place, table, mode="sum", per_sample_weights=share.to(table.dtype), sparse=sparse
    )

"""A viewer's state, and two heads on it: the policy, and what the logging policy would have shown (Chen 2019, section 4.2).

The state is a GRU over the history's input vectors (content, id, and what the viewer did) with the present context crossed in (latent
cross: the state times 1 + a linear map of the context; Beutel 2018). The policy is a softmax over cosines with the videos' output vectors,
which come from the same input vectors (tied). The propensity head reads the state with its gradient stopped and has embeddings of its own;
it begins as the videos' shares in the log and learns what depends on the viewer. Any module that gives float32[b, h + 1, state_size] can take
the recurrent one's place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from upnext.retrieval.off_policy.config import OffPolicyConfig
from upnext.retrieval.off_policy.step import N_STEP


class ItemVectors(nn.Module):
    """Content to input vectors to output vectors."""

    def __init__(self, n_content: int, config: OffPolicyConfig) -> None:
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


class RecurrentState(nn.Module):
    """A history to the state before and after each of its showings."""

    def __init__(self, config: OffPolicyConfig) -> None:
        super().__init__()
        self.step = nn.Linear(N_STEP, config.input_size)
        nn.init.zeros_(self.step.weight)  # feedback that training never sees must say nothing
        self.gru = nn.GRU(config.input_size, config.state_size, batch_first=True)

    def forward(self, inputs: Tensor, steps: Tensor) -> Tensor:
        """float32[b, h + 1, s]: the state after each row of float32[b, h + 1, d_in] and float32[b, h + 1, N_STEP].

        The first row of both is zeros and stands for the beginning: the state after it is that of no history at all."""
        states: Tensor = self.gru(inputs + self.step(steps))[0]
        return states


class Viewer(nn.Module):
    """State and present context to the vector that is compared with the videos'."""

    def __init__(self, n_context: int, config: OffPolicyConfig) -> None:
        super().__init__()
        self.cross = nn.Linear(n_context, config.state_size)
        self.context = nn.Linear(n_context, config.state_size)
        self.out = nn.Linear(config.state_size, config.embedding_size)
        with (
            torch.no_grad()
        ):  # words that training never sees must say nothing when serving sees them
            self.cross.weight.zero_()
            self.context.weight.zero_()

    def crossed(self, state: Tensor, context: Tensor) -> Tensor:
        """float32[t, s]: the state in its context."""
        crossed: Tensor = state * (1 + self.cross(context)) + self.context(context)
        return crossed

    def forward(self, state: Tensor, context: Tensor) -> Tensor:
        """float32[t, d], L2-normalised."""
        hidden = torch.relu(self.crossed(state, context))
        return functional.normalize(self.out(hidden), dim=-1)


class PropensityHead(nn.Module):
    """What the logging policy shows a viewer: its own softmax over the videos."""

    log_share: Tensor  # float32[n_items]

    def __init__(self, log_share: Tensor, n_context: int, config: OffPolicyConfig) -> None:
        super().__init__()
        self.register_buffer("log_share", log_share, persistent=False)
        self.project = nn.Sequential(
            nn.Linear(config.state_size + n_context, config.state_size),
            nn.ReLU(),
            nn.Linear(config.state_size, config.embedding_size),
        )
        self.ids = nn.Embedding(len(log_share), config.embedding_size, sparse=True)
        nn.init.zeros_(self.ids.weight)

    def forward(self, state: Tensor, context: Tensor, items: Tensor) -> Tensor:
        """float32[t, s]: logits of items int64[s] for t states, whose gradient is stopped here."""
        hidden: Tensor = self.project(torch.cat([state.detach(), context], 1))
        logits: Tensor = hidden @ self.ids(items).T + self.log_share[items]
        return logits


class OffPolicyNetwork(nn.Module):
    """The state and both heads with the tables they read."""

    features: Tensor  # float32[n_items, c], content by item_id

    def __init__(
        self, content: Tensor, log_share: Tensor, n_context: int, config: OffPolicyConfig
    ) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("features", content, persistent=False)
        self.item = ItemVectors(content.shape[1], config)
        self.ids = nn.Embedding(len(content), config.input_size, sparse=True)
        self.state = RecurrentState(config)
        self.viewer = Viewer(n_context, config)
        self.propensity = PropensityHead(log_share, n_context, config)
        nn.init.zeros_(self.ids.weight)  # an id that is never trained adds nothing

    def inputs(self, items: Tensor, kept: Tensor | None = None) -> Tensor:
        """float32[v, d_in]: the input vectors of items int64[v]; kept float32[v] is 0 where the id part is dropped."""
        by_id = self.ids(items)
        if kept is not None:
            by_id = by_id * kept[:, None]
        return self.item.content(self.features[items]) + by_id  # type: ignore[no-any-return]

    def tables(self) -> list[Tensor]:
        """The embeddings with sparse gradients."""
        return [self.ids.weight, self.propensity.ids.weight]

    def dense(self) -> list[Tensor]:
        """Every other weight."""
        sparse = {id(table) for table in self.tables()}
        return [weight for weight in self.parameters() if id(weight) not in sparse]

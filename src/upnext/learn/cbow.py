"""Tag vectors by CBOW: a tag is known by the company it keeps on the catalogue's videos.

Continuous bag of words with negative sampling (Mikolov et al. 2013a, b). A video's tags have no order, so the context of a tag is
the mean of all other tags of its video: loss = -log s(c.o_t) - sum over k negatives of log s(-c.o_neg), negatives drawn from
frequency^0.75. A negative that is itself a tag of the video is left out (the paper keeps it; with a few hundred tags it would
fight the truth). Afterwards the trained rows lose their common mean (Mu & Viswanath 2018, "All-but-the-Top") and get length 1. Tags
that never stand beside another keep their random start, which in 32 dimensions is nearly at right angles to every other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from upnext.content.tags import TagVectors
from upnext.content.unit import unit_rows
from upnext.core.protocols import NoProgress, Progress
from upnext.core.randomness import key_of
from upnext.core.types import Float64

_SILENT = NoProgress()
MAX_EXAMPLES = 4_000_000  # (video, tag) pairs seen in all epochs together


def learn_tag_vectors(
    tags: npt.NDArray[np.int32],
    names: Sequence[str],
    *,
    size: int = 32,
    epochs: int = 20,
    seed: int = 0,
    progress: Progress = _SILENT,
) -> TagVectors:
    """A vector of length 1 per tag, from the catalogue's tag codes int32[n, m] (-1 pads); names are the tags by code.

    Deterministic for a seed and thread count. No tags at all, or none together: random rows.
    """
    generator = torch.Generator().manual_seed(key_of(seed, "cbow") >> 1)
    start = functional.normalize(torch.randn(len(names), size, generator=generator), dim=1)
    tags = _distinct(tags)
    known = tags >= 0
    together = known.sum(axis=1, keepdims=True) > 1
    videos, place = np.nonzero(known & together)
    if len(videos) == 0:
        return TagVectors(start.numpy(), tuple(names))
    model = _Cbow(start, _noise(tags, len(names)))
    examples = torch.from_numpy(np.stack([videos, place], axis=1))
    _train(model, torch.from_numpy(tags).long(), examples, epochs, generator, progress)
    vectors = model.vectors.detach().numpy().copy()
    met = np.unique(tags[videos, place])
    vectors[met] -= vectors[met].mean(axis=0)
    table = unit_rows(vectors.astype(np.float32))
    zero = np.linalg.norm(table, axis=1) == 0
    table[zero] = start.numpy()[zero]
    return TagVectors(table, tuple(names))


class _Cbow:
    """The two tables of CBOW and the noise its negatives are drawn from."""

    def __init__(self, start: torch.Tensor, noise: Float64) -> None:
        self.vectors = start.clone().requires_grad_()  # [n_tags, d] as context: the result
        self.targets = torch.zeros_like(start).requires_grad_()  # [n_tags, d] as predicted
        self.noise = torch.from_numpy(noise)

    def loss(
        self, tags: torch.Tensor, place: torch.Tensor, negatives: torch.Tensor
    ) -> torch.Tensor:
        """Mean loss of b examples: tags int64[b, m], place int64[b] of the predicted one, negatives int64[k] shared."""
        target = tags.gather(1, place[:, None])[:, 0]
        is_context = (tags >= 0).scatter(1, place[:, None], False).float()
        rows = functional.embedding(tags.clamp(min=0), self.vectors)  # [b, m, d]
        context = (rows * is_context[:, :, None]).sum(1) / is_context.sum(1, keepdim=True)
        right = (context * functional.embedding(target, self.targets)).sum(1)  # [b]
        wrong = context @ functional.embedding(negatives, self.targets).T  # [b, k]
        fair = (tags[:, :, None] != negatives).all(1).float()  # [b, k]
        share = 5.0 / len(negatives)  # weighs as five negatives per example
        pushed = (functional.softplus(wrong) * fair).sum(1) * share
        return (functional.softplus(-right) + pushed).mean()


def _train(
    model: _Cbow,
    tags: torch.Tensor,
    examples: torch.Tensor,
    epochs: int,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    optimiser = torch.optim.Adam([model.vectors, model.targets], lr=0.02)
    per_epoch = min(len(examples), max(1, MAX_EXAMPLES // epochs))
    batch_size = int(min(4096, max(32, per_epoch // 20)))
    progress.start("tags", epochs * per_epoch, "tags")
    for _ in range(epochs):
        order = torch.randperm(len(examples), generator=generator)[:per_epoch]
        for batch in torch.split(order, batch_size):
            videos, place = examples[batch].T
            negatives = torch.multinomial(model.noise, 64, replacement=True, generator=generator)
            loss = model.loss(tags[videos], place, negatives)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            progress.advance(len(batch), loss=float(loss.detach()))
    progress.done()


def _distinct(tags: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The codes sorted within each video, a repeated one replaced by -1."""
    ordered = np.sort(tags, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = -1
    return ordered


def _noise(tags: npt.NDArray[np.int32], n_tags: int) -> Float64:
    """float64[n_tags]: frequency^0.75."""
    count = np.bincount(tags[tags >= 0], minlength=n_tags)
    return np.asarray(count**0.75, np.float64)

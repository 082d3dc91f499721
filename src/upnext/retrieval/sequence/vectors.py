"""Vectors of many viewers and of all videos by a network in memory: for evaluation, and for the files of a release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from upnext.core.types import Float32, Int64
from upnext.features.showings import Showings
from upnext.retrieval.sequence.batches import read_steps
from upnext.retrieval.sequence.network import SequenceNetwork

VIEWERS: Final = 256  # at a time
VIDEOS: Final = 65_536


@dataclass(frozen=True)
class Asked:
    """When u viewers ask, and in which context."""

    time_us: Int64  # [u], 0 not known
    context: Float32  # [u, c], zeros not known

    @staticmethod
    def unknown(n: int, n_context: int) -> Asked:
        """Nothing is known of n requests."""
        return Asked(np.zeros(n, np.int64), np.zeros((n, n_context), np.float32))


@torch.no_grad()
def viewer_vectors(
    network: SequenceNetwork, showings: Showings, duration_s: Float32, rows: Int64, asked: Asked
) -> Float32:
    """float32[u, d]: queries of the users in rows int64[u] after all of their showings; duration_s float32[i] by item_id."""
    network.eval()
    device, config = network.start.device, network.config
    starts = showings.starts()
    end = starts[rows + 1]
    n = np.minimum(end - starts[rows], config.length)
    found: list[Float32] = []
    order = np.argsort(n, kind="stable")
    for start in range(0, len(order), VIEWERS):
        chosen = order[start : start + VIEWERS]
        steps = read_steps(showings, duration_s, (end - n)[chosen], n[chosen])
        gaps = None
        if config.time_bias:
            gaps = torch.from_numpy(steps.gaps(n[chosen], asked.time_us[chosen])).to(device)
        hidden = network.hidden(
            network.vectors(torch.from_numpy(steps.item_id).to(device)),
            torch.from_numpy(steps.feedback).to(device),
            torch.from_numpy(steps.clock).to(device),
            gaps,
        )
        last = hidden[torch.arange(len(chosen)), torch.from_numpy(n[chosen])]
        context = torch.from_numpy(asked.context[chosen]).to(device)
        found.append(network.queries(last, context).cpu().numpy())
    vectors = np.concatenate(found)
    by_row = np.empty_like(vectors)
    by_row[order] = vectors
    return by_row


@torch.no_grad()
def item_vectors(network: SequenceNetwork, recent: Float32) -> Float32:
    """float32[i, d]: what queries are compared with; recent float32[i, p] popularity columns."""
    network.eval()
    parts = []
    for start in range(0, len(recent), VIDEOS):
        items = torch.arange(start, min(start + VIDEOS, len(recent)), device=network.start.device)
        parts.append(network.biased(network.vectors(items), items).cpu().numpy())
    known = np.concatenate(parts)
    return np.concatenate([known, recent], 1) if network.recent is not None else known

"""Learns the blend for new videos from trained ones: each is treated as new, with the same random share of its viewers revealed.

The target is the vector that training gave it. Shares, not numbers, are revealed, so that many viewers mean what they mean when a video is
new: that it will be popular. At most half of a video's viewers are, so that its trained vector owes as much to others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import torch

from upnext.core.randomness import rng_for
from upnext.core.types import Bool, Flag, Float32, Int64
from upnext.features.context import Moment
from upnext.retrieval.material import Material
from upnext.retrieval.training_rows import Labels, is_first_showing, strictly_before
from upnext.retrieval.two_tower.batches import BatchReader
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.losses import tensors_of
from upnext.retrieval.two_tower.network import TwoTower
from upnext.retrieval.two_tower.new_videos import (
    CreatorMeans,
    Known,
    VideoParts,
    blend_of,
    mean_of_sum,
)

MAX_VIDEOS: Final = 2000  # treated as new
REVEALED: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of a video's viewers
MAX_VIEWERS: Final = 16  # of one video, embedded; more are counted
_CHUNK: Final = 512  # viewers at a time


def known_videos(
    network: TwoTower, material: Material, vectors: Float32, is_trained: Bool
) -> Known:
    """What serving needs to place new videos, of a network on the CPU; vectors float32[i, d] as trained, is_trained bool[i]."""
    trained = np.flatnonzero(is_trained)
    creators = CreatorMeans.of(material.videos.creator[trained], vectors[trained])
    mean = vectors[trained].mean(0) if len(trained) else np.zeros(vectors.shape[1], np.float32)
    parts, target = _treated_as_new(network, material, vectors, trained, creators)
    out = network.item.out
    return Known(
        is_trained,
        creators,
        blend_of(parts, target, mean),
        (out.weight.detach().numpy().copy(), out.bias.detach().numpy().copy()),
        network.config.video_parts != "id",
    )


def _treated_as_new(
    network: TwoTower,
    material: Material,
    vectors: Float32,
    trained: Int64,
    creators: CreatorMeans,
) -> tuple[VideoParts, Float32]:
    """(what would be known of some trained videos were they new, their trained vectors float32[m, d])."""
    rng = rng_for("new-videos", network.config.seed)
    chosen = np.sort(rng.permutation(trained)[:MAX_VIDEOS])
    viewer, owner, count = _viewers_of(network, material, chosen, rng)
    creator, n_creator = creators.mean(material.videos.creator[chosen], vectors[chosen])
    content = content_vectors(network, chosen)
    start = np.searchsorted(owner, np.arange(len(chosen)))
    place = np.arange(len(owner)) - start[owner]
    parts: list[VideoParts] = []
    for share in REVEALED:
        n = rng.binomial(count, share)
        total = np.zeros_like(content)
        is_revealed = place < n[owner]
        np.add.at(total, owner[is_revealed], viewer[is_revealed])
        mean = mean_of_sum(total, np.minimum(n, MAX_VIEWERS))
        parts.append(VideoParts(content, creator, n_creator, mean, n))
    return _joined(parts), np.tile(vectors[chosen], (len(REVEALED), 1))


def _viewers_of(
    network: TwoTower, material: Material, chosen: Int64, rng: np.random.Generator
) -> tuple[Float32, Int64, Int64]:
    """(vectors float32[r, d] of up to MAX_VIEWERS viewers a video, whose int64[r] by place in chosen, ascending; all viewers int64[m])."""
    rows = relevant_rows(material)
    rows = rows[rng.permutation(len(rows))]
    rows = rows[np.argsort(material.showings.item_id[rows], kind="stable")]  # by video, mixed
    item_id = material.showings.item_id[rows]
    first = np.searchsorted(item_id, chosen)
    count = np.searchsorted(item_id, chosen, side="right") - first
    n_most = np.minimum(MAX_VIEWERS, count)
    owner = np.repeat(np.arange(len(chosen)), n_most)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(n_most) - n_most, n_most)
    viewer = viewer_vectors(network, material, rows[first[owner] + place])
    return viewer, owner, count


def relevant_rows(material: Material) -> Int64:
    """Rows of the showings that a viewer found relevant at the video's first showing."""
    showings = material.showings
    is_relevant = (showings.flags & np.uint16(Flag.RELEVANT)) != 0
    return np.flatnonzero(is_relevant & is_first_showing(showings)).astype(np.int64)


@torch.no_grad()
def content_vectors(network: TwoTower, item_id: Int64) -> Float32:
    """float32[m, d]: videos as the content tower alone places them; zeros for a network that knows ids alone."""
    if network.config.video_parts == "id":
        return np.zeros((len(item_id), network.config.embedding_size), np.float32)
    _, vectors = network.item(network.features[torch.from_numpy(item_id)])
    found: Float32 = vectors.numpy()
    return found


@torch.no_grad()
def viewer_vectors(network: TwoTower, material: Material, rows: Int64) -> Float32:
    """float32[r, d]: each row's viewer strictly before it, with no surface or device known: as serving embeds a first viewer."""
    labels = _asked_at(material, rows, network.config)
    reader = BatchReader(material, labels, network.config, np.zeros(1, np.int64))
    rng = rng_for("no draw of it is used")
    found = np.zeros((len(rows), network.config.embedding_size), np.float32)
    for start in range(0, len(rows), _CHUNK):
        chosen = np.arange(start, min(start + _CHUNK, len(rows)))
        batch = replace(
            reader.batch(chosen, rng), context=_contexts(material, rows[chosen]),
            age=np.zeros((len(chosen), 3), np.float32),
        )  # fmt: skip
        inputs = network.inputs(torch.from_numpy(batch.items))
        tensors = tensors_of(batch, torch.device("cpu"))
        found[chosen] = network.user(network.user_rows(tensors, inputs)).numpy()
    return found


def _contexts(material: Material, rows: Int64) -> Float32:
    """float32[r, c]: profile and time; zeros for untimed showings."""
    showings = material.showings
    context = np.zeros((len(rows), material.context.size), np.float32)
    for i, moment in enumerate(showings.moment[rows].tolist()):
        if moment >= 0:
            known = showings.moments[moment]
            material.context.fill(context[i], Moment(known.profile, known.time_us, ""))
    return context


def _asked_at(material: Material, rows: Int64, config: TwoTowerConfig) -> Labels:
    showings, n = material.showings, len(rows)
    first = showings.starts()[showings.user[rows]]
    end = strictly_before(showings)[rows]
    return Labels(
        rows, np.maximum(first, end - config.history_rows), end, np.ones(n, np.float32),
        np.zeros(n, np.float32), np.zeros(n, bool), np.ones(n, bool), np.full(n, -1),
    )  # fmt: skip


def _joined(parts: list[VideoParts]) -> VideoParts:
    return VideoParts(
        np.concatenate([part.content for part in parts]),
        np.concatenate([part.creator for part in parts]),
        np.concatenate([part.n_creator for part in parts]),
        np.concatenate([part.viewers for part in parts]),
        np.concatenate([part.n_viewers for part in parts]),
    )

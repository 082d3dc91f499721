"""Learns the blend for new videos from trained ones: some are treated as new, with the same random share of their viewers revealed.

A ridge regression predicts the vectors that training gave them; from there the weights go on to rank them among all videos
(rank_new_videos.py). Shares, not numbers, are revealed, so that many viewers mean what they mean when a video is
new: that it will be popular. At most half of a video's viewers are, so that its trained vector owes as much to others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    NewVideoBlend,
    VideoParts,
    blend_of,
    mean_of_sum,
)
from upnext.retrieval.two_tower.rank_new_videos import Round, ranked_weights

MAX_VIDEOS: Final = 2000  # treated as new
REVEALED: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)  # shares of a video's viewers
MAX_VIEWERS: Final = 16  # of one video, revealed with their vectors; more are counted
N_HIDDEN: Final = 8  # more of each video, embedded and never revealed: who is to find it
SHARE_NEW: Final = 0.2  # of those videos, in each round of ranking
MAX_PAIRS: Final = 1024  # of a round
MAX_OTHERS: Final = 8192  # trained videos that stand for all, beside those treated as new
_CHUNK: Final = 512  # viewers at a time


def known_videos(
    network: TwoTower, material: Material, vectors: Float32, is_trained: Bool
) -> Known:
    """What serving needs to place new videos, of a network on the CPU; vectors float32[i, d] as trained, is_trained bool[i]."""
    trained = np.flatnonzero(is_trained)
    creators = CreatorMeans.of(material.videos.creator[trained], vectors[trained])
    mean = vectors[trained].mean(0) if len(trained) else np.zeros(vectors.shape[1], np.float32)
    pretended = _pretended(network, material, vectors, trained, creators)
    crowd = mean_of(pretended)
    parts = _joined([pretended.parts(n) for n in pretended.revealed])
    target = np.tile(vectors[pretended.item_id], (len(REVEALED), 1))
    blend = blend_of(parts, target, (mean, crowd))
    rounds = _rounds(pretended, blend, vectors, trained, network.config)
    blend = replace(blend, weight=ranked_weights(rounds, blend.weight))
    out = network.item.out
    return Known(
        is_trained,
        creators,
        blend,
        (out.weight.detach().numpy().copy(), out.bias.detach().numpy().copy()),
        network.config.video_parts != "id",
    )


@dataclass(frozen=True)
class Pretended:
    """m trained videos as they would be known were they new."""

    item_id: Int64  # [m]
    content: Float32  # [m, d]
    creator: Float32  # [m, d]
    n_creator: Int64  # [m]
    viewer: Float32  # [r, d] up to MAX_VIEWERS + N_HIDDEN viewers a video
    owner: Int64  # [r] whose, ascending
    place: Int64  # [r] 0, 1, ... among the viewers of its video
    count: Int64  # [m] viewers in all
    revealed: list[Int64]  # of each share, how many of them [m]

    def parts(self, n: Int64) -> VideoParts:
        """What is known with n int64[m] viewers revealed."""
        total = np.zeros_like(self.content)
        is_revealed = self.place < np.minimum(n, MAX_VIEWERS)[self.owner]
        np.add.at(total, self.owner[is_revealed], self.viewer[is_revealed])
        mean = mean_of_sum(total, np.minimum(n, MAX_VIEWERS))
        return VideoParts(self.content, self.creator, self.n_creator, mean, n)


def _pretended(
    network: TwoTower,
    material: Material,
    vectors: Float32,
    trained: Int64,
    creators: CreatorMeans,
) -> Pretended:
    rng = rng_for("new-videos", network.config.seed)
    chosen = np.sort(rng.permutation(trained)[:MAX_VIDEOS])
    viewer, owner, count = _viewers_of(network, material, chosen, rng)
    creator, n_creator = creators.mean(material.videos.creator[chosen], vectors[chosen])
    start = np.searchsorted(owner, np.arange(len(chosen)))
    return Pretended(
        chosen, content_vectors(network, chosen), creator, n_creator, viewer, owner,
        np.arange(len(owner)) - start[owner], count,
        [rng.binomial(count, share) for share in REVEALED],
    )  # fmt: skip


def mean_of(pretended: Pretended) -> Float32:
    """float32[d]: the mean vector of viewers, each video's as often as it has some."""
    n = np.bincount(pretended.owner, minlength=len(pretended.item_id))
    weight = (pretended.count / np.maximum(n, 1))[pretended.owner]
    total = weight @ pretended.viewer if len(weight) else np.zeros(pretended.content.shape[1])
    return np.asarray(total / max(weight.sum(), 1e-12), np.float32)


def _rounds(
    pretended: Pretended,
    blend: NewVideoBlend,
    vectors: Float32,
    trained: Int64,
    config: TwoTowerConfig,
) -> list[Round]:
    """A round for each share of viewers revealed; the videos treated as new are others in each."""
    rng, n_videos = rng_for("new-videos-ranked", config.seed), len(pretended.item_id)
    rounds: list[Round] = []
    for revealed in pretended.revealed:
        is_new = rng.random(n_videos) < SHARE_NEW
        new = np.flatnonzero(is_new)
        chosen, target = _pairs(pretended, np.where(is_new, revealed, 0), is_new, len(trained), rng)
        terms = blend.terms(pretended.parts(revealed))[:, new]
        if not len(new) or not len(chosen):
            continue
        viewer = pretended.viewer[chosen] / np.float32(config.temperature)
        others = np.setdiff1d(trained, pretended.item_id[new])
        drawn = rng.permutation(others)[:MAX_OTHERS]
        score = viewer @ vectors[drawn].T
        most = score.max(axis=1, initial=-1e30)
        log_sum = np.log(np.exp(score - most[:, None]).sum(1, dtype=np.float64) + 1e-300) + most
        log_sum += np.log(max(len(others), 1) / max(len(drawn), 1))
        place = np.cumsum(is_new) - 1
        scores = np.stack([viewer @ term.T for term in terms])
        rounds.append(Round(scores, log_sum, np.where(is_new[target], place[target], -1)))
    return rounds


def _pairs(
    pretended: Pretended, revealed: Int64, is_new: Bool, n_trained: int, rng: np.random.Generator
) -> tuple[Int64, Int64]:
    """(rows int64[p] of the viewers, their videos int64[p]): drawn as often as they occur among all that are not revealed."""
    owner, n_videos = pretended.owner, len(pretended.item_id)
    left = np.flatnonzero(pretended.place >= np.minimum(revealed, MAX_VIEWERS)[owner])
    n_left = np.bincount(owner[left], minlength=n_videos)
    weight = (pretended.count - revealed) / np.maximum(n_left, 1)
    n_others = n_videos - is_new.sum()
    weight[~is_new] *= (n_trained - is_new.sum()) / max(n_others, 1)  # they stand for all of these
    chance = weight[owner[left]]
    if not chance.sum() > 0:
        return left[:0], left[:0]
    drawn = left[rng.choice(len(left), MAX_PAIRS, p=chance / chance.sum())]
    return drawn, owner[drawn]


def _viewers_of(
    network: TwoTower, material: Material, chosen: Int64, rng: np.random.Generator
) -> tuple[Float32, Int64, Int64]:
    """(vectors float32[r, d] of up to MAX_VIEWERS + N_HIDDEN viewers a video, whose int64[r] by place in chosen, ascending; all viewers int64[m])."""
    rows = relevant_rows(material)
    rows = rows[rng.permutation(len(rows))]
    rows = rows[np.argsort(material.showings.item_id[rows], kind="stable")]  # by video, mixed
    item_id = material.showings.item_id[rows]
    first = np.searchsorted(item_id, chosen)
    count = np.searchsorted(item_id, chosen, side="right") - first
    n_most = np.minimum(MAX_VIEWERS + N_HIDDEN, count)
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

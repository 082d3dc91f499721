"""Where a video that was never trained stands: a learned blend of what is known of it.

Parts: the content tower's vector, the mean vector of its creator's other videos, the mean vector of its first viewers (those who found
it relevant), and the mean of all trained videos. With n_creator other videos and n_viewers viewers the last two count as
s = n / (n + half), and each part's weight is linear in 1, s_creator, s_viewers and their product: the more viewers there are, the less
content has to say. Weights are those of a ridge regression that predicts the trained vectors of videos treated as new
(fit_new_videos.py). The result is not normalised: a score is an inner product, so the best guess of a score is the product with the
expected vector, and what is known poorly is shorter and ranks lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from upnext.core.types import Array, Bool, Float32, Float64, Int64

N_TERMS: Final = 12


@dataclass(frozen=True)
class VideoParts:
    """What is known of m new videos."""

    content: Float32  # [m, d] zeros where content says nothing
    creator: Float32  # [m, d] mean vector of the creator's other trained videos, zeros for none
    n_creator: Int64  # [m] how many those are
    viewers: Float32  # [m, d] mean vector of the first viewers, zeros for none
    n_viewers: Int64  # [m] how many found it relevant, of whom only the first are in the mean

    def __len__(self) -> int:
        return len(self.n_creator)


@dataclass(frozen=True)
class NewVideoBlend:
    """The learned blend."""

    weight: Float64  # [N_TERMS]
    mean: Float32  # [d] of the trained videos' vectors
    half_creator: float  # so many other videos of the creator make s_creator one half
    half_viewers: float

    def vectors(self, parts: VideoParts) -> Float32:
        """float32[m, d], none longer than 1, the length of a trained vector."""
        terms = terms_of(parts, self.mean, self.half_creator, self.half_viewers)
        vectors = np.tensordot(self.weight, terms, 1)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(length, 1.0), np.float32)


def terms_of(parts: VideoParts, mean: Float32, half_creator: float, half_viewers: float) -> Float32:
    """float32[N_TERMS, m, d]: what the weights multiply."""
    c = (parts.n_creator / (parts.n_creator + half_creator)).astype(np.float32)[:, None]
    v = (parts.n_viewers / (parts.n_viewers + half_viewers)).astype(np.float32)[:, None]
    everyone = np.broadcast_to(mean, parts.content.shape)
    terms: list[Array] = []
    for vector in (everyone, parts.content):
        terms += [vector, c * vector, v * vector, c * v * vector]
    terms += [c * parts.creator, c * v * parts.creator]
    terms += [v * parts.viewers, c * v * parts.viewers]
    return np.stack(terms)


def blend_of(parts: VideoParts, target: Float32, mean: Float32, reg: float = 1e-3) -> NewVideoBlend:
    """The blend that predicts target float32[m, d] best: halves chosen on every third video, ridge weights on all.

    Without a single video every weight is that of the content part."""
    if not len(parts):
        weight = np.zeros(N_TERMS)
        weight[4] = 1.0
        return NewVideoBlend(weight, mean, 1.0, 1.0)
    is_held = np.arange(len(parts)) % 3 == 0
    best = (np.inf, 1.0, 1.0)
    for half_creator in (1.0, 3.0, 10.0):
        for half_viewers in (3.0, 10.0, 30.0, 100.0):
            terms = terms_of(parts, mean, half_creator, half_viewers)
            weight = _ridge(terms[:, ~is_held], target[~is_held], reg)
            error = np.square(np.tensordot(weight, terms[:, is_held], 1) - target[is_held]).mean()
            best = min(best, (float(error), half_creator, half_viewers))
    _, half_creator, half_viewers = best
    terms = terms_of(parts, mean, half_creator, half_viewers)
    return NewVideoBlend(_ridge(terms, target, reg), mean, half_creator, half_viewers)


def _ridge(terms: Float32, target: Float32, reg: float) -> Float64:
    """float64[t]: weights of terms float32[t, m, d]; reg is relative to the number of rows."""
    flat = terms.reshape(len(terms), -1).astype(np.float64)
    gram = flat @ flat.T + reg * target.size / target.shape[-1] * np.eye(len(terms))
    return np.asarray(np.linalg.solve(gram, flat @ target.ravel().astype(np.float64)), np.float64)


def mean_of_sum(total: Float32, count: Int64) -> Float32:
    """float32[m, d]: sums float32[m, d] over how many count int64[m] says; a sum over none stays zeros."""
    return np.asarray(total / np.maximum(count, 1)[:, None], np.float32)


@dataclass(frozen=True)
class CreatorMeans:
    """The trained videos of each creator: how many, and the sum of their vectors."""

    creator: Int64  # [a] ascending, -1 (unknown) left out
    total: Float32  # [a, d]
    count: Int64  # [a]

    @staticmethod
    def of(creator: Int64, vectors: Float32) -> CreatorMeans:
        """Of n trained videos: creator int64[n], vectors float32[n, d]."""
        known = creator >= 0
        ids, place, count = np.unique(creator[known], return_inverse=True, return_counts=True)
        total = np.zeros((len(ids), vectors.shape[1]), np.float32)
        np.add.at(total, place, vectors[known])
        return CreatorMeans(ids.astype(np.int64), total, count.astype(np.int64))

    def mean(self, creator: Int64, without: Float32 | None = None) -> tuple[Float32, Int64]:
        """(means float32[m, d], counts int64[m]) of creators int64[m]; zeros for a creator without trained videos.

        without float32[m, d]: the vector of one trained video of each creator, which is left out of its mean."""
        total, count = np.zeros((len(creator), self.total.shape[1]), np.float32), creator * 0
        if len(self.creator):
            place = np.minimum(np.searchsorted(self.creator, creator), len(self.creator) - 1)
            is_known = self.creator[place] == creator
            total[is_known], count[is_known] = (
                self.total[place[is_known]],
                self.count[place[is_known]],
            )
            if without is not None:
                total[is_known] -= without[is_known]
                count[is_known] -= 1
        total[count == 0] = 0
        return mean_of_sum(total, count), count


@dataclass(frozen=True)
class Known:
    """What a release says of its trained videos, for the sake of those that are not."""

    is_trained: Bool  # [i] by item_id
    creators: CreatorMeans
    blend: NewVideoBlend
    out: tuple[
        Float32, Float32
    ]  # (weight [d, d_in], bias [d]) from input vectors to output vectors
    by_content: bool  # False: a network that knows videos by their ids alone

    def save(self, path: Path) -> None:
        """Writes an npz."""
        blend, creators = self.blend, self.creators
        np.savez(
            path, is_trained=self.is_trained, creator=creators.creator, total=creators.total,
            count=creators.count, weight=blend.weight, mean=blend.mean,
            halves=np.array([blend.half_creator, blend.half_viewers]),
            out_weight=self.out[0], out_bias=self.out[1], by_content=np.array(self.by_content),
        )  # fmt: skip

    @staticmethod
    def load(path: Path) -> Known:
        """What save wrote."""
        with np.load(path) as data:
            return Known(
                data["is_trained"],
                CreatorMeans(data["creator"], data["total"], data["count"]),
                NewVideoBlend(data["weight"], data["mean"], *data["halves"].tolist()),
                (data["out_weight"], data["out_bias"]),
                bool(data["by_content"]),
            )


class NewVideos:
    """Places videos that a release was not trained on, and moves them as their first viewers come."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._met: dict[int, tuple[Float32, int]] = {}  # item_id -> viewers' mean, count

    def are_new(self, item_id: Int64) -> Bool:
        """bool[m]: the release was not trained on them."""
        trained = self._known.is_trained
        is_new = item_id >= len(trained)
        is_new[~is_new] = ~trained[item_id[~is_new]]
        return np.asarray(is_new, np.bool_)

    def meet(self, item_id: Int64, viewers: Float32, n_viewers: Int64) -> None:
        """Sets the first viewers of videos: their mean vector float32[m, d], and how many found it relevant in all."""
        for item, vector, n in zip(item_id.tolist(), viewers, n_viewers.tolist(), strict=True):
            self._met[item] = (vector, n)

    def placed(self, item_id: Int64, inputs: Float32, creator: Int64) -> tuple[Bool, Float32]:
        """(bool[m] which have a place, vectors float32[m, d]) of new videos with input vectors float32[m, d_in] and creators int64[m].

        A network that knows ids alone has no place for a video without viewers and without other videos of its creator."""
        parts = self.parts(item_id, inputs, creator)
        has_place = self._known.by_content | (parts.n_viewers > 0) | (parts.n_creator > 0)
        return np.asarray(has_place, np.bool_), self._known.blend.vectors(parts)

    def parts(self, item_id: Int64, inputs: Float32, creator: Int64) -> VideoParts:
        """What is known of new videos, as `placed` is given them."""
        known = self._known
        content = np.zeros((len(item_id), len(known.out[1])), np.float32)
        if known.by_content:
            content = inputs @ known.out[0].T + known.out[1]
            content /= np.maximum(np.linalg.norm(content, axis=1, keepdims=True), 1e-12)
        nobody = (np.zeros(content.shape[1], np.float32), 0)
        met = [self._met.get(item, nobody) for item in item_id.tolist()]
        n_viewers = np.array([n for _, n in met], np.int64)
        viewers = np.array([vector for vector, _ in met], np.float32).reshape(content.shape)
        by_creator, n_creator = known.creators.mean(creator)
        return VideoParts(content, by_creator, n_creator, viewers, n_viewers)

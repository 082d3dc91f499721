"""What premium videos cost: recall against the share of premium videos in the lists, one off-policy training per premium weight.

A reward times 1 + weight for premium videos moves the policy towards them (Dailymotion's view types). How far, and what viewers lose, is
read off real lists: every weight is trained on the same log before an instant and judged on the same viewers after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from upnext.core.errors import expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import Bool, Estimate, Float32, History, Int64, Profile, Query, User
from upnext.evaluate.bootstrap import intervals, paired_difference
from upnext.evaluate.full_ranking import VectorModel, full_ranking
from upnext.evaluate.metrics import Places, ndcg, recall
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.config import OffPolicyConfig
from upnext.retrieval.off_policy.generator import OffPolicyGenerator
from upnext.retrieval.off_policy.learner import OffPolicyLearner


class Profiled(Protocol):
    """What says who a viewer is (CatalogView does)."""

    def profile(self, user_id: str) -> Profile | None: ...


@dataclass(frozen=True)
class Point:
    """One weight."""

    weight: float
    recall: Estimate  # at N
    ndcg: Estimate  # at 10
    premium_share: Estimate  # of the first N of the lists
    recall_lost: Estimate  # recall less that of the first weight, paired


@dataclass(frozen=True)
class Judged:
    """Whose lists are judged, and what may stand in them."""

    window: Window
    viewers: Profiled
    listed: Bool  # [n_items] active videos
    n: int = 100


def premium_curve(
    material: Material,
    judged: Judged,
    config: OffPolicyConfig,
    weights: Sequence[float],
    progress: Progress | None = None,
) -> list[Point]:
    """A point per weight, in their order. Raises InvalidInput where no video is premium, or all are."""
    progress = progress or NoProgress()
    is_premium = material.videos.is_premium
    share = float(is_premium[judged.listed].mean()) if judged.listed.any() else 0.0
    if not 0 < share < 1:
        raise expected("premium videos", "some, and not all", f"{share:.0%} of the active ones")
    split = judged.window.split(exclude_seen=True)
    before = replace(material, showings=split.train)
    queries = queries_of(judged.window, split, judged.viewers)
    points: list[Point] = []
    first: Int64 | None = None
    for weight in weights:
        reward = config.reward.model_copy(update={"premium_weight": weight})
        users, items = _vectors(
            before, config.model_copy(update={"reward": reward}), queries, progress
        )
        bias = np.where(judged.listed, 0.0, -np.inf).astype(np.float32)
        model = VectorModel(users, items, bias)
        depth = max(judged.n, 10)
        lists = full_ranking(model, split.truth, depth, excluded=split.seen)(np.arange(len(users)))
        first = lists if first is None else first
        points.append(_point(weight, lists, first, split, is_premium, judged.n))
    return points


def queries_of(window: Window, split: Split, viewers: Profiled) -> list[Query]:
    """The query of each case of a split, as serving would ask at the window's beginning."""
    train, starts = split.train, split.train.starts()
    queries = []
    for request, user in zip(window.requests(split), split.user.tolist(), strict=True):
        own = slice(starts[user], starts[user + 1])
        history = History(
            train.item_id[own], train.time_us[own], train.watch_s[own], train.flags[own]
        )
        profile = viewers.profile(request.user_id) or Profile()
        queries.append(Query(request, User(request.user_id, profile, history)))
    return queries


def _vectors(
    material: Material, config: OffPolicyConfig, queries: Sequence[Query], progress: Progress
) -> tuple[Float32, Float32]:
    """(float32[u, d] of the queries, float32[n_items, d]) of a generator trained with these settings."""
    learner = OffPolicyLearner(config)
    learner.learn(material, progress=progress)
    with TemporaryDirectory() as name:
        folder = Path(name)
        learner.export(folder)
        generator = OffPolicyGenerator(folder)
        items = np.load(folder / "item_vectors.npy")
        return np.concatenate([generator.vectors(query) for query in queries]), items


def _point(
    weight: float, lists: Int64, first: Int64, split: Split, is_premium: Bool, n: int
) -> Point:
    there = lists[:, :n] >= 0
    premium = (is_premium[lists[:, :n]] & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    places, base = Places.of(lists, split.truth), Places.of(first, split.truth)
    found = intervals(
        {"recall": recall(places, n), "ndcg": ndcg(places, 10), "share": premium.astype(np.float64)}
    )
    lost = paired_difference(recall(places, n), recall(base, n))
    return Point(weight, found["recall"], found["ndcg"], found["share"], lost)

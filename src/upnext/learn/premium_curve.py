"""What premium videos cost: recall against the share of premium videos in the lists, one off-policy training per premium weight.

A reward times 1 + weight for premium videos moves the policy towards them (Dailymotion's view types). How far, and what viewers lose, is
read off real lists: every weight is trained on the same log before an instant, from the same first weights in the same order, and judged on
the same viewers after it.

FOLDER/weight-W.npz holds what each viewer's list was worth under weight W. One that is there for this log and these settings isn't trained
again, so a run that was stopped goes on, in the middle of a training too (FOLDER/training).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from upnext.core.errors import expected
from upnext.core.protocols import NoProgress, Progress
from upnext.core.types import (
    Array,
    Bool,
    Estimate,
    Float32,
    Float64,
    History,
    Profile,
    Query,
    User,
)
from upnext.evaluate.bootstrap import intervals, paired_difference
from upnext.evaluate.full_ranking import VectorModel, full_ranking
from upnext.evaluate.metrics import Places, ndcg, recall
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window
from upnext.retrieval.checkpoint import checksum_of, read_checkpoint, write_checkpoint
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.config import OffPolicyConfig
from upnext.retrieval.off_policy.learner import CHECKPOINT, OffPolicyLearner


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
    recall_change: Estimate  # recall less that of the first weight, paired
    share_step: (
        Estimate  # premium_share less that of the weight before, paired; the first one's is 0
    )


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
    folder: Path,
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
    found: list[Mapping[str, Float64]] = []
    for weight in weights:
        reward = config.reward.model_copy(update={"premium_weight": weight})
        learner_config = config.model_copy(update={"reward": reward})
        digest = _digest(OffPolicyLearner(learner_config).digest(before), split, judged)
        path = folder / f"weight-{weight:g}.npz"
        worth = _kept(path, digest)
        if worth is None:
            job = folder / "training" / digest
            users, items = _vectors(before, learner_config, queries, job, progress)
            worth = _worth(users, items, split, judged, is_premium)
            write_checkpoint(path, worth, {"digest": digest})
            shutil.rmtree(job)
        found.append(worth)
    return [
        _point(weight, found[i], found[0], found[max(i - 1, 0)]) for i, weight in enumerate(weights)
    ]


def verdict(points: Sequence[Point]) -> str:
    """What the curve says, in one line: whether the share rises with the weight, and what the last weight costs."""
    steps = list(pairwise(points))
    falling = [
        f"{a.weight:g} to {b.weight:g}" for a, b in steps if b.share_step.mean < 0
    ]  # fmt: skip
    if not steps:
        return "one weight is no curve"
    if not falling:
        said = "the share of premium videos rises with every weight"
    elif any(b.share_step.high < 0 for _, b in steps):
        said = f"the share of premium videos does not rise with the weight: it falls from {', '.join(falling)}"
    else:
        said = f"the share of premium videos rises with the weight but for noise ({', '.join(falling)})"
    first, last = points[0], points[-1]
    change = last.recall_change
    if change.high < 0:
        cost = f"recall falls by {-change.mean:.4f} [{-change.high:.4f}, {-change.low:.4f}]"
    else:
        cost = "no loss of recall is certain"
    return f"{said}; from {first.weight:g} to {last.weight:g} {cost}"


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


def _digest(training: str, split: Split, judged: Judged) -> str:
    """What a weight's figures depend on."""
    words = f"{training} {split.checksum()} {judged.n}"
    return checksum_of({"words": np.frombuffer(words.encode(), np.uint8), "listed": judged.listed})


def _kept(path: Path, digest: str) -> dict[str, Array] | None:
    """What each viewer's list was worth in an earlier run of the same; None: there was none."""
    if not path.exists():
        return None
    worth, meta = read_checkpoint(path)
    return worth if meta["digest"] == digest else None


def _vectors(
    material: Material,
    config: OffPolicyConfig,
    queries: Sequence[Query],
    folder: Path,
    progress: Progress,
) -> tuple[Float32, Float32]:
    """(float32[u, d] of the queries, float32[n_items, d]) of a generator trained with these settings in a folder of its own."""
    learner = OffPolicyLearner(config, folder=folder)
    learner.learn(material, progress=progress, resume=(folder / CHECKPOINT).exists())
    return learner.vectors(queries)


def _worth(
    users: Float32, items: Float32, split: Split, judged: Judged, is_premium: Bool
) -> dict[str, Array]:
    """float64[u] by name: each viewer's recall@n, NDCG@10, and the share of premium videos in the first n."""
    bias = np.where(judged.listed, 0.0, -np.inf).astype(np.float32)
    ranked = full_ranking(
        VectorModel(users, items, bias), split.truth, max(judged.n, 10), excluded=split.seen
    )
    lists = ranked(np.arange(len(users)))
    places, listed = Places.of(lists, split.truth), lists[:, : judged.n]
    there = listed >= 0
    premium = (is_premium[listed] & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return {"recall": recall(places, judged.n), "ndcg": ndcg(places, 10), "share": premium}


def _point(
    weight: float,
    worth: Mapping[str, Float64],
    first: Mapping[str, Float64],
    before: Mapping[str, Float64],
) -> Point:
    found = intervals(worth)
    return Point(
        weight, found["recall"], found["ndcg"], found["share"],
        paired_difference(worth["recall"], first["recall"]),
        paired_difference(worth["share"], before["share"]),
    )  # fmt: skip

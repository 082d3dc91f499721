"""Recall on videos that a two-tower network was not trained on, for each part of what is known of them and for the blend.

Some of the videos are held out: no showing of them is learned from. At the window's beginning their first viewers of the last hours are
revealed, as serving would know them. Lists are over all videos and over the new ones alone; what viewers found relevant among the
trained videos is judged on the same lists, so that new videos which crowd them out show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from upnext.core.clock import HOUR_US
from upnext.core.errors import expected
from upnext.core.protocols import Progress
from upnext.core.randomness import rng_for
from upnext.core.types import (
    Bool,
    Estimate,
    Flag,
    Float32,
    History,
    Int64,
    Profile,
    Query,
    Request,
    User,
)
from upnext.evaluate.bootstrap import intervals
from upnext.evaluate.full_ranking import VectorModel, full_ranking
from upnext.evaluate.metrics import Places, recall
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window
from upnext.features.showings import Showings
from upnext.learn.premium_curve import Profiled, queries_of
from upnext.retrieval.material import Material
from upnext.retrieval.training_rows import is_first_showing, strictly_before
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.learner import TwoTowerLearner
from upnext.retrieval.two_tower.new_videos import Known, NewVideos, mean_of_sum
from upnext.retrieval.two_tower.user_tower import UserTower

K: Final = 100
MAX_VIEWERS: Final = (
    16  # of one video whose vectors are in the mean, as features.n_first_viewers keeps them
)


@dataclass(frozen=True)
class Study:
    """One log, an instant, and whose lists are judged."""

    material: Material
    window: Window
    viewers: Profiled
    listed: Bool  # [n_items]
    share: float = 0.2  # of the videos, held out
    hours: Sequence[float] = (1.0, 6.0, 24.0)


@dataclass(frozen=True)
class Placed:
    """One way to place new videos."""

    name: str
    hours: float | None  # whose viewers are known; None: that plays no part
    among_new: Estimate  # recall@100 of new videos, only they in the lists
    among_all: Estimate  # of new videos, all in the lists
    of_trained: Estimate  # of trained videos, all in the lists


def new_video_study(
    study: Study, config: TwoTowerConfig, folder: Path, progress: Progress
) -> list[Placed]:
    """A row without new videos, then one for each way to place them and each number of hours.

    Raises InvalidInput where no viewer found a held-out video relevant in the window."""
    split, showings = study.window.split(exclude_seen=True), study.material.showings
    shown = np.unique(split.train.item_id)
    rng = rng_for("new-video-study", config.seed)
    held = np.sort(rng.permutation(shown)[: int(study.share * len(shown))])
    if not np.isin(split.truth.item_id, held).any():
        raise expected("bench new-videos", "relevant showings of held-out videos", "none")
    before = showings.before(study.window.from_us)
    learner = TwoTowerLearner(config, folder=folder)
    learner.learn(_without(study.material, before, held), progress=progress, resume=True)
    learner.export(folder / "export")
    tower, known = UserTower(folder / "export"), Known.load(folder / "export" / "new_videos.npz")
    vectors = np.load(folder / "export" / "item_vectors.npy")
    inputs = np.load(folder / "export" / "item_inputs.npy")
    queries = queries_of(study.window, split, study.viewers)
    judged = _Judged(
        split, np.concatenate([tower.vectors(q) for q in queries]), vectors, study.listed, held
    )
    rows = [judged.placed("trained alone", None, None)]
    creator = study.material.videos.creator[held]
    for hours in study.hours:
        since_us = study.window.from_us - int(hours * HOUR_US)
        new = NewVideos(known)
        new.meet(held, *_met(before, held, since_us, tower, study.viewers))
        parts = new.parts(held, inputs[held], creator)
        if hours == study.hours[0]:
            rows.append(judged.placed("content", None, parts.content))
            rows.append(judged.placed("creator's other videos", None, parts.creator))
        rows.append(judged.placed("first viewers", hours, parts.viewers))
        rows.append(judged.placed("blend", hours, known.blend.vectors(parts)))
    return rows


def _without(material: Material, before: Showings, held: Int64) -> Material:
    kept = ~np.isin(before.item_id, held)
    rows = {
        name: getattr(before, name)[kept]
        for name in ("user", "item_id", "time_us", "flags", "watch_s", "moment")
    }
    propensity = None if before.propensity is None else before.propensity[kept]
    return replace(material, showings=replace(before, **rows, propensity=propensity))


def _met(
    before: Showings, held: Int64, since_us: int, tower: UserTower, viewers: Profiled
) -> tuple[Float32, Int64]:
    """(mean vectors float32[m, d] of each held video's first viewers since an instant, how many there were int64[m])."""
    is_relevant = (before.flags & np.uint16(Flag.RELEVANT)) != 0
    rows = np.flatnonzero(is_relevant & is_first_showing(before) & (before.time_us >= since_us)
                          & np.isin(before.item_id, held))  # fmt: skip
    rows = rows[np.lexsort((before.time_us[rows], before.item_id[rows]))]
    video = np.searchsorted(held, before.item_id[rows])
    count = np.bincount(video, minlength=len(held))
    place = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    total = np.zeros((len(held), tower.embedding_size), np.float32)
    starts, end = before.starts(), strictly_before(before)
    for row, own in zip(
        rows[place < MAX_VIEWERS].tolist(), video[place < MAX_VIEWERS].tolist(), strict=True
    ):
        user = int(before.user[row])
        past = slice(starts[user], end[row])
        history = History(
            before.item_id[past], before.time_us[past], before.watch_s[past], before.flags[past]
        )
        user_id = before.user_ids[user]
        profile = viewers.profile(user_id) or Profile()
        asked = Request("", user_id, "", 1, int(before.time_us[row]))
        total[own] += tower.vectors(Query(asked, User(user_id, profile, history)))[0]
    known = np.minimum(count, MAX_VIEWERS).astype(np.int64)
    return mean_of_sum(total, known), count.astype(np.int64)


@dataclass(frozen=True)
class _Judged:
    """The window's viewers, and the videos of which `held` are to be placed."""

    split: Split
    users: Float32
    vectors: Float32
    listed: Bool
    held: Int64

    def placed(self, name: str, hours: float | None, placed: Float32 | None) -> Placed:
        """The recalls with the held videos at `placed` float32[m, d]; None, or a row of zeros: in no list."""
        vectors, is_held = self.vectors.copy(), np.zeros(len(self.vectors), np.bool_)
        is_held[self.held] = True
        vectors[self.held] = 0 if placed is None else placed
        listed = self.listed & vectors.any(axis=1)
        is_new = is_held[self.split.truth.item_id]
        everything = self._lists(vectors, listed)
        only_new = self._lists(vectors, listed & is_held)
        figures = intervals(
            {
                "among_new": recall(only_new.where(is_new), K),
                "among_all": recall(everything.where(is_new), K),
                "of_trained": recall(everything.where(~is_new), K),
            }
        )
        return Placed(name, hours, **figures)

    def _lists(self, vectors: Float32, listed: Bool) -> Places:
        model = VectorModel(self.users, vectors, np.where(listed, 0.0, -np.inf).astype(np.float32))
        make = full_ranking(model, self.split.truth, K, excluded=self.split.seen)
        return Places.of(make(np.arange(len(self.users))), self.split.truth)

"""What fine-tuning keeps of a full training, and what it costs: three models of one generator, judged on one window.

    stale        trained on everything before the tail
    fine-tuned   that one, gone on with the tail alone
    full         trained on everything up to the window

All three are asked by the same viewers with the same histories, up to date at the window's beginning, over the whole catalogue: what differs
is what the weights (and the popularity inside them) know. Costs are processor seconds of learning in one process, and examples.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from upnext.core.errors import expected
from upnext.core.protocols import Progress
from upnext.core.types import Array, Bool, Float32, Int64, Query
from upnext.evaluate.full_ranking import VectorModel, full_ranking
from upnext.evaluate.retrieval_report import (
    Cases,
    Catalogue,
    Judging,
    RetrievalReport,
    evaluate_retrieval,
)
from upnext.evaluate.split import Split
from upnext.evaluate.window import Window
from upnext.learn.generators import EXPORT, examples_of, for_fine_tuning, learner_of
from upnext.learn.premium_curve import Profiled, queries_of
from upnext.pipeline.trained import generator_of
from upnext.retrieval.generator import Generator
from upnext.retrieval.material import Material
from upnext.settings.settings import Settings

METRICS: Final = ("recall@100", "ndcg@10")
DEPTH: Final = 100
MODELS: Final = ("stale", "fine-tuned", "full")


@dataclass(frozen=True)
class Study:
    """One log, three instants, and whose lists are judged."""

    material: Material  # its showings may go on after the window
    tail_us: int  # what a fine-tuning learns begins
    window: Window
    viewers: Profiled
    listed: Bool  # [n_items] active videos


@dataclass(frozen=True)
class Cost:
    """Of one training."""

    processor_s: float
    examples: int  # times the passes over them


@dataclass(frozen=True)
class Compared:
    """One generator."""

    costs: Mapping[str, Cost]  # of MODELS; of "stale" the base's
    report: RetrievalReport  # rows of MODELS

    def share(self, of: str) -> float:
        """What the fine-tuning cost of a full training's "processor_s" or "examples"."""
        return float(getattr(self.costs["fine-tuned"], of) / getattr(self.costs["full"], of))


def compared(
    name: str, study: Study, settings: Settings, folder: Path, progress: Progress
) -> Compared:
    """Trains the three in `folder` and judges them. Raises InvalidInput where the tail or the window is empty."""
    split = study.window.split(exclude_seen=True)
    whole = replace(study.material, showings=split.train)
    before = replace(whole, showings=split.train.before(study.tail_us))
    if not (split.train.time_us >= study.tail_us).any():
        raise expected("fine-tuning", "showings between the base and the window", 0)
    queries = queries_of(study.window, split, study.viewers)
    tuned = replace(whole, since_us=study.tail_us)
    trainings = {"stale": (before, settings), "fine-tuned": (tuned, for_fine_tuning(settings)),
                 "full": (whole, settings)}  # fmt: skip
    costs: dict[str, Cost] = {}
    lists: dict[str, Int64] = {}
    snapshot: Mapping[str, Array] | None = None
    for model, (material, own) in trainings.items():
        place = folder / name / model
        start_from = snapshot if model == "fine-tuned" else None
        costs[model], weights = trained(name, material, own, place, start_from, progress)
        snapshot = weights if model == "stale" else snapshot
        vectors = np.load(place / EXPORT / "item_vectors.npy")
        listed = study.listed & vectors.any(axis=1)
        found = exact_lists(generator_of(name, place / EXPORT), vectors, queries, split, listed)
        lists[model] = found
    cases = Cases(split.truth, split.viewer(), segments=_newcomers(split, before))
    judging = Judging(METRICS, depth=DEPTH, against=("full",))
    report = evaluate_retrieval(lists, cases, Catalogue(whole.n_items), judging)
    return Compared(costs, report)


def trained(
    name: str,
    material: Material,
    settings: Settings,
    folder: Path,
    start_from: Mapping[str, Array] | None,
    progress: Progress,
) -> tuple[Cost, Mapping[str, Array]]:
    """(what learning cost, the weights); the export lies in `folder`."""
    shared = {"seed": settings.learn.seed, "device": settings.learn.device}
    learner = learner_of(name, settings.retrieval, shared, folder)
    began = time.process_time()
    said = learner.learn(material, progress=progress, start_from=start_from)
    spent = time.process_time() - began
    learner.export(folder / EXPORT)
    return Cost(spent, examples_of(said)), learner.snapshot()


def _newcomers(split: Split, before: Material) -> dict[str, Bool]:
    """bool[p] over the truth's pairs: videos and viewers that nobody knew before the tail; left out where there are none."""
    known_items, known_users = np.unique(before.showings.item_id), np.unique(before.showings.user)
    is_new = {
        "new videos": ~np.isin(split.truth.item_id, known_items),
        "new viewers": ~np.isin(split.user[split.truth.users()], known_users),
    }
    return {name: mask for name, mask in is_new.items() if mask.any()}


def exact_lists(
    generator: Generator, vectors: Float32, queries: Sequence[Query], split: Split, listed: Bool
) -> Int64:
    """int64[u, DEPTH]: the best unseen videos of each query by the largest inner product with any of its vectors, -1 pads.

    vectors float32[n_items, d]; listed bool[n_items]: which may stand in a list. Exact: no index takes part."""
    found = [generator.vectors(query) for query in queries]
    owner = np.repeat(np.arange(len(found)), [len(rows) for rows in found]).astype(np.int64)
    asked = np.concatenate(found) if len(owner) else np.zeros((0, vectors.shape[1]), np.float32)
    bias = np.where(listed, 0.0, -np.inf).astype(np.float32)
    truth, seen = split.truth.take(owner), split.seen.take(owner)
    model = VectorModel(asked, vectors, bias)
    each = full_ranking(model, truth, DEPTH, excluded=seen)(np.arange(len(asked)))
    lists = np.full((len(queries), DEPTH), -1, np.int64)
    if len(owner) == len(queries) and len(np.unique(owner)) == len(owner):
        return each  # one vector each
    for user in np.unique(owner).tolist():
        rows = owner == user
        lists[user] = _merged(
            each[rows], asked[rows], vectors, split.truth.take(np.array([user])).item_id
        )
    return lists


def _merged(each: Int64, asked: Float32, vectors: Float32, relevant: Int64) -> Int64:
    """int64[DEPTH]: the best of lists int64[q, DEPTH] by the largest product; of equals the relevant ones stand last."""
    ids = np.unique(each[each >= 0])
    score = (vectors[ids] @ asked.T).max(axis=1)
    best: Int64 = ids[np.lexsort((ids, np.isin(ids, relevant), -score))][:DEPTH]
    merged = np.full(DEPTH, -1, np.int64)
    merged[: len(best)] = best
    return merged

"""What query vectors around a viewer's mean find, in a world of viewers with two tastes each.

    python benchmarks/variational_worlds.py [--beta 0.1]

Eight tastes of forty videos; a viewer has two, the first thrice as often as the second. Printed by length of history: recall of the unseen
videos of each taste in a list of forty, for the mean alone, three vectors in each direction, and the medoids of several interests; how many
different videos each vector's own forty hold together; and the viewer's uncertainty.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from upnext.core.types import Flag, History, Profile, Query, Request, User
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.features.showings import Showings
from upnext.features.vector_table import VectorTable
from upnext.retrieval.interests.config import InterestsConfig
from upnext.retrieval.interests.generator import InterestsGenerator
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.variational.config import VariationalConfig
from upnext.retrieval.variational.generator import VariationalGenerator
from upnext.retrieval.variational.learner import VariationalLearner

N_TASTES, PER_TASTE, N_USERS, LIST = 8, 40, 600, 40
N_ITEMS = N_TASTES * PER_TASTE
NOW_US, DAY_US = 1_700_000_000_000_000, 86_400_000_000
WATCHED = Flag.IMPRESSION | Flag.WATCHED | Flag.WATCHED_HALF


def drawn(rng: np.random.Generator, tastes: np.ndarray, n: int) -> np.ndarray:
    """int64[n]: different videos, three of four of the first taste."""
    weight = np.full(N_ITEMS, 0.05 / N_ITEMS)
    for taste, share in zip(tastes, (0.7125, 0.2375)):
        weight[taste * PER_TASTE : (taste + 1) * PER_TASTE] += share / PER_TASTE
    return rng.choice(N_ITEMS, n, replace=False, p=weight / weight.sum())


def world(rng: np.random.Generator) -> Material:
    """600 viewers with 1 to 20 showings each."""
    n = 1 + np.arange(N_USERS) % 20
    user = np.repeat(np.arange(N_USERS), n)
    item_id = np.concatenate([drawn(rng, rng.permutation(N_TASTES)[:2], m) for m in n])
    time_us = NOW_US - (30 - np.concatenate([np.arange(m) for m in n])) * DAY_US // 4
    moments = [Moment(Profile(), int(t), "home") for t in time_us]
    showings = Showings(
        user, item_id, time_us, np.full(len(user), WATCHED, np.uint16),
        np.zeros(len(user), np.float32), np.arange(len(user)),
        tuple(str(u) for u in range(N_USERS)), moments, {},
    )  # fmt: skip
    taste = np.repeat(np.arange(N_TASTES), PER_TASTE)
    content = np.eye(N_TASTES)[taste] + 0.3 * rng.standard_normal((N_ITEMS, N_TASTES))
    zeros = np.zeros(N_ITEMS, np.int64)
    codes = VideoCodes(
        zeros.astype(np.int32), zeros, zeros.astype(np.int32), np.ones(N_ITEMS, np.float32),
        zeros.astype(bool), zeros,
    )  # fmt: skip
    encoder = ContextEncoder(Vocabulary.learn({"surface": ["home"]}))
    return Material(showings, content.astype(np.float32), encoder, codes)


def query_of(items: np.ndarray, viewer: int) -> Query:
    n = len(items)
    history = History(
        items, NOW_US - (n - np.arange(n)) * DAY_US // 4, np.zeros(n, np.float32),
        np.full(n, WATCHED, np.uint16),
    )  # fmt: skip
    request = Request("r", str(viewer), "home", 10, NOW_US)
    return Query(request, User(str(viewer), history=history))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beta", type=float, default=VariationalConfig().beta)
    beta = parser.parse_args().beta
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    config = VariationalConfig(
        embedding_size=16, input_size=16, hidden=(32,), content_hidden=32, n_uniform=80,
        batch_size=64, epochs=8, learning_rate=0.01, temperature=0.3, beta=beta,
    )  # fmt: skip
    generators: dict[str, VariationalGenerator | InterestsGenerator] = {}
    material = world(rng)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learner = VariationalLearner(config)
        print(dict(learner.learn(material)))
        for directions in ("mean", "uniform", "signs", "normal"):
            learner.config = config.model_copy(update={"directions": directions})
            learner._network.config = learner.config
            learner.export(folder / directions)
            generators[directions] = VariationalGenerator(folder / directions)
        videos = np.load(folder / "mean" / "item_means.npy")
        generators["interests"] = InterestsGenerator(InterestsConfig(), VectorTable(videos))
        for n in (1, 2, 5, 10, 20):
            table(generators, videos, n)


def table(generators: dict, videos: np.ndarray, n: int) -> None:
    """Prints the figures of 100 new viewers with n showings."""
    rng = np.random.default_rng(n)
    tastes = [rng.permutation(N_TASTES)[:2] for _ in range(100)]
    histories = [drawn(rng, own, n) for own in tastes]
    for name, generator in generators.items():
        recall, size = np.zeros((100, 2)), np.zeros(100)
        for viewer, (own, items) in enumerate(zip(tastes, histories)):
            score = generator.vectors(query_of(items, viewer)) @ videos.T
            score[:, items] = -np.inf
            listed = np.argsort(-score.max(0))[:LIST] // PER_TASTE
            unseen = PER_TASTE - np.bincount(items // PER_TASTE, minlength=N_TASTES)[own]
            recall[viewer] = (listed[:, None] == own).sum(0) / unseen
            size[viewer] = len(np.unique(np.argsort(-score, axis=1)[:, :LIST]))
        error = 1.96 * recall.std(0) / np.sqrt(100)
        told = ", ".join(f"{m:.3f} +- {e:.3f}" for m, e in zip(recall.mean(0), error))
        print(f"history {n:2d}  {name:10s} recall of tastes {told}  videos {size.mean():.1f}")
    mean = generators["mean"]
    uncertain = [mean.viewer(query_of(items, 0)).uncertainty for items in histories]
    print(f"history {n:2d}  uncertainty {np.mean(uncertain):.3f}")


if __name__ == "__main__":
    main()

"""The candidate generators of a training job: those that some surface asks for, each learned, exported and indexed alike; and what
sources without vectors search."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from upnext.core.protocols import Progress
from upnext.core.types import Array, Int64
from upnext.features.showings import Showings
from upnext.retrieval.checkpoint import read_checkpoint, write_checkpoint
from upnext.retrieval.config import TRAINED, RetrievalConfig
from upnext.retrieval.content_profile import ContentProfileLearner
from upnext.retrieval.factorisation.factorisation_learner import FactorisationLearner
from upnext.retrieval.factorisation.warp_learner import WarpLearner
from upnext.retrieval.generator import GeneratorLearner
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.learner import OffPolicyLearner
from upnext.retrieval.sequence.learner import SequenceLearner
from upnext.retrieval.two_tower.learner import TwoTowerLearner
from upnext.retrieval.variational.learner import VariationalLearner
from upnext.retrieval.viewers import viewers_of
from upnext.retrieval.word_index import WordIndex, texts_of_columns
from upnext.settings.settings import Settings

SNAPSHOT = "snapshot.npz"
EXPORT = "export"
LEARNED = ("two_tower", *TRAINED)
FINE_TUNED = tuple(name for name in LEARNED if name != "content_profile")


def asked_for(settings: Settings) -> tuple[str, ...]:
    """The trained generators, besides the two-tower network, with a quota on any surface; in a fixed order."""
    return tuple(name for name in TRAINED if is_asked_for(name, settings))


def is_asked_for(name: str, settings: Settings) -> bool:
    """Whether a source has a quota on any surface."""
    return any(surface.sources.get(name, 0) > 0 for surface in settings.surfaces.values())


@dataclass(frozen=True)
class Asked:
    """One generator to train."""

    name: str
    settings: Settings
    start_from: Mapping[str, Array] | None = None  # an earlier snapshot to go on from


def learn_generator(
    asked: Asked, material: Material, progress: Progress, folder: Path
) -> Mapping[str, Any]:
    """Trains a generator in `folder`, where a training that was cut off goes on, and exports it there."""
    settings = asked.settings
    shared = {"seed": settings.learn.seed, "device": settings.learn.device}
    learner = learner_of(asked.name, settings.retrieval, shared, folder)
    said = learner.learn(material, progress=progress, resume=True, start_from=asked.start_from)
    write_checkpoint(folder / SNAPSHOT, learner.snapshot(), {})
    learner.export(folder / EXPORT)
    return {key: value for key, value in said.items() if np.isfinite(value)}


def learner_of(
    name: str, config: RetrievalConfig, shared: Mapping[str, Any], folder: Path
) -> GeneratorLearner:
    """The learner of a trained generator, its settings with `shared` (seed, device, epochs) put in."""
    own = {key: value for key, value in shared.items() if key != "device"}  # no network, no device
    match name:
        case "two_tower":
            return TwoTowerLearner(config.two_tower.model_copy(update=shared), folder=folder)
        case "factorisation":
            return FactorisationLearner(config.factorisation.model_copy(update=own), folder=folder)
        case "warp":
            return WarpLearner(config.warp.model_copy(update=own), folder=folder)
        case "content_profile":
            return ContentProfileLearner(config.content_profile)
        case "sequence":
            return SequenceLearner(config.sequence.model_copy(update=shared), folder=folder)
        case "off_policy":
            return OffPolicyLearner(config.off_policy.model_copy(update=shared), folder=folder)
        case "variational":
            return VariationalLearner(config.variational.model_copy(update=shared), folder=folder)
        case _:
            raise AssertionError(f"no learner of generator {name!r}")


def with_epochs(settings: Settings, epochs: int) -> Settings:
    """The settings with so many passes of every generator."""
    retrieval = settings.retrieval
    changed = {
        name: getattr(retrieval, name).model_copy(update={"epochs": epochs}) for name in FINE_TUNED
    }
    return settings.model_copy(update={"retrieval": retrieval.model_copy(update=changed)})


def for_fine_tuning(settings: Settings) -> Settings:
    """The settings with every generator's epochs and learning rate those of a fine-tuning.

    Factorisation solves and has no rate; WARP keeps its own, as the sums of squares in its snapshot go on to shrink its steps."""
    settings = with_epochs(settings, settings.learn.fine_tune_epochs)
    changed: dict[str, Any] = {}
    for name in ("two_tower", "sequence", "variational", "off_policy"):
        config = getattr(settings.retrieval, name)
        rate = config.learning_rate * settings.learn.fine_tune_rate
        changed[name] = config.model_copy(update={"learning_rate": rate})
    return settings.model_copy(update={"retrieval": settings.retrieval.model_copy(update=changed)})


def snapshot_in(folder: Path) -> Mapping[str, Array]:
    """The weights that a trained generator's folder holds."""
    arrays, _ = read_checkpoint(folder / SNAPSHOT)
    return arrays


def snapshots_in(folder: Path) -> Mapping[str, Mapping[str, Array]]:
    """{generator: its weights} of a stage's folder: the two-tower network's lie in it, the others' below it."""
    found = {"two_tower": snapshot_in(folder)}
    return found | {n: snapshot_in(folder / n) for n in TRAINED if (folder / n).exists()}


def examples_of(said: Mapping[str, Any]) -> int:
    """What a training learned from, times the passes over it; 0 for what is computed without examples."""
    counts = [said[name] for name in ("n_examples", "n_pairs", "n_actions") if name in said]
    return int(sum(counts) * said.get("epochs", 1))


def summed(*parts: Mapping[str, int]) -> dict[str, int]:
    """{generator: examples} of several trainings together."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def put_into_release(
    name: str, folder: Path, release: Path, active: Int64, settings: Settings
) -> None:
    """Copies a trained generator into a release's folder and builds its index over the active videos that have a vector."""
    target = release / "generators" / name
    shutil.copytree(folder / EXPORT, target, dirs_exist_ok=True)
    vectors = np.load(target / "item_vectors.npy", mmap_mode="r")
    known = active[np.asarray(vectors[active]).any(axis=1)]
    config = settings.retrieval.index
    if name == "content_profile":
        config = settings.retrieval.content_profile.index_of(config)
    InvertedIndex.build(np.asarray(vectors[known]), known, config).save(target / "index")


def save_viewers(showings: Showings, n_items: int, settings: Settings, folder: Path) -> None:
    """Writes the sample of viewers that user_knn searches, where a surface asks for it."""
    if is_asked_for("user_knn", settings):
        viewers_of(showings, n_items, settings.retrieval.user_knn).save(folder)


def save_words(videos: pa.Table, settings: Settings, folder: Path) -> None:
    """Writes the index of titles and tags that search_history searches, where a surface asks for it. videos: in order of item_id."""
    if is_asked_for("search_history", settings):
        columns = (videos.column(name).to_pylist() for name in ("title", "tags"))
        texts = texts_of_columns(*columns)
        WordIndex.build(texts, settings.retrieval.search_history).save(folder)

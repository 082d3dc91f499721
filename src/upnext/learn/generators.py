"""The candidate generators of a training job: those that some surface asks for, each learned, exported and indexed alike."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from upnext.core.protocols import Progress
from upnext.core.types import Array, Int64
from upnext.retrieval.checkpoint import read_checkpoint, write_checkpoint
from upnext.retrieval.config import TRAINED, RetrievalConfig
from upnext.retrieval.generator import GeneratorLearner
from upnext.retrieval.index import FaissIndex
from upnext.retrieval.material import Material
from upnext.retrieval.off_policy.learner import OffPolicyLearner
from upnext.settings.settings import Settings

SNAPSHOT = "snapshot.npz"
EXPORT = "export"


def asked_for(settings: Settings) -> tuple[str, ...]:
    """The trained generators, besides the two-tower network, with a quota on any surface; in a fixed order."""
    wanted = {
        name
        for surface in settings.surfaces.values()
        for name, quota in surface.sources.items()
        if quota > 0
    }
    return tuple(name for name in TRAINED if name in wanted)


@dataclass(frozen=True)
class Asked:
    """One generator to train."""

    name: str
    settings: Settings
    epochs: int | None = None  # None: as its settings say
    start_from: Mapping[str, Array] | None = None  # an earlier snapshot to go on from


def learn_generator(
    asked: Asked, material: Material, progress: Progress, folder: Path
) -> Mapping[str, Any]:
    """Trains a generator in `folder`, where a training that was cut off goes on, and exports it there."""
    settings = asked.settings
    shared: dict[str, Any] = {"seed": settings.learn.seed, "device": settings.learn.device}
    if asked.epochs is not None:
        shared["epochs"] = asked.epochs
    learner = learner_of(asked.name, settings.retrieval, shared, folder)
    said = learner.learn(material, progress=progress, resume=True, start_from=asked.start_from)
    write_checkpoint(folder / SNAPSHOT, learner.snapshot(), {})
    learner.export(folder / EXPORT)
    return {key: value for key, value in said.items() if np.isfinite(value)}


def learner_of(
    name: str, config: RetrievalConfig, shared: Mapping[str, Any], folder: Path
) -> GeneratorLearner:
    """The learner of a trained generator, its settings with `shared` (seed, device, epochs) put in."""
    match name:
        case "off_policy":
            return OffPolicyLearner(config.off_policy.model_copy(update=shared), folder=folder)
        case _:
            raise AssertionError(f"no learner of generator {name!r}")


def snapshot_in(folder: Path) -> Mapping[str, Array]:
    """The weights that a trained generator's folder holds."""
    arrays, _ = read_checkpoint(folder / SNAPSHOT)
    return arrays


def put_into_release(
    name: str, folder: Path, release: Path, active: Int64, settings: Settings
) -> None:
    """Copies a trained generator into a release's folder and builds its index over the active videos that have a vector."""
    target = release / "generators" / name
    shutil.copytree(folder / EXPORT, target, dirs_exist_ok=True)
    vectors = np.load(target / "item_vectors.npy", mmap_mode="r")
    known = active[np.asarray(vectors[active]).any(axis=1)]
    FaissIndex.build(np.asarray(vectors[known]), known, settings.retrieval.index).save(
        target / "index"
    )

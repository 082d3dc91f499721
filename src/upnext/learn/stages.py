"""The stages that a training and a fine-tuning share, over stores as they were when the job began."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.content.reduction import Reduction
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress
from upnext.core.types import Array, Float32
from upnext.events.log import SqliteEventLog
from upnext.events.past_log import PastLog
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.features.showings import Showings, showings_of
from upnext.features.slate_context import slate_slots
from upnext.learn.generators import (
    SNAPSHOT,
    Asked,
    asked_for,
    examples_of,
    learn_generator,
    put_into_release,
    save_viewers,
)
from upnext.learn.instants import Instants
from upnext.learn.job import Began, Job
from upnext.learn.judge import Judgement, judge
from upnext.pipeline.blend import DEFAULT_MIXING
from upnext.pipeline.release_parts import write_catalog_marks
from upnext.retrieval.covisits import neighbours_of
from upnext.retrieval.inverted_index import InvertedIndex
from upnext.retrieval.material import Material, VideoCodes
from upnext.settings.settings import Settings

ACTIVE = VIDEO_STATUSES.index("active")
FEW_SHOWINGS = 200
SNAPSHOTS = "snapshots"  # of a release: what a fine-tuning goes on from; serving never reads them
RANKER_STATE = "ranker.safetensors"  # among them
Snapshots = Mapping[str, Mapping[str, Array]]


class Stages:
    """Of one job."""

    def __init__(
        self,
        settings: Settings,
        view: CatalogView,
        log: SqliteEventLog,
        releases: ReleaseStore,
        progress: Progress,
    ) -> None:
        self._settings, self.view, self._stored = settings, view, log
        self._releases, self._progress = releases, progress
        self._folder = settings.folder / "training"
        self._see(Began.now(log, view))

    def _see(self, began: Began) -> None:
        """Log and catalogue end, for this job, where they ended then."""
        self.began = began
        self.view.keep_first(began.n_videos)
        self._log = PastLog(self._stored, began.log_end)

    def begin(self, *, resume: bool) -> None:
        """Sets up the training library; a job that goes on sees what it saw when it began."""
        torch.set_num_threads(self._settings.learn.threads or torch.get_num_threads())
        torch.use_deterministic_algorithms(True)
        if resume:
            self._see(Began.of_job(self._folder, self._stored))

    def job(self, asked: Mapping[str, Any], *, resume: bool) -> Job:
        """The job's folder, known by what is asked, the settings and where the stores end."""
        settings = self._settings.model_dump(mode="json")
        identity = {**self.began.to_json(), **asked, "settings": settings}
        return Job(self._folder, identity, resume=resume)

    def showings(self, until_us: int | None) -> Showings:
        """Everything shown before the instant. Raises InvalidInput for too little."""
        self._progress.start("read the log", None, "showings")
        slates = slate_slots(self._log) if "off_policy" in asked_for(self._settings) else None
        config = self._settings.features
        showings = showings_of(self._log, self.view, config, before_us=until_us, slates=slates)
        self._progress.advance(len(showings))
        self._progress.done()
        if len(showings) < FEW_SHOWINGS:
            raise InvalidInput(
                f"train: expected at least {FEW_SHOWINGS} showings, got {len(showings)}; "
                "until then the popularity feed serves"
            )
        return showings

    def material(
        self, showings: Showings, content: Float32, words: Vocabulary, since_us: int = 0
    ) -> Material:
        """What generators learn from."""
        videos = VideoCodes.of(self.view, np.arange(len(content)))
        return Material(showings, content, ContextEncoder(words), videos, since_us)

    def learn(
        self,
        job: Job,
        part: str,
        material: Material,
        settings: Settings,
        start_from: Snapshots | None = None,
    ) -> Mapping[str, int]:
        """{generator: examples it learned from, times the passes} of every generator; each is a stage below the stage `part`."""
        start_from = start_from or {}

        def first(folder: Path) -> Mapping[str, Any]:
            asked = Asked("two_tower", settings, start_from.get("two_tower"))
            said = learn_generator(asked, material, self._progress, folder)
            self._count(material, folder)
            return said

        said = {"two_tower": job.stage(part, first)}
        for name in asked_for(settings):
            asked = Asked(name, settings, start_from.get(name))
            run = partial(learn_generator, asked, material, self._progress)
            said[name] = job.stage(f"{part}/{name}", run)
        return {name: examples_of(one) for name, one in said.items()}

    def _count(self, material: Material, folder: Path) -> None:
        """What is counted, not trained: neighbours, and the sample of viewers where a surface asks for it."""
        config, n_items = self._settings.retrieval.item_to_item, material.n_items
        neighbours_of(material.showings, n_items, config, self._progress).save(folder / "covisits")
        save_viewers(material.showings, n_items, self._settings, folder / "viewers")

    def release_folder(
        self, job: Job, generators: str, target: Path, content: Float32, vocabulary: Vocabulary
    ) -> None:
        """A release's folder without a ranker: content, towers, neighbours, index, snapshots, starting weights of the blend."""
        if (target / "features.json").exists():
            return
        target.mkdir(parents=True, exist_ok=True)
        made, text = job.folder / generators, job.folder / "content"
        shutil.copytree(text / "content", target / "content", dirs_exist_ok=True)
        shutil.copyfile(text / "reduction.npz", target / "reduction.npz")
        shutil.copytree(made / "export", target / "retrieval", dirs_exist_ok=True)
        for part in (made / "covisits", made / "viewers", text / "words"):
            if part.exists():  # the last two where a surface asks for them
                shutil.copytree(part, target / part.name, dirs_exist_ok=True)
        np.save(target / "static.npy", Reduction.load(text / "reduction.npz").apply(content))
        vectors = np.load(target / "retrieval" / "item_vectors.npy")
        active = np.flatnonzero(self.view.status[: len(vectors)] == ACTIVE)
        placed = active[vectors[active].any(axis=1)]  # by ids alone a video may have no place yet
        config = self._settings.retrieval.index
        InvertedIndex.build(vectors[placed], placed, config).save(target / "index")
        (target / SNAPSHOTS).mkdir(exist_ok=True)
        shutil.copyfile(made / SNAPSHOT, target / SNAPSHOTS / "two_tower.npz")
        for name in asked_for(self._settings):
            put_into_release(name, made / name, target, active, self._settings)
            shutil.copyfile(made / name / SNAPSHOT, target / SNAPSHOTS / f"{name}.npz")
        DEFAULT_MIXING.save(target / "blend")
        described = np.load(text / "described.npy")
        write_catalog_marks(target, described, self.began.change_seq, vocabulary)

    def gate(self, release: Path, showings: Showings, instants: Instants) -> Judgement:
        """The verdict on the release in a folder."""
        return judge(
            self._settings, self.view, self._log, self._releases, release, showings,
            instants.gate_us, instants.until_us, self._progress,
        )  # fmt: skip

    def window(self, showings: Showings, instants: Instants) -> dict[str, Any]:
        """The manifest's data window of a training."""
        timed = showings.time_us[showings.time_us > 0]
        return {
            "from_us": int(timed.min()) if len(timed) else 0,
            "until_us": instants.until_us,
            "ranker_from_us": instants.t0_us,
            "ranker_until_us": instants.until_us,
            "n_showings": len(showings),
            "n_users": len(showings.user_ids),
            "log_seq": self.began.log_seq,
        }


def vocabulary_in(release: Path) -> Vocabulary:
    """The commonest words of viewers and contexts that a release was trained with."""
    meta = json.loads((release / "features.json").read_text("utf-8"))
    return Vocabulary.from_json(meta["vocabulary"])


def vocabulary_of(showings: Showings) -> Vocabulary:
    """The commonest words of viewers and contexts, one count per moment."""
    moments = showings.moments
    return Vocabulary.learn(
        {
            "gender": (m.profile.gender for m in moments),
            "language": (m.language or m.profile.language for m in moments),
            "country": (m.country or m.profile.country for m in moments),
            "city": (m.profile.city for m in moments),
            "device": (m.device for m in moments),
            "surface": (m.surface for m in moments),
        }
    )

"""One training job: from the log to a published release.

    content      title encoder, tag vectors, content vectors of the catalogue
    generators   two-tower network, item-to-item neighbours and what else surfaces ask for, on showings before t0
    rows         the log after t0 replayed through those generators: what the ranker learns from
    ranker       the multi-task network and the merge's weights, on rows before the gate's window
    gate         that release judged on the window, beside the current release (the first one: beside popularity)
    refit        the generators again, on every showing there is; the ranker stays
    publish      index, checksums, one rename

The gate's models have not seen the gate's window; the release's generators have (the final refit), its ranker has not.
Killed anywhere, the job goes on with `resume` from its last whole stage or epoch, to the same weights; it sees the log and the
catalogue up to where they ended when it began, whatever has come since.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.content.reduction import Reduction
from upnext.core.clock import DAY_US, HOUR_US
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress
from upnext.core.types import Array, Float32
from upnext.evaluate.gather import gathered_parts
from upnext.events.log import SqliteEventLog
from upnext.events.past_log import PastLog
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.features.counters import CounterTable
from upnext.features.showings import Showings, showings_of
from upnext.features.slate_context import slate_slots
from upnext.learn.blend import fit_blend
from upnext.learn.catalog_content import learn_content
from upnext.learn.generators import (
    Asked,
    asked_for,
    learn_generator,
    put_into_release,
    save_viewers,
    save_words,
    snapshot_in,
)
from upnext.learn.job import Began, Job
from upnext.learn.judge import LEAST_VIEWERS, Judgement, judge
from upnext.learn.rows_file import load_rows, save_rows
from upnext.pipeline.blend import DEFAULT_WEIGHTS, Blend
from upnext.pipeline.release_parts import write_catalog_marks
from upnext.pipeline.rows import Drawing, GatheredRows, merged_rows, share_of
from upnext.ranking.ranker_learner import RankerLearner
from upnext.retrieval.checkpoint import read_checkpoint
from upnext.retrieval.covisits import neighbours_of
from upnext.retrieval.index import FaissIndex
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.two_tower.learner import CHECKPOINT, TwoTowerLearner
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings

ACTIVE = VIDEO_STATUSES.index("active")
UNKNOWN = VIDEO_STATUSES.index("unknown")
STATIC_SIZE = 32
FEW_SHOWINGS = 200


@dataclass(frozen=True)
class TrainReport:
    """What a training job did."""

    release_id: str | None  # None: the gate refused it
    is_promoted: bool
    judgement: Judgement
    metrics: Mapping[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Instants:
    """The job's boundaries, UTC microseconds."""

    t0_us: int  # generators of the first pass learn before, ranker rows come after
    gate_us: int  # the gate's window begins
    until_us: int  # nothing at or after is seen


class Training:
    """One job over opened stores."""

    def __init__(
        self,
        settings: Settings,
        view: CatalogView,
        log: SqliteEventLog,
        releases: ReleaseStore,
        progress: Progress,
    ) -> None:
        self._settings = settings
        self._view = view
        self._stored = log
        self._releases = releases
        self._progress = progress
        self._see(Began.now(log, view))

    def _see(self, began: Began) -> None:
        """Log and catalogue end, for this job, where they ended then."""
        self._began = began
        self._view.keep_first(began.n_videos)
        self._log = PastLog(self._stored, began.log_end)

    def run(self, until_us: int | None, *, resume: bool, force: bool) -> TrainReport:
        """Learns from everything before `until_us` (None: everything) and publishes if the gate accepts, or `force`."""
        learn = self._settings.learn
        torch.set_num_threads(learn.threads or torch.get_num_threads())
        torch.use_deterministic_algorithms(True)
        folder = self._settings.folder / "training"
        if resume:
            self._see(Began.of_job(folder, self._stored))
        showings = self._showings(until_us)
        instants = instants_of(showings, until_us, self._settings)
        asked = {"until_us": until_us, "settings": self._settings.model_dump(mode="json")}
        job = Job(folder, {**self._began.to_json(), **asked}, resume=resume)
        first = job.folder / "first"
        job.stage("content", self._content)
        content = np.load(job.folder / "content" / "vectors.npy")
        vocabulary = vocabulary_of(showings)
        before_t0 = showings.before(instants.t0_us)
        job.stage("generators", lambda f: self._generators(f, before_t0, content, vocabulary))
        self._others(job, "generators", self._material(before_t0, content, vocabulary))
        self._release_folder(job, "generators", first, content, vocabulary)
        rows_said = job.stage("rows", lambda f: self._rows(f, first, showings, instants))
        said = job.stage("ranker", lambda f: self._ranker(f, job.folder / "rows"))
        shutil.copytree(job.folder / "ranker" / "ranker", first / "ranker", dirs_exist_ok=True)
        shutil.copytree(job.folder / "ranker" / "blend", first / "blend", dirs_exist_ok=True)
        judgement = Judgement.from_json(
            job.stage("gate", lambda f: self._gate(first, showings, instants).to_json())
        )
        notes = [str(note) for note in said["notes"]]
        metrics = {k: float(v) for k, v in said["metrics"].items()}
        if not judgement.accepted and not force:
            return TrainReport(None, False, judgement, metrics, tuple(notes))
        job.stage("refit", lambda f: self._refit(f, showings, content, vocabulary))
        self._others(job, "refit", self._material(showings, content, vocabulary))
        folder = self._releases.begin()
        self._release_folder(job, "refit", folder, content, vocabulary)
        shutil.copytree(job.folder / "ranker" / "ranker", folder / "ranker")
        shutil.copytree(job.folder / "ranker" / "blend", folder / "blend", dirs_exist_ok=True)
        release_id = self._releases.publish(
            folder,
            settings=self._settings.model_dump(mode="json"),
            data_window=self._window(showings, instants) | {"rows": dict(rows_said)},
            metrics={
                **metrics,
                **judgement.metrics,
                "gate": judgement.word,
                "off_policy": dict(judgement.off_policy),
            },
            parent=self._releases.current(),
        )
        job.finish()
        return TrainReport(release_id, True, judgement, metrics, tuple(notes))

    def _showings(self, until_us: int | None) -> Showings:
        self._progress.start("read the log", None, "showings")
        slates = slate_slots(self._log) if "off_policy" in asked_for(self._settings) else None
        config = self._settings.features
        showings = showings_of(self._log, self._view, config, before_us=until_us, slates=slates)
        self._progress.advance(len(showings))
        self._progress.done()
        if len(showings) < FEW_SHOWINGS:
            raise InvalidInput(
                f"train: expected at least {FEW_SHOWINGS} showings, got {len(showings)}; "
                "until then the popularity feed serves"
            )
        return showings

    def _content(self, folder: Path) -> Mapping[str, Any]:
        """Fits and saves the content encoder, the catalogue's content vectors and their leading components."""
        vectors = learn_content(
            self._view, self._settings.content, folder, seed=self._settings.learn.seed,
            progress=self._progress,
        )  # fmt: skip
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "described.npy", self._view.status[: len(vectors)] != UNKNOWN)
        Reduction.fit(vectors, STATIC_SIZE).save(folder / "reduction.npz")
        save_words(self._view.table(), self._settings, folder / "words")
        return {"size": int(vectors.shape[1]), "n_videos": len(vectors)}

    def _generators(
        self, folder: Path, showings: Showings, content: Float32, vocabulary: Vocabulary
    ) -> Mapping[str, Any]:
        """The first pass: both generators from nothing."""
        epochs = self._settings.retrieval.two_tower.epochs
        return self._learn_generators(folder, showings, content, vocabulary, epochs, None)

    def _refit(
        self, folder: Path, showings: Showings, content: Float32, vocabulary: Vocabulary
    ) -> Mapping[str, Any]:
        """The final refit: the first pass's towers go on over every showing, so that their scores keep their meaning."""
        arrays, _ = read_checkpoint(folder.parent / "generators" / CHECKPOINT)
        weights = {k: v for k, v in arrays.items() if ":" not in k}
        epochs = self._settings.learn.refit_epochs
        return self._learn_generators(folder, showings, content, vocabulary, epochs, weights)

    def _learn_generators(
        self,
        folder: Path,
        showings: Showings,
        content: Float32,
        vocabulary: Vocabulary,
        epochs: int,
        start_from: Mapping[str, Array] | None,
    ) -> Mapping[str, Any]:
        config, learn = self._settings.retrieval, self._settings.learn
        two_tower = config.two_tower.model_copy(
            update={"seed": learn.seed, "device": learn.device, "epochs": epochs}
        )
        learner = TwoTowerLearner(two_tower, folder=folder)
        said = learner.learn(
            self._material(showings, content, vocabulary), progress=self._progress,
            resume=(folder / CHECKPOINT).exists(), start_from=start_from,
        )  # fmt: skip
        learner.export(folder / "retrieval")
        neighbours = neighbours_of(showings, len(content), config.item_to_item, self._progress)
        neighbours.save(folder / "covisits")
        save_viewers(showings, len(content), self._settings, folder / "viewers")
        return dict(said)

    def _material(self, showings: Showings, content: Float32, words: Vocabulary) -> Material:
        videos = VideoCodes.of(self._view, np.arange(len(content)))
        return Material(showings, content, ContextEncoder(words), videos)

    def _others(self, job: Job, part: str, material: Material) -> None:
        """The generators besides the two-tower network: in the refit each goes on from its first pass."""
        settings = self._settings
        for name in asked_for(settings):
            epochs, before = None, None
            if part == "refit":
                epochs = settings.learn.refit_epochs
                before = snapshot_in(job.folder / "generators" / name)
            asked = Asked(name, settings, epochs, before)
            job.stage(f"{part}/{name}", partial(learn_generator, asked, material, self._progress))

    def _release_folder(
        self, job: Job, generators: str, target: Path, content: Float32, vocabulary: Vocabulary
    ) -> None:
        """A release's folder without a ranker: content, towers, neighbours, index, starting weights of the blend."""
        if (target / "features.json").exists():
            return
        target.mkdir(parents=True, exist_ok=True)
        made, text = job.folder / generators, job.folder / "content"
        shutil.copytree(text / "content", target / "content", dirs_exist_ok=True)
        shutil.copyfile(text / "reduction.npz", target / "reduction.npz")
        for part in (made / "retrieval", made / "covisits", made / "viewers", text / "words"):
            if part.exists():  # the last two where a surface asks for them
                shutil.copytree(part, target / part.name, dirs_exist_ok=True)
        np.save(target / "static.npy", Reduction.load(text / "reduction.npz").apply(content))
        vectors = np.load(target / "retrieval" / "item_vectors.npy")
        active = np.flatnonzero(self._view.status[: len(vectors)] == ACTIVE)
        placed = active[vectors[active].any(axis=1)]  # by ids alone a video may have no place yet
        config = self._settings.retrieval.index
        FaissIndex.build(vectors[placed], placed, config).save(target / "index")
        for name in asked_for(self._settings):
            put_into_release(name, made / name, target, active, self._settings)
        Blend(CounterTable(), DEFAULT_WEIGHTS).save(target / "blend")
        described = np.load(text / "described.npy")
        write_catalog_marks(target, described, self._began.change_seq, vocabulary)

    def _rows(
        self, folder: Path, release: Path, showings: Showings, instants: Instants
    ) -> Mapping[str, Any]:
        learn = self._settings.learn
        n_showings = int(
            ((showings.time_us >= instants.t0_us) & (showings.time_us < instants.gate_us)).sum()
        )
        share = share_of(n_showings, learn.max_ranker_showings)
        drawing = Drawing(
            share, learn.unshown_per_request, learn.seed, soon_h=learn.relevant_within_h
        )
        window = (instants.t0_us, instants.gate_us)
        self._progress.start("replay for the ranker", n_showings, "showings")
        began = self._began
        offline = offline_settings(self._settings, began.n_videos, began.log_end)
        parts = gathered_parts(offline, release, window, drawing)
        self._progress.advance(n_showings)
        self._progress.done()
        gathered = merged_rows(parts)
        save_rows(folder / "rows.npz", gathered)
        return {"n_rows": len(gathered.ranker), "share": share}

    def _ranker(self, folder: Path, rows_folder: Path) -> Mapping[str, Any]:
        learn = self._settings.learn
        gathered = load_rows(rows_folder / "rows.npz")
        weights = _fit_merge(gathered)
        Blend(CounterTable(), weights).save(folder / "blend")
        _set_blend(gathered, weights)
        learner = RankerLearner(
            self._settings.ranking, seed=learn.seed, device=learn.device,
            checkpoint=folder / "checkpoint.safetensors", progress=self._progress,
        )  # fmt: skip
        metrics = learner.learn(gathered.ranker)
        learner.export(folder / "ranker", gathered.ranker)
        finite = {k: float(v) for k, v in metrics.items() if np.isfinite(v)}
        return {"metrics": finite, "notes": learner.notes}

    def _gate(self, release: Path, showings: Showings, instants: Instants) -> Judgement:
        return judge(
            self._settings, self._view, self._log, self._releases, release, showings,
            instants.gate_us, instants.until_us, self._progress,
        )  # fmt: skip

    def _window(self, showings: Showings, instants: Instants) -> dict[str, Any]:
        timed = showings.time_us[showings.time_us > 0]
        return {
            "from_us": int(timed.min()) if len(timed) else 0,
            "until_us": instants.until_us,
            "ranker_from_us": instants.t0_us,
            "ranker_until_us": instants.gate_us,
            "n_showings": len(showings),
            "n_users": len(showings.user_ids),
            "log_seq": self._began.log_seq,
        }


def _fit_merge(gathered: GatheredRows) -> Mapping[str, float]:
    """The blend's weights; our defaults where the rows can't tell."""
    choices = gathered.choices
    if len(np.unique(choices.label)) < 2:
        return DEFAULT_WEIGHTS
    return fit_blend(choices.blend, choices.label, choices.requests(), gathered.blend_names)


def _set_blend(gathered: GatheredRows, weights: Mapping[str, float]) -> None:
    """Gives the rows, which were read before the blend was known, their blend score as serving will read it."""
    weight = np.array([weights.get(name, 0.0) for name in gathered.blend_names], np.float32)
    column = gathered.ranker.item_names.index("score:blend")
    gathered.ranker.items[:, column] = gathered.blend @ weight


def instants_of(showings: Showings, until_us: int | None, settings: Settings) -> Instants:
    """Where the first pass ends, where the gate's window begins and where everything ends.

    The ranker's window is no longer than it need be, because its rows carry the scores of generators that know nothing of it: over years
    of a small log they would be strangers to the release's. A log whose gate window is more than half of it, or has too few viewers to
    judge on, gives the latest tenth of its showings to the gate. Untimed histories count as before t0."""
    learn = settings.learn
    known = np.flatnonzero(showings.time_us > 0)
    if not len(known):
        raise InvalidInput("train: expected events with times, got histories alone")
    known = known[np.argsort(showings.time_us[known], kind="stable")]
    timed = showings.time_us[known]
    end = int(timed[-1]) + 1 if until_us is None else min(until_us, int(timed[-1]) + 1)
    gate = end - int(learn.gate_window_h * HOUR_US)
    n_viewers = len(np.unique(showings.user[known[np.searchsorted(timed, gate) :]]))
    tenth = int(timed[int(0.9 * (len(timed) - 1))])
    if n_viewers < LEAST_VIEWERS:
        gate = min(gate, tenth)
    if (timed < gate).sum() < 0.5 * len(timed):
        gate = tenth
    before = timed[timed < gate]
    n_recent = int((before >= gate - int(learn.ranker_days * DAY_US)).sum())
    n_rows = max(n_recent, learn.max_ranker_showings)
    n_rows = min(n_rows, len(before) - int((1 - learn.ranker_share) * (len(before) - 1)))
    t0 = int(before[len(before) - n_rows])
    return Instants(t0, gate, end if until_us is None else until_us)


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

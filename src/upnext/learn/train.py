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
from pathlib import Path
from typing import Any

import numpy as np

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.clock import DAY_US
from upnext.core.protocols import Progress
from upnext.evaluate.gather import gathered_parts
from upnext.events.log import SqliteEventLog
from upnext.features.showings import Showings
from upnext.learn.blend import learned_mixing, set_blend
from upnext.learn.catalogue import fit_catalogue
from upnext.learn.generators import snapshots_in, summed, with_epochs
from upnext.learn.instants import Instants, instants_of
from upnext.learn.judge import Judgement
from upnext.learn.rows_file import load_rows, save_rows
from upnext.learn.stages import Stages, vocabulary_of
from upnext.learn.train_report import TrainReport
from upnext.pipeline.rows import Drawing, merged_rows, share_of
from upnext.ranking.ranker_learner import RankerLearner
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings


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
        self._settings, self._releases, self._progress = settings, releases, progress
        self._stages = Stages(settings, view, log, releases, progress)

    def run(self, until_us: int | None, *, resume: bool, force: bool) -> TrainReport:
        """Learns from everything before `until_us` (None: everything) and publishes if the gate accepts, or `force`."""
        stages = self._stages
        stages.begin(resume=resume)
        showings = stages.showings(until_us)
        instants = instants_of(showings, until_us, self._settings)
        job = stages.job({"until_us": until_us}, resume=resume)
        first = job.folder / "first"
        job.stage(
            "content", lambda f: fit_catalogue(self._settings, stages.view, f, self._progress)
        )
        content = np.load(job.folder / "content" / "vectors.npy")
        vocabulary = vocabulary_of(showings)
        before_t0 = stages.material(showings.before(instants.t0_us), content, vocabulary)
        examples = stages.learn(job, "generators", before_t0, self._settings)
        stages.release_folder(job, "generators", first, content, vocabulary)
        rows_said = job.stage("rows", lambda f: self._rows(f, first, showings, instants))
        said = job.stage("ranker", lambda f: self._ranker(f, job.folder / "rows"))
        shutil.copytree(job.folder / "ranker" / "ranker", first / "ranker", dirs_exist_ok=True)
        shutil.copytree(job.folder / "ranker" / "blend", first / "blend", dirs_exist_ok=True)
        judgement = Judgement.from_json(
            job.stage("gate", lambda f: stages.gate(first, showings, instants).to_json())
        )
        notes = [str(note) for note in said["notes"]]
        metrics = {k: float(v) for k, v in said["metrics"].items()}
        if not judgement.accepted and not force:
            return TrainReport(None, False, judgement, metrics, tuple(notes))
        # each generator goes on from its first pass, so that its scores keep their meaning
        everything = stages.material(showings, content, vocabulary)
        refit = with_epochs(self._settings, self._settings.learn.refit_epochs)
        again = stages.learn(
            job, "refit", everything, refit, snapshots_in(job.folder / "generators")
        )
        folder = self._releases.begin()
        stages.release_folder(job, "refit", folder, content, vocabulary)
        shutil.copytree(job.folder / "ranker" / "ranker", folder / "ranker")
        shutil.copytree(job.folder / "ranker" / "blend", folder / "blend", dirs_exist_ok=True)
        release_id = self._releases.publish(
            folder,
            settings=self._settings.model_dump(mode="json"),
            data_window=stages.window(showings, instants)
            | {"rows": dict(rows_said), "examples": summed(examples, again)},
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

    def _rows(
        self, folder: Path, release: Path, showings: Showings, instants: Instants
    ) -> Mapping[str, Any]:
        learn = self._settings.learn
        from_us = instants.t0_us - int(learn.shown_days * DAY_US)
        n_before = _n_shown(showings, from_us, instants.t0_us)
        n_listed = _n_shown(showings, instants.t0_us, instants.gate_us)
        drawing = Drawing(
            share_of(n_listed, learn.max_ranker_showings), learn.unshown_per_request, learn.seed,
            soon_h=learn.relevant_within_h, lists_from_us=instants.t0_us,
            shown_share=share_of(n_before, learn.max_shown),
        )  # fmt: skip
        n_drawn = int(drawing.share * n_listed + drawing.shown_share * n_before)
        self._progress.start("replay for the ranker", n_drawn, "showings")
        began = self._stages.began
        offline = offline_settings(self._settings, began.n_videos, began.log_end)
        parts = gathered_parts(offline, release, (from_us, instants.gate_us), drawing, n_drawn)
        self._progress.advance(n_drawn)
        self._progress.done()
        gathered = merged_rows(parts)
        save_rows(folder / "rows.npz", gathered)
        return {"n_rows": len(gathered.ranker), "share": drawing.share}

    def _ranker(self, folder: Path, rows_folder: Path) -> Mapping[str, Any]:
        learn = self._settings.learn
        gathered = load_rows(rows_folder / "rows.npz")
        mixing = learned_mixing(gathered)
        mixing.save(folder / "blend")
        set_blend(gathered, mixing)
        learner = RankerLearner(
            self._settings.ranking, seed=learn.seed, device=learn.device,
            checkpoint=folder / "checkpoint.safetensors", progress=self._progress,
        )  # fmt: skip
        metrics = learner.learn(gathered.ranker)
        learner.export(folder / "ranker", gathered.ranker)
        finite = {k: float(v) for k, v in metrics.items() if np.isfinite(v)}
        return {"metrics": finite, "notes": learner.notes}


def _n_shown(showings: Showings, from_us: int, until_us: int) -> int:
    return int(((showings.time_us >= from_us) & (showings.time_us < until_us)).sum())

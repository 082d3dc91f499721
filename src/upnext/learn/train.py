"""One training job: from the log to a published release.

    content      title encoder, tag vectors, content vectors of the catalogue
    generators   two-tower network, item-to-item neighbours and what else surfaces ask for, on showings before t0
    rows         the log after t0 replayed through those generators: what the ranker learns from
    ranker       the multi-task network and the merge's weights, on rows before the gate's window
    gate         that release judged on the window, beside the current release (the first one: beside popularity)
    ranker_again the network once through the window's own rows, newest last; calibrated on what it said of each before it learned from it
    refit        the generators again, on every showing there is
    publish      index, checksums, one rename

The gate's models have not seen the gate's window; the release's have.
Killed anywhere, the job goes on with `resume` from its last whole stage or epoch, to the same weights; it sees the log and the
catalogue up to where they ended when it began, whatever has come since.
"""

from __future__ import annotations

import numpy as np

from upnext.artifacts.releases import ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.protocols import Progress
from upnext.events.log import SqliteEventLog
from upnext.learn.catalogue import fit_catalogue
from upnext.learn.generators import snapshots_in, summed, with_epochs
from upnext.learn.instants import instants_of
from upnext.learn.judge import Judgement
from upnext.learn.ranker_stages import Made, RankerStages
from upnext.learn.stages import Stages, vocabulary_of
from upnext.learn.train_report import TrainReport
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
        ranker = RankerStages(self._settings, stages.began, self._progress)
        rows_said = job.stage("rows", lambda f: ranker.rows(f, first, showings, instants))
        said = job.stage("ranker", lambda f: ranker.learn(f, job.folder / "rows"))
        made = Made.by_stage(job.folder / "ranker")
        made.put(Made.of_release(first))
        judgement = Judgement.from_json(
            job.stage("gate", lambda f: stages.gate(first, showings, instants).to_json())
        )
        notes = [str(note) for note in said["notes"]]
        metrics = {k: float(v) for k, v in said["metrics"].items()}
        if not judgement.accepted and not force:
            return TrainReport(None, False, judgement, metrics, tuple(notes))
        window = (instants.gate_us, instants.until_us)
        job.stage("newest", lambda f: ranker.newest(f, first, showings, *window))
        newest = job.folder / "newest"
        again_said = job.stage("ranker_again", lambda f: ranker.go_on(f, made, newest))
        # each generator goes on from its first pass, so that its scores keep their meaning
        everything = stages.material(showings, content, vocabulary)
        refit = with_epochs(self._settings, self._settings.learn.refit_epochs)
        again = stages.learn(
            job, "refit", everything, refit, snapshots_in(job.folder / "generators")
        )
        metrics |= {k: float(v) for k, v in again_said["metrics"].items()}
        notes += [str(note) for note in again_said["notes"]]
        folder = self._releases.begin()
        stages.release_folder(job, "refit", folder, content, vocabulary)
        Made.by_stage(job.folder / "ranker_again").put(Made.of_release(folder))
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

"""A fine-tuning job: the current release's generators go on with what was shown since its data end.

    content      the release's encoder over the catalogue as it is now
    generators   each from its snapshot in the release, on the showings since then and before the gate's window
    ranker       the release's ranker from its state, with the optimiser's moments, once through the rows of that time: what the release itself would have
                 retrieved, for its generators have not seen them; calibrated on what it said of each before it learned from it; drift told
    gate         that release judged on the window, beside the current one
    refit        generators and ranker the same, on the window too: every new showing is learned from once a pass
    publish      as a training publishes; the merge's weights are the release's own

Earlier showings are history that the examples read, and what neighbours and factors are counted from. New videos and viewers take part as in a
training. Killed anywhere, the job goes on with `resume` to the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from upnext.artifacts.releases import Release, ReleaseStore
from upnext.catalog.view import CatalogView
from upnext.core.errors import InvalidInput
from upnext.core.protocols import Progress
from upnext.events.log import SqliteEventLog
from upnext.learn.catalogue import read_catalogue
from upnext.learn.generators import asked_for, for_fine_tuning, snapshots_in, summed
from upnext.learn.instants import tail_of
from upnext.learn.judge import Judgement
from upnext.learn.ranker_stages import Made, RankerStages
from upnext.learn.stages import SNAPSHOTS, Snapshots, Stages, vocabulary_in
from upnext.learn.train_report import TrainReport
from upnext.retrieval.checkpoint import read_checkpoint
from upnext.settings.settings import Settings


class FineTuning:
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
        """Learns from what was shown since the current release and before `until_us` (None: everything), and publishes if the gate accepts, or `force`.

        Raises InvalidInput without a release that can be continued, or where too little came since."""
        stages, parent = self._stages, self._parent()
        start_from = self._snapshots(parent)
        stages.begin(resume=resume)
        showings = stages.showings(until_us)
        since_us = int(parent.manifest.data_window["until_us"])
        instants = tail_of(showings, since_us, until_us, self._settings)
        asked = {"until_us": until_us, "fine_tunes": parent.manifest.release_id}
        job = stages.job(asked, resume=resume)
        job.stage("content", lambda f: read_catalogue(self._settings, stages.view, parent.path, f))
        content = np.load(job.folder / "content" / "vectors.npy")
        vocabulary, tuning = vocabulary_in(parent.path), for_fine_tuning(self._settings)
        first = job.folder / "first"
        before = stages.material(showings.before(instants.gate_us), content, vocabulary, since_us)
        examples = stages.learn(job, "generators", before, tuning, start_from)
        stages.release_folder(job, "generators", first, content, vocabulary)
        ranker = RankerStages(self._settings, stages.began, self._progress)
        of_parent = Made.of_release(parent.path)

        def go_on(name: str, before: Made, window: tuple[int, int]) -> Mapping[str, Any]:
            rows = job.folder / f"{name}_rows"
            job.stage(rows.name, lambda f: ranker.newest(f, parent.path, showings, *window))
            return job.stage(name, lambda f: ranker.go_on(f, before, rows))

        ranker_said = go_on("ranker", of_parent, (since_us, instants.gate_us))
        made = Made.by_stage(job.folder / "ranker")
        made.put(Made.of_release(first))
        judgement = Judgement.from_json(
            job.stage("gate", lambda f: stages.gate(first, showings, instants).to_json())
        )
        if not judgement.accepted and not force:
            return TrainReport(None, False, judgement, {}, ())
        rest = stages.material(showings, content, vocabulary, instants.gate_us)
        again = stages.learn(job, "refit", rest, tuning, snapshots_in(job.folder / "generators"))
        folder = self._releases.begin()
        stages.release_folder(job, "refit", folder, content, vocabulary)
        go_on("ranker_again", made, (instants.gate_us, instants.until_us))
        Made.by_stage(job.folder / "ranker_again").put(Made.of_release(folder))
        window = _window(parent, stages.window(showings, instants), summed(examples, again))
        release_id = self._releases.publish(
            folder,
            settings=self._settings.model_dump(mode="json"),
            data_window=window,
            metrics={
                **judgement.metrics,
                "gate": judgement.word,
                "off_policy": dict(judgement.off_policy),
            },
            parent=parent.manifest.release_id,
        )
        job.finish()
        notes = (_note(window), *map(str, ranker_said["notes"]))
        return TrainReport(release_id, True, judgement, dict(ranker_said["metrics"]), notes)

    def _parent(self) -> Release:
        current = self._releases.current()
        if current is None:
            raise InvalidInput("train --fine-tune: no release yet; run `upnext train` first")
        parent = self._releases.open(current)
        now = self._settings.model_dump(mode="json")
        for section in ("content", "features", "retrieval", "ranking", "surfaces"):
            if parent.manifest.settings.get(section) != now[section]:
                raise InvalidInput(
                    f"train --fine-tune: the settings [{section}] are not those of release {current}; run `upnext train`"
                )
        return parent

    def _snapshots(self, parent: Release) -> Snapshots:
        """{generator: its weights in the release}. Raises InvalidInput where one is not there."""
        found = {}
        for name in ("two_tower", *asked_for(self._settings)):
            path = parent.path / SNAPSHOTS / f"{name}.npz"
            if not path.exists():
                raise InvalidInput(
                    f"train --fine-tune: release {parent.manifest.release_id} has no snapshot of {name!r}; run `upnext train`"
                )
            found[name] = read_checkpoint(path)[0]
        return found


def _window(
    parent: Release, window: Mapping[str, Any], examples: Mapping[str, int]
) -> dict[str, Any]:
    """The manifest's data window: the ranker's begins where the parent's does."""
    known = parent.manifest.data_window
    since_us = int(known["until_us"])
    kept: dict[str, Any] = {
        name: known[name] for name in ("ranker_from_us", "rows") if name in known
    }
    return {**window, **kept, "fine_tuned_from_us": since_us, "examples": dict(examples)}


def _note(window: Mapping[str, Any]) -> str:
    told = ", ".join(f"{name} {n:,}" for name, n in window["examples"].items())
    return f"fine-tuned; examples times passes: {told}"

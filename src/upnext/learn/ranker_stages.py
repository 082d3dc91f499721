"""The ranker's part of a job: rows of a window, the training on them, and going on with what came since."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from upnext.core.clock import DAY_US
from upnext.core.protocols import Progress
from upnext.evaluate.gather import gathered_parts
from upnext.features.showings import Showings
from upnext.learn.blend import learned_mixing, set_blend
from upnext.learn.instants import Instants
from upnext.learn.job import Began
from upnext.learn.rows_file import load_rows, save_rows
from upnext.learn.stages import RANKER_STATE, SNAPSHOTS
from upnext.pipeline.mixing import Mixing
from upnext.pipeline.rows import Drawing, GatheredRows, merged_rows, share_of
from upnext.ranking.ranker_learner import RankerLearner
from upnext.settings.offline import offline_settings
from upnext.settings.settings import Settings

ROWS, STATE = "rows.npz", "state.safetensors"
LEAST_NEWEST = 50  # shown rows, for a ranker to go on with


@dataclass(frozen=True)
class Made:
    """A ranker on disk, with the merge whose scores it reads."""

    folder: Path  # holds ranker/ and blend/
    state: Path  # from which it goes on

    @staticmethod
    def by_stage(folder: Path) -> Made:
        """That of a stage's folder."""
        return Made(folder, folder / STATE)

    @staticmethod
    def of_release(folder: Path) -> Made:
        """That of a release's folder; of before states were kept it has none."""
        return Made(folder, folder / SNAPSHOTS / RANKER_STATE)

    def put(self, target: Made) -> None:
        """Copies everything there is."""
        for part in ("ranker", "blend"):
            shutil.copytree(self.folder / part, target.folder / part, dirs_exist_ok=True)
        if self.state.exists():
            target.state.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.state, target.state)


class RankerStages:
    """Of one job."""

    def __init__(self, settings: Settings, began: Began, progress: Progress) -> None:
        self._settings, self._began, self._progress = settings, began, progress

    def rows(
        self, folder: Path, release: Path, showings: Showings, instants: Instants
    ) -> Mapping[str, Any]:
        """Rows of the ranker's window through the release's pipeline, and of the days before it by what was shown alone."""
        learn = self._settings.learn
        from_us = instants.t0_us - int(learn.shown_days * DAY_US)
        n_before = _n_shown(showings, from_us, instants.t0_us)
        n_listed = _n_shown(showings, instants.t0_us, instants.gate_us)
        drawing = replace(
            self._drawing(n_listed),
            lists_from_us=instants.t0_us,
            shown_share=share_of(n_before, learn.max_shown),
        )
        n_drawn = int(drawing.share * n_listed + drawing.shown_share * n_before)
        return self._gather(folder, release, (from_us, instants.gate_us), drawing, n_drawn)

    def newest(
        self, folder: Path, release: Path, showings: Showings, from_us: int, until_us: int
    ) -> Mapping[str, Any]:
        """Rows of a later window, through the pipeline of a release whose generators have not seen it."""
        n_listed = _n_shown(showings, from_us, until_us)
        drawing = self._drawing(n_listed)
        n_drawn = int(drawing.share * n_listed)
        return self._gather(folder, release, (from_us, until_us), drawing, n_drawn)

    def learn(self, folder: Path, rows_folder: Path) -> Mapping[str, Any]:
        """The merge's weights (blend/), the ranker (ranker/) and the state from which it goes on."""
        gathered = load_rows(rows_folder / ROWS)
        mixing = learned_mixing(gathered)
        mixing.save(folder / "blend")
        set_blend(gathered, mixing)
        learner = self._learner(folder / "checkpoint.safetensors")
        metrics = learner.learn(gathered.ranker)
        learner.export(folder / "ranker", gathered.ranker)
        learner.save(folder / STATE)
        return {"metrics": _finite(metrics), "notes": learner.notes}

    def go_on(self, folder: Path, before: Made, rows_folder: Path) -> Mapping[str, Any]:
        """A ranker taken through newer rows, in a stage's folder; with too few of them, or without a state to go on from, as it was."""
        gathered, made = load_rows(rows_folder / ROWS), Made.by_stage(folder)
        n_told = _n_told(gathered)
        if n_told < LEAST_NEWEST or not before.state.exists():
            before.put(made)
            why = (
                f"{n_told} newer showings"
                if before.state.exists()
                else "its release kept no state to go on from"
            )
            return {"metrics": {}, "notes": [f"the ranker stays as it was: {why}"]}
        mixing = Mixing.load(before.folder / "blend")
        mixing.save(folder / "blend")
        set_blend(gathered, mixing)
        learner = self._learner(None)
        learner.restore(before.state)
        metrics = learner.go_on(gathered.ranker, self._settings.learn.newest_rate)
        learner.export(folder / "ranker", gathered.ranker)
        learner.save(made.state)
        return {"metrics": _finite(metrics), "notes": learner.notes}

    def _learner(self, checkpoint: Path | None) -> RankerLearner:
        learn = self._settings.learn
        return RankerLearner(
            self._settings.ranking, seed=learn.seed, device=learn.device, checkpoint=checkpoint,
            progress=self._progress,
        )  # fmt: skip

    def _drawing(self, n_showings: int) -> Drawing:
        learn = self._settings.learn
        share = share_of(n_showings, learn.max_ranker_showings)
        return Drawing(share, learn.unshown_per_request, learn.seed, soon_h=learn.relevant_within_h)

    def _gather(
        self,
        folder: Path,
        release: Path,
        window: tuple[int, int],
        drawing: Drawing,
        n_drawn: int,
    ) -> Mapping[str, Any]:
        self._progress.start("replay for the ranker", n_drawn, "showings")
        offline = offline_settings(self._settings, self._began.n_videos, self._began.log_end)
        gathered = merged_rows(gathered_parts(offline, release, window, drawing, n_drawn))
        self._progress.advance(n_drawn)
        self._progress.done()
        save_rows(folder / ROWS, gathered)
        return {"n_rows": len(gathered.ranker), "share": drawing.share}


def _n_shown(showings: Showings, from_us: int, until_us: int) -> int:
    return int(((showings.time_us >= from_us) & (showings.time_us < until_us)).sum())


def _n_told(gathered: GatheredRows) -> int:
    return int((~np.isnan(gathered.ranker.labels.get("relevant_shown", np.zeros(0)))).sum())


def _finite(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if np.isfinite(value)}

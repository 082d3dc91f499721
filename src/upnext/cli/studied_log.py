"""A log cut for studies of generators: what they learn from, what came last of it, and whom they are judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from upnext.cli.opened import readers
from upnext.core.clock import HOUR_US
from upnext.core.columns import VIDEO_STATUSES
from upnext.core.errors import expected
from upnext.core.protocols import Progress
from upnext.core.randomness import rng_for
from upnext.evaluate.split import instant_us
from upnext.evaluate.window import Window
from upnext.features.context import ContextEncoder
from upnext.features.showings import Showings, showings_of
from upnext.features.slate_context import slate_slots
from upnext.retrieval.material import Material, VideoCodes
from upnext.settings.settings import Settings

if TYPE_CHECKING:
    from upnext.learn.fine_tuning_study import Study

PER_ROW: Final = ("user", "item_id", "time_us", "flags", "watch_s", "moment")


@dataclass(frozen=True)
class Cut:
    """Where a log is cut."""

    until: str | None  # end of what is judged, ISO with offset; None: the log's
    hours: float  # length of what is judged, and of the tail before it
    viewers: int  # only so many, drawn; 0: all


def study_of(cut: Cut, settings: Settings, folder: Path, progress: Progress) -> Study:
    """The log cut in three; content vectors are fitted in `folder`. Raises InvalidInput where it is too short."""
    from upnext.learn.catalogue import fit_catalogue
    from upnext.learn.fine_tuning_study import Study
    from upnext.learn.stages import vocabulary_of

    view, log, _ = readers(settings)
    wanted_us = instant_us(cut.until) if cut.until else None
    showings = showings_of(
        log, view, settings.features, before_us=wanted_us, slates=slate_slots(log)
    )
    until_us = wanted_us or int(showings.time_us.max(initial=0)) + 1
    from_us = until_us - int(cut.hours * HOUR_US)
    tail_us = from_us - int(cut.hours * HOUR_US)
    timed = showings.time_us[showings.time_us > 0]
    if not (timed < tail_us).any():
        raise expected("log", f"showings before the last {2 * cut.hours:g} hours", "none")
    showings = _of_some(showings, cut.viewers)
    fit_catalogue(settings, view, folder, progress)
    content = np.load(folder / "vectors.npy")
    videos = VideoCodes.of(view, np.arange(len(content)))
    words = ContextEncoder(vocabulary_of(showings.before(tail_us)))
    listed = view.status[: len(content)] == VIDEO_STATUSES.index("active")
    window = Window(showings, from_us, until_us)
    return Study(Material(showings, content, words, videos), tail_us, window, view, listed)


def _of_some(showings: Showings, n_viewers: int) -> Showings:
    """The showings of so many viewers, drawn at random; 0: of all."""
    if not 0 < n_viewers < len(showings.user_ids):
        return showings
    rng = rng_for("studied-viewers")
    drawn = rng.choice(len(showings.user_ids), n_viewers, replace=False)
    kept = np.isin(showings.user, drawn)
    per_row = {name: getattr(showings, name)[kept] for name in PER_ROW}
    if showings.propensity is not None:
        per_row["propensity"] = showings.propensity[kept]
    return replace(showings, **per_row)

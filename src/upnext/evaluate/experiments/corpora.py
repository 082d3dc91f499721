"""How much each arm of a two-sided experiment has to show: its creators and their videos.

A corpus that is too small makes pages that repeat, and what is then measured is the smallness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.errors import InvalidInput
from upnext.core.types import Bool, Int64
from upnext.evaluate.experiments.assignment import NO_ARM
from upnext.evaluate.experiments.definition import Experiment

MIN_VIDEOS: Final = 100  # of an arm: a few pages; fewer are no platform
NOBODY: Final = "no arm"


@dataclass(frozen=True)
class Uploaded:
    """What is read of the catalogue: creators by code, videos by item_id."""

    creator_ids: Sequence[str]
    creator: Int64  # [n_items] code, -1 missing
    uploaded_us: Int64  # [n_items] 0 missing
    is_active: Bool  # [n_items] may be shown

    def rows(self, experiment: Experiment) -> Int64:
        """int64[n_creators]: each one's row in the arms, NO_ARM outside."""
        return experiment.allocation("creator").rows(self.creator_ids)


@dataclass(frozen=True, slots=True)
class CorpusSize:
    """What the viewers of one arm, or of none, may see."""

    arm: str
    n_creators: int  # with a video that may be shown
    n_videos: int  # that may be shown


def corpus_sizes(experiment: Experiment, uploaded: Uploaded) -> list[CorpusSize]:
    """Of each arm, then of viewers in no arm, to whom the videos without a creator belong."""
    rows = np.append(uploaded.rows(experiment), NO_ARM)  # the last: code -1
    active = uploaded.creator[uploaded.is_active]
    n_videos = np.bincount(rows[active] + 1, minlength=len(experiment.arms) + 1)
    shown = np.unique(active[active >= 0])
    n_creators = np.bincount(rows[shown] + 1, minlength=len(experiment.arms) + 1)
    names = [NOBODY, *experiment.arms]
    sizes = [CorpusSize(*each) for each in zip(names, n_creators.tolist(), n_videos.tolist())]
    return [*sizes[1:], sizes[0]]


def check_corpora(experiment: Experiment, sizes: Sequence[CorpusSize]) -> None:
    """Raises InvalidInput naming a corpus of too few videos for the viewers who are to see it."""
    has_others = not experiment.allocation().owned.all()
    for size in sizes:
        if size.n_videos < MIN_VIDEOS and (size.arm != NOBODY or has_others):
            whose = "viewers in no arm" if size.arm == NOBODY else f"arm {size.arm!r}"
            total = sum(one.n_videos for one in sizes)
            raise InvalidInput(
                f"two-sided experiment {experiment.name!r}: expected at least {MIN_VIDEOS} videos for {whose}, got"
                f" {size.n_videos} of {total} (of {size.n_creators} creators): change the shares, or wait for more videos"
            )

"""What is judged, and the requests that ask for it: one for each case of the split, in the context in which the viewer then was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from upnext.core.errors import InvalidInput
from upnext.core.randomness import rng_for
from upnext.core.types import Flag, Int64, Request
from upnext.evaluate.split import Split, Target, leave_last_out, time_split
from upnext.evaluate.user_items import UserItems
from upnext.features.context import Moment
from upnext.features.showings import Showings

Kind = Literal["time", "last"]


@dataclass(frozen=True)
class Window:
    """The showings, an instant, an end, how the truth is taken, and how many cases at most."""

    showings: Showings
    from_us: int
    until_us: int | None = None
    max_users: int = 20_000
    seed: int = 0
    kind: Kind = "time"
    target: Target = "all"

    @property
    def is_at_once(self) -> bool:
        """Whether every list is as of the instant; else each is as of just before what it is to find."""
        return self.kind == "time" and self.target == "all"

    def whole_split(self, *, exclude_seen: bool) -> Split:
        """The split of all viewers. Raises InvalidInput when nothing is left to judge."""
        showings = self.showings
        if self.kind == "last":
            if self.until_us is not None:
                showings = showings.before(self.until_us)
            split = leave_last_out(showings, exclude_seen=exclude_seen, since_us=self.from_us)
        else:
            split = time_split(
                showings, self.from_us, end_us=self.until_us, exclude_seen=exclude_seen,
                target=self.target,
            )  # fmt: skip
        if not len(split.user):
            raise InvalidInput("evaluate: no viewer has a relevant video in the window")
        return split

    def split(self, *, exclude_seen: bool) -> Split:
        """The split with its cases drawn where there are too many. Raises InvalidInput when nothing is left to judge."""
        split = self.whole_split(exclude_seen=exclude_seen)
        if len(split.user) <= self.max_users:
            return split
        rng = rng_for(self.seed, "evaluated-viewers")
        return split.take(np.sort(rng.choice(len(split.user), self.max_users, replace=False)))

    def moments(self, split: Split) -> list[Moment]:
        """The context of each case: the viewer's first showing of the window, or the one that is to be found."""
        showings = self.showings
        if self.is_at_once:
            late = np.flatnonzero(showings.time_us >= self.from_us)
        else:
            late = np.arange(len(showings))
        _, moment = np.unique(showings.time_us, return_inverse=True)
        times = np.unique(showings.time_us)
        width = len(times) + 1
        key = showings.user[late] * width + moment[late]
        wanted = split.user * width + np.searchsorted(times, split.asked_us)
        rows = late[np.searchsorted(key, wanted)]
        return [showings.moments[row] for row in showings.moment[rows].tolist()]

    def requests(self, split: Split) -> list[Request]:
        """One request per case of the split."""
        return [
            Request(
                request_id=f"evaluate-{user}",
                user_id=self.showings.user_ids[user],
                surface=moment.surface,
                size=1,
                time_us=moment.time_us,
                device=moment.device,
                country=moment.country,
            )
            for user, moment in zip(split.user.tolist(), self.moments(split), strict=True)
        ]


def liked_before(split: Split) -> UserItems:
    """What each case's viewer had found relevant in training: of those u cases, by the split's training showings."""
    train = split.train
    is_relevant = (train.flags & np.uint16(Flag.RELEVANT)) != 0
    liked = UserItems.of_pairs(
        train.user[is_relevant], train.item_id[is_relevant], len(train.user_ids)
    )
    return liked.take(split.user)


def showings_before(split: Split, n_items: int) -> Int64:
    """int64[n_items]: how often each video was shown in training, stored histories included."""
    return np.bincount(split.train.item_id, minlength=n_items).astype(np.int64)

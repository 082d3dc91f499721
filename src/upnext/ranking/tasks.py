"""What the ranker predicts: the names of its tasks and their kinds.

A task is binary (its label is 0 or 1, its prediction a probability) or in seconds (its label is a duration, its prediction the
expected duration); the name says which: those that end in `_s` are in seconds. NaN in a label means that the row does not tell.

    relevant        liked, or watched at least half. Trains on shown rows and on retrieved but not shown candidates (label 0): the
                    probability that a candidate is shown by the present system and then relevant, in the mix of rows that their
                    weights make. Only its order is meant for showing; its scale follows that mix.
    relevant_shown  the same label on shown rows only: the probability that a video is relevant, given that it is shown
    click, completed, like, follow, share, dislike, skip     given that it is shown
    long_view       the data's own long view, where it brings one
    watch_s         expected seconds watched, given that it is shown, capped
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["binary", "seconds"]
TASKS: Final[tuple[str, ...]] = (
    "relevant", "relevant_shown", "click", "completed", "like", "follow", "share", "dislike", "skip",
    "watch_s",
)  # fmt: skip

# whether more of it is good (1) or bad (-1) for a viewer: a weight of the value never says the opposite
SIGN: Final[Mapping[str, int]] = {
    "relevant": 1, "relevant_shown": 1, "click": 1, "completed": 1, "long_view": 1, "like": 1, "follow": 1,
    "share": 1, "watch_s": 1, "dislike": -1, "skip": -1,
}  # fmt: skip
LISTED: Final = (
    "relevant"  # the head that orders what was retrieved; every other one is given a showing
)


def kind_of(task: str) -> Kind:
    """The kind of a task, from its name."""
    return "seconds" if task.endswith("_s") else "binary"

"""What the system knows of one viewer, in the words of a side panel."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from upnext.core.types import Flag, History, Profile
from upnext.serve.app import Edge

N_LAST: Final = 8
N_CATEGORIES: Final = 6
_DID: Final = (
    (Flag.NOT_INTERESTED, "not interested"),
    (Flag.DISLIKE, "disliked"),
    (Flag.LIKE, "liked"),
    (Flag.SHARE, "shared"),
    (Flag.COMPLETED, "watched to the end"),
    (Flag.WATCHED_HALF, "watched half"),
    (Flag.SKIPPED, "skipped"),
    (Flag.WATCHED, "watched"),
    (Flag.CLICK, "opened"),
)


@dataclass(frozen=True)
class Did:
    """One showing and the strongest thing done there."""

    title: str
    video_id: str
    did: str
    watch_s: float


@dataclass(frozen=True)
class ViewerPanel:
    """The panel's figures."""

    profile: Profile
    n_impressions: int
    n_relevant: int
    n_seen: int
    n_followed: int
    n_not_interested: int
    muted_topics: tuple[str, ...]
    last: list[Did]
    categories: list[tuple[str, int, int]]  # name, relevant showings, percent of the largest


def viewer_panel(edge: Edge, user_id: str) -> ViewerPanel:
    """The panel of a viewer; an unknown one has zeros. Blocking. Raises Unavailable."""
    user = edge.feed.viewer(user_id)
    history = user.history
    acted = history.where((history.flags & ~np.uint16(Flag.IMPRESSION)) > 0)
    return ViewerPanel(
        profile=user.profile,
        n_impressions=user.n_impressions,
        n_relevant=user.n_relevant,
        n_seen=len(user.seen),
        n_followed=len(user.followed),
        n_not_interested=len(user.not_interested),
        muted_topics=tuple(user.muted_topics),
        last=_last(edge, acted.last(N_LAST)),
        categories=_categories(edge, history.where((history.flags & np.uint16(Flag.RELEVANT)) > 0)),
    )


def _last(edge: Edge, history: History) -> list[Did]:
    rows = edge.cards.of(history.item_id)
    video_ids = edge.rows.video_ids(history.item_id)
    did = [
        Did(card.title or video_id, video_id, _strongest(flags), watch_s)
        for card, video_id, flags, watch_s in zip(
            rows, video_ids, history.flags.tolist(), history.watch_s.tolist(), strict=True
        )
    ]
    return did[::-1]


def _strongest(flags: int) -> str:
    return next((name for flag, name in _DID if flags & flag), "seen")


def _categories(edge: Edge, relevant: History) -> list[tuple[str, int, int]]:
    names = [card.category for card in edge.cards.of(relevant.item_id)]
    counts = Counter(name for name in names if name).most_common(N_CATEGORIES)
    most = counts[0][1] if counts else 1
    return [(name, n, round(100 * n / most)) for name, n in counts]

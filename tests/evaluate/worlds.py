"""Showings built from plain rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upnext.features.showings import Showings


def showings_of(rows: Sequence[tuple[int, int, int, int]], n_users: int) -> Showings:
    """Showings of rows (user, item, time_us, flags), in the order given."""
    user, item, time_us, flags = np.array(rows, np.int64).reshape(-1, 4).T
    return Showings(
        user=user,
        item_id=item,
        time_us=time_us,
        flags=flags.astype(np.uint16),
        watch_s=np.zeros(len(user), np.float32),
        moment=np.full(len(user), -1),
        user_ids=tuple(f"user{u}" for u in range(n_users)),
        moments=(),
        searches={},
    )

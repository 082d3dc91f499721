"""100,000 feed requests of simulated viewers, each checked against plain sets of what may be shown.

No page repeats a video while an unseen allowed one exists, and none is empty while an allowed one does: with viewers who exhaust small
catalogues, are barred from videos by country, age and moderation, mute creators, exclude ids, scroll in several sessions at
once, and ask for pages before the events of the pages before have come.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_feeds import Feeds

N_REQUESTS = 10_000
WORLDS = [  # viewers, videos
    (60, 600), (400, 90), (300, 2_000), (25, 1_200), (900, 40),
    (150, 250), (1_000, 1_500), (40, 800), (100, 600), (20, 5),
]  # fmt: skip


@pytest.mark.parametrize(("n_viewers", "n_videos"), WORLDS)
def test_ten_thousand_pages_repeat_nothing_and_are_never_empty_while_something_is_left(
    tmp_path: Path, n_viewers: int, n_videos: int
) -> None:
    feeds = Feeds(tmp_path, n_viewers, n_videos, seed=n_viewers + n_videos)
    tally = feeds.run(N_REQUESTS)
    assert tally.n_requests == N_REQUESTS
    assert tally.n_prefetched > N_REQUESTS / 2  # about two in three
    if n_viewers * n_videos <= 4 * N_REQUESTS:  # five slots and a half a page: some see everything
        assert tally.n_repeat_pages > 0
        assert tally.n_ladder > 0

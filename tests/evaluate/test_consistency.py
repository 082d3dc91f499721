"""Up-next lists beside the video being watched."""

import numpy as np

from upnext.core.types import Flag
from upnext.evaluate.consistency import last_relevant, same_code
from upnext.features.showings import Showings

CODE = np.array([0, 0, 1, 1, -1], np.int32)  # of videos 0 to 4


def test_the_share_counts_known_videos_of_the_first_k_and_needs_a_known_one_beside():
    ranked = np.array([[1, 2, 4, 3], [2, 3, 0, 1], [0, 1, 2, 3], [4, -1, -1, -1]])
    current = np.array([0, 2, 4, 1])
    # of 0 (code 0): 1 yes, 2 no, 4 unknown; of 2 (code 1): 2, 3 yes, 0 no; 4 has no code; a list of unknown ones
    share = same_code(ranked, 3, current, CODE)
    assert np.allclose(share, [1 / 2, 2 / 3, np.nan, np.nan], equal_nan=True)


def test_the_video_beside_is_the_last_relevant_one_before_the_instant():
    liked = Flag.IMPRESSION | Flag.LIKE
    showings = Showings(
        np.array([0, 0, 0, 1, 2, 2]),
        np.array([4, 1, 2, 3, 0, 1]),
        np.array([5, 6, 9, 5, 0, 7]),
        np.array([liked, Flag.IMPRESSION, liked, Flag.IMPRESSION, liked, liked], np.uint16),
        np.zeros(6, np.float32),
        np.arange(6),
        ("a", "b", "c"),
        (),
        {},
    )
    assert last_relevant(showings, np.array([2, 0, 1]), 7).tolist() == [0, 4, -1]
    assert last_relevant(showings, np.array([0, 2]), 10).tolist() == [2, 1]

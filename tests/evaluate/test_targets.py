"""What of a window is to be found, and where those who are not judged went: counted by hand."""

from __future__ import annotations

import numpy as np

from upnext.core.types import Flag
from upnext.evaluate.split import leave_last_out, time_split
from upnext.evaluate.window import Window, liked_before

from .worlds import showings_of

HIT, MISS = Flag.IMPRESSION | Flag.WATCHED_HALF, Flag.IMPRESSION
ROWS = [
    (0, 1, 100, HIT),
    (0, 2, 200, HIT),  # viewer 0, window from 200 on: 2, 3 and 4 are new and relevant
    (0, 9, 205, MISS),
    (0, 3, 210, HIT),
    (0, 2, 220, HIT),  # again
    (0, 1, 230, HIT),  # shown before
    (0, 4, 240, HIT),
    (1, 5, 50, MISS),
    (1, 5, 250, HIT),  # shown before: all that viewer 1 finds relevant
    (2, 6, 199, HIT),
    (2, 8, 201, MISS),  # in the window without anything relevant
    (3, 7, 300, HIT),  # a new viewer
    (4, 7, 10, HIT),  # not in the window
]
WORLD = showings_of(ROWS, 5)


def cases(target: str, **options: object) -> list[tuple[int, int, int, list[int]]]:
    """(viewer, as of, to find, seen before) of every case."""
    split = time_split(WORLD, 200, target=target, **options)  # type: ignore[arg-type]
    assert (split.truth.counts() == 1).all()
    seen = [split.seen.take(np.array([row])).item_id.tolist() for row in range(len(split.user))]
    found = split.truth.item_id.tolist()
    return list(zip(split.user.tolist(), split.asked_us.tolist(), found, seen, strict=True))


def test_first_last_and_successive_are_asked_just_before_what_is_to_be_found() -> None:
    first, second = (0, 200, 2, [1]), (0, 210, 3, [1, 2, 9])
    third, new = (0, 240, 4, [1, 2, 3, 9]), (3, 300, 7, [])
    assert cases("first") == [first, new]
    assert cases("last") == [third, new]
    assert cases("successive") == [first, second, third, new]


def test_with_nothing_excluded_every_relevant_showing_is_a_case() -> None:
    found = [(user, item) for user, _, item, _ in cases("successive", exclude_seen=False)]
    assert found == [(0, 2), (0, 3), (0, 2), (0, 1), (0, 4), (1, 5), (3, 7)]


def test_all_is_one_case_a_viewer_as_of_the_instant() -> None:
    split = time_split(WORLD, 200)
    assert split.asked_us.tolist() == [200, 200]
    assert split.truth.item_id.tolist() == [2, 3, 4, 7]


def test_equal_times_make_one_new_case_of_one_video_and_know_nothing_of_each_other() -> None:
    rows = [(0, 1, 200, HIT), (0, 1, 200, HIT), (0, 2, 200, HIT)]
    split = time_split(showings_of(rows, 1), 100, target="successive")
    assert split.truth.item_id.tolist() == [1, 2]
    assert len(split.seen) == 0


def test_nobody_is_left_out_without_being_counted() -> None:
    counts = time_split(WORLD, 200).counts
    assert counts == {
        "viewers": 5, "viewers_in_window": 4, "viewers_without_relevant": 1, "viewers_with_all_seen_before": 1,
        "viewers_judged": 2, "viewers_judged_new": 1, "pairs_relevant": 6, "pairs_seen_before": 2, "pairs_judged": 4,
    }  # fmt: skip
    judged = counts["viewers_judged"] + counts["viewers_with_all_seen_before"]
    assert judged + counts["viewers_without_relevant"] == counts["viewers_in_window"]
    assert counts["pairs_judged"] + counts["pairs_seen_before"] == counts["pairs_relevant"]


def test_leave_last_out_says_whom_it_did_not_judge() -> None:
    split = leave_last_out(WORLD, since_us=200)
    assert (split.user.tolist(), split.truth.item_id.tolist()) == ([0], [4])
    assert split.asked_us.tolist() == [240]
    assert split.counts == {
        "viewers": 5, "viewers_with_too_few": 4, "viewers_whose_last_was_learned": 0, "viewers_shown_before": 0,
        "viewers_judged": 1, "pairs_judged": 1,
    }  # fmt: skip
    assert leave_last_out(WORLD, since_us=241).counts["viewers_whose_last_was_learned"] == 1


def test_what_was_liked_before_is_what_was_relevant_in_training() -> None:
    split = time_split(WORLD, 200)
    liked = liked_before(split)
    assert (liked.counts().tolist(), liked.item_id.tolist()) == ([1, 0], [1])


def test_drawn_viewers_are_a_sorted_part_and_the_counts_stay_those_of_the_whole() -> None:
    window = Window(WORLD, 200, target="successive", max_users=2)
    split = window.split(exclude_seen=True)
    assert len(split.user) == 2
    assert (np.diff(split.user) >= 0).all()
    assert split.counts["pairs_judged"] == 4
    assert split.viewer().max() + 1 == len(np.unique(split.user))

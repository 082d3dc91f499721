"""From showings to signed confidences."""

import numpy as np
import pytest
from retrieval_world import DAY_US, NOW_US, showings_of

from upnext.core.types import Flag
from upnext.retrieval.factorisation.config import ConfidenceConfig
from upnext.retrieval.factorisation.interactions import (
    Meaning,
    interactions_of,
    pairs_of,
    untimed_of,
)

APART = ConfidenceConfig(shown=1, relevant=2, liked=3, skipped=-0.5, disliked=-4)
SEEN = Flag.IMPRESSION


def confidences(rows, config=APART):
    """{(viewer, video): confidence} of (viewer, video, time_us, flags) rows."""
    showings = showings_of(rows)
    found = interactions_of(showings, Meaning.of(config, untimed_of(showings)))
    return {
        (int(u), int(i)): float(c) for u, i, c in zip(found.user, found.item_id, found.confidence)
    }


def test_the_strongest_thing_that_happened_counts():
    flags = {
        7: (SEEN, 1), 3: (SEEN | Flag.SKIPPED, -0.5), 5: (SEEN | Flag.WATCHED_HALF, 2),
        4: (SEEN | Flag.LIKE | Flag.SKIPPED, 3), 9: (SEEN | Flag.WATCHED_HALF | Flag.SKIPPED, 2),
        1: (SEEN | Flag.LIKE | Flag.DISLIKE, -4), 2: (SEEN | Flag.NOT_INTERESTED, -4),
    }  # fmt: skip
    rows = [(0, item, NOW_US, bits) for item, (bits, _) in flags.items()]
    assert confidences(rows) == {(0, item): value for item, (_, value) in flags.items()}


def test_a_video_shown_twice_is_one_pair():
    rows = [
        (0, 6, NOW_US - 2, SEEN | Flag.LIKE), (0, 6, NOW_US, SEEN),
        (1, 6, NOW_US, SEEN), (1, 2, NOW_US, SEEN),
    ]  # fmt: skip
    assert confidences(rows) == {(0, 6): 3, (1, 2): 1, (1, 6): 1}


def test_age_halves_a_confidence_and_a_row_without_time_is_a_day_older_than_all():
    config = ConfidenceConfig(half_life_d=2)
    rows = [(0, 1, NOW_US - 2 * DAY_US, SEEN), (0, 2, NOW_US, SEEN), (0, 3, 0, SEEN)]
    found = confidences(rows, config)
    assert found == pytest.approx({(0, 1): 0.5, (0, 2): 1.0, (0, 3): 0.5**1.5})


def test_a_confidence_of_zero_is_no_pair():
    assert confidences([(0, 1, NOW_US, SEEN), (0, 2, NOW_US, SEEN | Flag.LIKE)],
                       ConfidenceConfig(shown=0)) == {(0, 2): 2}  # fmt: skip


def test_a_request_reads_a_history_as_training_does():
    rng = np.random.default_rng(0)
    rows = [
        (0, int(item), NOW_US - int(age), int(SEEN | flag))
        for item, age, flag in zip(
            rng.integers(0, 30, 50), rng.permutation(50) * DAY_US // 10,
            rng.choice([0, Flag.LIKE, Flag.SKIPPED, Flag.WATCHED_HALF, Flag.DISLIKE], 50),
        )
    ]  # fmt: skip
    config = APART.model_copy(update={"half_life_d": 1.5})
    showings = showings_of(rows)
    meaning = Meaning.of(config, untimed_of(showings))
    trained = interactions_of(showings, meaning)
    now_us = int(showings.time_us.max())
    items, confidence = pairs_of(
        showings.item_id, showings.flags, showings.time_us, now_us, meaning
    )
    assert np.array_equal(items, trained.item_id)
    assert np.array_equal(confidence, trained.confidence)
    later = pairs_of(
        showings.item_id, showings.flags, showings.time_us, now_us + DAY_US * 3 // 2, meaning
    )[1]
    assert later == pytest.approx(confidence / 2, rel=1e-5)

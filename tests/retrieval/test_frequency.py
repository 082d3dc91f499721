"""METHODS T4: the streaming estimate of how often each video is drawn (Yi 2019)."""

import numpy as np

from upnext.retrieval.two_tower.frequency import StreamingFrequency

SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.05])


def streamed(n_hashes, n_buckets, n_draws, *, shares=SHARES, rate=0.02, seed=0):
    """A stream of n_draws in batches of 100, followed; (estimator, mean gap of each video over the second half)."""
    rng = np.random.default_rng(seed)
    frequency = StreamingFrequency(n_hashes, n_buckets, rate, first_gap=len(shares))
    items = np.arange(len(shares))
    gaps, n = np.zeros(len(shares)), 0
    for step in range(n_draws // 100):
        frequency.update(rng.choice(len(shares), 100, p=shares))
        if step >= n_draws // 200:
            gaps += 1 / frequency.share(items)
            n += 1
    return frequency, gaps / n


def test_the_mean_gap_is_one_over_the_share():
    """The rarest video's mean is over 6,000 gaps (5 % of 120,000 draws): 1.3 % of noise, and 10 / rate events come long before."""
    _, gap = streamed(1, 1 << 16, 240_000)
    assert np.abs(gap * SHARES - 1).max() < 0.04


def test_several_tables_tell_videos_apart_that_one_takes_for_another():
    """Two hundred videos in 64 buckets: a shared bucket makes gaps shorter, so a rare video seems frequent."""
    shares = np.full(200, 1 / 200)
    one, _ = streamed(1, 64, 60_000, shares=shares)
    many, _ = streamed(4, 64, 60_000, shares=shares)
    error_of = [np.abs(f.share(np.arange(200)) * 200 - 1).mean() for f in (one, many)]
    assert error_of[1] < 0.6 * error_of[0]


def test_a_share_that_changes_is_followed():
    rng = np.random.default_rng(2)
    frequency = StreamingFrequency(2, 1 << 16, 0.05, first_gap=2)
    for share in (0.9, 0.1):
        for _ in range(100):
            frequency.update((rng.random(100) > share).astype(np.int64))
    assert 0.05 < frequency.share(np.array([0]))[0] < 0.2


def test_it_goes_on_from_its_state():
    draws = np.random.default_rng(1).integers(0, 50, 900)
    whole = StreamingFrequency(2, 256, 0.02, first_gap=50)
    whole.update(draws)
    first, second = (StreamingFrequency(2, 256, 0.02, first_gap=50) for _ in range(2))
    first.update(draws[:400])
    second.restore(first.state())
    second.update(draws[400:])
    assert np.array_equal(second.share(np.arange(60)), whole.share(np.arange(60)))


def test_a_video_never_drawn_has_the_share_it_began_with():
    frequency = StreamingFrequency(2, 1 << 16, 0.02, first_gap=1000)
    frequency.update(np.array([1, 2, 1]))
    assert frequency.share(np.array([3])).tolist() == [np.float32(0.001)]

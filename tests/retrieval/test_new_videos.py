"""Where videos that were never trained stand: blends with known answers, creators' means, a network that knows ids alone."""

import numpy as np
import pytest

from upnext.retrieval.two_tower.new_videos import (
    CreatorMeans,
    Known,
    NewVideoBlend,
    NewVideos,
    VideoParts,
    blend_of,
)

D = 6


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def world(n=600, seed=0):
    """(parts, target float32[n, D]): content is the truth with noise 1, a viewer with noise 1.5, a creator's video with noise .8."""
    rng = np.random.default_rng(seed)
    target = unit(rng.standard_normal((n, D)))
    n_viewers, n_creator = rng.choice([0, 1, 4, 16], n), rng.choice([0, 1, 5], n)

    def seen(sd, count):
        noise = rng.standard_normal((n, D)) * sd / np.sqrt(np.maximum(count, 1))[:, None]
        return ((target + noise) * (count > 0)[:, None]).astype(np.float32)

    parts = VideoParts(
        seen(1.0, np.ones(n)), seen(0.8, n_creator), n_creator, seen(1.5, n_viewers), n_viewers
    )
    return parts, target


def chosen(parts, rows):
    return VideoParts(
        parts.content[rows], parts.creator[rows], parts.n_creator[rows], parts.viewers[rows],
        parts.n_viewers[rows],
    )  # fmt: skip


def error(vectors, target):
    return float(np.square(vectors - target).sum(1).mean())


def test_the_blend_is_nearer_than_each_part_and_nears_with_viewers():
    parts, target = world()
    blend = blend_of(parts, target, np.zeros(D, np.float32))
    fresh, truth = world(seed=1)
    errors = []
    for n_viewers in (0, 1, 4, 16):
        rows = np.flatnonzero((fresh.n_viewers == n_viewers) & (fresh.n_creator > 0))
        some, known = chosen(fresh, rows), truth[rows]
        errors.append(error(blend.vectors(some), known))
        alone = [some.content, some.creator] + ([some.viewers] if n_viewers else [])
        assert errors[-1] < min(error(part, known) for part in alone)
    assert errors == sorted(errors, reverse=True)


def test_equal_weights_lose_to_weights_that_know_how_many_viewers_there_were():
    parts, target = world()
    blend = blend_of(parts, target, np.zeros(D, np.float32))
    fresh, truth = world(seed=1)
    mean = (fresh.content + fresh.creator + fresh.viewers) / 3
    assert error(blend.vectors(fresh), truth) < 0.8 * error(mean, truth)


def test_what_is_known_poorly_is_shorter_and_nothing_is_longer_than_a_trained_vector():
    parts, target = world()
    blend = blend_of(parts, target, np.zeros(D, np.float32))
    length = np.linalg.norm(blend.vectors(parts), axis=1)
    many = (parts.n_viewers == 16) & (parts.n_creator == 5)
    none = (parts.n_viewers == 0) & (parts.n_creator == 0)
    assert length[none].mean() < 0.8 * length[many].mean()
    assert length.max() < 1.0001


def test_without_anything_to_learn_from_content_decides():
    nothing = chosen(world()[0], np.zeros(0, np.int64))
    blend = blend_of(nothing, np.zeros((0, D), np.float32), np.zeros(D, np.float32))
    parts, _ = world(20)
    content = VideoParts(unit(parts.content), *[getattr(parts, n) for n in (
        "creator", "n_creator", "viewers", "n_viewers")])  # fmt: skip
    assert np.allclose(blend.vectors(content), content.content, atol=1e-6)


def test_a_creators_mean_leaves_the_video_itself_out():
    vectors = np.array([[1, 0], [3, 0], [0, 5], [9, 9]], np.float32)
    means = CreatorMeans.of(np.array([7, 7, 2, -1]), vectors)
    mean, count = means.mean(np.array([7, 2, 5, -1]))
    assert mean.tolist() == [[2, 0], [0, 5], [0, 0], [0, 0]]  # nobody's videos are no creator's
    assert count.tolist() == [2, 1, 0, 0]
    mean, count = means.mean(np.array([7, 2]), without=vectors[[0, 2]])
    assert mean.tolist() == [[3, 0], [0, 0]]
    assert count.tolist() == [1, 0]


def known_of(*, by_content):
    creators = CreatorMeans.of(np.array([4, 4]), unit(np.eye(2, D)))
    blend = blend_of(*world(), np.zeros(D, np.float32))
    out = np.eye(D, dtype=np.float32), np.zeros(D, np.float32)
    return Known(np.array([True, True, False]), creators, blend, out, by_content)


def test_ids_alone_have_no_place_for_a_video_of_which_nobody_knows_anything():
    new = NewVideos(known_of(by_content=False))
    ids, inputs = np.array([2, 9, 10]), np.zeros((3, D), np.float32)
    has_place, _ = new.placed(ids, inputs, np.array([-1, 4, -1]))
    assert has_place.tolist() == [False, True, False]
    new.meet(np.array([10]), unit(np.ones((1, D))), np.array([1]))
    has_place, vectors = new.placed(ids, inputs, np.array([-1, 4, -1]))
    assert has_place.tolist() == [False, True, True]
    assert vectors[2] @ np.ones(D) > 0.1


def test_new_is_what_was_not_trained():
    new = NewVideos(known_of(by_content=True))
    assert new.are_new(np.array([0, 1, 2, 3, 99])).tolist() == [False, False, True, True, True]


def test_what_a_release_says_is_read_back(tmp_path):
    known = known_of(by_content=True)
    known.save(tmp_path / "new_videos.npz")
    again = Known.load(tmp_path / "new_videos.npz")
    parts, _ = world(5)
    assert np.array_equal(again.blend.vectors(parts), known.blend.vectors(parts))
    assert again.is_trained.tolist() == known.is_trained.tolist()
    assert again.by_content
    assert isinstance(again.blend, NewVideoBlend)
    assert again.blend.half_viewers == pytest.approx(known.blend.half_viewers)

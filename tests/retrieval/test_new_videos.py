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
from upnext.retrieval.two_tower.rank_new_videos import Round, ranked_weights

D = 6
NOTHING = np.zeros(D, np.float32), np.zeros(D, np.float32)  # mean and crowd of a world about 0


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
    blend = blend_of(parts, target, NOTHING)
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
    blend = blend_of(parts, target, NOTHING)
    fresh, truth = world(seed=1)
    mean = (fresh.content + fresh.creator + fresh.viewers) / 3
    assert error(blend.vectors(fresh), truth) < 0.8 * error(mean, truth)


def test_what_is_known_poorly_is_shorter():
    parts, target = world()
    blend = blend_of(parts, target, NOTHING)
    length = np.linalg.norm(blend.vectors(parts), axis=1)
    many = (parts.n_viewers == 16) & (parts.n_creator == 5)
    none = (parts.n_viewers == 0) & (parts.n_creator == 0)
    assert length[none].mean() < 0.8 * length[many].mean()


def test_without_anything_to_learn_from_content_decides():
    nothing = chosen(world()[0], np.zeros(0, np.int64))
    blend = blend_of(nothing, np.zeros((0, D), np.float32), NOTHING)
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
    blend = blend_of(*world(), NOTHING)
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


def rounds_of(scores, others, target):
    return [Round(np.asarray(scores, np.float32), np.asarray(others, float), np.asarray(target))]


def test_new_videos_get_the_share_of_places_that_viewers_give_them():
    # one new video that scores w with everyone, others of exp-sum 9, one pair in four is the new one's: e^w / (e^w + 9) = 1/4
    rounds = rounds_of(np.ones((1, 8, 1)), np.full(8, np.log(9.0)), [0, 0, -1, -1, -1, -1, -1, -1])
    weight = ranked_weights(rounds, np.zeros(1), reg=1e-9)
    assert weight[0] == pytest.approx(np.log(3.0), abs=1e-3)


def test_new_videos_that_nobody_watches_give_way_and_without_a_pair_nothing_moves():
    scores, others = np.ones((1, 4, 2)), np.full(4, np.log(9.0))
    start = np.zeros(1)
    assert ranked_weights(rounds_of(scores, others, [-1, -1, -1, -1]), start)[0] < -3
    assert ranked_weights(rounds_of(np.ones((1, 0, 2)), others[:0], []), start) is start
    assert ranked_weights([], start) is start


def test_ranking_finds_the_part_that_tells_viewers_apart_where_a_mean_would_not():
    # two new videos, two kinds of viewers: the second term knows whose is whose, the first is the same for all
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 400)
    told = np.where(np.arange(2) == kind[:, None], 1.0, -1.0)
    scores = np.stack([np.ones((400, 2)), told])
    target = np.where(rng.random(400) < 0.5, kind, -1)
    start = np.array([1.0, 0.0])
    weight = ranked_weights(rounds_of(scores, np.full(400, np.log(20.0)), target), start)
    assert weight[1] > 1.5

    def loss(w):
        score = np.tensordot(w, scores, 1)
        total = np.log(np.exp(score).sum(1) + 20)
        own = np.where(target >= 0, score[np.arange(400), target], np.log(20.0))
        return (total - own).mean()

    assert loss(weight) < loss(start) - 0.3
    for step in 0.05 * np.eye(2):  # the least loss is there
        assert loss(weight) < min(loss(weight + step), loss(weight - step)) + 1e-4

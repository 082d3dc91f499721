"""The two-tower network under each of its settings: parts of a video, losses, proposals, inputs; and fine-tuning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from retrieval_world import DAY_US, NOW_US, material_of, query_of, showings_of
from test_two_tower import N_ITEMS, N_TASTES, SMALL, one_taste_world

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.features.showings import Showings
from upnext.retrieval.checkpoint import checksum_of
from upnext.retrieval.training_rows import labels_of
from upnext.retrieval.two_tower.export import all_items
from upnext.retrieval.two_tower.fit_new_videos import known_videos
from upnext.retrieval.two_tower.learner import TwoTowerLearner
from upnext.retrieval.two_tower.new_videos import NewVideos
from upnext.retrieval.two_tower.user_inputs import groups_of, serving_row
from upnext.retrieval.two_tower.user_tower import pooled_groups

SHOWN, LIKED = Flag.IMPRESSION, Flag.IMPRESSION | Flag.LIKE
SKIPPED = Flag.IMPRESSION | Flag.WATCHED | Flag.SKIPPED


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


class InTorch:
    """A trained network that embeds viewers as it serves, without the files: writing ONNX takes seconds."""

    def __init__(self, learner, material):
        self.network, self.config = learner._network.eval(), learner.config
        self.context = np.zeros(material.context.size, np.float32)
        self.inputs, _ = all_items(self.network)

    def vectors(self, query):
        groups, nothing = groups_of(self.config), np.zeros((0, self.config.input_size), np.float32)
        history = query.user.history
        pooled, counts = pooled_groups(
            history.item_id, history.flags, 0, np.array([g.flags for g in groups], np.uint16),
            np.array([g.n_last for g in groups]), self.inputs, nothing, np.zeros(0, bool),
        )  # fmt: skip
        row = serving_row(pooled, counts, nothing.sum(0), 0, self.context)
        with torch.no_grad():
            return self.network.user(torch.from_numpy(row)).numpy()


def learned(material, **settings):
    """(learner, the tower that embeds viewers, the videos' vectors) under some settings."""
    learner = TwoTowerLearner(SMALL.model_copy(update=settings))
    learner.learn(material)
    tower = InTorch(learner, material)
    return learner, tower, all_items(tower.network)[1]


def share_of_own_taste(tower, vectors, taste):
    """How many of the four nearest videos are of the viewer's taste, over viewers of each taste."""
    hits = []
    for own in range(N_TASTES):
        items = np.flatnonzero(taste == own)
        score = vectors @ tower.vectors(query_of(items=items[:4]))[0]
        score[items[:4]] = -np.inf
        hits.append((taste[np.argsort(-score)[:4]] == own).mean())
    return float(np.mean(hits))


@pytest.mark.parametrize(
    "settings",
    [
        {"video_parts": "id"},
        {"video_parts": "content"},
        {"loss": "binary", "imbalance": "weights"},
        {"loss": "binary", "imbalance": "downsample"},
        {"frequency": "streaming"},
        {"n_relevant": 0, "n_liked": 0, "n_recent": 0},
        {"hard_weight": 0.5, "dropout": 0.1},
    ],
)
def test_the_tastes_are_found_under_every_setting(settings):
    showings, content, taste = one_taste_world()
    liked = replace(showings, flags=showings.flags | np.uint16(Flag.LIKE))  # for the binary loss
    _, tower, vectors = learned(material_of(liked, content), epochs=20, **settings)
    assert share_of_own_taste(tower, vectors, taste) > 0.8  # .25 by chance


def test_ids_alone_read_no_content_and_have_no_place_for_a_new_video():
    showings, content, _ = one_taste_world()
    creator = np.arange(N_ITEMS) % 5
    material = material_of(showings, content, creator=creator)
    learner, _, vectors = learned(material, video_parts="id")
    other = TwoTowerLearner(learner.config)
    other.learn(material_of(showings, content[::-1].copy(), creator=creator))
    assert np.array_equal(other.snapshot()["ids.weight"], learner.snapshot()["ids.weight"])
    known = known_videos(learner._network, material, vectors, learner._trained)
    new, inputs = np.array([N_ITEMS - 1, N_ITEMS, N_ITEMS + 1]), np.zeros((3, SMALL.input_size))
    has_place, placed = NewVideos(known).placed(new, inputs, np.array([4, -1, 3]))
    assert has_place.tolist() == [True, False, True]  # creators 3 and 4 have other videos
    assert placed[2] @ vectors[creator == 3].mean(0) > 0


def test_content_alone_learns_no_ids():
    showings, content, _ = one_taste_world()
    learner, _, _ = learned(material_of(showings, content), video_parts="content")
    assert not learner.snapshot()["ids.weight"].any()


def test_explicit_dislikes_are_negatives_of_the_binary_loss():
    """Everybody sees everything; odd videos are liked, even ones disliked, as often: only the dislikes tell them apart from unseen."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(40):
        for step, item in enumerate(rng.permutation(12)[:9]):
            flags = LIKED if item % 2 else SHOWN | Flag.DISLIKE
            rows.append((user, int(item), NOW_US + step * DAY_US // 50, flags))
    content = np.eye(18, dtype=np.float32)  # six videos were never shown
    settings = {"loss": "binary", "epochs": 20, "video_parts": "both", "id_dropout": 0.0}
    material = material_of(showings_of(rows), content)
    _, tower, vectors = learned(material, **settings)
    score = vectors @ tower.vectors(query_of())[0]
    assert score[1:12:2].min() > score[0:12:2].max()
    liked_alone = showings_of([row for row in rows if row[3] == LIKED])
    _, tower, vectors = learned(material_of(liked_alone, content), **settings)
    without = vectors @ tower.vectors(query_of())[0]
    assert score[0:12:2].mean() - score[12:].mean() < without[0:12:2].mean() - without[12:].mean()


def test_what_is_shown_and_not_watched_ranks_lower_with_the_term_of_its_own():
    """Every viewer likes an odd video and then skips the even one beside it; both are shown equally often."""
    rng = np.random.default_rng(4)
    rows = []
    for user in range(60):
        for step, pair in enumerate(rng.permutation(6)[:4]):
            at = NOW_US + step * DAY_US
            rows.append((user, int(2 * pair + 1), at, LIKED))
            rows.append((user, int(2 * pair), at + 60_000_000, SKIPPED))
    material = material_of(showings_of(rows), np.eye(12, dtype=np.float32))
    gaps = []
    for weight in (0.0, 1.0):
        _, tower, vectors = learned(
            material, hard_weight=weight, relevant_weight=1.0,
            id_dropout=0.0,
        )  # fmt: skip
        score = vectors @ tower.vectors(query_of())[0]
        gaps.append(float((score[1::2] - score[::2]).mean()))
    assert gaps[1] > gaps[0] + 0.1


def test_the_next_video_shown_and_not_watched_is_the_hard_negative():
    rows = [(0, 1, 5, LIKED), (0, 2, 6, LIKED), (0, 3, 7, SKIPPED), (0, 4, 8, SHOWN),
            (0, 5, 9, LIKED), (1, 6, 9, SKIPPED)]  # fmt: skip
    labels = labels_of(showings_of(rows), SMALL)
    assert labels.skipped.tolist() == [2, 2, 3, -1, -1, -1]  # never another viewer's


def falling_world():
    """Ten weeks in which item 0's share falls from .95 and item 1's rises; over all of them item 0 was shown twice as often.

    Always on the same weekday: that is an input too."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(1500):
        week = int(10 * rng.random() ** 2)  # most showings lie far back
        item = int(rng.random() < (week + 0.5) / 10)
        rows.append((user, item, NOW_US - 7 * (10 - week) * DAY_US, SHOWN))
    return showings_of(rows)


@pytest.mark.parametrize("example_age", [True, False])
def test_the_age_of_examples_ranks_by_the_last_day_and_without_it_by_the_average(
    example_age,
):
    """METHODS T7."""
    settings = {"n_uniform": 6, "epochs": 8, "id_dropout": 0.0, "example_age": example_age}
    material = material_of(falling_world(), np.eye(6, dtype=np.float32))
    _, tower, vectors = learned(material, **settings)
    score = vectors @ tower.vectors(query_of())[0] / SMALL.temperature
    assert (score[1] - score[0] > 1) == example_age  # log(.95 / .05) = 2.9 in the limit
    assert (score[0] - score[1] > 0.3) == (not example_age)  # log 2 or so


# Fine-tuning


def grown_world():
    """(material of a first day with 30 videos, material with 10 more and a second day that shows them, the second day's start)."""
    showings, content, _ = one_taste_world()
    later = NOW_US + DAY_US
    rows = [
        (user, item, int(time_us), int(flags))
        for user, item, time_us, flags in zip(
            showings.user.tolist(), showings.item_id.tolist(), showings.time_us, showings.flags
        )
        if item < 30
    ]
    rng = np.random.default_rng(1)
    new = []
    for user in range(0, 60, 2):
        own = [item for item in range(30, N_ITEMS - 1) if item % N_TASTES == user % N_TASTES]
        new += [(user, int(item), later + 1000 * user, LIKED) for item in rng.permutation(own)[:2]]
    first = material_of(showings_of(rows), content[:30])
    return first, material_of(showings_of(rows + new), content, since_us=later), later


def test_a_fine_tuning_learns_the_newest_showings_alone_and_takes_in_new_videos():
    first, second, later = grown_world()
    before = TwoTowerLearner(SMALL)
    before.learn(first)
    after = TwoTowerLearner(SMALL.model_copy(update={"epochs": 2}))
    said = after.learn(second, start_from=before.snapshot())
    assert said["n_examples"] == (second.showings.time_us >= later).sum()
    old, new = before.snapshot()["ids.weight"], after.snapshot()["ids.weight"]
    assert (len(old), len(new)) == (30, N_ITEMS)
    assert new[30 : N_ITEMS - 1].any()
    assert not new[N_ITEMS - 1].any()  # the one that is still never shown
    assert np.abs(new[:30] - old).max() < 0.5 * np.abs(old).max()


def test_after_a_fine_tuning_new_videos_are_trained_and_old_ones_still_are():
    first, second, _ = grown_world()
    before = TwoTowerLearner(SMALL)
    before.learn(first)
    after = TwoTowerLearner(SMALL.model_copy(update={"epochs": 2}))
    after.learn(second, start_from=before.snapshot())
    assert np.flatnonzero(after._trained).tolist() == np.unique(second.showings.item_id).tolist()


def test_a_resumed_fine_tuning_ends_with_the_same_bits(tmp_path):
    first, second, _ = grown_world()
    before = TwoTowerLearner(SMALL)
    before.learn(first)
    snapshot = before.snapshot()
    config = SMALL.model_copy(update={"epochs": 4, "frequency": "streaming"})
    whole = TwoTowerLearner(config)
    whole.learn(second, start_from=snapshot)
    TwoTowerLearner(config, folder=tmp_path).learn(second, start_from=snapshot, stop_after=2)
    resumed = TwoTowerLearner(config, folder=tmp_path)
    resumed.learn(second, start_from=snapshot, resume=True)
    assert checksum_of(resumed.snapshot()) == checksum_of(whole.snapshot())
    with pytest.raises(InvalidInput, match="other data or another config"):
        TwoTowerLearner(config, folder=tmp_path).learn(second, resume=True)


def test_a_snapshot_of_another_shape_is_refused_by_name():
    first, second, _ = grown_world()
    before = TwoTowerLearner(SMALL)
    before.learn(second)
    with pytest.raises(InvalidInput, match=r"ids\.weight: expected shape \[30, 16\]"):
        TwoTowerLearner(SMALL).learn(first, start_from=before.snapshot())
    wider = SMALL.model_copy(update={"hidden": (25,)})
    with pytest.raises(InvalidInput, match=r"user\.layers"):
        TwoTowerLearner(wider).learn(second, start_from=before.snapshot())


def test_no_newest_showings_are_too_few_examples():
    showings: Showings = one_taste_world()[0]
    material = material_of(showings, one_taste_world()[1], since_us=NOW_US + 99 * DAY_US)
    with pytest.raises(InvalidInput, match="at least 2 examples, got 0"):
        TwoTowerLearner(SMALL).learn(material)

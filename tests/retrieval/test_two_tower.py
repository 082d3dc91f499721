"""The two-tower network on worlds with known answers; resume; serving equals training."""

import json

import numpy as np
import pytest
import torch
from retrieval_world import (
    DAY_US,
    NOW_US,
    codes_of,
    history_of,
    material_of,
    query_of,
    showings_of,
)  # fmt: skip

from upnext.core.errors import InvalidInput
from upnext.core.randomness import rng_for
from upnext.core.types import Flag, Query, User
from upnext.retrieval.checkpoint import checksum_of
from upnext.retrieval.training_rows import labels_of
from upnext.retrieval.two_tower.batches import BatchReader
from upnext.retrieval.two_tower.config import TwoTowerConfig
from upnext.retrieval.two_tower.learner import TwoTowerLearner
from upnext.retrieval.two_tower.losses import tensors_of
from upnext.retrieval.two_tower.user_tower import UserTower

N_ITEMS, N_USERS, N_TASTES = 40, 60, 4
SMALL = TwoTowerConfig(
    embedding_size=12, input_size=16, hidden=(24,), content_hidden=20, search_buckets=32,
    n_watched=8, n_relevant=7, n_liked=4, n_recent=3, n_uniform=24, batch_size=64, epochs=6,
    learning_rate=0.01, temperature=0.1, label_histories=True,
)  # fmt: skip


def one_taste_world(n_items=N_ITEMS):
    """Each user is shown videos of one taste only; content is the taste, one-hot, plus noise. The last item is never shown."""
    rng = np.random.default_rng(5)
    taste = np.arange(n_items) % N_TASTES
    rows = []
    for user in range(N_USERS):
        own = np.flatnonzero(taste[:-1] == user % N_TASTES)
        for step, item in enumerate(rng.permutation(own)[:8]):
            time_us = 0 if step < 2 else NOW_US - (9 - step) * DAY_US // 4
            liked = Flag.LIKE if rng.random() < 0.3 else 0
            rows.append((user, int(item), time_us, Flag.IMPRESSION | liked))
    content = np.eye(N_TASTES, dtype=np.float32)[taste]
    content = np.hstack([content, 0.1 * rng.standard_normal((n_items, 2))]).astype(np.float32)
    tokens = np.asarray([11, 77, 5], np.int64)
    searches = {3: (NOW_US - np.array([3, 2, 1]) * DAY_US, tokens)}
    return showings_of(rows, searches), content, taste


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    showings, content, taste = one_taste_world()
    learner = TwoTowerLearner(SMALL)
    metrics = learner.learn(material_of(showings, content))
    folder = tmp_path_factory.mktemp("release")
    learner.export(folder)
    return learner, metrics, folder, showings, content, taste


def test_viewers_get_the_videos_of_their_taste(trained):
    _, _, folder, _, _, taste = trained
    vectors = np.load(folder / "item_vectors.npy")
    tower = UserTower(folder)
    for own in range(N_TASTES):
        items = np.flatnonzero(taste == own)
        score = vectors @ tower.vectors(query_of(items=items[:4]))[0]
        score[items[:4]] = -np.inf
        assert set(taste[np.argsort(-score)[:4]]) == {own}


def test_vectors_are_normalised(trained):
    _, _, folder, _, _, _ = trained
    length = np.linalg.norm(np.load(folder / "item_vectors.npy"), axis=1)
    assert np.allclose(length[:-1], 1, atol=1e-5)
    assert length[-1] < 1.00001  # never shown: what is known poorly is shorter
    assert np.linalg.norm(UserTower(folder).vectors(query_of())[0]) == pytest.approx(1, abs=1e-5)


def test_a_video_that_was_never_shown_is_found_by_its_content_at_once(trained):
    _, _, folder, _, content, taste = trained
    tower, vectors = UserTower(folder), np.load(folder / "item_vectors.npy")
    for own in range(N_TASTES):
        fresh = np.zeros((1, content.shape[1]), np.float32)
        fresh[0, own] = 1
        ids, new = tower.bring(np.array([N_ITEMS + own]), fresh, codes_of(1))
        assert ids.tolist() == [N_ITEMS + own]
        assert set(taste[np.argsort(-(new[0] @ vectors.T))[:4]]) == {own}
    never_shown = N_ITEMS - 1
    ids, placed = tower.bring(np.array([never_shown]), content[never_shown:], codes_of(1))
    assert ids.tolist() == [never_shown]
    assert np.allclose(placed[0], vectors[never_shown], atol=1e-5)


def test_a_trained_video_keeps_its_vector_when_its_title_changes(trained):
    _, _, folder, _, content, _ = trained
    ids, vectors = UserTower(folder).bring(np.array([0, N_ITEMS]), content[:2], codes_of(2))
    assert ids.tolist() == [N_ITEMS]
    assert vectors.shape == (1, SMALL.embedding_size)


def test_a_later_video_counts_in_histories_once_it_is_known(trained):
    _, _, folder, _, content, _ = trained
    tower, query = UserTower(folder), query_of(items=[1, 5, N_ITEMS + 3])
    before = tower.vectors(query)
    tower.bring(np.array([N_ITEMS + 3]), content[2:3], codes_of(1))
    assert not np.allclose(before, tower.vectors(query))
    assert np.array_equal(
        UserTower(folder).vectors(query), before
    )  # the release's file is as it was


def test_served_rows_equal_trained_rows(trained):
    """The same viewer at the same moment, once out of the log and once as a query: the same row, age apart."""
    learner, _, folder, showings, content, _ = trained
    labels = labels_of(showings, SMALL)
    reader = BatchReader(material_of(showings, content), labels, SMALL, np.arange(N_ITEMS))
    timed = np.flatnonzero(~labels.is_history)
    batch = reader.batch(timed, rng_for("test"))
    network = learner._network.eval()
    with torch.no_grad():
        inputs = network.inputs(torch.from_numpy(batch.items))
        rows = network.user_rows(tensors_of(batch, torch.device("cpu")), inputs).numpy()
    tower = UserTower(folder)
    for place, row in zip(timed, rows):
        at, past = labels.row[place], slice(labels.start[place], labels.end[place])
        history = history_of(showings.item_id[past], showings.flags[past])
        times, tokens = showings.searches.get(int(showings.user[at]), (np.zeros(0), np.zeros(0)))
        known = np.sort(tokens[times < showings.time_us[at]]).astype(np.int64)
        moment = showings.moments[showings.moment[at]]
        query = query_of()
        request = type(query.request)("r", "u", moment.surface, 10, moment.time_us)
        query = Query(request, User("u", history=history, searches=known))
        assert np.allclose(tower.row(query)[0, :-3], row[:-3], atol=1e-5)
    assert tower.row(query_of())[0, -3:].tolist() == [0, 0, 0]


def test_the_order_of_searches_does_not_show(trained):
    """Bit for bit: thirty float32 added in another order would differ in the last place."""
    _, _, folder, _, _, _ = trained
    tower = UserTower(folder)
    rng = np.random.default_rng(8)
    tower._tokens = rng.standard_normal((SMALL.search_buckets, SMALL.input_size)).astype(np.float32)
    tokens = rng.integers(0, 1000, 30)
    rows = {tower.row(query_of(searches=rng.permutation(tokens))).tobytes() for _ in range(20)}
    assert len(rows) == 1
    assert tower.row(query_of(searches=tokens[:-1])).tobytes() not in rows


@pytest.mark.parametrize("pairing", ["candidate", "importance", "refined"])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, pairing):
    showings, content, _ = one_taste_world()
    config = SMALL.model_copy(update={"epochs": 4, "pairing": pairing})
    whole = TwoTowerLearner(config)
    whole.learn(material_of(showings, content))
    TwoTowerLearner(config, folder=tmp_path).learn(material_of(showings, content), stop_after=2)
    resumed = TwoTowerLearner(config, folder=tmp_path)
    resumed.learn(material_of(showings, content), resume=True)
    assert checksum_of(resumed.snapshot()) == checksum_of(whole.snapshot())
    anew = TwoTowerLearner(config.model_copy(update={"seed": 1}))
    anew.learn(material_of(showings, content))
    assert checksum_of(anew.snapshot()) != checksum_of(whole.snapshot())


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    showings, content, _ = one_taste_world()
    config = SMALL.model_copy(update={"epochs": 2})
    TwoTowerLearner(config, folder=tmp_path).learn(material_of(showings, content), stop_after=1)
    with pytest.raises(InvalidInput, match="other data or another config"):
        TwoTowerLearner(config, folder=tmp_path).learn(
            material_of(showings, content + 1), resume=True
        )


def test_too_few_examples_are_refused():
    with pytest.raises(InvalidInput, match="at least 2 examples, got 1"):
        TwoTowerLearner(SMALL).learn(
            material_of(showings_of([(0, 1, 5, 1)]), np.zeros((3, 4), np.float32))
        )


def test_without_a_day_of_life_the_example_age_ranks_by_the_newest_popularity():
    """METHODS T7: ten days in which item 0's share falls and item 1's rises; on average they are equal."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(900):
        day = user % 10
        item = int(rng.random() < (day + 0.5) / 10)
        rows.append((user, item, NOW_US - (10 - day) * DAY_US, Flag.IMPRESSION))
    showings = showings_of(rows)
    content = np.eye(6, dtype=np.float32)
    config = SMALL.model_copy(update={"n_uniform": 6, "epochs": 12, "id_dropout": 0.0})
    learner = TwoTowerLearner(config)
    learner.learn(material_of(showings, content))
    network = learner._network.eval()
    with torch.no_grad():
        vectors = network.item.vectors(network.inputs(torch.arange(2)))
        row = torch.zeros(2, network.user.layers[1].in_features)
        row[1, -3:] = torch.tensor([np.log1p(9) / 3, 1.0, 0.0])
        logits = network.user(row) @ vectors.T / config.temperature
    now, nine_days_ago = (logits[:, 1] - logits[:, 0]).tolist()
    assert now > 1  # log(.95 / .05) = 2.9 in the limit
    assert nine_days_ago < -1


def test_the_release_says_what_it_was_trained_with(trained):
    learner, metrics, folder, _, _, _ = trained
    meta = json.loads((folder / "retrieval.json").read_text())
    assert meta["checksum"] == checksum_of(learner.snapshot())
    assert TwoTowerConfig.model_validate(meta["config"]) == SMALL
    assert metrics["n_examples"] == len(labels_of(one_taste_world()[0], SMALL))


def test_content_of_another_size_is_refused(trained):
    _, _, folder, _, _, _ = trained
    with pytest.raises(InvalidInput, match="content"):
        UserTower(folder).bring(np.arange(2), np.zeros((2, 3), np.float32), codes_of(2))

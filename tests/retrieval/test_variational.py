"""Variational embeddings: formulas by Monte Carlo, query vectors as design E says them, and worlds with known answers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from retrieval_world import DAY_US, NOW_US, history_of, query_of, showings_of

from upnext.core.errors import InvalidInput
from upnext.core.randomness import rng_for
from upnext.core.types import Flag, Query, Request, User
from upnext.features.context import ContextEncoder, Vocabulary
from upnext.retrieval.checkpoint import checksum_of
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.training_rows import labels_of
from upnext.retrieval.two_tower.batches import BatchReader
from upnext.retrieval.variational.config import VariationalConfig
from upnext.retrieval.variational.directions import query_vectors, score_variance, video_vectors
from upnext.retrieval.variational.generator import VariationalGenerator
from upnext.retrieval.variational.learner import VariationalLearner, _tensors
from upnext.retrieval.variational.network import Gaussian, kl_divergence
from upnext.retrieval.variational.viewer_row import as_two_tower

N_ITEMS, N_SHOWN, N_USERS, N_TASTES = 170, 160, 240, 4
ENCODER = ContextEncoder(Vocabulary.learn({"surface": ["home"]}))
SMALL = VariationalConfig(
    embedding_size=8, input_size=12, hidden=(24,), content_hidden=20, n_watched=20, n_relevant=20,
    n_liked=4, n_recent=3, n_uniform=40, batch_size=64, epochs=8, learning_rate=0.01,
    temperature=0.3, beta=0.1,
)  # fmt: skip


def material_of(showings, content):
    n = len(content)
    codes = VideoCodes(
        np.zeros(n, np.int32), np.arange(n), np.zeros(n, np.int32), np.ones(n, np.float32),
        np.zeros(n, bool), np.zeros(n, np.int64),
    )  # fmt: skip
    return Material(showings, content, ENCODER, codes)


def tastes():
    """Viewers of one taste each out of four, with 1 to 20 showings, eight of ten of their taste. The last ten videos are never shown."""
    rng = np.random.default_rng(3)
    taste = np.arange(N_ITEMS) % N_TASTES
    rows = []
    for user in range(N_USERS):
        weight = np.where(taste[:N_SHOWN] == user % N_TASTES, 0.8, 0.2 / 3)
        shown = rng.choice(N_SHOWN, 1 + user % 20, replace=False, p=weight / weight.sum())
        for step, item in enumerate(shown):
            time_us = NOW_US - (30 - step) * DAY_US // 4
            rows.append((user, int(item), time_us, Flag.IMPRESSION | Flag.WATCHED_HALF))
    content = np.hstack([np.eye(N_TASTES)[taste], 0.3 * rng.standard_normal((N_ITEMS, 2))])
    return material_of(showings_of(rows), content.astype(np.float32)), taste


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    material, taste = tastes()
    learner = VariationalLearner(SMALL)
    metrics = learner.learn(material)
    folder = tmp_path_factory.mktemp("variational")
    learner.export(folder)
    return learner, metrics, folder, material, taste


def test_the_score_varies_as_the_closed_form_says():
    """METHODS F1's recipe: 200,000 draws; the relative error of a variance is then sqrt(2 / n) = .3 % for a normal, say 1.5 %."""
    rng = np.random.default_rng(0)
    mean_u, mean_v = rng.standard_normal((2, 8))
    stdev_u, stdev_v = rng.uniform(0.2, 0.8, (2, 8))
    u = mean_u + stdev_u * rng.standard_normal((200_000, 8))
    v = mean_v + stdev_v * rng.standard_normal((200_000, 8))
    drawn = (u * v).sum(1).var()
    told = score_variance(mean_u, stdev_u, mean_v[None], stdev_v[None])
    assert told == pytest.approx([drawn], rel=0.015)
    without_product = told[0] - (stdev_u**2 * stdev_v**2).sum()
    assert without_product != pytest.approx(drawn, rel=0.05)


def test_the_divergence_is_that_of_two_normals():
    """KL(N(1, 2^2) || N(0, 1)) = (4 + 1 - 1 - ln 4) / 2, per dimension; of equal ones 0."""
    wide = Gaussian(torch.ones(1, 3), torch.full((1, 3), 2.0))
    unit = Gaussian(torch.zeros(1, 3), torch.ones(1, 3))
    assert kl_divergence(wide, unit).item() == pytest.approx(3 * (4 - np.log(4)) / 2, rel=1e-6)
    assert kl_divergence(wide, wide).item() == 0


def test_a_draw_passes_gradients_to_mean_and_stdev():
    mean, stdev = torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    noise = torch.tensor([[0.5, -2.0]])
    Gaussian(mean, stdev).draw(noise).sum().backward()
    assert mean.grad.tolist() == [[1, 1]]
    assert stdev.grad.tolist() == noise.tolist()


def test_query_vectors_are_mean_plus_one_uniform_number_times_stdev():
    """Design E: vec[i] = mean + d[i] * stdev, d[i] ~ U(0, 1), a number for the whole vector."""
    mean, stdev = np.array([1, -2, 3], np.float32), np.array([0.5, 1, 2], np.float32)
    found = query_vectors(mean, stdev, VariationalConfig(n_queries=4000), rng_for("test"))
    step = (found - mean) / stdev
    assert found.shape == (4000, 3)
    assert np.allclose(step, step[:, :1], atol=1e-5)
    d = step[:, 0]
    assert d.min() >= 0
    assert d.max() <= 1
    # the mean of 4,000 uniform numbers has a standard error of .0046, their variance 1/12 one of .0012
    assert d.mean() == pytest.approx(0.5, abs=0.015)
    assert d.var() == pytest.approx(1 / 12, abs=0.004)


def test_other_directions_keep_the_mean_first():
    mean, stdev = np.array([1, -2, 3], np.float32), np.array([0.5, 1, 2], np.float32)
    for directions in ("signs", "normal"):
        config = VariationalConfig(directions=directions)
        found = query_vectors(mean, stdev, config, rng_for("test"))
        assert found.shape == (3, 3)
        assert np.array_equal(found[0], mean)
        step = (found[1:] - mean) / stdev
        assert (np.abs(step) == 1).all() == (directions == "signs")
    alone = query_vectors(mean, stdev, VariationalConfig(directions="mean"), rng_for("test"))
    assert np.array_equal(alone, mean[None])


def test_optimistic_vectors_score_the_mean_plus_the_variance_that_is_the_videos_own():
    rng = np.random.default_rng(1)
    mean, video_mean = rng.standard_normal(5), rng.standard_normal((7, 5))
    stdev, video_stdev = rng.uniform(0.1, 1, 5), rng.uniform(0.1, 1, (7, 5))
    config = VariationalConfig(directions="optimistic", optimism=0.3)
    found = query_vectors(mean, stdev, config, rng_for("test"))
    score = video_vectors(video_mean, video_stdev, "optimistic") @ found[0]
    of_videos = score_variance(mean, stdev, video_mean, video_stdev)
    of_videos = of_videos - score_variance(mean, stdev, video_mean, 0 * video_stdev)
    assert score == pytest.approx(video_mean @ mean + 0.3 * of_videos)


def test_viewers_get_the_videos_of_their_taste_and_those_before_the_others(trained):
    _, _, folder, _, taste = trained
    generator, vectors = VariationalGenerator(folder), np.load(folder / "item_vectors.npy")
    assert vectors.shape == (N_ITEMS, generator.embedding_size)
    for own in range(N_TASTES):
        items = np.flatnonzero(taste[:N_SHOWN] == own)
        query = query_of(items=items[:8])
        score = (generator.vectors(query) @ vectors.T).max(0)
        score[items[:8]] = -np.inf
        assert (taste[np.argsort(-score)[:8]] == own).mean() >= 0.75


def test_the_same_page_asks_with_the_same_vectors_and_another_page_with_others(trained):
    generator = VariationalGenerator(trained[2])
    request = Request("r", "u", "home", 10, NOW_US, session_id="s", seed=4)
    user = User("u", history=history_of([1, 5, 9]))
    once = generator.vectors(Query(request, user))
    again = generator.vectors(Query(replace(request, request_id="other"), user))
    assert once.shape == (3, SMALL.embedding_size)
    assert np.array_equal(once, again)
    for changed in ({"page": 1}, {"seed": 5}, {"session_id": "t"}):
        assert not np.array_equal(once, generator.vectors(Query(replace(request, **changed), user)))


def test_variance_shrinks_with_history_as_errors_do_and_without_the_divergence_it_says_nothing(
    trained,
):
    """40 viewers by the length of their history: mean uncertainty, and how far the mean is from that after 20 showings of their taste.

    The naive training (beta 0) is sure of whoever watched two videos."""
    _, _, folder, material, taste = trained
    naive = VariationalLearner(SMALL.model_copy(update={"beta": 0.0}))
    naive.learn(material)
    naive.export(folder / "naive")
    rng = np.random.default_rng(7)
    histories = [
        rng.permutation(np.flatnonzero(taste[:N_SHOWN] == viewer % N_TASTES))
        for viewer in range(40)
    ]
    lengths, told, apart = (0, 2, 6, 20), {}, []
    for name in ("", "naive"):
        generator = VariationalGenerator(folder / name)
        for length in lengths:
            viewers = [generator.viewer(query_of(items=items[:length])) for items in histories]
            told[name, length] = np.mean([viewer.uncertainty for viewer in viewers])
            if not name:
                apart.append(np.stack([viewer.mean for viewer in viewers]))
    ours = [told["", length] for length in lengths]
    assert ours[0] == pytest.approx(1, abs=1e-5)  # nothing watched: the prior
    assert (np.diff(ours) < 0).all()
    assert ours[1] > 2 * ours[3]
    error = [np.square(mean - apart[3]).sum(1).mean() for mean in apart]
    assert (np.diff(error) < 0).all()
    assert told["naive", 2] < 0.5 * told["", 2]


def test_videos_with_fewer_examples_are_less_sure_and_later_ones_are_their_prior(trained):
    learner, _, folder, _, taste = trained
    stdev = np.load(folder / "item_stdevs.npy").mean(1)
    n_examples = learner.snapshot()["n_examples"]
    assert (n_examples[N_SHOWN:] == 0).all()
    assert np.corrcoef(n_examples, stdev)[0, 1] < -0.5
    assert stdev[N_SHOWN:].min() > stdev[:N_SHOWN].max()
    generator = VariationalGenerator(folder)
    content = np.zeros((2, N_TASTES + 2), np.float32)
    content[:, 2] = 1  # two new videos of taste 2
    ids, vectors = generator.bring(np.array([N_ITEMS, N_ITEMS + 5]), content, None)
    assert ids.tolist() == [N_ITEMS, N_ITEMS + 5]
    nearest = np.argsort(-(np.load(folder / "item_vectors.npy") @ vectors[0]))[:4]
    assert (taste[nearest] == 2).all()
    fan = generator.viewer(query_of(items=np.flatnonzero(taste == 2)[:8]))
    known = np.flatnonzero(taste[:N_SHOWN] == 2)
    assert generator.score_variance(fan, ids).min() > generator.score_variance(fan, known).mean()


def test_a_later_video_counts_in_histories_once_it_is_brought(trained):
    generator = VariationalGenerator(trained[2])
    query = query_of(items=[1, 5, N_ITEMS + 3])
    before = generator.viewer(query).mean
    generator.bring(np.array([N_ITEMS + 3]), np.ones((1, N_TASTES + 2), np.float32), None)
    assert not np.allclose(before, generator.viewer(query).mean)
    untouched = VariationalGenerator(trained[2]).viewer(query).mean
    assert np.array_equal(untouched, before)  # the release's own files are never written
    with pytest.raises(InvalidInput, match=r"content: expected float32\[1, 6\], got \(1, 5\)"):
        generator.bring(np.array([7]), np.ones((1, 5), np.float32), None)


def test_what_is_served_is_what_was_trained(trained):
    """The same viewer at the same moment, once out of the log and once as a query: the same row, age apart, and the same Gaussian."""
    learner, _, folder, material, _ = trained
    showings, cut = material.showings, as_two_tower(SMALL)
    labels = labels_of(showings, cut)
    batch = BatchReader(material, labels, cut, np.arange(N_ITEMS)).batch(
        np.arange(0, len(labels), 97), rng_for("test")
    )
    network = learner._network.eval()
    kept = (network.n_examples[torch.from_numpy(batch.items)] > 0).float()
    generator = VariationalGenerator(folder)
    with torch.no_grad():
        inputs, _, _ = network.videos(torch.from_numpy(batch.items), kept)
        rows = network.viewer_rows(_tensors(batch, torch.device("cpu")), inputs)
        rows[:, -3:] = 0
        mean, stdev = (part.numpy() for part in network.viewer(rows))
    for i, place in enumerate(np.arange(0, len(labels), 97)):
        at, past = labels.row[place], slice(labels.start[place], labels.end[place])
        request = Request("r", "u", "home", 10, int(showings.time_us[at]))
        history = history_of(showings.item_id[past], showings.flags[past])
        query = Query(request, User("u", history=history))
        assert np.allclose(generator.row(query)[0], rows[i].numpy(), atol=1e-5)
        viewer = generator.viewer(query)
        assert np.allclose(viewer.mean, mean[i], atol=1e-5)
        assert np.allclose(viewer.stdev, stdev[i], atol=1e-5)


def test_a_resumed_training_ends_with_the_same_bits(tmp_path):
    material, _ = tastes()
    config = SMALL.model_copy(update={"epochs": 3})
    whole = VariationalLearner(config)
    whole.learn(material)
    VariationalLearner(config, folder=tmp_path).learn(material, stop_after=1)
    resumed = VariationalLearner(config, folder=tmp_path)
    resumed.learn(material, resume=True)
    assert checksum_of(resumed.snapshot()) == checksum_of(whole.snapshot())
    anew = VariationalLearner(config.model_copy(update={"seed": 1}))
    anew.learn(material)
    assert checksum_of(anew.snapshot()) != checksum_of(whole.snapshot())
    with pytest.raises(InvalidInput, match="other data or another config"):
        VariationalLearner(config, folder=tmp_path).learn(
            replace(material, content=material.content + 1), resume=True
        )


def test_a_training_goes_on_from_a_snapshot_with_videos_that_came_since(trained):
    learner, _, _, material, _ = trained
    before = learner.snapshot()
    content = np.vstack([material.content, material.content[:2]])
    recent = [(user, N_ITEMS + user % 2, NOW_US - DAY_US, Flag.IMPRESSION) for user in range(40)]
    tuned = VariationalLearner(SMALL.model_copy(update={"epochs": 1, "learning_rate": 1e-3}))
    tuned.learn(material_of(showings_of(recent), content), start_from=before)
    after = tuned.snapshot()
    assert after["n_examples"][-2:].tolist() == [20, 20]
    assert np.array_equal(after["n_examples"][:-2], before["n_examples"])
    moved = np.abs(after["video.out.weight"] - before["video.out.weight"]).max()
    assert 0 < moved < 0.05
    other = VariationalLearner(SMALL.model_copy(update={"hidden": (25,)}))
    with pytest.raises(InvalidInput, match=r"start_from, array 'viewer\.layers\.0\.weight'"):
        other.learn(material, start_from=before)


def test_too_few_examples_and_items_without_content_are_refused():
    content = np.zeros((3, 4), np.float32)
    with pytest.raises(InvalidInput, match="at least 2 examples, got 1"):
        VariationalLearner(SMALL).learn(material_of(showings_of([(0, 1, 5, 1)]), content))
    rows = showings_of([(0, 1, 5, 1), (0, 3, 6, 1)])
    with pytest.raises(InvalidInput, match="content: expected a row for item 3, got 3"):
        VariationalLearner(SMALL).learn(material_of(rows, content))


def test_a_folder_of_another_format_is_refused(tmp_path):
    (tmp_path / "generator.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(InvalidInput, match="expected format 1, got 99"):
        VariationalGenerator(tmp_path)

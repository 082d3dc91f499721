"""The sequence model in training and as it serves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sequence_world import HOUR_US, PLAIN, codes_of, material_of, random_material, showings_of

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag, History, Profile, Query, Request, User
from upnext.features.context import ContextEncoder, Moment, Vocabulary
from upnext.retrieval.beside import beside
from upnext.retrieval.checkpoint import checksum_of
from upnext.retrieval.material import Material, VideoCodes
from upnext.retrieval.sequence.batches import SequenceReader, targets_of
from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.sequence.generator import SequenceGenerator
from upnext.retrieval.sequence.learner import SequenceLearner
from upnext.retrieval.sequence.recent import recent_of
from upnext.retrieval.sequence.vectors import Asked

SMALL = SequenceConfig(
    embedding_size=8, n_layers=1, length=6, content_hidden=9, batch_size=7, epochs=3,
    learning_rate=0.01, device="cpu",
)  # fmt: skip


class Shelf:
    """Videos named v0, v1 and so on."""

    def item_id(self, video_id):
        return int(video_id[1:])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    material = random_material()
    learner = SequenceLearner(SMALL)
    learner.learn(material)
    folder = tmp_path_factory.mktemp("sequence")
    learner.export(folder)
    return learner, material, folder


def query_of(material, user, n_rows, now_us, **request):
    showings = material.showings
    rows = slice(showings.starts()[user], showings.starts()[user] + n_rows)
    history = History(
        showings.item_id[rows], showings.time_us[rows], showings.watch_s[rows], showings.flags[rows]
    )
    asked = Request("r", "u", "home", 10, now_us, **request)
    return Query(asked, User("u", history=history))


@pytest.mark.parametrize("n_rows", [1, 4, 9])
def test_each_new_showing_serves_what_the_batch_forward_gives(trained, n_rows):
    learner, material, folder = trained
    now_us = int(material.showings.time_us.max()) + HOUR_US
    served = SequenceGenerator(folder).vectors(query_of(material, 2, n_rows, now_us))
    rows = np.arange(material.showings.starts()[2], material.showings.starts()[2] + n_rows)
    showings = material.showings
    until = replace(
        showings,
        user=np.zeros(n_rows, np.int64),
        item_id=showings.item_id[rows],
        time_us=showings.time_us[rows],
        flags=showings.flags[rows],
        watch_s=showings.watch_s[rows],
        moment=showings.moment[rows],
        user_ids=("u",),
    )
    context = material.context.encode([Moment(Profile(), now_us, "home")])
    found = learner.viewers(until, np.zeros(1, np.int64), Asked(np.array([now_us]), context))
    assert served.shape == (1, SequenceGenerator(folder).embedding_size)
    assert np.allclose(served, found, atol=1e-5)


def test_a_viewer_without_history_is_asked_for_by_context_alone(trained):
    _, material, folder = trained
    generator = SequenceGenerator(folder)
    now_us = int(material.showings.time_us.max())
    found = generator.vectors(query_of(material, 0, 0, now_us))
    later = generator.vectors(query_of(material, 0, 0, now_us + 8 * HOUR_US))
    assert np.isfinite(found).all()
    assert not np.allclose(found, later)


def test_the_time_of_the_request_changes_the_query(trained):
    _, material, folder = trained
    generator = SequenceGenerator(folder)
    now_us = int(material.showings.time_us.max())
    soon = generator.vectors(query_of(material, 1, 9, now_us))
    in_a_week = generator.vectors(query_of(material, 1, 9, now_us + 7 * 24 * HOUR_US))
    assert not np.allclose(soon, in_a_week, atol=1e-4)


def test_the_video_being_watched_is_the_last_step(trained):
    _, material, folder = trained
    generator, now_us = SequenceGenerator(folder), int(material.showings.time_us.max())
    alone = query_of(material, 1, 5, now_us)
    history = alone.user.history
    current = next(item for item in range(material.n_items) if item not in history.item_id)
    watching = beside(query_of(material, 1, 5, now_us, current_video_id=f"v{current}"), Shelf())
    added = watching.user.history
    assert added.item_id.tolist() == [*history.item_id, current]
    assert added.time_us[-1] == now_us
    assert added.flags[-1] == Flag.IMPRESSION | Flag.CLICK | Flag.WATCHED_HALF
    assert not np.allclose(generator.vectors(watching), generator.vectors(alone))
    last = query_of(material, 1, 5, now_us, current_video_id=f"v{history.item_id[-1]}")
    assert beside(last, Shelf()) is last
    assert beside(alone, Shelf()) is alone


def test_a_new_video_gets_the_vector_of_its_content_and_codes_and_stands_in_histories(trained):
    learner, material, folder = trained
    generator, now_us = SequenceGenerator(folder), int(material.showings.time_us.max())
    n = material.n_items
    query = query_of(material, 1, 3, now_us)
    with_new = replace(
        query.user.history, item_id=np.array([*query.user.history.item_id[:2], n + 2])
    )
    unknown = Query(query.request, User("u", history=with_new))
    before = generator.vectors(unknown)
    ids, vectors = generator.bring(
        np.array([n + 2]), material.content[4:5], VideoCodes.of(material.videos, np.array([4]))
    )
    network = learner._built().eval()
    known = network.vectors(torch.tensor([4]), torch.zeros(1)).detach().numpy()
    assert ids.tolist() == [n + 2]
    assert np.allclose(vectors[:, :8], known, atol=1e-6)
    assert not vectors[:, 8:].any()
    assert not np.allclose(generator.vectors(unknown), before)
    with pytest.raises(InvalidInput, match="content"):
        generator.bring(ids, np.zeros((1, 3), np.float32), material.videos)


def test_a_video_that_training_never_saw_has_no_id_and_no_bias(trained):
    _, material, _ = trained
    unseen = np.setdiff1d(np.arange(40), material.showings.item_id)[0]
    grown = Material(
        material.showings,
        np.vstack([material.content, np.ones((6, 5), np.float32)]),
        material.context,
        codes_of(material.n_items + 6),
    )
    other = SequenceLearner(SMALL)
    other.learn(grown, stop_after=1)
    network = other._built().eval()
    items = torch.tensor([int(unseen)])
    assert torch.equal(network.vectors(items), network.vectors(items, torch.zeros(1)))
    assert other.item_vectors()[unseen, 8:].tolist() == [0.0] * 7


def test_the_same_seed_gives_the_same_bits_and_a_killed_training_goes_on_to_them(tmp_path):
    torch.set_num_threads(1)
    material = random_material()
    for changed in ({"loss": "full"}, {"loss": "sampled", "n_uniform": 8, "n_popular": 4}):
        config, folder = SMALL.model_copy(update=changed), tmp_path / str(len(changed))
        whole = SequenceLearner(config)
        whole.learn(material)
        SequenceLearner(config, folder=folder).learn(material, stop_after=2)
        resumed = SequenceLearner(config, folder=folder)
        resumed.learn(material, resume=True)
        assert checksum_of(resumed.snapshot()) == checksum_of(whole.snapshot())
        other = SequenceLearner(config.model_copy(update={"seed": 1}))
        other.learn(material)
        assert checksum_of(other.snapshot()) != checksum_of(whole.snapshot())


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
    material = random_material()
    SequenceLearner(SMALL, folder=tmp_path).learn(material, stop_after=1)
    changed = SequenceLearner(SMALL.model_copy(update={"dropout": 0.1}), folder=tmp_path)
    with pytest.raises(InvalidInput, match="another config"):
        changed.learn(material, resume=True)


def test_fine_tuning_starts_from_the_snapshot_with_more_videos_and_another_context():
    torch.set_num_threads(1)
    material = random_material(n_items=34)
    learner = SequenceLearner(SMALL)
    learner.learn(material)
    known = learner.snapshot()
    more = random_material(n_items=41, seed=9)
    words = Vocabulary.learn({"surface": ["home", "home", "tv"], "country": ["IN"]})
    more = replace(more, context=ContextEncoder(words))
    tuned = SequenceLearner(SMALL.model_copy(update={"learning_rate": 1e-6, "epochs": 1}))
    tuned.learn(more, start_from=known)
    after = tuned.snapshot()
    assert np.allclose(after["ids.weight"][:34], known["ids.weight"], atol=1e-4)
    assert len(after["ids.weight"]) == 41
    place = more.context.names.index("surface=home")
    old = material.context.names.index("surface=home")
    column = known["after.weight.weight"][:, old]
    assert np.abs(column).max() > 1e-3
    assert np.allclose(after["after.weight.weight"][:, place], column, atol=1e-4)
    wider = SequenceLearner(SMALL.model_copy(update={"embedding_size": 12}))
    with pytest.raises(InvalidInput, match="shape"):
        wider.learn(more, start_from=known)


def test_showings_of_one_instant_are_targets_of_the_last_step_before_it():
    item_id = np.array([[5, 6, 7, 8, 9]])
    time_us = np.array([[1, 2, 2, 2, 3]]) * HOUR_US
    material = material_of(showings_of(item_id, time_us), 12)
    recent = recent_of(material.showings, 12, 3)
    (batch,) = SequenceReader(material, recent, SMALL).epoch(0)
    found = dict(zip(batch.target.tolist(), batch.place.tolist(), strict=True))
    assert found == {5: 0, 6: 1, 7: 1, 8: 1, 9: 4}
    assert batch.item_id.tolist() == [[5, 6, 7, 8]]


def test_a_long_history_is_cut_elsewhere_each_epoch_and_loses_one_target_a_cut_at_most():
    item_id = np.arange(60).reshape(1, 60)
    material = material_of(showings_of(item_id), 60)
    config = SMALL.model_copy(update={"length": 9, "batch_size": 50})
    reader = SequenceReader(material, recent_of(material.showings, 60, 3), config)
    epochs = [[batch.target.tolist() for batch in reader.epoch(number)] for number in range(4)]
    assert len({str(sorted(batches[0])) for batches in epochs}) > 1
    for batches in epochs:
        (targets,) = batches
        assert len(set(targets)) == len(targets) >= 60 - 7
        assert 0 in targets  # the start of a history is found from nothing


def test_targets_weigh_by_relevance_age_and_whether_their_time_is_known():
    item_id = np.array([[1, 2, 3, 4]])
    flags = np.array([[1, Flag.LIKE, 1, 1]], np.uint16)
    time_us = np.array([[0, 24, 24, 48]]) * HOUR_US
    changed = {"relevant_weight": 6.0, "untimed_weight": 0.5, "half_life_d": 1.0}
    config = SMALL.model_copy(update=changed)
    is_target, weight = targets_of(showings_of(item_id, time_us, flags), config)
    # ages 2 (a day before the oldest), 1, 1 and 0 days: .5/4, 6/2, 1/2, 1
    wanted = np.array([0.125, 3.0, 0.5, 1.0])
    assert is_target.all()
    assert np.allclose(weight, wanted / wanted.mean())
    none, _ = targets_of(
        showings_of(item_id, time_us, flags), config.model_copy(update={"untimed_weight": 0.0})
    )
    assert none.tolist() == [False, True, True, True]


def test_recent_popularity_knows_nothing_of_the_day_it_is_used_on():
    hours = np.array([[1, 30, 49, 50]])
    material = material_of(showings_of(np.array([[3, 3, 4, 5]]), hours * HOUR_US), 6)
    recent = recent_of(material.showings, 6, 30)
    place = recent.at(material.showings.time_us)
    assert recent.instant_us[place].tolist() == [0, 24 * HOUR_US, 48 * HOUR_US, 48 * HOUR_US]
    assert not recent.columns[place[0]].any()
    assert recent.columns[place[2], 4].sum() == 0  # first shown on that day
    half_a_day = np.log1p(2 ** (-(48 - 1) / 12) + 2 ** (-(48 - 30) / 12))
    assert recent.columns[place[2], 3, 0] == pytest.approx(half_a_day)
    assert recent.columns[-1, 5, 0] == pytest.approx(np.log(2), abs=1e-4)  # at the log's end


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"n_heads": 3}, "n_heads"), ({"loss": "gbce", "n_uniform": 0}, "negatives")],
)
def test_settings_that_contradict_each_other_are_refused(changed, said):
    with pytest.raises(InvalidInput, match=said):
        SequenceLearner(PLAIN.model_copy(update=changed))


def test_a_training_needs_two_examples_and_an_export_a_training(tmp_path):
    with pytest.raises(InvalidInput, match="at least 2"):
        SequenceLearner(SMALL).learn(material_of(showings_of(np.array([[1]])), 3))
    with pytest.raises(InvalidInput, match="learn before"):
        SequenceLearner(SMALL).export(tmp_path)

"""Every generator goes on from an earlier snapshot: with the newest showings alone, new videos and viewers included, to the same bits when killed."""

import numpy as np
import pytest
import torch
from retrieval_world import DAY_US, NOW_US, material_of, showings_of

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.learn.generators import FINE_TUNED, examples_of, learner_of
from upnext.retrieval.checkpoint import checksum_of
from upnext.retrieval.config import RetrievalConfig
from upnext.retrieval.training_rows import is_first_showing

N_TASTES, N_OLD, N_ITEMS = 3, 24, 33
LIKED = Flag.IMPRESSION | Flag.LIKE
LATER = NOW_US + DAY_US
SMALL = {
    "two_tower": {"embedding_size": 6, "input_size": 6, "hidden": (8,), "content_hidden": 8, "n_uniform": 8, "batch_size": 32},
    "variational": {"embedding_size": 6, "input_size": 6, "hidden": (8,), "content_hidden": 8, "n_uniform": 8, "batch_size": 32},
    "sequence": {"embedding_size": 6, "n_layers": 1, "length": 5, "content_hidden": 8, "batch_size": 8, "n_uniform": 16},
    "off_policy": {"embedding_size": 6, "input_size": 6, "state_size": 6, "content_hidden": 8, "n_history": 6, "n_uniform": 8, "batch_size": 8},
    "factorisation": {"embedding_size": 6, "threads": 1},
    "warp": {"embedding_size": 6},
}  # fmt: skip
CONFIG = RetrievalConfig.model_validate({name: {"epochs": 3, **own} for name, own in SMALL.items()})


def rows_of(users, items, at_us):
    rng = np.random.default_rng(len(users))
    rows = []
    for user in users:
        own = [item for item in items if item % N_TASTES == user % N_TASTES]
        for step, item in enumerate(rng.permutation(own)[:5]):
            rows.append((user, int(item), at_us + (100 * step + user) * 1_000_000, LIKED))
    return rows


def world():
    """(material of 24 viewers and videos, material with a day more: six old viewers, two new ones, nine new videos)."""
    torch.set_num_threads(1)
    content = np.eye(N_TASTES, dtype=np.float32)[np.arange(N_ITEMS) % N_TASTES]
    rows = rows_of(range(24), range(N_OLD), NOW_US)
    new = rows_of([0, 1, 2, 3, 4, 5, 24, 25], range(N_OLD - 3, N_ITEMS), LATER)
    first = material_of(showings_of(rows), content[:N_OLD])
    return first, material_of(showings_of(rows + new), content, since_us=LATER)


def learner(name, folder=None):
    return learner_of(name, CONFIG, {"seed": 0, "device": "cpu"}, folder)


@pytest.fixture(params=FINE_TUNED, scope="module")
def known(request):
    """(name, the first day's snapshot)."""
    one = learner(request.param)
    said = one.learn(world()[0])
    return request.param, one.snapshot(), said


def test_only_what_was_shown_since_is_learned_from(known):
    name, snapshot, said = known
    one = learner(name)
    again = one.learn(world()[1], start_from=snapshot)
    assert 0 < examples_of(again) < examples_of(said)
    showings = world()[1].showings
    n_new = int((is_first_showing(showings) & (showings.time_us >= LATER)).sum())
    if name not in ("factorisation", "warp"):  # those read all pairs of whom they move
        assert again.get("n_examples", again.get("n_actions")) == n_new


def test_videos_that_came_since_get_trained_vectors(known, tmp_path):
    name, snapshot, _ = known
    one = learner(name)
    second = world()[1]
    one.learn(second, start_from=snapshot)
    one.export(tmp_path)
    vectors = np.load(tmp_path / "item_vectors.npy")
    shown = np.setdiff1d(second.showings.item_id, world()[0].showings.item_id)
    assert len(vectors) == N_ITEMS
    assert len(shown) >= 6
    assert vectors[shown].any(axis=1).all()
    table = {"factorisation": "item_factors", "warp": "items"}.get(name, "ids.weight")
    assert np.asarray(one.snapshot()[table])[shown].any(axis=1).all()


def test_a_killed_fine_tuning_goes_on_to_the_same_bits_and_from_no_other_snapshot(known, tmp_path):
    name, snapshot, _ = known
    second, whole = world()[1], learner(name)
    whole.learn(second, start_from=snapshot)
    learner(name, tmp_path).learn(second, start_from=snapshot, stop_after=1)
    resumed = learner(name, tmp_path)
    resumed.learn(second, start_from=snapshot, resume=True)
    assert checksum_of(resumed.snapshot()) == checksum_of(whole.snapshot())
    other = {
        key: array + 1 if array.dtype.kind == "f" else array for key, array in snapshot.items()
    }
    with pytest.raises(InvalidInput, match="other data or another config"):
        learner(name, tmp_path).learn(second, start_from=other, resume=True)


def test_factors_of_whom_nothing_happened_to_stay_as_they_were():
    first, second = world()
    before = learner("factorisation")
    before.learn(first)
    after = learner("factorisation")
    after.learn(second, start_from=before.snapshot())
    was, now = before.snapshot(), after.snapshot()
    quiet = np.setdiff1d(
        np.arange(N_OLD), second.showings.item_id[second.showings.time_us >= LATER]
    )
    assert len(quiet) > 10
    assert np.array_equal(now["item_factors"][quiet], was["item_factors"][quiet])
    assert not np.array_equal(now["user_factors"][:6], was["user_factors"][:6])

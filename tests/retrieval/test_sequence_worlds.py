"""The sequence model on worlds whose best possible ranking is known exactly."""

import numpy as np
import pytest
import torch
from sequence_world import (
    ENCODER,
    HOUR_US,
    PLAIN,
    START_US,
    chain,
    expected_ndcg,
    material_of,
    showings_of,
)

from upnext.core.types import Profile
from upnext.features.context import Moment
from upnext.retrieval.sequence.learner import SequenceLearner
from upnext.retrieval.sequence.vectors import Asked

N_ITEMS = 24
SLOW = pytest.mark.slow


def transitions(rng):
    """float64[i, i]: from each item some others are likely."""
    p = rng.dirichlet(np.full(N_ITEMS, 0.15), N_ITEMS) + 1e-3
    return p / p.sum(1, keepdims=True)


def scores_of(learner, item_id):
    """float32[u, i]: every item for users with these histories."""
    viewers = learner.viewers(showings_of(item_id), np.arange(len(item_id)))
    return viewers @ learner.item_vectors().T


@pytest.mark.parametrize(
    "layer", ["sasrec", pytest.param("ligr", marks=SLOW), pytest.param("gru", marks=SLOW)]
)
def test_in_a_markov_world_the_model_ranks_as_well_as_the_transitions_themselves(layer):
    rng = np.random.default_rng(1)
    p = transitions(rng)
    torch.set_num_threads(1)
    learner = SequenceLearner(PLAIN.model_copy(update={"layer": layer}))
    learner.learn(material_of(showings_of(chain(p, 1200, 12, rng)), N_ITEMS))
    item_id = chain(p, 200, 7, rng)
    truth = p[item_id[:, -1]]
    best = expected_ndcg(truth, truth).mean()
    found = expected_ndcg(scores_of(learner, item_id), truth).mean()
    popular = expected_ndcg(np.tile(p.mean(0), (200, 1)), truth).mean()
    assert found > 0.98 * best
    assert popular < 0.8 * best


@pytest.mark.parametrize(
    "layer", ["sasrec", pytest.param("ligr", marks=SLOW), pytest.param("gru", marks=SLOW)]
)
def test_in_a_world_of_order_two_the_model_beats_the_best_that_the_last_item_allows(layer):
    rng = np.random.default_rng(2)
    p = transitions(rng)
    torch.set_num_threads(1)
    n_layers, epochs = (1, 24) if layer == "gru" else (2, 14)
    config = PLAIN.model_copy(update={"layer": layer, "epochs": epochs, "n_layers": n_layers})
    learner = SequenceLearner(config)
    learner.learn(material_of(showings_of(chain(p, 700, 12, rng, lag=2)), N_ITEMS))
    item_id = chain(p, 200, 8, rng, lag=2)
    truth = p[item_id[:, -2]]
    best = expected_ndcg(truth, truth).mean()
    found = expected_ndcg(scores_of(learner, item_id), truth).mean()
    by_last = expected_ndcg(p[item_id[:, -1]], truth).mean()  # a model of order one, of this world
    assert found > 0.88 * best  # 700 viewers teach no more
    assert by_last < 0.6 * best


def periodic_world(rng, n_users=240, h=10):
    """Odd hours show one half of the videos, even hours the other; nothing else says anything."""
    hours = np.sort(rng.choice(200, (n_users, h)), 1) + np.arange(h)
    half = rng.integers(0, N_ITEMS // 2, (n_users, h))
    item_id = half + (N_ITEMS // 2) * (hours // 6 % 2)
    return item_id, START_US + hours * HOUR_US + 1


def shared_of_the_hour(context):
    """float: which share of the ten best are of the half that the hour asks for, on average."""
    rng = np.random.default_rng(3)
    torch.set_num_threads(1)
    item_id, time_us = periodic_world(rng)
    learner = SequenceLearner(PLAIN.model_copy(update={"context": context, "epochs": 12}))
    learner.learn(material_of(showings_of(item_id, time_us), N_ITEMS))
    item_id, time_us = periodic_world(rng, 40)
    showings, users = showings_of(item_id[:, :-1], time_us[:, :-1]), np.arange(40)
    moments = [Moment(Profile(), int(t), "home") for t in time_us[:, -1]]
    asked = Asked(time_us[:, -1], ENCODER.encode(moments) if context else np.zeros((40, 0), "f4"))
    scores = learner.viewers(showings, users, asked) @ learner.item_vectors().T
    is_late = np.argsort(-scores, 1)[:, :10] >= N_ITEMS // 2
    wanted = item_id[:, -1] >= N_ITEMS // 2
    return float((is_late == wanted[:, None]).mean())


def test_in_a_periodic_world_only_a_model_that_knows_the_hour_finds_what_comes():
    assert shared_of_the_hour(context=True) > 0.98
    assert shared_of_the_hour(context=False) < 0.7  # chance is one half

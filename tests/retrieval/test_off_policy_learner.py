"""Off-policy training in a world of arms, where the logging policy's favourite is not the best; resume, serving, fine-tuning."""

import numpy as np
import pytest
import torch
from off_policy_world import (
    DAY_US,
    ENCODER,
    SMALL,
    START_US,
    armed_log,
    material_from,
    showings_from,
)
from retrieval_world import NOW_US, query_of

from upnext.core.errors import InvalidInput
from upnext.core.types import Flag
from upnext.retrieval.off_policy.config import RewardConfig
from upnext.retrieval.off_policy.generator import OffPolicyGenerator
from upnext.retrieval.off_policy.histories import HistoryReader, actions_of
from upnext.retrieval.off_policy.learner import OffPolicyLearner

LOGGING = np.array([0.62, 0.2, 0.1, 0.05, 0.03])
P_REWARD = np.array([0.3, 0.25, 0.2, 0.5, 0.1])  # arm 3 is the best, and one showing in twenty
BEST, LIKED = 3, RewardConfig(shown=0, click=0, relevant=1, completed=1)
ARMS = SMALL.model_copy(
    update={"reward": LIKED, "cap": 1e6, "epochs": 35, "batch_size": 1_000, "learning_rate": 0.05}
)


def policy_of(learner, context=0):
    """float[a]: pi of a viewer without a history."""
    network = learner._network
    with torch.no_grad():
        state = network.state(torch.zeros(1, 1, SMALL.input_size), torch.zeros(1, 1, 13))[:, -1]
        said = torch.zeros(1, ENCODER.size + 1)
        videos = network.item.vectors(network.inputs(torch.arange(len(network.features))))
        logits = network.viewer(state, said) @ videos.T / network.config.temperature
    return logits.softmax(1)[0].numpy()


def learned(material, **changes):
    learner = OffPolicyLearner(ARMS.model_copy(update=changes))
    return learner, learner.learn(material)


@pytest.fixture(scope="module")
def arms():
    torch.set_num_threads(1)
    return material_from(armed_log(2_000, LOGGING, P_REWARD, seed=1), 5)


@pytest.mark.parametrize(
    ("correction", "objective"), [("counts", "reinforce"), ("learned", "softmax")]
)
def test_corrected_training_finds_the_best_arm(arms, correction, objective):
    """The gap is between the best arm and the logged favourite; the policy that shows its first arm has no regret at all."""
    learner, figures = learned(arms, correction=correction, objective=objective)
    policy = policy_of(learner)
    regret = P_REWARD[BEST] - P_REWARD[policy.argmax()]
    assert regret < 0.01 * (P_REWARD[BEST] - P_REWARD[LOGGING.argmax()])
    if objective == "reinforce":  # the policy itself goes there
        assert P_REWARD[BEST] - policy @ P_REWARD < 0.01 * (P_REWARD[BEST] - P_REWARD[0])
    else:  # in proportion to the rewards, up to what 100 showings of an arm tell: 3 standard errors
        assert np.abs(policy - P_REWARD / P_REWARD.sum()).max() < 0.12
    assert figures["mean_weight"] == pytest.approx(1, abs=0.03)


def test_uncorrected_training_goes_where_the_logging_policy_went(arms):
    """Both objectives are then the same: rewards weigh log pi."""
    learner, _ = learned(arms, correction="none")
    policy = policy_of(learner)
    assert policy.argmax() == LOGGING.argmax()
    wanted = LOGGING * P_REWARD / (LOGGING * P_REWARD).sum()
    assert np.abs(policy - wanted).max() < 0.06  # three standard errors of 600 rewards


def test_logged_propensities_are_used_where_they_are_known():
    """A log that says its propensities are uniform, which is false, is believed: training is as uncorrected."""
    log = armed_log(2_000, LOGGING, P_REWARD, seed=1)
    truth = learned(
        material_from(armed_log(2_000, LOGGING, P_REWARD, seed=1, with_propensity=True), 5)
    )
    said = showings_from(
        log.user, log.item_id, log.time_us, flags=log.flags, propensity=np.full(2_000, 0.2)
    )
    believed, _ = learned(material_from(said, 5))
    assert policy_of(truth[0]).argmax() == BEST
    assert truth[1]["mean_weight"] == pytest.approx(1, abs=0.05)
    assert policy_of(believed).argmax() == LOGGING.argmax()


def test_the_learned_propensities_are_those_of_each_surface_and_counts_cannot_be():
    """Two surfaces with opposite favourites: E[u / beta] is 1 either way, everything else tells them apart.

    By counts an arm of .7 and .05 has .375 on both, so a surface's rows of it weigh 1.87 and .13 arms instead of 1 each. Learned from every
    action; from the liked ones alone it would be .7 x .3 : .1 x .25 : ... and 5 % of KL."""
    logging = np.array([[0.7, 0.1, 0.1, 0.05, 0.05], [0.05, 0.05, 0.1, 0.1, 0.7]])
    learner, figures = learned(material_from(armed_log(2_000, logging, P_REWARD, seed=1), 5))
    entropy = -(logging * np.log(logging)).sum(1).mean()
    mixed = logging.mean(0)
    assert -(mixed * np.log(mixed)).sum() > entropy + 0.3
    assert figures["propensity_loss"] == pytest.approx(entropy, abs=0.03)
    assert figures["mean_weight"] == pytest.approx(1, abs=0.04)
    assert 0 < figures["effective_share"] < 1
    fresh = armed_log(4_000, logging, P_REWARD, seed=2)  # rows that taught nothing
    surface = np.array([moment.surface == "shorts" for moment in fresh.moments], np.int64)
    beta = np.zeros((4_000, 5))
    for said in learner.shares(material_from(fresh, 5)):
        beta[said.row] = said.propensity
    true = logging[surface]
    assert (true * np.log(true / beta)).sum(1).mean() < 0.02
    assert (true * np.log(true / mixed)).sum(1).mean() > 0.3
    arms_of = np.zeros((2, 5, 2))  # by learned and counted propensities
    for column, p in enumerate((beta[np.arange(4_000), fresh.item_id], mixed[fresh.item_id])):
        np.add.at(arms_of[..., column], (surface, fresh.item_id), 1 / p)
    arms_of /= np.bincount(surface)[:, None, None]
    assert (
        np.abs(arms_of[..., 0] - 1).max() < 0.45
    )  # 100 rows of an arm: 3 standard errors and the head's own
    assert np.abs(arms_of[..., 1] - 1).max() > 0.8


def test_what_the_propensity_head_learns_changes_no_weight_of_the_policy():
    """Where every propensity is in the log, `learned` trains its head beside a policy that is weighed as under `counts`: the same bits."""
    material = material_from(armed_log(300, LOGGING, P_REWARD, with_propensity=True), 5)
    both, alone = (
        learned(material, correction=correction, epochs=3)[0].snapshot()
        for correction in ("learned", "counts")
    )
    for name, weight in both.items():
        is_head = name.startswith("propensity.")
        assert is_head or np.array_equal(weight, alone[name]), name
    head = "propensity.project.2.weight"
    assert not np.array_equal(both[head], alone[head])


def test_top_k_gives_second_best_arms_the_share_that_one_slot_does_not(arms):
    one, _ = learned(arms, objective="reinforce")
    four, _ = learned(arms, objective="reinforce", top_k=4)
    assert policy_of(one)[BEST] > 0.98
    assert policy_of(four)[BEST] < 0.9
    assert policy_of(four).argsort()[-2] == 0  # of .3, the second best


def test_a_later_reward_changes_no_propensity():
    """A like that came after training began is joined to its showing; what was known of the choice stays."""
    log = armed_log(200, LOGGING, P_REWARD, with_propensity=True)
    late = showings_from(
        log.user, log.item_id, log.time_us, flags=log.flags | Flag.LIKE, propensity=log.propensity
    )
    learner = OffPolicyLearner(ARMS)
    every = np.ones(200, bool)
    before, after = (learner._propensities(material_from(s, 5), every) for s in (log, late))
    assert np.array_equal(before, after)
    counts = OffPolicyLearner(ARMS.model_copy(update={"correction": "counts"}))
    without = [
        showings_from(s.user, s.item_id, s.time_us, flags=s.flags) for s in (log, late)
    ]  # fmt: skip
    assert np.array_equal(*(counts._propensities(material_from(s, 5), every) for s in without))


N_ITEMS, N_TASTES = 30, 3


def taste_log(n_users=80, n_items=N_ITEMS, *, skip=()):
    """Each viewer is shown and likes videos of one taste; content is the taste."""
    rng = np.random.default_rng(4)
    rows = []
    for user in range(n_users):
        own = np.setdiff1d(np.flatnonzero(np.arange(n_items) % N_TASTES == user % N_TASTES), skip)
        for step, item in enumerate(rng.permutation(own)[:7]):
            rows.append((user, item, START_US + step * DAY_US // 8))
    user, item, time_us = (np.array(column) for column in zip(*rows))
    flags = np.full(len(user), Flag.IMPRESSION | Flag.LIKE)
    content = np.eye(N_TASTES, dtype=np.float32)[np.arange(n_items) % N_TASTES]
    showings = showings_from(user, item, time_us, flags=flags)
    return material_from(showings, n_items, content=content)


TASTES = SMALL.model_copy(update={"epochs": 14, "batch_size": 16, "correction": "none"})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("off_policy")
    learner = OffPolicyLearner(TASTES)
    learner.learn(taste_log())
    learner.export(folder)
    return learner, OffPolicyGenerator(folder), np.load(folder / "item_vectors.npy")


def test_viewers_get_the_videos_of_their_taste(served):
    _, generator, videos = served
    for taste in range(N_TASTES):
        items = np.arange(taste, N_ITEMS, N_TASTES)[:4]
        query = query_of(items=items)
        query.user.history.time_us[:] = NOW_US - np.arange(4, 0, -1) * DAY_US // 8
        score = videos @ generator.vectors(query)[0]
        score[items] = -np.inf
        assert set(np.argsort(-score)[:5] % N_TASTES) == {taste}


def test_served_vectors_are_those_of_training(served):
    learner, generator, videos = served
    material = taste_log()
    reader = HistoryReader(material, actions_of(material.showings, TASTES), TASTES)
    batch = reader.batch(np.arange(4), np.random.default_rng(0))
    network = learner._network.eval()
    with torch.no_grad():
        inputs = network.inputs(torch.from_numpy(batch.items))[torch.from_numpy(batch.history)]
        pad = (0, 0, 1, 0)
        states = network.state(
            torch.nn.functional.pad(inputs, pad),
            torch.nn.functional.pad(torch.from_numpy(batch.steps), pad),
        )[batch.window, batch.n_before]
        wanted = network.viewer(states, torch.from_numpy(batch.context)).numpy()
    s, asked = material.showings, []
    for place in np.flatnonzero(batch.n_before >= 0)[::5]:
        row, n = batch.row[place], batch.n_before[place]
        own = slice(row - n, row)
        query = query_of(items=s.item_id[own], flags=s.flags[own])
        query.user.history.time_us[:] = s.time_us[own]
        query.user.history.watch_s[:] = s.watch_s[own]
        object.__setattr__(query.request, "time_us", int(s.time_us[row]))
        assert np.allclose(generator.vectors(query)[0], wanted[place], atol=1e-5)
        asked.append(query)
    viewers, items = learner.vectors([*asked, query_of()])  # without files, of all lengths at once
    assert np.array_equal(items, videos)
    for query, vector in zip([*asked, query_of()], viewers, strict=True):
        assert np.allclose(generator.vectors(query)[0], vector, atol=1e-5)
    assert generator.embedding_size == videos.shape[1] == TASTES.embedding_size


def test_a_viewer_and_a_video_that_are_new_have_vectors(served):
    _, generator, videos = served
    assert np.linalg.norm(generator.vectors(query_of())) == pytest.approx(1, abs=1e-5)
    content = np.eye(N_TASTES, dtype=np.float32)
    codes = taste_log().videos.where(np.arange(N_ITEMS) < N_TASTES)
    ids, vectors = generator.bring(np.arange(N_ITEMS, N_ITEMS + N_TASTES), content, codes)
    assert ids.tolist() == [N_ITEMS, N_ITEMS + 1, N_ITEMS + 2]
    nearest = (vectors @ videos.T).argmax(1)
    assert (nearest % N_TASTES).tolist() == [0, 1, 2]
    before = generator.vectors(query_of(items=[N_ITEMS + 20]))
    after = generator.vectors(query_of(items=[N_ITEMS + 1]))
    assert not np.allclose(before, after)  # a later video counts once it was brought
    assert np.array_equal(before, generator.vectors(query_of()))
    with pytest.raises(InvalidInput, match=r"content: expected float32\[n, 3\]"):
        generator.bring(np.array([1]), np.zeros((1, 2), np.float32), codes)


def test_a_resumed_training_ends_with_the_same_bits(tmp_path):
    material, config = (
        taste_log(),
        TASTES.model_copy(update={"epochs": 3, "n_uniform": 8, "correction": "learned"}),
    )
    whole, cut = OffPolicyLearner(config), OffPolicyLearner(config, folder=tmp_path)
    whole.learn(material)
    cut.learn(material, stop_after=1)
    gone_on = OffPolicyLearner(config, folder=tmp_path)
    gone_on.learn(material, resume=True)
    for name, weight in whole.snapshot().items():
        assert np.array_equal(weight, gone_on.snapshot()[name]), name
    other = OffPolicyLearner(config.model_copy(update={"cap": 2.0}), folder=tmp_path)
    with pytest.raises(InvalidInput, match="another config"):
        other.learn(material, resume=True)


def test_fine_tuning_takes_videos_that_came_since_and_refuses_other_shapes():
    first = OffPolicyLearner(TASTES)
    first.learn(taste_log())
    more = taste_log(n_items=N_ITEMS + 6)
    again = OffPolicyLearner(TASTES.model_copy(update={"epochs": 1, "learning_rate": 1e-9}))
    again.learn(more, start_from=first.snapshot())
    old, new = first.snapshot()["ids.weight"], again.snapshot()["ids.weight"]
    assert new.shape == (N_ITEMS + 6, TASTES.input_size)
    assert np.allclose(new[:N_ITEMS], old, atol=1e-5)
    with pytest.raises(InvalidInput, match="start_from"):
        OffPolicyLearner(SMALL.model_copy(update={"state_size": 9})).learn(
            more, start_from=first.snapshot()
        )


def test_sampled_candidates_learn_what_all_of_them_do(arms):
    """With 4 uniform negatives and the batch's own actions the fixed point is the same: pi in proportion to the rewards."""
    learner, figures = learned(arms, n_uniform=4, batch_size=100, epochs=6)
    assert np.abs(policy_of(learner) - P_REWARD / P_REWARD.sum()).max() < 0.1
    assert figures["mean_weight"] == pytest.approx(1, abs=0.1)


def test_slots_of_one_page_at_one_time_do_not_know_each_other_and_windows_keep_half_a_history():
    user, time_us = np.zeros(20, int), START_US + np.repeat(np.arange(10), 2)
    material = material_from(showings_from(user, np.arange(20), time_us), 20)
    reader = HistoryReader(material, np.ones(20, bool), SMALL)
    seen = {}
    for batch in reader.epoch(0):
        for place, row in enumerate(batch.row.tolist()):
            n = batch.n_before[place]
            before = batch.items[batch.history[batch.window[place], :n]]
            assert row not in seen
            assert set(before) == set(range(row - row % 2 - n, row - row % 2))
            assert n >= min(2, row - row % 2)
            seen[row] = n
            hidden = batch.items[np.flatnonzero(batch.is_seen[place])]
            assert set(hidden) == set(before)
    assert len(seen) == 20


def test_nothing_to_learn_from_is_one_line():
    showings = showings_from([0, 1], [0, 1], [START_US, START_US + 1])
    config = SMALL.model_copy(update={"reward": LIKED})
    with pytest.raises(InvalidInput, match="2 showings and a reward at least, got '2 and 0'"):
        OffPolicyLearner(config).learn(material_from(showings, 2))
    with pytest.raises(InvalidInput, match="learn before you export"):
        OffPolicyLearner(config).snapshot()

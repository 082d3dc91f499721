"""What the sequence network may read, and how its parts begin."""

import numpy as np
import pytest
import torch
from sequence_world import ENCODER, PLAIN, random_material

from upnext.retrieval.sequence.config import SequenceConfig
from upnext.retrieval.sequence.learner import SequenceLearner
from upnext.retrieval.sequence.network import CrossIn
from upnext.retrieval.sequence.recent import recent_of
from upnext.retrieval.sequence.softmax import Hidden, full_softmax
from upnext.retrieval.sequence.steps import N_CLOCK, N_FEEDBACK, gap_buckets

H = 9
LAYERS = ("gru", "sasrec", "ligr")


def network_of(**changed):
    material = random_material()
    config = SequenceConfig(
        embedding_size=8, length=H, n_heads=2, dropout=0.3, device="cpu", **changed
    )
    recent = recent_of(material.showings, material.n_items, 30)
    network = SequenceLearner(config)._prepared(material, recent).eval()
    with torch.no_grad():  # everything that begins at zero says something
        for weight in network.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return network


def inputs_of(b=3, h=H, seed=0):
    generator = torch.Generator().manual_seed(seed)
    times = torch.randint(1, 10**6, (b, h), generator=generator).sort(1).values.numpy() * 10**6
    gaps = gap_buckets(np.pad(times, ((0, 0), (1, 0))), np.pad(times, ((0, 0), (0, 1))))
    return (
        torch.randn(b, h, 8, generator=generator),
        torch.randint(0, 2, (b, h, N_FEEDBACK), generator=generator).float(),
        torch.randn(b, h, N_CLOCK, generator=generator),
        torch.from_numpy(gaps),
    )


@pytest.mark.parametrize("layer", LAYERS)
@torch.no_grad()
def test_a_later_step_changes_no_earlier_state_by_a_bit(layer):
    network, inputs = network_of(layer=layer), inputs_of()
    before = network.hidden(*inputs)
    changed = [part.clone() for part in inputs]
    for part in changed[:3]:
        part[:, 5:] = 7.0
    changed[3][:, :, 6:] = 1  # read steps 6 and later are those of rows 5 and later
    changed[3][:, 6:] = 2
    after = network.hidden(*changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("layer", LAYERS)
@torch.no_grad()
def test_padding_changes_nothing(layer):
    network, (steps, feedback, clock, gaps) = network_of(layer=layer), inputs_of()
    short = network.hidden(steps[:, :4], feedback[:, :4], clock[:, :4], gaps[:, :5, :5])
    padded = network.hidden(steps, feedback, clock, gaps)
    assert torch.allclose(padded[:, :5], short, atol=1e-6)


@torch.no_grad()
def test_a_gru_that_goes_on_from_its_state_equals_the_whole_sequence():
    network, (steps, *_) = network_of(layer="gru"), inputs_of()
    (gru,) = network.layers
    whole, _ = gru(steps)
    state, streamed = None, []
    for step in range(steps.shape[1]):
        out, state = gru(steps[:, step : step + 1], state)
        streamed.append(out)
    assert torch.allclose(torch.cat(streamed, 1), whole, atol=1e-6)


@torch.no_grad()
def test_context_crosses_in_as_the_identity_until_it_is_learned():
    cross, vector, context = CrossIn(4, 6), torch.randn(5, 6), torch.randn(5, 4)
    assert torch.equal(cross(vector, context), vector)
    cross.weight.weight[2] = torch.tensor([1.0, 0, 0, 0])
    crossed = cross(vector, context)
    assert torch.allclose(crossed[:, 2], vector[:, 2] * (1 + context[:, 0]))


def test_an_untrained_network_gives_one_vector_for_every_context():
    material = random_material()
    recent = recent_of(material.showings, material.n_items, 30)
    config = SequenceConfig(embedding_size=8, length=H, device="cpu")
    network = SequenceLearner(config)._prepared(material, recent)
    hidden = torch.randn(2, 8)
    by_context = network.queries(hidden, torch.randn(2, ENCODER.size))
    assert torch.equal(by_context, network.queries(hidden, torch.zeros(2, ENCODER.size)))


def test_the_gradient_of_a_tied_embedding_is_the_sum_of_what_reading_and_scoring_ask():
    material = random_material()
    recent = recent_of(material.showings, material.n_items, 30)
    config = PLAIN.model_copy(update={"layer": "ligr", "embedding_size": 8})
    network = SequenceLearner(config)._prepared(material, recent).double().eval()
    items = torch.arange(material.n_items)
    history = torch.tensor([[3, 5, 8], [1, 3, 2]])
    target, weight = torch.tensor([5, 3]), torch.ones(2).double()
    none = Hidden(torch.zeros(3).long(), torch.zeros(0).long())
    nothing = torch.zeros(2, 3, 0).double()

    def loss_of(read, scored):
        hidden = network.hidden(read[history], nothing, nothing, None)[:, -1]
        return full_softmax(hidden, scored, target, weight, none)

    table = network.vectors(items)
    fixed = table.detach()
    (whole,) = torch.autograd.grad(loss_of(table, table), network.ids.weight, retain_graph=True)
    (read,) = torch.autograd.grad(loss_of(table, fixed), network.ids.weight, retain_graph=True)
    (scored,) = torch.autograd.grad(loss_of(fixed, table), network.ids.weight)
    assert torch.allclose(whole, read + scored, atol=1e-12)
    assert read[3].abs().max() > 1e-4
    assert scored[3].abs().max() > 1e-4
    for row, column in ((3, 0), (5, 4), (8, 7)):
        ends = []
        for change in (1e-6, -1e-6):
            moved = fixed.clone()
            moved[row, column] += change
            ends.append(loss_of(moved, moved).item())
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(whole[row, column].item(), abs=1e-6)


def test_gaps_between_a_request_and_a_step_are_in_the_buckets_of_hstu():
    time_us = np.array([0, 100, 1_000]) * 1_000_000
    asked_us = np.array([100, 1_000, 0]) * 1_000_000
    # ln(100) / .301 = 15.3, ln(900) / .301 = 22.6, ln(1) = 0; what is not known has bucket 63
    assert gap_buckets(time_us, asked_us).tolist() == [[63, 0, 22], [63, 22, 0], [63, 63, 63]]

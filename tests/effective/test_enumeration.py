"""Exact information over finite families of data sets, against counting and one at a time."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from mitools.data import Samples
from mitools.effective.enumeration import (
    DataSets,
    Enumerated,
    FullBatch,
    at_every_count,
    enumerated,
    grasp_scores,
    imp_scores,
    kept,
    magnitude_scores,
    outputs_of_masked,
    random_scores,
    sign_data_sets,
    sign_multisets,
    sign_network,
    snip_scores,
    trained_scores,
    trained_together,
)
from mitools.pruning import IMP
from mitools.training import SGD, Training

FAMILY = sign_data_sets(points=3, dims=2)  # 32 data sets
MODEL = sign_network(hidden=3, dims=2)  # 13 weights
QUICK = FullBatch(steps=20)


def few(*which):
    chosen = torch.tensor(which)
    return DataSets(FAMILY.inputs[chosen], FAMILY.targets[chosen])


def test_family_holds_every_data_set_once():
    assert len(FAMILY) == math.comb(4, 3) * 2**3
    rows = {
        frozenset((*map(float, x), float(y)) for x, y in zip(inputs, targets, strict=True))
        for inputs, targets in zip(FAMILY.inputs, FAMILY.targets, strict=True)
    }
    assert len(rows) == 32 and all(len(row) == 3 for row in rows)


def test_information_is_the_entropy_of_the_masks():
    rng = np.random.default_rng(0)
    masks = rng.random((60, 3)) < 0.5
    law = rng.dirichlet(np.ones(60))
    shares = Counter()
    for mask, chance in zip(masks, law, strict=True):
        shares[bytes(mask)] += chance
    expected = -sum(share * math.log(share) for share in shares.values())
    found = Enumerated(masks, law)
    assert found.nats == pytest.approx(expected) and found.distinct == len(shares)


def test_masks_that_spell_out_the_labels_tell_all_of_them():
    def spell(inputs, targets):
        return targets.numpy() > 0

    found = enumerated(FAMILY, spell)
    assert found.nats == pytest.approx(3 * math.log(2)) and found.distinct == 8
    skewed = DataSets(FAMILY.inputs[:2], FAMILY.targets[:2], np.array([0.9, 0.1]))
    assert enumerated(skewed, spell).nats == pytest.approx(
        -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    )


@pytest.mark.parametrize("scores", [random_scores, magnitude_scores])
def test_pruners_that_read_nothing_tell_nothing(scores):
    found = at_every_count(FAMILY, scores(MODEL, FAMILY))
    assert found.shape == (14,) and (found == 0.0).all()


@pytest.mark.parametrize("scores", [snip_scores, grasp_scores, trained_scores, imp_scores])
def test_pruners_that_read_tell_something_and_no_more_than_there_is(scores):
    values = scores(MODEL, FAMILY, QUICK) if scores in (trained_scores, imp_scores) else None
    found = at_every_count(FAMILY, scores(MODEL, FAMILY) if values is None else values)
    caps = [min(math.log(math.comb(13, k)), math.log(32)) for k in range(14)]
    assert (found <= np.array(caps) + 1e-12).all()
    assert found[0] == found[13] == 0.0 and found[6] > 0.5


def test_kept_weights_are_the_best_and_of_equals_the_first():
    scores = np.array([[1.0, 3.0, 3.0, 3.0, 0.0], [0.5, 0.1, 0.2, 0.3, 0.4]])
    expected = [[False, True, True, False, False], [True, False, False, False, True]]
    np.testing.assert_array_equal(kept(scores, 2), expected)
    rounding = np.array([[1.0, 1.0 + 1e-13]])  # the last digit differs between machines
    assert kept(rounding, 1)[0, 0]


def test_training_together_is_training_one_after_another():
    together = trained_together(MODEL, few(0, 13, 31), QUICK)
    for weights, inputs, targets in zip(
        together, few(0, 13, 31).inputs, few(0, 13, 31).targets, strict=True
    ):
        model = sign_network(hidden=3, dims=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(20):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs).squeeze(1), targets).backward()
            optimizer.step()
        alone = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
        torch.testing.assert_close(weights, alone, rtol=0.0, atol=1e-12)


def test_survival_is_that_of_iterative_magnitude_pruning_one_weight_a_level():
    training = Training(epochs=20, batch_size=3, optimizer=SGD(lr=0.1, momentum=0.0))
    chosen = few(5, 20)
    scores = imp_scores(MODEL, chosen, QUICK)
    names = tuple(name for name, _ in MODEL.named_parameters())
    for row, inputs, targets in zip(scores, chosen.inputs, chosen.targets, strict=True):
        ticket = IMP(training, rate=0.01).run(MODEL, Samples(inputs, targets), 1 / 13, names)
        assert len(ticket.levels) == 12
        for mask in ticket.levels:
            flat = torch.cat([mask[name].reshape(-1) for name in names]).numpy()
            np.testing.assert_array_equal(kept(row[None], int(flat.sum()))[0], flat)


def test_grasp_is_the_change_of_the_gradients_norm():
    """θ · H g, H g by a difference of gradients along g."""
    chosen = few(3, 17)
    flat = torch.cat([p.detach().reshape(-1) for p in MODEL.parameters()])

    def gradient(weights, index):
        model = sign_network(hidden=3, dims=2)
        nn.utils.vector_to_parameters(weights, model.parameters())
        outputs = model(chosen.inputs[index]).squeeze(1)
        loss = nn.functional.mse_loss(outputs, chosen.targets[index])
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, model.parameters())])

    for index, row in enumerate(grasp_scores(MODEL, chosen)):
        slope = gradient(flat, index)
        ahead, behind = (gradient(flat + step * slope, index) for step in (1e-6, -1e-6))
        np.testing.assert_allclose(row, flat * (ahead - behind) / 2e-6, atol=1e-7)


def test_outputs_are_those_of_the_masked_model():
    masks = np.random.default_rng(1).random((32, 13)) < 0.6
    found = outputs_of_masked(MODEL, FAMILY, masks)
    model = sign_network(hidden=3, dims=2)
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    nn.utils.vector_to_parameters(flat * torch.from_numpy(masks[9]), model.parameters())
    np.testing.assert_allclose(found[9], model(FAMILY.inputs[9]).detach().squeeze(1), atol=1e-14)


def test_initial_weights_and_the_number_of_threads_are_left_alone():
    before, threads = sign_network(hidden=3, dims=2).state_dict(), torch.get_num_threads()
    trained_together(MODEL, few(0), QUICK)
    assert torch.get_num_threads() == threads
    assert all(torch.equal(before[name], value) for name, value in MODEL.state_dict().items())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="targets must have one entry for each point"):
        DataSets(FAMILY.inputs, FAMILY.targets[:, :2])
    with pytest.raises(ValueError, match="probabilities must be 32 numbers >= 0 that sum to 1"):
        DataSets(FAMILY.inputs, FAMILY.targets, np.full(32, 0.5))
    with pytest.raises(ValueError, match="prune must return booleans of shape"):
        enumerated(FAMILY, lambda inputs, targets: np.zeros(3))


def test_data_sets_drawn_with_replacement_are_counted_with_all_their_orders():
    """All 4^3 ordered data sets of three labelled points of {±1}, against the 20 multisets."""
    family = sign_multisets(points=3, dims=1)
    assert len(family) == math.comb(6, 3) == 20
    points = [(x, y) for x in (-1.0, 1.0) for y in (-1.0, 1.0)]
    ordered = torch.tensor(list(itertools.product(points, repeat=3)), dtype=torch.float64)
    times = Counter(tuple(sorted(map(tuple, rows))) for rows in ordered.tolist())
    for inputs, targets, chance in zip(family.inputs, family.targets, family.law, strict=True):
        rows = tuple(sorted((float(x), float(y)) for x, y in zip(inputs, targets, strict=True)))
        assert chance == pytest.approx(times[rows] / 64)
    model = sign_network(hidden=3, dims=1)
    every = DataSets(ordered[..., :1], ordered[..., 1])
    for scores in (snip_scores, grasp_scores, lambda *a: trained_scores(*a, QUICK)):
        found = at_every_count(family, scores(model, family))
        np.testing.assert_allclose(found, at_every_count(every, scores(model, every)), atol=1e-9)


def test_the_papers_family_with_replacement_and_masks_of_a_sampled_part():
    family = sign_multisets()
    assert len(family) == 54_264
    assert -(family.law @ np.log2(family.law)) == pytest.approx(15.41, abs=5e-3)
    part = torch.from_numpy(np.random.default_rng(0).choice(54_264, 40))
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    few = DataSets(family.inputs[part], family.targets[part])
    turned = DataSets(few.inputs[:, order], few.targets[:, order])
    model = sign_network()
    for scores in (snip_scores, lambda *a: trained_scores(*a, QUICK)):
        np.testing.assert_allclose(scores(model, few), scores(model, turned), atol=1e-12)

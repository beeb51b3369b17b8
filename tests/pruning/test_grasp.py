"""GraSP against an explicit Hessian, its sign, and what it must not touch."""

import pytest
import torch
import torch.nn.functional as F
from example_nets import NETS, Tied, plain, samples
from torch import nn
from torch.func import functional_call

from mitools.data import Samples
from mitools.effective.enumeration import DataSets, grasp_scores, sign_data_sets, sign_network
from mitools.models import prunable
from mitools.pruning import SNIP, GraSP, Iterative, Mask, OneShot, SquaredGradient, prune, top_k


def by_explicit_hessian(model, inputs, targets, names, temperature=1.0):
    """θ · Hg from all second derivatives, written out."""
    weights = {name: p.detach().double() for name, p in model.named_parameters()}
    shapes = [weights[name].shape for name in names]

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        changed = {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}
        outputs = functional_call(model, weights | changed, (inputs.double(),))
        if targets.is_floating_point():
            return F.mse_loss(outputs, targets)
        return F.cross_entropy(outputs / temperature, targets)

    flat = torch.cat([weights[name].reshape(-1) for name in names])
    slope = torch.func.grad(loss)(flat)
    found = flat * (torch.autograd.functional.hessian(loss, flat) @ slope)
    parts = found.split([shape.numel() for shape in shapes])
    return {n: part.view(s) for n, part, s in zip(names, parts, shapes, strict=True)}


def smooth(seed=0):
    """Tanh, so that second derivatives are everywhere and finite differences could see them."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_scores_equal_the_explicit_hessian(temperature):
    model, data = smooth(), samples((4,), n=23)
    names = tuple(prunable(model))
    expected = by_explicit_hessian(model, data.inputs, data.targets, names, temperature)
    # Batches of unequal sizes: the product is of the whole mean, not batch by batch.
    batches = list(zip(data.inputs.double().split(10), data.targets.split(10), strict=True))
    for given in (data, batches):
        found = GraSP(temperature=temperature).scores(model, given, names)
        for name in names:
            scale = expected[name].abs().max()
            assert scale > 0
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-10 * scale)


def test_a_regression_has_no_temperature():
    model, data = smooth(), samples((4,))
    targets = torch.randn(24, 3, generator=torch.Generator().manual_seed(2)).double()
    expected = by_explicit_hessian(model, data.inputs, targets, ("1.weight", "3.weight"))
    found = GraSP().scores(model, (data.inputs.double(), targets), ("1.weight", "3.weight"))
    for name, score in found.items():
        torch.testing.assert_close(score, expected[name], rtol=0, atol=1e-8)


def test_by_hand_for_a_quadratic():
    # L = (w x - y)² with one point: g = 2x(wx - y), H = 2x², θHg = 4 w x³ (wx - y).
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.fill_(3.0)
    point = torch.tensor([[2.0]]).double(), torch.tensor([[5.0]]).double()
    found = GraSP().scores(model, point, ("weight",))["weight"]
    assert found.item() == pytest.approx(4 * 3 * 8 * (6 - 5))
    # Removing it lowers the gradient's squared norm to first order: bigger means keep.
    assert SquaredGradient().scores(model, point, ("weight",))["weight"].item() == 16.0


def test_keeps_the_end_that_preserves_the_gradient():
    model, data = smooth(), samples((4,))
    names = tuple(prunable(model))
    found = GraSP(temperature=1.0).scores(model, data, names)
    weights = dict(model.named_parameters())

    def squared_norm(shrunk):
        outputs = functional_call(model, shrunk, (data.inputs.double(),))
        loss = F.cross_entropy(outputs, data.targets)
        slopes = torch.autograd.grad(loss, [shrunk[name] for name in names])
        return float(sum((slope**2).sum() for slope in slopes))

    for name, index in (("1.weight", 3), ("3.weight", 7)):
        at = []
        for step in (1e-5, -1e-5):
            shrunk = {n: p.detach().clone() for n, p in weights.items()}
            shrunk[name].view(-1)[index] *= 1 - step  # a little of the weight goes
            at.append(squared_norm({n: p.requires_grad_() for n, p in shrunk.items()}))
        loss_of_flow = -(at[0] - at[1]) / 2e-5  # how much the norm falls as the weight goes
        assert 2 * float(found[name].view(-1)[index]) == pytest.approx(loss_of_flow, rel=1e-5)


def test_its_sign_agrees_with_snip_more_than_the_wrong_one():
    model, data = plain((6, 40, 40, 3)), samples((6,), n=60)
    names = tuple(prunable(model))
    snip = prune(model, data, OneShot(SNIP()), density=0.3)
    right = prune(model, data, OneShot(GraSP()), density=0.3)
    scores = GraSP().scores(model, data, names)
    wrong = Mask(top_k({name: -score for name, score in scores.items()}, right.nonzeros))
    assert right.overlap(snip) > 0.3 > 0.2 > wrong.overlap(snip)


def test_agrees_with_the_enumeration():
    family, model = sign_data_sets(points=3, dims=2), sign_network(hidden=3, dims=2)
    some = DataSets(family.inputs[:4], family.targets[:4])
    names = tuple(name for name, _ in model.named_parameters())
    for row, inputs, targets in zip(
        grasp_scores(model, some), some.inputs, some.targets, strict=True
    ):
        found = GraSP().scores(model, (inputs, targets), names)
        flat = torch.cat([found[name].reshape(-1) for name in names])
        torch.testing.assert_close(flat, torch.from_numpy(row), rtol=0, atol=1e-10)


def test_a_batch_normed_filter_scores_minus_its_gradient_squared():
    model, data = NETS["batch norm"]()
    names = ("0.weight", "6.weight")
    one = GraSP(temperature=1.0, statistics="batch").scores(model, data, names)["0.weight"]
    slope = SquaredGradient(statistics="batch").scores(model.double(), data, names)["0.weight"]
    sums = one.sum((1, 2, 3))
    assert (sums < 0).all()
    # Exact but for the norm's eps.
    torch.testing.assert_close(sums, -slope.sum((1, 2, 3)), rtol=1e-3, atol=0)


def test_squared_slopes_of_the_first_batches_alone():
    model, data = smooth(), samples((4,), n=23)
    names = tuple(prunable(model))
    batches = list(zip(data.inputs.double().split(10), data.targets.split(10), strict=True))
    expected = SquaredGradient().scores(model, batches[0], names)
    for name, score in SquaredGradient(batches=1).scores(model, batches, names).items():
        torch.testing.assert_close(score, expected[name], rtol=0, atol=0)
    every = SquaredGradient().scores(model, batches, names)
    assert not torch.allclose(every["1.weight"], expected["1.weight"])


def test_tied_weights_count_once():
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(1)
        model = Tied().double()
    data = samples((6,))
    names = tuple(prunable(model))
    found = GraSP(temperature=1.0).scores(model, data, names)
    weights = [model.first.weight, model.head.weight]
    loss = F.cross_entropy(model(data.inputs.double()), data.targets)
    slopes = torch.autograd.grad(loss, weights, create_graph=True)
    half = sum((slope**2).sum() for slope in slopes) / 2
    for weight, curved, name in zip(weights, torch.autograd.grad(half, weights), names,
                                    strict=True):  # fmt: skip
        torch.testing.assert_close(found[name], (weight * curved).detach(), rtol=0, atol=1e-12)
    both = GraSP(temperature=1.0).scores(model, data, (*names, "second.weight"))
    assert torch.equal(both["second.weight"], both["first.weight"])
    assert torch.equal(both["first.weight"], found["first.weight"])


def test_a_pruned_network_is_scored_by_what_is_left():
    model, data = smooth(), samples((4,))
    with torch.no_grad():
        model[1].weight[0] = 0.0  # neuron 0 is fed by nothing, and its output weights stay
    names = ("1.weight",)
    found = GraSP(temperature=1.0).scores(model, data, names)["1.weight"]
    assert not found[0].any() and found[1:].all()
    # The same network with the pruned rows held fixed: they are no coordinates at all.
    rest = model[1].weight[1:].detach().clone().requires_grad_()
    weight = torch.cat([torch.zeros(1, 4).double(), rest])
    outputs = functional_call(model, {"1.weight": weight}, (data.inputs.double(),))
    (slope,) = torch.autograd.grad(F.cross_entropy(outputs, data.targets), rest, create_graph=True)
    (curved,) = torch.autograd.grad((slope**2).sum() / 2, rest)
    torch.testing.assert_close(found[1:], (rest * curved).detach(), rtol=0, atol=1e-12)


def test_variants_go_by_their_names():
    model, data = smooth(), samples((4,))
    names = tuple(prunable(model))
    plain_scores = GraSP().scores(model, data, names)
    absolute = GraSP(signed=False).scores(model, data, names)
    assert all(torch.equal(absolute[name], plain_scores[name].abs()) for name in names)
    slopes = SNIP().signed(model, data, names)
    squared = SquaredGradient().scores(model, data, names)
    for name in names:
        weight = dict(model.named_parameters())[name].detach()
        torch.testing.assert_close(squared[name] * weight**2, slopes[name] ** 2)


def test_float32_scores_are_close_to_exact_ones():
    model, data = plain(), samples((6,))
    names = tuple(prunable(model))
    exact = GraSP(precision="double").scores(model, data, names)
    coarse = GraSP().scores(model, data, names)
    for name in names:
        scale = float(exact[name].abs().max())
        torch.testing.assert_close(coarse[name], exact[name], rtol=0, atol=1e-4 * scale)
    assert not torch.equal(coarse[names[0]], exact[names[0]])


def test_half_precision_weights_are_scored_in_float32():
    model, data = NETS["bfloat16"]()
    names = tuple(prunable(model))
    found = GraSP().scores(model, data, names)
    expected = GraSP().scores(plain().to(torch.bfloat16).float(), data, names)
    assert all(torch.equal(found[name], expected[name]) for name in names)


def test_batches_are_read_in_order_and_twice():
    model, data = plain(), samples((6,))
    names = tuple(prunable(model))
    parts = [(data.inputs[:5], data.targets[:5]), (data.inputs[5:], data.targets[5:])]
    first = GraSP(batches=1).scores(model, parts, names)
    alone = GraSP().scores(model, Samples(data.inputs[:5], data.targets[:5], classes=3), names)
    assert all(torch.equal(first[name], alone[name]) for name in names)


def test_networks_without_slopes_are_named():
    model, data = plain(), samples((6,))
    model.register_forward_hook(lambda m, inputs, output: output.detach())
    with pytest.raises(ValueError, match="model must be differentiable in the weights"):
        prune(model, data, OneShot(GraSP()), density=0.5)


@pytest.mark.parametrize(("bad", "message"), [
    ({"batches": 0}, "batches must be at least 1"),
    ({"temperature": 0.0}, "temperature must be positive"),
    ({"temperature": float("nan")}, "temperature must be positive"),
    ({"statistics": "train"}, "statistics must be 'running' or 'batch'"),
    ({"precision": "float64"}, "precision must be 'double' or 'model'"),
])  # fmt: skip
def test_bad_settings(bad, message):
    with pytest.raises(ValueError, match=message):
        GraSP(**bad)


def test_iterating_once_is_one_shot():
    model, data = plain(), samples((6,))
    assert prune(model, data, Iterative(GraSP(), rounds=1), density=0.3) == prune(
        model, data, OneShot(GraSP()), density=0.3
    )

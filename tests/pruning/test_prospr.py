import itertools

import pytest
import torch
import torch.nn.functional as F
from example_nets import NETS, Tied, convolutional, plain, samples
from torch.func import functional_call

from mitools.models import copied, prunable
from mitools.pruning import SNIP, OneShot, ProsPr, prune


def batches_of(data, size=8):
    parts = zip(data.inputs.double().split(size), data.targets.split(size), strict=True)
    return list(parts)


def loss_after(model, masked, batches, lr, momentum):
    """Train with torch's own optimiser from the masked weights, and return the last loss."""
    weights = {name: w.detach().clone().requires_grad_() for name, w in masked.items()}
    optimizer = torch.optim.SGD(weights.values(), lr=lr, momentum=momentum)
    for inputs, targets in batches[:-1]:
        optimizer.zero_grad()
        F.cross_entropy(functional_call(model, weights, (inputs,)), targets).backward()
        optimizer.step()
    inputs, targets = batches[-1]
    return float(F.cross_entropy(functional_call(model, weights, (inputs,)), targets).detach())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_scores_are_the_derivative_of_the_loss_after_training(momentum):
    model, data = plain(dtype=torch.float64), samples((6,), n=24)
    model[2] = model[4] = torch.nn.Tanh()
    batches = batches_of(data)
    names = tuple(prunable(model))
    pruner = ProsPr(steps=2, lr=0.3, momentum=momentum)
    scores = pruner.scores(model, batches, names)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    for name in names:
        for index in range(0, weights[name].numel(), 11):
            at = []
            for step in (-2e-3, -1e-3, 1e-3, 2e-3):
                changed = {n: w.clone() for n, w in weights.items()}
                changed[name].view(-1)[index] *= 1 + step
                at.append(loss_after(model, changed, batches, 0.3, momentum))
            slope = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / 12e-3
            assert abs(abs(slope) - float(scores[name].view(-1)[index])) < 1e-8


@pytest.mark.parametrize("net", list(NETS))
def test_without_a_step_it_is_snip(net):
    model, data = NETS[net]()
    model = model.double()
    batches = batches_of(data)
    names = tuple(prunable(model))
    for pruner, last in (
        (ProsPr(lr=0.0, statistics="running"), batches[0]),  # 3 steps: the fourth is the first
        (ProsPr(lr=0.0, steps=2, statistics="running"), batches[2]),
        (ProsPr(lr=0.0, steps=2, momentum=0.9, statistics="running"), batches[2]),
        (ProsPr(steps=0, statistics="running"), batches[0]),
        (ProsPr(lr=0.0, steps=2, fresh_batches=False, statistics="running"), batches[0]),
    ):
        expected = SNIP().scores(model, last, names)
        for name, score in pruner.scores(model, batches, names).items():
            torch.testing.assert_close(score, expected[name], rtol=0, atol=1e-12)


def test_frozen_layers_do_not_move():
    model, data = plain(dtype=torch.float64), samples((6,), n=24)
    model[5].requires_grad_(False)
    names, batches = tuple(prunable(model)), batches_of(data)
    found = ProsPr(steps=1, lr=0.5).scores(model, batches, names)
    weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    moving = [name for name in weights if not name.startswith("5.")]
    loss = F.cross_entropy(functional_call(model, weights, (batches[0][0],)), batches[0][1])
    slopes = torch.autograd.grad(loss, [weights[n] for n in moving], create_graph=True)
    moved = weights | {n: weights[n] - 0.5 * g for n, g in zip(moving, slopes, strict=True)}
    loss = F.cross_entropy(functional_call(model, moved, (batches[1][0],)), batches[1][1])
    for name in names:
        (slope,) = torch.autograd.grad(loss, weights[name], retain_graph=True)
        torch.testing.assert_close(found[name], (slope * weights[name]).abs().detach())


def test_two_steps_with_momentum_by_hand():
    # L = (w x - y)², always the point x = 1, y = 0, so dL/dw = 2 w. θ = c w, lr 0.1, momentum 0.5:
    # step 1: v = 2 θ, θ1 = 0.8 θ; step 2: v = 1.6 θ + 0.5 · 2 θ = 2.6 θ, θ2 = 0.54 θ.
    # L = θ2² = 0.2916 c² w², so |dL/dc| = 0.5832 w² at c = 1.
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.fill_(-3.0)
    point = torch.tensor([[1.0]]).double(), torch.tensor([[0.0]]).double()
    found = ProsPr(steps=2, lr=0.1, momentum=0.5).scores(model, [point], ("weight",))
    assert found["weight"].item() == pytest.approx(0.5832 * 9, rel=1e-12)
    # To first order the descent is a constant: |dL/dθ2 · θ| = 2 · 0.54 w².
    constant = ProsPr(steps=2, lr=0.1, momentum=0.5, first_order=True)
    found = constant.scores(model, [point], ("weight",))
    assert found["weight"].item() == pytest.approx(1.08 * 9, rel=1e-12)


def test_precision():
    """Of float32 weights: in float64 as of the same weights as float64, else nearly."""
    model, data = plain(), samples((6,), n=24)
    names, batches = tuple(prunable(model)), batches_of(data)
    twin = copied(model).double()
    exact = ProsPr(steps=2, lr=0.3).scores(twin, batches, names)
    for precision, low, high in (("double", -1.0, 1e-12), ("model", 1e-12, 1e-5)):
        found = ProsPr(steps=2, lr=0.3, precision=precision).scores(model, batches, names)
        assert low < max(float((found[n] - exact[n]).abs().max()) for n in names) < high


def test_a_frozen_network_does_not_move():
    model, data = plain(dtype=torch.float64), samples((6,), n=24)
    names = tuple(prunable(model))
    expected = SNIP().scores(model, batches_of(data)[2], names)
    model.requires_grad_(False)
    found = ProsPr(steps=2).scores(model, batches_of(data), names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-12)


def test_networks_that_insist_on_float32():
    class Single(torch.nn.Sequential):
        def forward(self, x):
            return super().forward(x.float())

    model, data = Single(torch.nn.Linear(6, 3)), samples((6,))
    with pytest.raises(ValueError, match=r"run in torch.float64.*precision='model'"):
        prune(model, data, OneShot(ProsPr()), density=0.5)
    assert prune(model, data, OneShot(ProsPr(precision="model")), density=0.5).nonzeros == 9


def test_first_order_drops_what_the_descent_adds():
    model, data = plain(dtype=torch.float64), samples((6,))
    batches, names = batches_of(data), tuple(prunable(model))
    scores = ProsPr(steps=2, lr=0.3, first_order=True).scores(model, batches, names)
    weights = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    initial = {name: w.detach().clone() for name, w in weights.items()}
    for inputs, targets in batches[:2]:
        loss = F.cross_entropy(functional_call(model, weights, (inputs,)), targets)
        slopes = torch.autograd.grad(loss, list(weights.values()))
        weights = {n: (w - 0.3 * g).detach().requires_grad_()
                   for (n, w), g in zip(weights.items(), slopes, strict=True)}  # fmt: skip
    loss = F.cross_entropy(functional_call(model, weights, (batches[2][0],)), batches[2][1])
    for name in names:
        (slope,) = torch.autograd.grad(loss, weights[name], retain_graph=True)
        torch.testing.assert_close(scores[name], (slope * initial[name]).abs())
    full = ProsPr(steps=2, lr=0.3).scores(model, batches, names)
    assert (full[names[0]] - scores[names[0]]).abs().max() > 1e-4


def test_training_is_in_training_mode_and_leaves_no_trace():
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        model = convolutional().double()
    data = samples((1, 8, 8))
    batches, names = batches_of(data), ("0.weight", "6.weight")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    scores = ProsPr(steps=2, lr=0.1).scores(model, batches, names)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None and p.grad_fn is None for p in model.parameters())
    again = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    start = {name: again[name] for name in names}
    model.train()
    model[3].eval()  # dropout is off, and all else is as in training
    free = [name for name in again if name != "0.bias"]  # it is frozen
    for inputs, targets in batches[:2]:
        loss = F.cross_entropy(functional_call(model, again, (inputs,)), targets)
        slopes = torch.autograd.grad(loss, [again[name] for name in free], create_graph=True)
        again |= {n: again[n] - 0.1 * g for n, g in zip(free, slopes, strict=True)}
    loss = F.cross_entropy(functional_call(model, again, (batches[2][0],)), batches[2][1])
    for name, slope in zip(names, torch.autograd.grad(loss, list(start.values())), strict=True):
        torch.testing.assert_close(scores[name], (slope * start[name]).abs().detach())


def test_a_tied_weight_moves_as_one():
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(1)
        model = Tied().double()
    batches, names = batches_of(samples((6,))), tuple(prunable(model))
    scores = ProsPr(steps=1, lr=0.5).scores(model, batches, names)
    weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    loss = F.cross_entropy(functional_call(model, weights, (batches[0][0],)), batches[0][1])
    slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    moved = {n: w - 0.5 * g for (n, w), g in zip(weights.items(), slopes, strict=True)}
    loss = F.cross_entropy(functional_call(model, moved, (batches[1][0],)), batches[1][1])
    for name in names:
        (slope,) = torch.autograd.grad(loss, weights[name], retain_graph=True)
        torch.testing.assert_close(scores[name], (slope * weights[name]).abs().detach())


def test_batches_go_round_when_they_run_out():
    model, data = plain(), samples((6,))
    batches, names = batches_of(data), tuple(prunable(model))
    found = ProsPr(steps=4).scores(model, batches, names)
    longer = list(itertools.islice(itertools.cycle(batches), 5))
    expected = ProsPr(steps=4).scores(model, longer, names)
    assert all(torch.equal(found[name], expected[name]) for name in names)


def test_descent_that_diverges_is_named():
    model, data = plain(), samples((6,))
    with pytest.raises(ValueError, match="scores must be finite"):
        prune(model, data, OneShot(ProsPr(steps=40, lr=1e300)), density=0.5)


@pytest.mark.parametrize("bad", [{"steps": -1}, {"lr": -0.1}, {"lr": float("inf")},
                                 {"momentum": float("nan")}, {"statistics": 1}])  # fmt: skip
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        ProsPr(**bad)

"""Pruned weights are exactly zero after every step, and nothing of them leaks into the others."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mitools.models import mlp
from mitools.training import SGD, Adam, AdamW, EarlyStopping, Training, state_of, train

OPTIMIZERS = [
    SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    SGD(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    SGD(lr=0.1, momentum=0.0),
    Adam(lr=0.01, weight_decay=0.1),
    AdamW(lr=0.01, weight_decay=0.1),
]


class Keep(dict):
    """A mask: a mapping with apply_, as builders of other masks would write it."""

    def apply_(self, model):
        with torch.no_grad():
            for name, keep in self.items():
                model.get_parameter(name).masked_fill_(~keep, 0.0)
        return model


class Opaque:
    """A mask that only knows how to apply itself, and counts how often it did."""

    def __init__(self, keep):
        self.keep, self.calls = keep, 0

    def apply_(self, model):
        self.calls += 1
        return self.keep.apply_(model)


def data(n=40, d=6, classes=3):
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, d, generator=g), torch.randint(classes, (n,), generator=g)


def keep_of(model, density=0.3):
    g = torch.Generator().manual_seed(2)
    weights = {n: p for n, p in model.named_parameters() if p.ndim > 1}
    return Keep({n: torch.rand(p.shape, generator=g) < density for n, p in weights.items()})


def watched(model, keep, violations):
    """Let every forward pass look at the weights it is about to use."""

    def look(module, _):
        if not module.training:
            return  # the look at the outputs before anything is changed
        state = model.state_dict()
        for name, k in keep.items():
            pruned = state[name][~k]
            if not (pruned.eq(0).all() and torch.signbit(pruned).logical_not().all()):
                violations.append(name)

    model.register_forward_pre_hook(look)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_zero_before_and_after_every_step(optimizer, opaque):
    model = mlp((6, 8, 8, 3), batch_norm=True)
    keep, violations = keep_of(model), []
    watched(model, keep, violations)
    mask = Opaque(keep) if opaque else keep
    history = train(model, data(), Training(5, 16, optimizer), mask=mask)
    assert not violations
    assert all(model.state_dict()[name][~k].eq(0).all() for name, k in keep.items())
    assert all(model.get_parameter(name)[k].ne(0).all() for name, k in keep.items())
    if opaque:
        assert mask.calls == 1 + history.epochs[-1].step


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_survivors_move_as_in_a_network_without_the_others(optimizer):
    """The twin multiplies weights by the mask in its forward pass; plain torch, full batches."""
    x, y = data()
    model = mlp((6, 8, 3), seed=4).double()
    keep = keep_of(model)
    weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    train(model, (x.double(), y), Training(12, batch_size=len(x), optimizer=optimizer), mask=keep)

    kind = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
    settings = {k: getattr(optimizer, k) for k in optimizer.__dataclass_fields__}
    twin = kind[type(optimizer).__name__](list(weights.values()), **settings, foreach=False)
    for _ in range(12):
        w = {n: p * keep[n] if n in keep else p for n, p in weights.items()}
        hidden = F.relu(F.linear(x.double(), w["fc1.weight"], w["fc1.bias"]))
        loss = F.cross_entropy(F.linear(hidden, w["fc2.weight"], w["fc2.bias"]), y)
        twin.zero_grad()
        loss.backward()
        twin.step()
    for name, p in model.named_parameters():
        expected = weights[name].detach() * keep.get(name, torch.ones_like(p, dtype=torch.bool))
        torch.testing.assert_close(p.detach(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_the_optimiser_remembers_nothing_of_pruned_weights(optimizer):
    model = mlp((6, 8, 3))
    dense = train(model, data(), Training(5, 16, optimizer), steps=5).state
    assert dense is not None
    keep = keep_of(model)
    # Rewinding: the state comes from a dense training, whose momentum must not survive the mask.
    after = train(model, data(), Training(5, 16, optimizer), mask=keep, start=dense, steps=6).state
    names = [n for n, _ in model.named_parameters()]
    seen = 0
    for i, kept in after.optimizer.items():
        for value in kept.values():
            if isinstance(value, torch.Tensor) and names[i] in keep and value.ndim > 1:
                seen += 1
                assert value[~keep[names[i]]].eq(0).all() and value[keep[names[i]]].ne(0).any()
    assert seen == {"SGD": 2 if optimizer.__dict__.get("momentum") else 0}.get(
        type(optimizer).__name__, 4
    )


def test_nan_does_not_survive_a_mask():
    class Poison(SGD):
        """Puts NaN into every gradient of the first weight matrix that the mask has pruned."""

        def build(self, parameters):
            optimizer = super().build(parameters)
            weight = optimizer.param_groups[0]["params"][0]
            optimizer.register_step_post_hook(lambda *_: weight.data[0].fill_(torch.nan))
            return optimizer

    model = mlp((6, 8, 3))
    keep = Keep({"fc1.weight": torch.ones(8, 6, dtype=torch.bool)})
    keep["fc1.weight"][0] = False
    train(model, data(), Training(2, 16, Poison()), mask=keep)
    assert model.fc1.weight[0].eq(0).all() and model.fc1.weight.isfinite().all()


def test_nan_gradients_of_pruned_weights_are_forgotten():
    model = mlp((6, 8, 3))
    keep = Keep({"fc1.weight": torch.ones(8, 6, dtype=torch.bool)})
    keep["fc1.weight"][0] = False
    model.fc1.weight.register_hook(lambda g: g.index_fill(0, torch.tensor([0]), torch.nan))
    state = train(model, data(), Training(2, 16, Adam()), mask=keep, steps=4).state
    assert all(t.isfinite().all() for kept in state.optimizer.values() for t in kept.values())


def test_all_and_nothing_are_legal_masks():
    full, none = (mlp((6, 8, 3)) for _ in range(2))
    names = [n for n, p in full.named_parameters() if p.ndim > 1]
    ones = Keep({n: torch.ones_like(full.get_parameter(n), dtype=torch.bool) for n in names})
    free = mlp((6, 8, 3))
    train(free, data(), Training(3, 16))
    train(full, data(), Training(3, 16), mask=ones)
    assert all(torch.equal(a, b) for a, b in zip(free.parameters(), full.parameters(), strict=True))
    train(none, data(), Training(3, 16), mask=Keep({n: ~k for n, k in ones.items()}))
    assert all(none.get_parameter(n).eq(0).all() for n in names)
    assert none.fc2.bias.ne(0).any()


def test_a_mask_alone_with_no_epoch_masks():
    model = mlp((6, 8, 3))
    keep = keep_of(model)
    assert len(train(model, data(), Training(epochs=0), mask=keep)) == 0
    assert all(model.get_parameter(n)[~k].eq(0).all() for n, k in keep.items())


def test_tied_weights_under_either_name():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.one(x).relu())

    for name in ("one.weight", "two.weight"):
        model = Tied()
        keep = Keep({name: torch.rand(6, 6, generator=torch.Generator().manual_seed(0)) < 0.5})
        state = train(model, data(classes=6), Training(3, 16, AdamW()), mask=keep, steps=9).state
        assert model.one.weight is model.two.weight
        assert state.optimizer[0]["exp_avg"][~keep[name]].eq(0).all()
        assert model.one.weight[~keep[name]].eq(0).all()


def test_frozen_layers_stay_and_are_masked():
    model = mlp((6, 8, 3))
    model.fc1.requires_grad_(False)
    before = model.fc1.weight.clone()
    keep = keep_of(model)
    train(model, data(), Training(2, 16), mask=keep)
    assert torch.equal(model.fc1.weight, before * keep["fc1.weight"])


def test_the_real_mask_with_a_reparametrised_model():
    from torch.nn.utils import prune as torch_prune

    from mitools.pruning.mask import Mask

    model = mlp((6, 8, 3))
    keep = Mask(dict(keep_of(model)))
    plain = mlp((6, 8, 3))
    train(plain, data(), Training(3, 16), mask=keep)
    assert all(plain.get_parameter(n)[~k].eq(0).all() for n, k in keep.items())
    torch_prune.identity(model.fc1, "weight")
    train(model, data(), Training(3, 16), mask=keep)
    assert model.fc1.weight_orig[~keep["fc1.weight"]].eq(0).all()


def test_something_that_is_no_mask():
    with pytest.raises(TypeError, match=r"mask must have apply_.*got dict.*Mask\.of"):
        train(mlp((6, 3)), data(), mask={"fc1.weight": torch.ones(3, 6)})  # pyright: ignore


def test_rewinding_restores_survivors_and_statistics():
    model = mlp((6, 8, 3), batch_norm=True)
    keep = keep_of(model)
    initial = {n: t.clone() for n, t in model.state_dict().items()}
    start = state_of(model)
    train(model, data(), Training(3, 16))
    assert not torch.equal(model.norm1.running_mean, initial["norm1.running_mean"])
    train(model, data(), Training(epochs=0), mask=keep, start=start)
    for name, tensor in model.state_dict().items():
        expected = initial[name] * keep[name] if name in keep else initial[name]
        assert torch.equal(tensor, expected)


def test_the_best_weights_of_a_dense_start_are_masked_too():
    """Early stopping gives back an epoch from before the mask: it must not bring weights back."""
    training = Training(8, 16, SGD(0.1), early_stopping=EarlyStopping(2))
    model = mlp((6, 8, 3))
    dense = train(model, data(), training, steps=9).state
    nothing = Keep({n: torch.zeros_like(k) for n, k in keep_of(model).items()})
    history = train(model, data(), training, mask=nothing, start=dense)
    assert history.best == 3  # without weights it never gets as good again
    assert all(model.get_parameter(n).eq(0).all() for n in nothing)

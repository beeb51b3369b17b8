"""Networks trained together end where they end one by one; what cannot be stacked is not."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mitools.data import Samples, gaussian
from mitools.models import copied, mlp, tensors_of
from mitools.pruning import Mask
from mitools.training import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    EarlyStopping,
    MultiStep,
    Training,
    Warmup,
    train,
    train_together,
)
from mitools.training import stacked as module
from mitools.training.stacked import group_size

COUNT = 5


def datasets(n=22, d=6, classes=3, count=COUNT):
    return [gaussian(n, d, classes, seed=seed) for seed in range(count)]


def regressions(shape, n=22, d=6, count=COUNT):
    rng = torch.Generator().manual_seed(3)
    inputs = torch.randn(n, d, generator=rng)  # one tensor: kept once
    return [Samples(inputs, torch.randn(n, *shape, generator=rng)) for _ in range(count)]


def masks_for(model, density=0.4, count=COUNT):
    rng = torch.Generator().manual_seed(2)
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    return [
        Mask({n: torch.rand(p.shape, generator=rng) < density for n, p in weights.items()})
        for _ in range(count)
    ]


def alone(model, data, training, mask=None, **options):
    network = copied(model)
    train(network, data, training, mask=mask, **options)
    return tensors_of(network)


@pytest.fixture
def never_alone(monkeypatch):
    """No network may be trained by itself."""

    def refuse(*_):
        raise AssertionError("trained one by one")

    monkeypatch.setattr(module, "_one_by_one", refuse)


def assert_same(states, expected, **tolerance):
    assert len(states) == len(expected)
    for state, tensors in zip(states, expected, strict=True):
        assert state.model.keys() == tensors.keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(state.model[name], tensor, **tolerance)


TIGHT = {"rtol": 1e-9, "atol": 1e-11}
OPTIMIZERS = [
    SGD(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    SGD(lr=0.2, momentum=0.0),
    Adam(lr=0.01, weight_decay=0.1),
    AdamW(lr=0.01, weight_decay=0.1),
]


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_together_as_one_by_one(optimizer, pruned, never_alone):
    model = mlp((6, 9, 7, 3), seed=1).double()
    training = Training(4, batch_size=5, optimizer=optimizer, schedule=Warmup(1, Cosine()), seed=7)
    masks = masks_for(model) if pruned else [None] * COUNT
    states = train_together(model, datasets(), training, masks=masks if pruned else None)
    expected = [alone(model, d, training, m) for d, m in zip(datasets(), masks, strict=True)]
    assert_same(states, expected, **TIGHT)
    moved = {float((s.model["fc1.weight"] - model.fc1.weight.detach()).norm()) for s in states}
    assert min(moved) > 0.01 and len(moved) == COUNT
    for state, mask in zip(states, masks, strict=True):
        for name, keep in (mask or {}).items():
            assert state.model[name][~keep].eq(0).all() and state.model[name][keep].ne(0).all()


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_regression_on_shared_inputs(shape, never_alone):
    model = mlp((6, 9, *(shape or (1,))), seed=1).double()
    training = Training(5, 8, Adam(0.01), MultiStep((2, 4)))
    data = regressions(shape)
    states = train_together(model, data, training)
    assert_same(states, [alone(model, one, training) for one in data], **TIGHT)


@pytest.mark.parametrize("batch_size", [1, 7, 22, 100])  # 22 = 3 * 7 + 1: the last joins
@pytest.mark.parametrize("shuffle", [None, False, True])
def test_batches_come_as_train_makes_them(batch_size, shuffle, never_alone):
    model, training = mlp((6, 5, 3)).double(), Training(2, batch_size, SGD(0.1), seed=3)
    data = datasets()
    if shuffle is not None:
        data = [
            DataLoader(one, batch_size, shuffle, generator=torch.Generator().manual_seed(5))
            for one in data
        ]
    states = train_together(model, data, training)
    assert_same(states, [alone(model, one, training) for one in data], **TIGHT)


def test_rewinding_restores_optimisers_and_masks_them(never_alone):
    model = mlp((6, 9, 3)).double()
    training = Training(4, 6, Adam(0.02), Cosine())
    masks, data = masks_for(model), datasets()
    starts = train_together(model, data, training, steps=6)
    assert (starts[0].step, starts[0].epoch, starts[0].batch) == (6, 1, 2)
    states = train_together(model, data, training, masks=masks, starts=starts, steps=13)
    expected = []
    for one, mask in zip(data, masks, strict=True):
        begin = train(copied(model), one, training, steps=6).state
        expected.append(alone(model, one, training, mask, start=begin, steps=13))
    assert_same(states, expected, **TIGHT)
    # And a state can be taken up by `train`, as one of its own.
    for index in (0, 3):
        later = alone(model, data[index], training, masks[index], start=states[index])
        whole = alone(model, data[index], training, masks[index], start=starts[index])
        assert_same([states[index]], [expected[index]], **TIGHT)
        for name in later:
            torch.testing.assert_close(later[name], whole[name], **TIGHT)


def test_steps_at_the_end_of_an_epoch_begin_the_next():
    state = train_together(mlp((6, 5, 3)), datasets(), Training(4, 11), steps=4)[0]
    assert (state.step, state.epoch, state.batch) == (4, 2, 0)


def test_frozen_and_tied_weights(never_alone):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.head = nn.Linear(6, 3)
            self.first.bias.requires_grad_(False)
            self.register_buffer("shift", torch.arange(6.0))

        def forward(self, x):
            return self.head(torch.tanh(self.second(torch.tanh(self.first(x) + self.shift))))

    torch.manual_seed(0)
    model, training = Tied().double(), Training(3, 8, SGD(0.1, weight_decay=0.1))
    masks = [Mask({"second.weight": torch.rand(6, 6) < 0.5}) for _ in range(COUNT)]
    states = train_together(model, datasets(), training, masks=masks)
    expected = [alone(model, d, training, m) for d, m in zip(datasets(), masks, strict=True)]
    assert_same(states, expected, **TIGHT)
    assert torch.equal(states[0].model["first.bias"], model.first.bias)


def test_groups_are_cut_to_size(monkeypatch, never_alone):
    model, training = mlp((6, 5, 3)).double(), Training(2, 8)
    monkeypatch.setattr(module, "group_size", lambda *_: 2)
    data = datasets(count=4)
    states = train_together(model, data, training)
    assert_same(states, [alone(model, one, training) for one in data], **TIGHT)


def test_nothing_is_touched():
    model = mlp((6, 5, 3)).eval()
    before = {name: tensor.clone() for name, tensor in tensors_of(model).items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    train_together(model, datasets(), Training(2))
    assert torch.equal(state, torch.get_rng_state()) and threads == torch.get_num_threads()
    assert not any(m.training for m in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors_of(model).items())
    assert all(p.grad is None for p in model.parameters())


# ---- what cannot be stacked ----


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        y = self.linear(x)
        return y if bool(y.sum() > 0) else 2 * y


class Deaf(nn.Module):
    """Uses its first weights whatever `functional_call` puts there."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.kept = [self.linear.weight]

    def forward(self, x):
        return x @ self.kept[0].T + self.linear.bias

    def __deepcopy__(self, memo):
        twin = type(self)()
        twin.load_state_dict(self.state_dict())
        return twin


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.cells(x.view(-1, 3, 2))[0][:, -1])


def hooked():
    model = mlp((6, 5, 3))
    model.fc1.register_forward_hook(lambda *args: 2 * args[-1])
    return model


AWKWARD = {
    "batch norm": lambda: mlp((6, 5, 3), batch_norm=True),
    "batch norm that forgets": lambda: nn.Sequential(
        nn.Linear(6, 3), nn.BatchNorm1d(3, track_running_stats=False, momentum=None)
    ),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)),
    "control flow": Branching,
    "hooks": hooked,
    "deaf": Deaf,
    "recurrent": Recurrent,
    "bfloat16": lambda: mlp((6, 5, 3)).bfloat16(),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_networks_are_right_however_they_are_trained(name):
    torch.manual_seed(0)
    model = AWKWARD[name]()
    training = Training(3, 8, SGD(0.05), seed=2)
    states = train_together(model, datasets(), training)
    expected = [alone(model, one, training) for one in datasets()]
    assert_same(states, expected, rtol=1e-4, atol=1e-5)


class Own(SGD):
    """An optimiser that nobody here knows."""


@pytest.mark.parametrize(
    "training",
    [Training(6, 8, early_stopping=EarlyStopping(1, min_delta=9.0)), Training(2, 8, Own())],
    ids=["early stopping", "optimiser"],
)
def test_trainings_that_are_not_stacked(training):
    model = mlp((6, 5, 3))
    assert group_size(model, datasets(), training) == 1
    states = train_together(model, datasets(), training)
    assert_same(states, [alone(model, d, training) for d in datasets()], rtol=0, atol=0)


def test_data_that_are_not_stacked():
    model, training = mlp((6, 5, 3)), Training(2, 8)
    odd = gaussian(23, 6, 3, seed=9)
    pairs = [(one.inputs, one.targets) for one in datasets()]
    loaders = [DataLoader(TensorDataset(*pair), 8, shuffle=True) for pair in pairs]
    batched = [[(one.inputs[:11], one.targets[:11])] for one in datasets()]  # lists of batches
    for data in ([*datasets(), odd], loaders, batched):
        assert group_size(model, data, training) == 1
        states = train_together(model, data, training)
        assert_same(states, [alone(model, d, training) for d in data], rtol=0, atol=0)
    assert group_size(model, pairs, training) > 1
    assert train_together(model, [], training) == []


def test_large_networks_are_not_stacked():
    small, large = mlp((6, 24, 3)), mlp((6, 600, 600, 3))
    assert group_size(small, datasets(), Training()) > 50
    assert group_size(large, datasets(), Training()) == 1


def test_divergence_is_told_as_train_tells_it():
    data = [*datasets(count=2), Samples(1e30 * torch.randn(22, 6), datasets()[0].targets)]
    with pytest.raises(ValueError, match="training diverged in epoch"):
        train_together(mlp((6, 5, 3)), data, Training(5, 8, SGD(1e10), Constant()))


def test_counts_must_agree():
    with pytest.raises(ValueError, match="masks must be as many"):
        train_together(mlp((6, 5, 3)), datasets(), masks=[])

"""capture: what layers compute, by hand and by hooks, and a network that never notices."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.data import DataLoader, IterableDataset

from mitools.activations import capture
from mitools.data import Samples, digits
from mitools.models import lenet5, mlp
from mitools.pruning.mask import Mask
from mitools.pruning.masked import masked

torch.set_num_threads(1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def data(*shape, seed=0):
    return Samples(normal(*shape, seed=seed), torch.arange(shape[0]) % 2)


def close(found, expected):
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5, atol=1e-6)


class Model(nn.Module):
    """A network whose forward pass is a function, for cases that no Sequential shows."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


# ---- equal to running the layers by hand ----


@pytest.mark.parametrize("inplace", [False, True])
def test_mlp_by_hand(inplace):
    model = mlp((6, 5, 4, 3), seed=1)
    for name in ("relu1", "relu2"):
        setattr(model, name, nn.ReLU(inplace))
    samples = data(20, 6)
    z1 = model.fc1(samples.inputs)
    t1 = F.relu(z1)
    z2 = model.fc2(t1)
    t2 = F.relu(z2)
    z3 = model.fc3(t2)
    assert (z1 < 0).any() and (z2 < 0).any()
    expected = {
        "activation": (t1, t2, z3),
        "output": (z1, z2, z3),
        "input": (samples.inputs, t1, t2),
    }
    for at, values in expected.items():
        found = capture(model, samples, at=at, inputs=True)
        assert list(found) == ["fc1", "fc2", "fc3"]
        for rows, value in zip(found.values(), values, strict=True):
            assert rows.dtype == np.float32
            close(rows, value)
        close(found.inputs, samples.inputs)
        np.testing.assert_array_equal(found.targets, samples.targets)


def test_modules_may_be_named_freely_and_give_their_own_output():
    model, samples = mlp((6, 5, 3), seed=1), data(9, 6)
    found = capture(model, samples, ["relu1", "fc1"], at="activation")
    np.testing.assert_array_equal(found["relu1"], found["fc1"])
    assert (capture(model, samples, ["fc1"], at="output")["fc1"] < 0).any()


def test_activation_is_behind_a_normalisation_and_its_nonlinearity():
    model, samples = mlp((6, 5, 3), batch_norm=True, seed=1), data(30, 6)
    model(samples.inputs)  # so that the running statistics are not 0 and 1
    found = capture(model.train(), samples)["fc1"]
    model.eval()
    close(found, torch.relu(model.norm1(model.fc1(samples.inputs))))


def test_activation_is_behind_the_first_nonlinearity_only():
    model = Model(lambda self, x: torch.tanh(F.relu(self.a(x))), a=nn.Linear(4, 3))
    samples = data(8, 4)
    close(capture(model, samples)["a"], F.relu(model.a(samples.inputs)))


@pytest.mark.parametrize(
    "ending", [F.relu, F.gelu, F.silu, torch.tanh, torch.Tensor.sigmoid, F.logsigmoid, torch.relu_]
)
def test_nonlinearities_that_are_functions_count(ending):
    model = Model(lambda self, x: self.b(ending(self.a(x))), a=nn.Linear(4, 3), b=nn.Linear(3, 2))
    samples = data(8, 4)
    close(capture(model, samples)["a"], ending(model.a(samples.inputs)))
    close(capture(model, samples, at="output")["a"], model.a(samples.inputs))


def test_what_is_added_in_place_is_no_nonlinearity_of_the_layer():
    def forward(self, x):
        y = self.a(x)
        y += x
        return F.relu_(y)

    model, samples = Model(forward, a=nn.Linear(4, 4)), data(8, 4)
    close(capture(model, samples)["a"], model.a(samples.inputs))


def test_convolutions_flat_averaged_and_by_places():
    model, samples = lenet5(size=8, seed=0), data(7, 1, 8, 8)
    maps = torch.relu(model.conv1(samples.inputs))
    n, c, h, w = maps.shape
    close(capture(model, samples)["conv1"], maps.flatten(1))
    close(capture(model, samples, reduce="mean")["conv1"], maps.mean((2, 3)))
    by_place = capture(model, samples, reduce="places")
    places = [(h // 6, w // 6), (h // 2, w // 6), (5 * h // 6, 5 * w // 6)]
    for index, (row, column) in zip((0, 3, 8), places, strict=True):
        close(by_place["conv1"][:, index], maps[:, :, row, column])
    assert by_place["conv1"].shape == (n, 9, c)
    assert by_place["fc1"].shape == (n, 120) and not by_place.reads


CONVOLUTIONS = [
    (nn.Conv2d(2, 3, 3), (9, 9)),
    (nn.Conv2d(2, 3, (5, 2), stride=(2, 1), padding=(2, 1)), (9, 8)),
    (nn.Conv2d(2, 3, 3, dilation=2, padding="same"), (7, 7)),
    (nn.Conv2d(2, 3, 4, padding="same", padding_mode="reflect"), (8, 8)),
    (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (6, 6)),
    (nn.Conv2d(2, 3, 1, stride=2, bias=False), (8, 8)),
    (nn.Conv2d(2, 3, 8), (8, 8)),  # one place, three times over along each axis
    (nn.Conv1d(2, 3, 3, stride=2, padding=(1,)), (9,)),
    (nn.Conv3d(2, 3, (1, 2, 3), padding=(0, 1, 0)), (4, 5, 6)),
]


@pytest.mark.parametrize(("convolution", "size"), CONVOLUTIONS, ids=repr)
def test_patches_are_what_a_convolution_multiplies_with_its_kernel(convolution, size):
    """Kernel times patch plus bias is the output at that place, however the map is padded."""
    model, samples = nn.Sequential(convolution), data(5, 2, *size)
    found = capture(model, samples, at="output", reduce="patches")
    bias = 0 if convolution.bias is None else convolution.bias
    patches = torch.from_numpy(found.reads["0"])
    assert patches.shape == (5, 3 ** len(size), convolution.weight[0].numel())
    close(found["0"], patches @ convolution.weight.flatten(1).T + bias)
    read = capture(model, samples, at="input", reduce="patches")
    np.testing.assert_array_equal(read["0"], found.reads["0"])
    assert not read.reads


def test_other_layers_read_all_or_the_same_place():
    model = Model(
        lambda self, x: self.b(self.a(x).relu().flatten(1)), a=nn.Linear(3, 4), b=nn.Linear(24, 2)
    )
    samples = data(5, 6, 3)
    found = capture(model, samples, reduce="patches")
    close(found.reads["a"], samples.inputs[:, [1, 3, 5]])
    close(found["a"], torch.relu(model.a(samples.inputs[:, [1, 3, 5]])))
    close(found.reads["b"], torch.relu(model.a(samples.inputs)).flatten(1))
    assert list(found) == list(found.reads) == ["a", "b"]


def test_patches_of_a_layer_called_twice_and_memory():
    model = Model(lambda self, x: self.a(self.a(x)), a=nn.Conv2d(1, 1, 3, padding=1))
    samples = data(5, 1, 6, 6)
    found = capture(model, samples, at="output", reduce="patches")
    kernel = model.a.weight.flatten(1)
    for name in ("a", "a#2"):
        close(found[name], torch.from_numpy(found.reads[name]) @ kernel.T + model.a.bias)
    assert not np.array_equal(found.reads["a"], found.reads["a#2"])
    with pytest.raises(ValueError, match="memory must hold all activations"):
        capture(model, samples, reduce="patches", memory=1_000)
    capture(model, samples, reduce="places", memory=1_000)


def test_sequences_have_their_features_last():
    model = Model(lambda self, x: self.a(x).relu().mean(1), a=nn.Linear(3, 5))
    samples = data(6, 4, 3)
    close(capture(model, samples, reduce="mean")["a"], torch.relu(model.a(samples.inputs)).mean(1))


def test_modules_called_twice_and_tied_weights():
    shared = nn.Linear(4, 4)
    twin = nn.Linear(4, 4)
    twin.weight = shared.weight
    model = Model(lambda self, x: self.twin(F.relu(self.a(F.relu(self.a(x))))), a=shared, twin=twin)
    samples = data(10, 4)
    first = F.relu(shared(samples.inputs))
    second = F.relu(shared(first))
    found = capture(model, samples)
    assert list(found) == ["a", "a#2", "twin"]
    for rows, value in zip(found.values(), (first, second, twin(second)), strict=True):
        close(rows, value)


def test_transformers_do_not_skip_their_layers():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
    model = Model(lambda self, x: self.layer(x)[:, 0], layer=layer).eval()
    samples = data(5, 3, 8)
    found = capture(model, samples, reduce="mean")
    assert list(found) == ["layer.self_attn", "layer.linear1", "layer.linear2"]
    attended = layer.self_attn(*[samples.inputs] * 3)[0]
    close(found["layer.self_attn"], attended.mean(1))
    inside = layer.norm1(samples.inputs + attended)
    close(found["layer.linear1"], F.relu(layer.linear1(inside)).mean(1))


def test_pruned_networks():
    model, samples = mlp((6, 5, 3), seed=1), data(9, 6)
    kept = {"fc1.weight": normal(5, 6) > 0}
    with masked(model, kept):
        inside = capture(model, samples)
    applied = Mask(kept).apply_(copy.deepcopy(model))
    np.testing.assert_array_equal(inside["fc1"], capture(applied, samples)["fc1"])
    assert (inside["fc1"] != capture(model, samples)["fc1"]).any()


# ---- the network is as it was ----


class Restless(nn.Module):
    """Counts its calls, keeps its last input, and overwrites its input."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.norm = nn.BatchNorm1d(3)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.last = x
        return self.drop(self.norm(self.fc(x.mul_(2)))) + torch.rand(3)


def restless():
    model = Restless()
    prune.random_unstructured(model.fc, "weight", 0.5)
    model.norm.eval()  # a mode of its own
    model(normal(5, 4)).sum().backward()
    return model


def state(model):
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return hooks, [m.training for m in model.modules()], tensors, grads


def assert_same(before, after):
    assert before[:2] == after[:2]
    assert list(before[2]) == list(after[2])
    assert all(torch.equal(before[2][name], after[2][name]) for name in before[2])
    for a, b in zip(before[3], after[3], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


@pytest.mark.parametrize("at", ["activation", "output", "input"])
def test_model_data_and_generators_are_untouched(at):
    model, samples = restless(), data(12, 4)
    before, inputs, weight, last = state(model), samples.inputs.clone(), model.fc.weight, model.last
    random = torch.get_rng_state()
    capture(model, DataLoader(samples, 5, shuffle=True), at=at, limit=7, seed=0)
    assert_same(before, state(model))
    assert model.fc.weight is weight and weight.grad_fn is not None
    assert model.last is last
    assert torch.equal(samples.inputs, inputs)
    assert torch.equal(torch.get_rng_state(), random)


def test_samples_survive_a_network_that_overwrites_its_input():
    samples = data(12, 4)
    inputs = samples.inputs.clone()
    found = capture(restless(), samples, inputs=True)
    assert torch.equal(samples.inputs, inputs)
    close(found.inputs, inputs)


@pytest.mark.parametrize("error", [KeyError, RuntimeError])
def test_untouched_even_when_the_forward_pass_raises(error):
    def fails(module, args, output):
        raise error("in the middle")

    model = restless()
    model.drop.register_forward_hook(fails)
    before = state(model)
    with pytest.raises((KeyError, ValueError), match="in the middle"):
        capture(model, data(12, 4))
    assert_same(before, state(model))


def test_parametrised_weights():
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.ReLU())
    samples = data(6, 4)
    close(capture(model, samples)["0"], model(samples.inputs))


# ---- which samples, and how much memory ----


def identity():
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    nn.init.ones_(model[0].weight)
    return model


def numbered(n):
    return Samples(torch.arange(float(n))[:, None], torch.arange(n) % 7)


class Stream(IterableDataset):
    """Batches without a length, counting how many were read."""

    def __init__(self, n):
        self.samples, self.read = numbered(n), 0

    def __iter__(self):
        for i in range(len(self.samples)):
            self.read += 1
            yield self.samples[i]


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: DataLoader(s, 13), "stream"])
def test_every_sample_once_in_order(wrap):
    samples = numbered(100)
    source = DataLoader(Stream(100), 13) if wrap == "stream" else wrap(samples)
    found = capture(identity(), source, inputs=True)
    np.testing.assert_array_equal(found["0"][:, 0], np.arange(100))
    np.testing.assert_array_equal(found.indices, np.arange(100))
    np.testing.assert_array_equal(found.targets, np.arange(100) % 7)


def test_limit_reads_no_further():
    stream = Stream(1_000)
    found = capture(identity(), DataLoader(stream, 10), limit=25)
    np.testing.assert_array_equal(found.indices, np.arange(25))
    assert stream.read == 30


@pytest.mark.parametrize("batch", [1, 7, 64, 1_000])
def test_a_seeded_choice_keeps_rows_together(batch):
    found = capture(identity(), DataLoader(numbered(300), batch), limit=40, seed=3, inputs=True)
    assert len(set(found.indices)) == 40
    np.testing.assert_array_equal(found["0"][:, 0], found.indices)
    np.testing.assert_array_equal(found.inputs, found["0"])
    np.testing.assert_array_equal(found.targets, found.indices % 7)
    assert found.indices.max() >= 40


@pytest.mark.parametrize(("n", "limit"), [(30, 10), (3, 1)])
def test_a_seeded_choice_is_uniform(n, limit):
    """Each sample is kept with probability 1/3, in 300 independent choices."""
    loader, model = DataLoader(numbered(n), 8), identity()
    kept = np.zeros(n)
    for seed in range(300):
        kept[capture(model, loader, limit=limit, seed=seed).indices] += 1
    # 4.5 standard deviations: a false alarm in some thousands of sets of seeds
    assert np.abs(kept - 100).max() < 4.5 * np.sqrt(300 * (1 / 3) * (2 / 3))


def test_arrays_hold_no_more_than_the_limit():
    found = capture(identity(), DataLoader(Stream(1_000), 10), limit=50, seed=0)
    owner = found["0"] if found["0"].base is None else found["0"].base
    assert owner.nbytes == 50 * 4


def test_memory_is_refused_before_it_is_taken():
    model, samples = mlp((64, 50, 10)), digits()
    row = (50 + 10) * 4 + 8 + 8  # float32 activations, target, index
    capture(model, samples, limit=100, memory=100 * row)
    with pytest.raises(ValueError, match=r"memory must hold .* limit="):
        capture(model, samples, limit=100, memory=100 * row - 1)

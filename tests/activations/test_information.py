"""layer_information: closed forms, data processing, what the notes say, and dead layers."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from mitools.activations import layer_information
from mitools.data import Samples, digits
from mitools.methods import KSG, Gaussian, PlugIn, Ross
from mitools.models import lenet5, mlp
from mitools.uncertainty import Jackknife

torch.set_num_threads(1)

N = 4_000
# The standard deviation of a Gaussian estimate is at most sqrt(correlation^2 / n), below 1/sqrt(n).
NEAR = 4 / math.sqrt(N)


class Chain(nn.Module):
    """T1 = s + z1, T2 = T1 + z2, where signal and noises are columns of the input (s, z1, z2).

    A network is a function, so that the noise that makes information finite has to come in with
    the input: `second` reads its own beside the layer before.
    """

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Linear(2, 1, bias=False) for _ in range(2))
        for layer in (self.first, self.second):
            nn.init.ones_(layer.weight)

    def forward(self, x):
        first = self.first(x[:, :2])
        return self.second(torch.cat([first, x[:, 2:]], dim=1))


SIGNAL, NOISE_1, NOISE_2, NOISE_Y = 9.0, 2.0, 1.5, 4.0


def chain():
    generator = torch.Generator().manual_seed(0)
    x, extra = (torch.randn(N, d, generator=generator, dtype=torch.float64) for d in (3, 1))
    x *= torch.tensor([SIGNAL, NOISE_1, NOISE_2], dtype=torch.float64).sqrt()
    y = x[:, 0] + math.sqrt(NOISE_Y) * extra[:, 0]
    return Samples(x, y)


def value(table, layer, quantity):
    row = table[(table.layer == layer) & (table.quantity == quantity)]
    assert len(row) == 1
    return float(row.value.iloc[0])


def shared(a, b, covariance):
    """I of two scalar Gaussians with variances a, b."""
    return -0.5 * math.log(1 - covariance**2 / (a * b))


@pytest.mark.parametrize("method", [Gaussian(), KSG(k=10)], ids=["Gaussian", "KSG"])
def test_closed_forms(method):
    """With s, T1, T2, Y jointly Gaussian; PCA of X to one column is s, its widest direction."""
    table = layer_information(Chain().double(), chain(), method, components=1)
    first, second, target = SIGNAL + NOISE_1, SIGNAL + NOISE_1 + NOISE_2, SIGNAL + NOISE_Y
    # The estimated direction misses s by about 1/sqrt(n), which moves I(X; T) by as much.
    assert value(table, "first", "I(T; T')") == pytest.approx(
        shared(first, second, first), abs=NEAR
    )
    assert value(table, "first", "I(T; Y)") == pytest.approx(
        shared(first, target, SIGNAL), abs=NEAR
    )
    assert value(table, "second", "I(T; Y)") == pytest.approx(
        shared(second, target, SIGNAL), abs=NEAR
    )
    assert value(table, "first", "I(X; T)") == pytest.approx(
        shared(first, SIGNAL, SIGNAL), abs=2 * NEAR
    )
    assert value(table, "second", "I(X; T)") == pytest.approx(
        shared(second, SIGNAL, SIGNAL), abs=2 * NEAR
    )
    assert "PCA to 1 of 3 columns" in table.notes[0]
    assert list(table.next) == ["second" if q == "I(T; T')" else "" for q in table.quantity]


def test_noise_makes_a_function_finite():
    """I(T; T + noise of r standard deviations) = log(1 + 1/r^2) / 2 for a Gaussian T."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    samples = Samples(
        torch.randn(N, 1, generator=torch.Generator().manual_seed(1)), chain().targets
    )
    table = layer_information(model, samples, Gaussian(), noise=0.5)
    assert value(table, "0", "I(X; T)") == pytest.approx(math.log(5) / 2, abs=NEAR)
    assert "noise of 0.5" in table.notes[0]
    without = layer_information(model, samples, Gaussian())
    assert value(without, "0", "I(X; T)") > 10


def test_layers_have_noise_of_their_own():
    """Two copies of T with independent noise of r standard deviations correlate at 1/(1 + r^2)."""
    model = nn.Sequential(*(nn.Linear(1, 1, bias=False) for _ in range(2)))
    for layer in model:
        nn.init.ones_(layer.weight)
    table = layer_information(model, chain_of_one(), Gaussian(), noise=0.5)
    assert value(table, "0", "I(T; T')") == pytest.approx(shared(1.25, 1.25, 1.0), abs=NEAR)


def test_data_processing():
    """Sample Gaussian information about Y can only fall along linear layers: exactly, if plain."""
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in ((6, 5), (5, 3), (3, 2))))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 6, generator=generator)
    y = x @ torch.randn(6, 2, generator=generator) + torch.randn(500, 2, generator=generator)
    table = layer_information(model, (x, y), Gaussian(correction=False))
    known = [value(table, name, "I(T; Y)") for name in "012"]
    assert known[0] > known[1] > known[2] > 0.05
    passed = Gaussian(correction=False).mutual_information(x.double().numpy(), y.double().numpy())
    assert passed > known[0]


def test_labels_are_read_as_labels():
    """T copies one of four equally likely classes: log 4, by Ross unless told otherwise."""
    labels = torch.arange(400) % 4
    noise = 0.01 * torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    samples = Samples(labels[:, None] + noise, labels)
    model = nn.Sequential(nn.Linear(1, 1))
    table = layer_information(model, samples)
    row = table[table.quantity == "I(T; Y)"].iloc[0]
    assert row.method == repr(Ross())
    assert row.value == pytest.approx(math.log(4), abs=0.05)
    assert table.method[0].startswith("GaussianCopula")
    told = layer_information(model, (labels[:, None].float(), labels), label_method=PlugIn())
    assert value(told, "0", "I(T; Y)") == pytest.approx(math.log(4), abs=1e-9)


def test_reasons_to_distrust_are_notes_and_not_warnings():
    model = mlp((64, 4, 10), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = layer_information(model, digits(), KSG(), components=2, limit=300)
    relu = table[(table.layer == "fc1") & (table.quantity == "I(T; T')")]
    assert "PCA to 2 of" in relu.notes.iloc[0]
    saturated = layer_information(nn.Sequential(nn.Linear(1, 1)), chain_of_one(), KSG(), limit=300)
    assert "near the most that n=300 samples can show" in saturated.notes[0]


def chain_of_one():
    samples = chain()
    return Samples(samples.inputs[:, :1].float(), samples.targets.float())


def test_dead_layers_know_nothing():
    model, samples = mlp((64, 8, 8, 10), seed=0), digits()
    with torch.no_grad():
        model.fc2.weight.zero_()
        model.fc1.weight[:3] = 0
    table = layer_information(model, samples, limit=200)
    dead = table[(table.layer == "fc2") | (table.next == "fc2")]
    assert list(dead.value) == [0.0] * 4
    assert all("is constant, so the information is 0" in notes for notes in dead.notes)
    assert "T: 3 of 8 columns are constant" in table.notes[0]
    assert table.value[1] > 0.5


@pytest.mark.parametrize("reduce", ["mean", "places", "patches", "flatten"])
def test_feature_maps(reduce):
    samples = digits().take(range(300))
    images = Samples(samples.inputs.reshape(-1, 1, 8, 8), samples.targets)
    table = layer_information(
        lenet5(size=8, seed=0), images, layers=["conv1", "conv2", "fc1"], reduce=reduce
    )
    assert len(table) == 8
    assert np.isfinite(table.value).all() and table.n.eq(300).all()
    dims = dict(zip(zip(table.layer, table.quantity, strict=True), table.dim, strict=True))
    assert (
        dims["conv1", "I(T; T')"]
        in {
            "mean": ["6, 10"],
            "flatten": ["10, 10"],
            "places": ["0, 10 or 6, 10"],  # lenet5 pads: nothing varies in the first corner
            "patches": ["10, 10"],  # what conv2 reads there does
        }[reduce]
    )
    averaged = table.notes.str.contains("mean over 9 places")
    assert averaged.sum() == {"places": 6, "patches": 5}.get(reduce, 0)  # fc1 reads one patch


@pytest.mark.parametrize("reduce", ["places", "patches"])
def test_the_value_of_a_map_is_the_mean_over_its_places(reduce):
    """Two of 9 places carry the label: the mean is 2/9 of log 2."""
    labels = torch.arange(600) % 2
    x = torch.randn(600, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    x[:, 0, 0, 0] = x[:, 0, 2, 1] = labels * 1e3 + x[:, 0, 0, 0]
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(9, 2))
    table = layer_information(model, Samples(x, labels), layers=["0"], reduce=reduce)
    assert value(table, "0", "I(T; Y)") == pytest.approx(math.log(2) * 2 / 9, abs=0.02)


@pytest.mark.parametrize("reduce", ["places", "patches"])
def test_a_place_against_what_is_read_for_it(reduce):
    """T' is a third of the sum over 3x3 places of T, with noise of 1/2 added to both.

    All variances are 1, or 1.25 with noise, so R^2 is 9 (1/3)^2 / 1.25^2 = 0.64 for the patch, and
    a ninth of that for one place in it.
    """
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 3, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[1].weight.fill_(1 / 3)  # so that T' has the variance 1, too
    x = torch.randn(N, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(N) % 2
    table = layer_information(model, (x, labels), Gaussian(), reduce=reduce, noise=0.5)
    found = value(table, "0", "I(T; T')")
    row = table[(table.layer == "0") & (table.quantity == "I(T; T')")].iloc[0]
    if reduce == "patches":
        assert found == pytest.approx(-0.5 * math.log(1 - 0.64), abs=NEAR)
        assert row.dim == "9, 1" and "T: what 1 reads" in row.notes
    else:
        assert row.dim == "1, 1"
        # Places 0, 2, 4 of five lie in what places 0, 1, 2 of three read.
        assert found == pytest.approx(-0.5 * math.log(1 - 0.64 / 9), abs=NEAR)


def test_standard_errors_on_request():
    model = mlp((64, 5, 10), seed=0)
    plain = layer_information(model, digits(), limit=300)
    assert plain.std_error.isna().all()
    table = layer_information(model, digits(), limit=300, error=Jackknife(10))
    assert (table.std_error > 0).all()
    np.testing.assert_array_equal(table.value, plain.value)


def test_same_seed_same_table_and_sorted_data_do_no_harm():
    samples = digits()
    ordered = samples.take(samples.targets.argsort(stable=True))
    model = mlp((64, 12, 10), seed=0)
    one, two = (layer_information(model, ordered, limit=400, noise=0.1) for _ in range(2))
    assert one.equals(two)
    other = layer_information(model, ordered, limit=400, noise=0.1, seed=1)
    assert (one.value != other.value).any()
    # The first 400 samples would be of two or three classes: at most log 3.
    assert value(one, "fc1", "I(T; Y)") > math.log(3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"components": 0}, "components must be at least 1"),
        ({"noise": -1.0}, "noise must be finite and not negative"),
        ({"noise": math.nan}, "noise must be finite and not negative"),
        ({"method": KSG(k=60)}, r"I\(X; T\) of layer 'fc1'.*smaller than the number of samples"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        layer_information(mlp((64, 10)), digits(), limit=50, **option)


def test_a_class_is_no_method():
    with pytest.raises(TypeError, match="parentheses"):
        layer_information(mlp((64, 10)), digits(), KSG, limit=50)

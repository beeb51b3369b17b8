"""capture: input that cannot be used, and what the message says of it."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mitools.activations import capture
from mitools.data import Samples
from mitools.models import mlp

torch.set_num_threads(1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def data(*shape, seed=0):
    return Samples(normal(*shape, seed=seed), torch.arange(shape[0]) % 2)


class Model(nn.Module):
    """A network whose forward pass is a function, for cases that no Sequential shows."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def test_empty_loader():
    with pytest.raises(ValueError, match="loader must yield at least one batch"):
        capture(mlp((2, 2)), DataLoader(data(3, 2), 4, drop_last=True))
    with pytest.raises(ValueError, match="loader"):
        capture(mlp((2, 2)), TensorDataset(torch.zeros(0, 2), torch.zeros(0)))


@pytest.mark.parametrize("layers", [["fc9"], [], ["fc1", "fc1"]])
def test_unknown_layers_list_what_exists(layers):
    with pytest.raises(ValueError, match="There are: flatten, fc1, relu1, fc2"):
        capture(mlp((4, 3, 2)), data(5, 4), layers)


def test_one_name_is_no_sequence():
    with pytest.raises(TypeError, match=r"Write \['fc1'\]"):
        capture(mlp((4, 3, 2)), data(5, 4), "fc1")


def test_layer_never_reached():
    model = Model(lambda self, x: self.a(x), a=nn.Linear(4, 2), spare=nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"'spare' never ran\. Reached: a"):
        capture(model, data(5, 4))
    assert list(capture(model, data(5, 4), ["a"])) == ["a"]


def test_bad_activations_name_the_layer():
    model = Model(
        lambda self, x: self.b(torch.log(self.a(x))), a=nn.Linear(4, 3), b=nn.Linear(3, 2)
    )
    with pytest.raises(ValueError, match="finite activations; 'b' holds"):
        capture(model, data(50, 4))


def test_bad_weights_name_the_tensor():
    model = mlp((4, 3, 2))
    with torch.no_grad():
        model.fc2.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"fc2\.weight"):
        capture(model, data(5, 4))


def test_float64_values_too_large_to_keep():
    model = nn.Sequential(nn.Linear(1, 1)).double()
    with pytest.raises(ValueError, match="float32"):
        capture(
            model,
            Samples(
                torch.full((3, 1), 1e200, dtype=torch.float64), torch.zeros(3, dtype=torch.long)
            ),
        )


def test_layers_that_return_no_tensor():
    model = Model(lambda self, x: self.rnn(x)[0][:, 0], rnn=nn.LSTM(3, 2, batch_first=True))
    with pytest.raises(ValueError, match="'rnn' has a tuple"):
        capture(model, data(5, 4, 3), ["rnn"])


def test_rows_must_be_samples():
    model = Model(lambda self, x: self.a(x.movedim(1, 0)).mean(0), a=nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"one row for each sample; 'a' .*batch_first"):
        capture(model, data(5, 4, 3))


def test_layers_must_run_equally_often():
    def forward(self, x):
        return self.a(self.a(x)) if len(x) < 4 else self.a(x)

    model = Model(forward, a=nn.Linear(3, 3))
    with pytest.raises(ValueError, match="equally often"):
        capture(model, DataLoader(data(10, 3), 4))


def test_inputs_of_another_shape():
    with pytest.raises(ValueError, match=r"refused a batch of shape \(5, 3\)"):
        capture(mlp((4, 2)), data(5, 3))


@pytest.mark.parametrize("option", [{"at": "after"}, {"reduce": "max"}, {"limit": 0}, {"seed": -1}])
def test_options(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        capture(mlp((4, 2)), data(5, 4), **option)


def test_a_function_is_no_model():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; got <function"):
        capture(lambda x: x, data(5, 4))

"""What `prune` says of data that the model does not take, and of data that are missing."""

import pytest
import torch
from torch import nn

from mitools._validation import MaskError
from mitools.mipp import MIPP
from mitools.models import lenet5, mlp
from mitools.pruning import (
    IMP,
    OTO,
    SNIP,
    SOSP,
    Magnitude,
    Mask,
    OneShot,
    Structured,
    SynFlow,
    ThiNet,
    prune,
)

ROWS = torch.randn(6, 5), torch.tensor([0, 1, 0, 1, 0, 1])
READING = [OneShot(SNIP()), Structured(SNIP()), SOSP(), ThiNet(), OTO(), IMP(), MIPP()]


@pytest.mark.parametrize("pruner", [*READING, OneShot(SynFlow())], ids=repr)
def test_inputs_of_another_width_are_named(pruner):
    with pytest.raises(ValueError, match=r"loader's inputs must be .* given shape \(1, 5\)"):
        prune(mlp((7, 6, 2)), ROWS, pruner, density=0.5)


@pytest.mark.parametrize("pruner", READING, ids=repr)
@pytest.mark.parametrize("model", [mlp((5, 6, 2)), lenet5(size=8)], ids=["tells", "does not"])
def test_missing_data_are_named(pruner, model):
    with pytest.raises((ValueError, TypeError), match=r"^(loader|data) must be .*[Pp]ass the data"):
        prune(model, None, pruner, density=0.5)


def test_flow_without_data_needs_a_shape_that_fits():
    model = lenet5(size=8)
    for pruner in (OneShot(SynFlow()), Structured(Magnitude())):
        with pytest.raises(ValueError, match=r"loader must be given.*or set model\.input_shape"):
            prune(model, None, pruner, density=0.5)
    model.input_shape = (1, 8, 8)
    for pruner in (OneShot(SynFlow()), Structured(Magnitude())):
        assert prune(model, None, pruner, density=0.5).density == pytest.approx(0.5, abs=0.02)


def test_other_faults_are_not_blamed_on_the_data():
    broken = lenet5(size=8)
    with torch.no_grad():
        broken.conv1.weight[0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        prune(broken, None, OneShot(Magnitude()), density=0.5)

    class Failing:
        def mask(self, model, loader, density, names):
            raise RuntimeError("out of cheese")

    with pytest.raises(RuntimeError, match="out of cheese"):
        prune(mlp((5, 2)), ROWS, Failing(), density=0.5)


def test_example_may_be_data():
    model = nn.Linear(5, 2)
    mask = Mask({"weight": torch.tensor([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])})
    dataset = torch.utils.data.TensorDataset(*ROWS)
    for example in (dataset, torch.utils.data.DataLoader(dataset, batch_size=4)):
        assert mask.on_path(model, example) == mask
    for example in (None, ROWS[0].numpy()):
        with pytest.raises(TypeError, match="example_input must be a tensor"):
            mask.on_path(model, example)
    with pytest.raises(MaskError):
        mask.on_path(nn.Linear(4, 2), dataset)

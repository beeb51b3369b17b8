import torch
from example_nets import plain
from torch import nn

from mitools.pruning import LAMP, Magnitude, OneShot, prune


def layer(*values, dtype=torch.float32):
    module = nn.Linear(len(values), 1, bias=False, dtype=dtype)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([values], dtype=dtype))
    return module


def test_worked_example():
    # Squares 9, 1, 4, 1: ascending sums from each on are 9, 15, 13, 14 (of the equal ones the
    # earlier counts as larger).
    found = LAMP().scores(layer(3.0, -1.0, 2.0, 1.0), None, ("weight",))["weight"]
    expected = torch.tensor([[9 / 9, 1 / 14, 4 / 13, 1 / 15]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-15, atol=0)


def test_definition_on_a_network():
    model = plain((6, 20, 3))
    for name, found in LAMP().scores(model, None, ("1.weight", "3.weight")).items():
        weights = dict(model.named_parameters())[name].detach().double().flatten()
        expected = [float(w**2 / (weights[weights.abs() >= w.abs()] ** 2).sum()) for w in weights]
        torch.testing.assert_close(found.flatten(), torch.tensor(expected).double())
        assert found.max() == 1.0


def test_the_scale_of_a_layer_does_not_matter():
    model = plain((6, 20, 20, 3))
    expected = prune(model, None, OneShot(LAMP()), density=0.2)
    with torch.no_grad():
        model[3].weight.mul_(2.0**20)
    assert prune(model, None, OneShot(LAMP()), density=0.2) == expected
    assert prune(model, None, OneShot(Magnitude()), density=0.2) != expected


def test_within_a_layer_the_order_is_that_of_magnitude():
    model = plain((6, 20, 3))
    found = LAMP().scores(model, None, ("1.weight",))["1.weight"].flatten()
    assert torch.equal(found.argsort(), model[1].weight.detach().abs().flatten().argsort())


def test_no_layer_is_empty_while_there_is_one_weight_for_each():
    model = plain((6, 50, 50, 50, 3))
    with torch.no_grad():
        model[5].weight.mul_(1e-6)
    mask = prune(model, None, OneShot(LAMP()), density=4 / 5450)
    assert [part.kept for part in mask.layers()] == [1, 1, 1, 1]


def test_zeros_and_extremes():
    zeros = LAMP().scores(layer(0.0, 0.0), None, ("weight",))["weight"]
    assert not zeros.any()
    pruned = LAMP().scores(layer(0.0, 2.0, 0.0), None, ("weight",))["weight"]
    assert pruned.tolist() == [[0.0, 1.0, 0.0]]
    for scale in (1e-300, 1e300):  # squares that no float64 holds
        found = LAMP().scores(layer(scale, 2 * scale, dtype=torch.float64), None, ("weight",))
        torch.testing.assert_close(found["weight"], torch.tensor([[0.2, 1.0]]).double())
    assert LAMP().scores(layer(float("nan"), 1.0), None, ("weight",))["weight"].isnan().any()

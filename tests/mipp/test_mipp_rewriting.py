import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mitools._validation import MaskError
from mitools.mipp import Gaussian, mipp, moments, reconstructed
from mitools.models import fingerprint, mlp
from mitools.pruning import Mask


def data(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(*shape, generator=draw, dtype=torch.float64)
    return inputs, torch.zeros(len(inputs), dtype=torch.int64)


def conv_net(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Conv2d(5, 4, 3, padding=1, bias=bias), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2),
    ).double()  # fmt: skip


def least_squares(x, t, intercept=True):
    x = np.column_stack([x, np.ones(len(x))]) if intercept else x
    found = np.linalg.lstsq(x, t, rcond=None)[0]
    return (found[:-1].T, found[-1]) if intercept else (found.T, None)


def close(found, expected):
    np.testing.assert_allclose(found.detach(), expected, atol=1e-8)


def test_units_get_the_regression_on_those_left():
    net, pair = mlp((6, 9, 7, 3), seed=2).double(), data(300, 6)
    answer = mipp(net, pair, widths={"fc1": 4, "fc2": 3})
    new = answer.reconstructed(net, ridge=0.0)
    first = net.relu1(net.fc1(pair[0]))
    second = net.relu2(net.fc2(first))
    one, two = answer.kept["fc1"], answer.kept["fc2"]
    weight, bias = least_squares(first[:, one].detach(), net.fc2(first)[:, two].detach())
    close(new.fc2.weight[two][:, one], weight)
    close(new.fc2.bias[two], bias)
    weight, bias = least_squares(second[:, two].detach(), net.fc3(second).detach())
    close(new.fc3.weight[:, two], weight)
    close(new.fc3.bias, bias)
    assert all(bool((new.get_parameter(n)[~m] == 0).all()) for n, m in answer.mask.items())


@pytest.mark.parametrize("bias", [True, False])
def test_patches_get_the_regression_on_channels_left(bias):
    net, pair = conv_net(bias).eval(), data(40, 2, 8, 8)
    answer = mipp(net, pair, widths={"0": 3}, places=None)
    new, stay = answer.reconstructed(net, ridge=0.0), answer.kept["0"]
    read = net[2](net[1](net[0](pair[0])))
    rows = F.unfold(read, 3, padding=1).transpose(1, 2).flatten(0, 1)
    target = net[3](read).flatten(2).transpose(1, 2).flatten(0, 1)
    columns = stay.repeat_interleave(9)
    weight, shift = least_squares(rows[:, columns].detach(), target.detach(), intercept=bias)
    close(new[3].weight[:, stay].flatten(1), weight)
    if bias:
        close(new[3].bias, shift)


def test_flattened_maps_get_the_regression_too():
    net, pair = conv_net().eval(), data(200, 2, 8, 8)
    answer = mipp(net, pair, widths={"3": 2})
    new = answer.reconstructed(net, ridge=0.0)
    read = net[:7](pair[0])
    columns = answer.kept["3"].repeat_interleave(4)
    weight, shift = least_squares(read[:, columns].detach(), net[7](read).detach())
    close(new[7].weight[:, columns], weight)
    close(new[7].bias, shift)


def test_means_predict_channels_by_channels():
    net, pair = conv_net().eval(), data(60, 2, 8, 8)
    known = moments(net, pair, reduce="mean")
    answer = mipp(net, known, widths={"0": 3})
    new, stay = answer.reconstructed(net, ridge=0.0), answer.kept["0"]
    means = net[2](net[1](net[0](pair[0]))).mean((2, 3)).detach()
    k, shift = map(torch.from_numpy, least_squares(means[:, stay].numpy(), means[:, ~stay].numpy()))
    old = net[3].weight.detach()
    more = torch.einsum("orxy,rs->osxy", old[:, ~stay], k)
    close(new[3].weight[:, stay], old[:, stay] + more)
    close(new[3].bias, net[3].bias.detach() + old[:, ~stay].sum((2, 3)) @ shift)


def copies(net):
    """Make the second half of all channels copies of the first, up to a factor."""
    with torch.no_grad():
        for layer, norm in ((net[0], net[1]), (net[3], net[4]), (net[6], None)):
            half = len(layer.weight) // 2
            layer.weight[half:] = layer.weight[:half]
            layer.bias[half:] = layer.bias[:half]
            if norm is not None:
                for name in ("weight", "bias"):
                    values = getattr(norm, name)
                    values[half:] = values[:half] * torch.linspace(0.5, 2.0, half)
    return net


def test_a_network_of_copies_loses_half_its_channels_and_computes_the_same():
    torch.manual_seed(1)
    net = copies(
        nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.LeakyReLU(),
            nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.LeakyReLU(),
            nn.Conv2d(8, 4, 2), nn.LeakyReLU(),
            nn.Flatten(), nn.Linear(4 * 9, 5),
        ).double().eval()
    )  # fmt: skip
    pair = data(300, 1, 8, 8)
    for order in ("backward", "terc"):
        answer = mipp(net, pair, Gaussian(noise=1e-3, order=order))
        assert [(r.channels, r.kept) for r in answer.layers] == [(6, 3), (8, 4), (4, 2)]
        for r in answer.layers:
            assert r.after == pytest.approx(r.before, abs=1e-2)
        new = answer.reconstructed(net)
        torch.testing.assert_close(new(pair[0]), net(pair[0]), rtol=1e-4, atol=1e-4)


def test_any_mask_of_whole_channels_will_do_and_the_model_is_left_alone():
    net, pair = mlp((6, 9, 3), seed=2), data(200, 6)
    known = moments(net, pair)
    kept = torch.arange(9) % 2 == 0
    mask = Mask({"fc1.weight": kept[:, None].expand(9, 6), "fc2.weight": kept.expand(3, 9)})
    before = fingerprint(net)
    new = reconstructed(net, mask, known)
    assert fingerprint(net) == before
    read = net.relu1(net.fc1(pair[0].float())).detach().double()
    weight, shift = least_squares(read[:, kept], net.fc2(read.float()).detach().double())
    np.testing.assert_allclose(new.fc2.weight[:, kept].detach(), weight, atol=1e-4)
    np.testing.assert_allclose(new.fc2.bias.detach(), shift, atol=1e-4)
    whole = reconstructed(net, Mask.ones_like(net), known)
    assert fingerprint(whole) == before


def test_masks_of_single_weights_and_of_other_networks():
    net, pair = mlp((6, 9, 3)), data(50, 6)
    known = moments(net, pair)
    mask = Mask({"fc2.weight": torch.eye(9)[:3]})
    with pytest.raises(ValueError, match=r"mask must take out whole channels.*'fc2.weight'"):
        reconstructed(net, mask, known)
    with pytest.raises(MaskError):
        reconstructed(net, Mask({"fc2.weight": torch.ones(2, 2)}), known)
    with pytest.raises(TypeError, match="mask and moments must be"):
        reconstructed(net, mask, pair)
    dead = Mask({"fc1.weight": torch.ones(9, 6), "fc2.weight": torch.arange(9).expand(3, 9) > 0})
    with torch.no_grad():
        net.fc1.weight[1:3] = net.fc1.weight[4]
        net.fc1.bias[1:3] = net.fc1.bias[4]
    with pytest.raises(ValueError, match="ridge must be positive"):
        reconstructed(net, dead, moments(net, pair), ridge=0.0)

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mitools.mipp import mipp, moments, reconstructed, refitted
from mitools.models import fingerprint, mlp, resnet
from mitools.pruning import Mask


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def conv_net(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Conv2d(5, 4, 3, padding=1, stride=2, bias=bias), nn.ReLU(),
        nn.Flatten(), nn.Linear(36, 2),
    ).double().eval()  # fmt: skip


def least_squares(x, t, intercept=True):
    x, t = x.detach().numpy(), t.detach().numpy()
    x = np.column_stack([x, np.ones(len(x))]) if intercept else x
    found = np.linalg.lstsq(x, t, rcond=None)[0]
    return (found[:-1].T, found[-1]) if intercept else (found.T, None)


def close(found, expected):
    np.testing.assert_allclose(found.detach(), expected, atol=1e-8)


def test_each_layer_is_fitted_to_what_the_pruned_network_computes_before_it():
    net, x = mlp((6, 9, 7, 5, 3), seed=2).double(), rows(300, 6)
    found = mipp(net, x, widths={"fc1": 4, "fc2": 3, "fc3": 3})
    new = found.refitted(net, x, ridge=0.0)
    ours = theirs = x
    for i, name in enumerate(("fc1", "fc2", "fc3", "fc4")):
        before = found.kept.get(f"fc{i}", torch.ones(6, dtype=torch.bool))
        live = found.kept.get(name, torch.ones(3, dtype=torch.bool))
        dense = net.get_submodule(name)(theirs)
        weight, bias = least_squares(ours[:, before], dense[:, live])
        layer = new.get_submodule(name)
        close(layer.weight[live][:, before], weight)
        close(layer.bias[live], bias)
        assert not layer.weight[~live].any() and not layer.weight[:, ~before].any()
        ours, theirs = torch.relu(layer(ours)), torch.relu(dense)


@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_and_what_reads_their_maps(bias):
    net, x = conv_net(bias), rows(60, 2, 8, 8)
    found = mipp(net, x, widths={"0": 3, "3": 2}, places=None)
    new = refitted(net, found.mask, x, places=None, ridge=0.0)
    one, two = found.kept["0"], found.kept["3"]
    ours, theirs = new[:3](x), net[:3](x)
    patches = F.unfold(ours, 3, padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    target = net[3](theirs).flatten(2).transpose(1, 2).flatten(0, 1)
    columns = one.repeat_interleave(9)
    weight, shift = least_squares(patches[:, columns], target[:, two], intercept=bias)
    close(new[3].weight[two][:, one].flatten(1), weight)
    if bias:
        close(new[3].bias[two], shift)
    columns = two.repeat_interleave(9)
    weight, shift = least_squares(new[:6](x)[:, columns], net(x))
    close(new[6].weight[:, columns], weight)
    close(new[6].bias, shift)


def test_without_a_cut_nothing_changes_and_the_model_is_left_alone():
    net, x = conv_net().train(), rows(40, 2, 8, 8)
    before = fingerprint(net)
    same = refitted(net, Mask.ones_like(net), x)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), net.parameters(), strict=True))
    found = mipp(net, x, widths={"0": 2})
    again = [found.refitted(net, x, places=5, seed=1) for _ in range(2)]
    assert fingerprint(again[0]) == fingerprint(again[1]) and fingerprint(net) == before
    assert net.training and all(bool((again[0].get_parameter(n)[~m] == 0).all())
                                for n, m in found.mask.items())  # fmt: skip


def test_errors_do_not_pile_up_in_a_residual_network():
    net = resnet(8, 1, width=0.5).double().eval()
    x = rows(60, 1, 8, 8)
    known = moments(net, x, places=8)
    found = mipp(net, known, density=0.4, scope="layer")
    once, again = reconstructed(net, found.mask, known), refitted(net, found.mask, x, places=8)
    far, near = ((new(x) - net(x)).square().mean() for new in (once, again))
    assert near < far / 2


def test_batches_do_not_matter_and_few_rows_leave_the_weights_near():
    net, x = conv_net(), rows(30, 2, 8, 8)
    mask = mipp(net, x, widths={"0": 3}).mask
    loader = DataLoader(TensorDataset(x, torch.zeros(30).long()), batch_size=7)
    one, two = (refitted(net, mask, data, places=4) for data in (x, loader))
    torch.testing.assert_close(one(x), two(x), rtol=1e-6, atol=1e-8)
    # Fewer rows than variables: weights move in the span of the rows alone.
    few = refitted(net, mask, x[:5])
    plain = mask.apply_(conv_net())
    change = (few[6].weight - plain[6].weight).detach()
    span = few[:6](x[:5]).detach()
    span = span - span.mean(0)
    spread = span.square().mean(0).sqrt()
    scaled = change * spread
    basis = torch.linalg.svd(span / spread.clamp(min=1e-12))[2][:4]
    torch.testing.assert_close(scaled @ basis.T @ basis, scaled, atol=1e-6, rtol=1e-4)


def test_masks_of_single_weights_and_bad_options():
    net, x = mlp((6, 9, 3), seed=2), rows(50, 6)
    torn = Mask.of({n: torch.rand(p.shape) > 0.5 for n, p in net.named_parameters() if p.ndim > 1})
    with pytest.raises(ValueError, match="mask must take out whole channels"):
        refitted(net, torn, x)
    with pytest.raises(ValueError, match="places must be at least 1"):
        refitted(net, Mask.ones_like(net), x, places=0)

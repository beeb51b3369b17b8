"""VGG, ResNet, vision transformer: published sizes, shapes, laws of weights, and heads."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mitools.models import (
    fingerprint,
    named,
    prunable,
    reads_images,
    reinitialized,
    resnet,
    vgg,
    vit,
)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture
def weightless():
    """Tensors have shapes but no values, so that large networks cost nothing."""
    with torch.device("meta"):
        yield


@pytest.mark.parametrize(
    "build, size",
    [
        # github.com/kuangliu/pytorch-cifar, as many later repositories count them.
        (lambda: vgg(11), 9_231_114),
        (lambda: vgg(16), 14_728_266),
        (lambda: vgg(19), 20_040_522),
        (lambda: resnet(18), 11_173_962),
        (lambda: resnet(34), 21_282_122),
        (lambda: resnet(50), 23_520_842),
        # He et al., arXiv 1512.03385, table 6: 0.27M, 0.46M, 0.66M, 0.85M and 1.7M; to the last
        # digit as in github.com/akamaster/pytorch_resnet_cifar10.
        (lambda: resnet(20, shortcuts="pad"), 269_722),
        (lambda: resnet(32, shortcuts="pad"), 464_154),
        (lambda: resnet(44, shortcuts="pad"), 658_586),
        (lambda: resnet(56, shortcuts="pad"), 853_018),
        (lambda: resnet(110, shortcuts="pad"), 1_727_962),
        # Two projections, 16 to 32 and 32 to 64 channels, with their norms.
        (lambda: resnet(20), 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64),
        # DeiT-Ti and -S, arXiv 2012.12877, less class token and its position.
        (lambda: imagenet_vit(192, 3), 5_717_416 - 2 * 192),
        (lambda: imagenet_vit(384, 6), 22_050_664 - 2 * 384),
    ],
)
def test_sizes_as_published(build, size, weightless):
    assert count(build()) == size


def imagenet_vit(width, heads):
    return vit(3, 1000, size=224, patch=16, width=width, depth=12, heads=heads)


def test_depth_counts_the_layers_with_weights(weightless):
    for depth, build in itertools.chain(
        ((d, vgg) for d in (11, 13, 16, 19)), ((d, resnet) for d in (18, 20, 34, 50, 56))
    ):
        weights = [name for name in prunable_names(build(depth)) if "shortcut" not in name]
        # VGG's three fully connected layers are one.
        assert len(weights) == (depth - 2 if build is vgg else depth)


def prunable_names(model):
    return [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


SMALL = {
    "vgg": lambda seed=0: vgg(11, 3, 7, width=0.05, seed=seed),
    "resnet": lambda seed=0: resnet(8, 3, 7, width=0.25, seed=seed),
    "padded": lambda seed=0: resnet(8, 3, 7, width=0.25, shortcuts="pad", seed=seed),
    "wide": lambda seed=0: resnet(18, 3, 7, width=0.05, seed=seed),
    "bottleneck": lambda seed=0: resnet(50, 3, 7, width=0.03, seed=seed),
    "vit": lambda seed=0: vit(3, 7, size=8, patch=4, width=8, depth=2, heads=2, seed=seed),
}


@pytest.mark.parametrize("net", SMALL)
def test_seeds_and_fresh_weights(net):
    build = SMALL[net]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = build(1), build(1), build(2)
    assert torch.equal(before, torch.get_rng_state())
    assert fingerprint(one) == fingerprint(two) != fingerprint(other)
    assert fingerprint(reinitialized(one, 2)) == fingerprint(other)
    assert one(torch.zeros(2, 3, 8, 8)).shape == (2, 7)


@pytest.mark.parametrize("size", [1, 7, 8, 28, 33])
def test_convolutional_networks_take_images_of_any_size(size):
    for build in (SMALL["vgg"], SMALL["resnet"], SMALL["padded"], SMALL["wide"]):
        assert build()(torch.zeros(2, 3, size, size)).shape == (2, 7)


@pytest.mark.parametrize("depth, sides", [(20, [32, 16, 8]), (18, [32, 16, 8, 4])])
def test_stages_halve_the_image_and_double_the_channels(depth, sides):
    model, seen = resnet(depth, width=0.25), {}
    for name, module in model.named_children():
        if name.startswith("block"):
            module.register_forward_hook(lambda m, i, o: seen.update({o.shape[1:]: None}))
    model(torch.zeros(1, 3, 32, 32))
    first = 4 if depth == 20 else 16
    assert list(seen) == [(first * 2**i, side, side) for i, side in enumerate(sides)]


def test_weights_keep_the_order_of_signals_through_all_depths():
    # He et al.: variance 2 / fan_in, here 2 / (9 * 64).
    weight = vgg(16, width=0.25).conv7.weight
    assert weight.var().item() == pytest.approx(2 / (9 * 64), rel=0.03)
    draw = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model = vgg(19, width=0.25).eval()
    size = torch.nn.Sequential(*list(model)[:-3])(draw).square().mean().item()
    assert 1e-3 < size < 1e3  # torch's default law would leave 6 ** -16, padding takes some


def test_a_padded_shortcut_by_hand():
    block = resnet(8, width=0.25, shortcuts="pad").block2
    x = torch.randn(2, 4, 6, 6)
    by_hand = torch.zeros(2, 8, 3, 3)
    by_hand[:, 2:6] = x[:, :, ::2, ::2]
    assert torch.equal(block.shortcut(x), by_hand)
    branch = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(x)))))
    torch.testing.assert_close(block(x), F.relu(branch + by_hand))


class TestTransformer:
    def test_attention_by_hand(self):
        attention = vit(size=8, patch=4, width=6, heads=2, depth=1).block1.attention.double()
        x = torch.randn(3, 4, 6, dtype=torch.float64)
        q, k, v = (layer(x) for layer in (attention.q, attention.k, attention.v))
        mixed = []
        for head in (slice(0, 3), slice(3, 6)):
            scores = q[..., head] @ k[..., head].transpose(1, 2) / 3**0.5
            mixed.append(scores.softmax(-1) @ v[..., head])
        torch.testing.assert_close(attention(x), attention.out(torch.cat(mixed, -1)))

    def test_a_head_can_be_cut_out(self):
        attention = vit(size=8, patch=4, width=12, heads=3, depth=1).block1.attention
        x = torch.randn(2, 4, 12)
        with torch.no_grad():
            attention.out.weight[:, 4:8] = 0.0
            masked = attention(x)
            rows = [0, 1, 2, 3, 8, 9, 10, 11]
            for layer in (attention.q, attention.k, attention.v):
                layer.weight = nn.Parameter(layer.weight[rows])
                layer.bias = nn.Parameter(layer.bias[rows])
            attention.out.weight = nn.Parameter(attention.out.weight[:, rows])
            attention.heads = 2
            torch.testing.assert_close(attention(x), masked)

    def test_patches_and_places(self):
        model = vit(1, size=4, patch=2, width=3, heads=1, depth=0)
        image = torch.arange(16.0).view(1, 1, 4, 4)
        tokens = model.patches(image)
        corner = image[0, 0, 2:, :2]  # third in reading order
        by_hand = (model.patches.conv.weight[:, 0] * corner).sum((1, 2)) + model.patches.conv.bias
        torch.testing.assert_close(tokens[0, 2], by_hand)
        assert torch.equal(model.positions(tokens), tokens + model.positions.bias)
        assert model.positions.bias.shape == (4, 3)
        torch.testing.assert_close(model.pool(tokens), tokens.sum(1) / 4)

    def test_without_positions_the_order_of_patches_does_not_matter(self):
        model = SMALL["vit"]()
        x = torch.randn(2, 3, 8, 8)
        turned = torch.cat([x[:, :, 4:], x[:, :, :4]], 2)
        assert not torch.allclose(model(x), model(turned), atol=1e-6)
        nn.init.zeros_(model.positions.bias)
        torch.testing.assert_close(model(x), model(turned))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: vgg(12), "depth must be one of 11, 13, 16, 19; got 12"),
        (lambda: vgg(width=0), "width must be a positive factor on the channels; got 0"),
        (lambda: resnet(width=True), "width must be a positive factor"),
        (lambda: resnet(21), "depth must be 18, 34, 50, or 6 n"),
        (lambda: resnet(2), "depth must be 18"),
        (lambda: resnet(20.0), "depth must be 18"),
        (lambda: resnet(shortcuts="A"), "shortcuts must be 'conv' or 'pad'; got 'A'"),
        (lambda: resnet(seed=-1), "seed must be at least 0"),
        (lambda: vit(size=30), "patch must divide size; 4 does not divide 30"),
        (lambda: vit(width=130), "heads must divide width"),
        (lambda: vit(heads=0), "heads and width must be positive integers"),
        (lambda: named("resnet", (3, 32, 32)), "model must be one of mlp:WIDTH"),
        (lambda: named("vgg16:", (3, 32, 32)), "model must be one of"),
        (lambda: named("vgg16:x", (3, 32, 32)), "as in resnet20:0.5; got 'vgg16:x'"),
        (lambda: named("vit:0.5", (3, 32, 32)), "as in vit:64; got 'vit:0.5'"),
        (lambda: named("mlp:3-x", (3,)), "model mlp must be followed by widths"),
        (lambda: named("mlp:3-5-10", (4,)), "with the 4 numbers of an input and end with the 10"),
        (lambda: named("mlp:4-5-2", (4,), 3), "got 'mlp:4-5-2'. Write mlp:4-5-3."),
    ],
)
def test_bad_requests(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_networks_by_name():
    same = {
        "lenet-300-100": named("mlp:784-300-100-10", (1, 28, 28), seed=3),
        "vgg11:0.1": vgg(11, 1, width=0.1, seed=3),
        "resnet20:0.25": resnet(20, 1, width=0.25, seed=3),
        "vit:8": vit(1, size=28, width=8, seed=3),
    }
    for name, model in same.items():
        assert fingerprint(named(name, (1, 28, 28), seed=3)) == fingerprint(model)
        assert reads_images(name) == (name != "lenet-300-100")
    for name in ("lenet-5", "vit:8", "resnet8:0.2", "vgg11:0.05"):
        assert named(name, (1, 8, 8), 3)(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert prunable(named("vgg16", (3, 32, 32))).size == 14_715_584

import sys

import pytest
import torch
import torch.nn.functional as F
from conformance import same_snapshot, snapshot
from example_nets import CHANNEL_NETS, NETS, Block, samples
from torch import nn
from torch.utils.data import DataLoader

from mitools.models import lenet5, mlp, prunable, resnet, vit
from mitools.pruning import (
    ChannelGroup,
    Mask,
    Part,
    channel_groups,
    channel_mask,
    coupling,
    kept_channels,
    left_out,
)
from mitools.pruning.channels import example_of
from mitools.pruning.tracing import runner, twin_of

IMAGE = torch.zeros(1, 1, 8, 8)


def each(size):
    return tuple((c,) for c in range(size))


def summary(group):
    return {(part.parameter, part.axis, part.role) for part in group.parts}


def test_a_chain_of_linear_layers():
    model = mlp((4, 3, 5, 2), batch_norm=True)
    assert channel_groups(model, torch.ones(2, 4)) == (
        ChannelGroup(
            "fc1",
            3,
            (
                Part("fc1.weight", 0, each(3), "produces"),
                Part("fc1.bias", 0, each(3), "norm"),
                Part("norm1.weight", 0, each(3), "norm"),
                Part("norm1.bias", 0, each(3), "norm"),
                Part("fc2.weight", 1, each(3), "consumes"),
            ),
        ),
        ChannelGroup(
            "fc2",
            5,
            (
                Part("fc2.weight", 0, each(5), "produces"),
                Part("fc2.bias", 0, each(5), "norm"),
                Part("norm2.weight", 0, each(5), "norm"),
                Part("norm2.bias", 0, each(5), "norm"),
                Part("fc3.weight", 1, each(5), "consumes"),
            ),
        ),
    )
    assert left_out(model, torch.ones(2, 4)) == {"fc3": "its channels are the network's outputs"}


def test_flattened_channels_have_several_positions():
    conv1, conv2, fc1, fc2 = channel_groups(lenet5(), torch.zeros(1, 1, 28, 28))
    assert [g.size for g in (conv1, conv2, fc1, fc2)] == [6, 16, 120, 84]
    (part,) = conv2.of_role("consumes")
    assert part.parameter == "fc1.weight" and part.axis == 1
    assert part.positions == tuple(tuple(range(25 * c, 25 * c + 25)) for c in range(16))


def test_residual_siblings_are_one_group():
    model, data = CHANNEL_NETS["residual"]()
    groups = {group.name: group for group in channel_groups(model, data.inputs[:1])}
    assert list(groups) == ["stem", "block1.conv1", "block2.conv1", "block2.conv2"]
    assert summary(groups["stem"]) == {
        ("stem.weight", 0, "produces"),
        ("block1.conv2.weight", 0, "produces"),
        ("block1.norm2.weight", 0, "norm"),
        ("block1.norm2.bias", 0, "norm"),
        ("block1.conv1.weight", 1, "consumes"),
        ("block2.conv1.weight", 1, "consumes"),
        ("block2.shortcut.weight", 1, "consumes"),
    }
    assert summary(groups["block2.conv2"]) == {
        ("block2.conv2.weight", 0, "produces"),
        ("block2.shortcut.weight", 0, "produces"),
        ("block2.norm2.weight", 0, "norm"),
        ("block2.norm2.bias", 0, "norm"),
        ("head.weight", 1, "consumes"),
    }


def test_depthwise_slopes_and_concatenation():
    model, data = CHANNEL_NETS["separable"]()
    first, second = channel_groups(model, data.inputs[:1])
    assert summary(first) == {
        ("first.weight", 0, "produces"),
        ("first.bias", 0, "norm"),
        ("slopes.weight", 0, "norm"),
        ("depthwise.weight", 0, "produces"),
        ("depthwise.bias", 0, "norm"),
        ("norm.weight", 0, "norm"),
        ("norm.bias", 0, "norm"),
        ("second.weight", 1, "consumes"),
        ("head.weight", 1, "consumes"),
    }
    (part,) = second.of_role("consumes")
    assert part == Part("head.weight", 1, tuple((c,) for c in range(6, 12)), "consumes")


def test_heads_and_hidden_units_of_a_transformer():
    model = vit(1, size=8, patch=4, width=12, depth=2, heads=3)
    groups = channel_groups(model, IMAGE)
    assert [(g.name, g.size) for g in groups] == [
        ("block1.attention", 3),
        ("block1.fc1", 48),
        ("block2.attention", 3),
        ("block2.fc1", 48),
    ]
    heads = {(part.parameter, part.axis): part for part in groups[0].parts}
    expected = {(f"block1.attention.{layer}.weight", 0) for layer in "qkv"}
    expected |= {(f"block1.attention.{layer}.bias", 0) for layer in "qkv"}
    assert heads.keys() == expected | {("block1.attention.out.weight", 1)}
    rows = ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    assert all(part.positions == rows for part in heads.values())
    reasons = left_out(model, IMAGE)
    assert reasons.keys() == {
        *("patches.conv", "block1.attention.out", "block1.fc2"),
        *("block2.attention.out", "block2.fc2", "fc"),
    }
    assert "LayerNorm" in reasons["block1.fc2"] and "LayerNorm" in reasons["patches.conv"]


class Network(nn.Module):
    """Layers, and how they are called."""

    def __init__(self, call, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.call = call

    def forward(self, x):
        return self.call(self, x)


def chain(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(2))


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (chain(nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.ReLU()), (1, 2, 9), ["0"]),
        (
            chain(nn.ConvTranspose2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)),
            IMAGE.shape,
            ["0", "2"],
        ),
        (chain(nn.Conv3d(1, 4, 2), nn.Dropout(), nn.GELU()), (2, 1, 3, 3, 3), ["0"]),
        (nn.Sequential(chain(nn.Linear(3, 4)), nn.Linear(2, 2)), (2, 3), ["0.0", "0.2"]),
    ],
    ids=["1d", "transposed", "3d", "nested"],
)
def test_other_layers(model, shape, expected):
    example = torch.zeros(shape)
    model(example)
    assert [group.name for group in channel_groups(model, example)] == expected


UNSUITED = {
    "grouped": (
        chain(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=2)),
        IMAGE,
        {"0": "1 is a grouped convolution", "1": "1 is a grouped convolution"},
    ),
    "group norm": (chain(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)), IMAGE, {"0": "GroupNorm, mixes"}),
    "instance norm": (chain(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4)), IMAGE, {"0": "Instance"}),
    "no scale": (
        chain(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, affine=False)),
        IMAGE,
        {"0": "without parameters"},
    ),
    "computed": (
        chain(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))),
        torch.zeros(1, 3),
        {"0": "the weight of 0 is computed from other parameters"},
    ),
    "called twice": (
        Network(lambda m, x: m.c(m.b(m.b(F.relu(m.a(x))))), a=nn.Linear(3, 4), b=nn.Linear(4, 4),
                c=nn.Linear(4, 2)),
        torch.zeros(1, 3),
        {"a": "b is used more than once", "b": "b is used more than once"},
    ),
    "never called": (
        Network(lambda m, x: m.b(m.a(x)), a=nn.Linear(3, 4), b=nn.Linear(4, 2), c=nn.Linear(1, 1)),
        torch.zeros(1, 3),
        {"c": "does not pass through it"},
    ),
    "features returned": (
        Network(lambda m, x: (m.b(m.a(x).relu()), m.a(x)), a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        torch.zeros(1, 3),
        {"a": "used more than once"},
    ),
    "two outputs": (
        Network(lambda m, x: [y := m.a(x).relu(), m.b(y)], a=nn.Linear(3, 4), b=nn.Linear(4, 2)),
        torch.zeros(1, 3),
        {"a": "outputs"},
    ),
    "gated": (
        Network(lambda m, x: m.b(F.glu(m.a(x))), a=nn.Linear(3, 8), b=nn.Linear(4, 2)),
        torch.zeros(1, 3),
        {"a": "network fails"},
    ),
    "halves": (
        Network(lambda m, x: m.b(m.a(x)[:, :4] * m.a.weight.new_ones(4)),
                a=nn.Linear(3, 8), b=nn.Linear(4, 2)),
        torch.zeros(1, 3),
        {"a": "cannot be followed"},
    ),
    "centred": (
        Network(lambda m, x: m.b((y := m.a(x)) - y.mean(1, keepdim=True)),
                a=nn.Linear(3, 8), b=nn.Linear(8, 2)),
        torch.zeros(1, 3),
        {"a": "matter beyond the weights that read them"},
    ),
    "fixed width": (
        Network(lambda m, x: m.b(m.a(x).view(-1, 4, 2).flatten(1)),
                a=nn.Linear(3, 8), b=nn.Linear(8, 2)),
        torch.zeros(1, 3),
        {"a": "network fails"},
    ),
    # Torch-Pruning 1.6 loses the offset of a concatenation in front of a flattening.
    "concatenated and flattened": (
        Network(lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1).flatten(1)),
                a=nn.Conv2d(1, 4, 1), b=nn.Conv2d(1, 4, 1), c=nn.Linear(512, 2)),
        IMAGE,
        {"a": "", "b": ""},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNSUITED)
def test_what_cannot_be_taken_out_says_why(name):
    model, example, expected = UNSUITED[name]
    model(example)
    reasons = left_out(model, example)
    for layer, reason in expected.items():
        assert reason in reasons[layer]
    groups = channel_groups(model, example)
    produced = {part.parameter for group in groups for part in group.of_role("produces")}
    assert not produced & {f"{layer}.weight" for layer in expected}


def test_pad_shortcuts_leave_the_inner_channels():
    model = resnet(8, shortcuts="pad")
    found = [group.name for group in channel_groups(model, torch.zeros(1, 3, 8, 8))]
    assert found == ["block1.conv1", "block2.conv1", "block3.conv1"]


def test_a_wrong_proposal_is_refused():
    """The trial sees positions out of order, a reader forgotten, an output cut."""
    model, data = CHANNEL_NETS["linear"]()
    good, _ = channel_groups(model, data.inputs[:1])
    produces, bias, consumes = good.parts
    turned = Part(consumes.parameter, 1, consumes.positions[::-1], "consumes")
    expected = {
        good: None,
        ChannelGroup("1", 16, (produces, bias, turned)): "its channels matter beyond",
        ChannelGroup("1", 16, (produces, bias)): "without some of its channels the network fails",
        ChannelGroup("5", 3, (Part("5.weight", 0, each(3), "produces"),)): "network's outputs",
    }
    twin = twin_of(model)
    run = runner(twin, data.inputs[:1])
    for group, reason in expected.items():
        with torch.no_grad():
            found = coupling._failure(twin, run, [group])
        assert found is None if reason is None else reason in str(found)


@pytest.mark.parametrize("net", [*CHANNEL_NETS, *NETS])
def test_the_model_is_untouched(net):
    model, data = {**NETS, **CHANNEL_NETS}[net]()
    next(iter(model.children())).eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    before, state = snapshot(model), torch.get_rng_state()
    dictionaries = [(dict(vars(m)), dict(m._parameters), dict(m._buffers)) for m in model.modules()]
    with torch.inference_mode():
        channel_groups(model, data.inputs[:1])
    assert same_snapshot(before, snapshot(model))
    assert torch.equal(state, torch.get_rng_state())
    assert all((parameter.grad == 3.0).all() for parameter in model.parameters())
    for module, (attributes, parameters, buffers) in zip(
        model.modules(), dictionaries, strict=True
    ):
        assert vars(module).keys() == attributes.keys()
        assert all(module._parameters[name] is p for name, p in parameters.items())
        assert all(module._buffers[name] is b for name, b in buffers.items())
        assert not module._forward_hooks


@pytest.mark.parametrize("net", CHANNEL_NETS)
def test_mask_and_channels_round_trip(net):
    model, data = CHANNEL_NETS[net]()
    groups, names = channel_groups(model, data.inputs[:1]), tuple(prunable(model))
    rng = torch.Generator().manual_seed(1)
    for _ in range(5):
        kept = {g.name: torch.rand(g.size, generator=rng) < 0.5 for g in groups}
        for alive in kept.values():
            alive[0] = True
        mask = channel_mask(model, groups, kept, names)
        found = kept_channels(groups, mask)
        assert found.keys() == kept.keys()
        assert all(torch.equal(found[name], kept[name]) for name in kept)


def test_a_mask_of_channels_literally():
    model = mlp((2, 3, 2))
    groups = channel_groups(model, torch.ones(1, 2))
    kept = {"fc1": torch.tensor([True, False, True])}
    assert channel_mask(model, groups, kept, ["fc1.weight", "fc1.bias", "fc2.weight"]) == Mask(
        {
            "fc1.weight": [[1, 1], [0, 0], [1, 1]],
            "fc1.bias": [1, 0, 1],
            "fc2.weight": [[1, 0, 1], [1, 0, 1]],
        }
    )
    assert channel_mask(model, groups, {}, ["fc2.weight"]) == Mask.ones_like(model, ["fc2.weight"])


def test_death_spreads_backwards():
    groups = channel_groups(mlp((2, 3, 2, 2)), torch.ones(1, 2))
    mask = {
        "fc2.weight": torch.tensor([[1, 0, 0], [1, 1, 0]]).bool(),
        "fc3.weight": torch.tensor([[1, 0], [1, 0]]).bool(),
    }
    kept = kept_channels(groups, mask)
    assert kept["fc2"].tolist() == [True, False]
    assert kept["fc1"].tolist() == [True, False, False]  # the second fed the dead one only
    assert kept_channels(groups, {"fc1.weight": torch.zeros(3, 2).bool()})["fc1"].all()


def test_death_spreads_against_the_order_of_groups():
    model, data = CHANNEL_NETS["residual"]()
    tensors = {n: torch.ones_like(p, dtype=torch.bool) for n, p in prunable(model).items()}
    for reader in ("block1.conv1", "block2.conv1", "block2.shortcut"):
        tensors[f"{reader}.weight"][:, 3] = False
    tensors["block1.conv2.weight"][:, 1] = False
    tensors["block1.conv2.weight"][3, 1] = True  # which only the dead channel of the stem holds
    kept = kept_channels(channel_groups(model, data.inputs[:1]), tensors)
    dead = {name: (~alive).nonzero().flatten().tolist() for name, alive in kept.items()}
    assert dead == {"stem": [3], "block1.conv1": [1], "block2.conv1": [], "block2.conv2": []}


def test_names_select_groups():
    model = mlp((4, 3, 5, 2))
    names = ["fc1.weight", "fc2.weight"]
    assert [g.name for g in channel_groups(model, torch.ones(1, 4), names)] == ["fc1"]
    reasons = left_out(model, torch.ones(1, 4), names)
    assert reasons["fc2"] == "fc3.weight must stay whole: not among the names"


def test_bad_channels():
    model = mlp((4, 3, 2))
    groups, names = channel_groups(model, torch.ones(1, 4)), tuple(prunable(model))
    with pytest.raises(ValueError, match=r"'fc9' is none\. There are: fc1"):
        channel_mask(model, groups, {"fc9": torch.ones(3).bool()}, names)
    with pytest.raises(ValueError, match=r"3 channels of 'fc1'; got torch.float32 of shape \(3,\)"):
        channel_mask(model, groups, {"fc1": torch.ones(3)}, names)
    with pytest.raises(ValueError, match="'fc1' keeps none of 3, which would cut the signal"):
        channel_mask(model, groups, {"fc1": torch.zeros(3).bool()}, names)
    with pytest.raises(ValueError, match=r"fc2.weight of 'fc1' are missing"):
        channel_mask(model, groups, {"fc1": torch.tensor([True, False, True])}, ["fc1.weight"])


class Argmax(nn.Module):
    def forward(self, x):
        return x.argmax(1)


@pytest.mark.parametrize(
    ("model", "example", "found"),
    [
        (mlp((4, 3, 2)), torch.ones(1, 5), "mat1 and mat2 shapes"),
        (mlp((4, 3, 2)), torch.ones(1, 4, dtype=torch.long), "tracing stopped"),
        (lenet5(), torch.ones(1, 3, 28, 28), "expected input"),
    ],
    ids=["width", "dtype", "channels"],
)
def test_what_cannot_be_traced(model, example, found):
    with pytest.raises(ValueError, match=f"run on example_input.*{found}"):
        channel_groups(model, example)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript():
    script = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    with pytest.raises(ValueError, match="TorchScript cannot be taken apart"):
        channel_groups(script, torch.ones(1, 4))


def test_without_layers_nothing_is_found():
    assert channel_groups(nn.ReLU(), torch.ones(1, 4)) == ()


def test_without_gradients_nothing_is_found():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), Argmax())
    assert channel_groups(model, torch.ones(1, 4)) == ()
    assert "does not pass through" in left_out(model, torch.ones(1, 4))["0"]


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ImportError, match=r"pip install 'mitools\[shrink\]'"):
        channel_groups(mlp((4, 3, 2)), torch.ones(1, 4))


def test_examples_come_from_the_loader():
    model, data = lenet5(size=8), samples((1, 8, 8))
    assert torch.equal(example_of(model, data), data.inputs[:1])
    state = torch.get_rng_state()
    shuffled = example_of(model, DataLoader(data, batch_size=5, shuffle=True))
    assert shuffled.shape == (1, 1, 8, 8) and torch.equal(state, torch.get_rng_state())

    class Sealed:
        input_shape = (1, 8, 8)

    assert torch.equal(example_of(model.double(), Sealed()), torch.ones(1, 1, 8, 8).double())
    assert example_of(mlp((6, 2)), None).shape == (1, 6)
    counted = nn.Module()  # its first parameter is an integer
    counted.steps, counted.net = nn.Parameter(torch.tensor(3), requires_grad=False), model
    assert torch.equal(example_of(counted, data), data.inputs[:1].double())
    with pytest.raises(ValueError, match="loader must be given"):
        example_of(Block(2, 2), None)


def test_other_forms_of_example():
    model = Network(lambda m, x: m.b(F.relu(m.a(x))), a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    expected = channel_groups(model, torch.ones(1, 3))
    assert channel_groups(model, (torch.ones(1, 3),)) == expected
    assert channel_groups(model, {"x": torch.ones(1, 3)}) == expected
    words = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    (group,) = channel_groups(words, torch.tensor([[1, 4]]))
    assert group.name == "1" and group.size == 6

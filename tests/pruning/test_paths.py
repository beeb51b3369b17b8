import itertools
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parametrizations, prune

from mitools._validation import MaskError
from mitools.pruning.mask import Mask


def draw(shapes, density, seed):
    rng = torch.Generator().manual_seed(seed)
    return Mask({n: torch.rand(s, generator=rng) < density for n, s in shapes.items()})


def weights_of(model):
    return {n: p.shape for n, p in model.named_parameters() if p.dim() > 1}


def enumerated(layers):
    """Mark every edge of every path of a layered graph, path by path; layers[l][o, i]."""
    marks = [np.zeros_like(layer) for layer in layers]
    widths = [layers[0].shape[1]] + [layer.shape[0] for layer in layers]
    for path in itertools.product(*map(range, widths)):
        edges = list(zip(path[1:], path[:-1], strict=True))
        if all(layer[edge] for layer, edge in zip(layers, edges, strict=True)):
            for mark, edge in zip(marks, edges, strict=True):
                mark[edge] = True
    return marks


@pytest.mark.parametrize("seed", range(12))
def test_a_perceptron_agrees_with_enumeration_of_all_paths(seed):
    widths = [4, 5, 3, 4, 2]
    steps = []
    for a, b in itertools.pairwise(widths):
        steps += [
            nn.Linear(a, b),
            nn.BatchNorm1d(b),
            [nn.ReLU(), nn.GELU(), nn.Sigmoid()][seed % 3],
        ]
    model = nn.Sequential(*steps)
    mask = draw(weights_of(model), 0.3, seed)
    found = mask.on_path(model, torch.randn(2, 4))
    expected = enumerated([t.numpy() for t in mask.values()])
    for tensor, marks in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), marks)


class Net(nn.Module):
    """Convolutions, a strided residual block with a 1x1 shortcut, pooling and a linear head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 3, 2, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.pool = nn.MaxPool2d(2)
        self.deep = nn.Conv2d(3, 4, 2, stride=2)
        self.deeper = nn.Conv2d(4, 4, 1)
        self.short = nn.Conv2d(3, 4, 1, stride=2)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.pool(x)
        y = F.leaky_relu(self.deep(x))
        y = self.deeper(y)
        y += self.short(x)
        return F.log_softmax(self.head(torch.tanh(y).mean((2, 3))), 1)


def graph_of_net(mask, size=3):
    """Nodes are numbers in the network, edges carry the weight they use; written out by hand."""
    edges = []

    def conv(name, source, target, shape_in, stride=1, padding=0):
        weight = mask[name + ".weight"]
        out, into, kh, kw = weight.shape
        n_out = (shape_in + 2 * padding - kh) // stride + 1
        for o, i, a, b, r, c in itertools.product(
            range(out), range(into), range(kh), range(kw), range(n_out), range(n_out)
        ):
            row, column = r * stride + a - padding, c * stride + b - padding
            if 0 <= row < shape_in and 0 <= column < shape_in and weight[o, i, a, b]:
                edges.append(
                    ((source, i, row, column), (target, o, r, c), (name + ".weight", (o, i, a, b)))
                )
        return n_out

    n = conv("stem", "x", "stem", size, padding=1)
    pooled = n // 2
    for ch, r, c, a, b in itertools.product(range(3), range(pooled), range(pooled), (0, 1), (0, 1)):
        edges.append((("stem", ch, 2 * r + a, 2 * c + b), ("pool", ch, r, c), None))
    small = conv("deep", "pool", "deep", pooled, stride=2)
    conv("deeper", "deep", "sum", small)
    conv("short", "pool", "sum", pooled, stride=2)
    head = mask["head.weight"]
    for o, i, r, c in itertools.product(range(2), range(4), range(small), range(small)):
        if head[o, i]:
            edges.append((("sum", i, r, c), ("out", o), ("head.weight", (o, i))))
    return edges


def reached(edges, start):
    nodes, grown = set(start), True
    while grown:
        new = {b for a, b, _ in edges if a in nodes} - nodes
        nodes |= new
        grown = bool(new)
    return nodes


@pytest.mark.parametrize("seed", range(8))
def test_a_residual_network_agrees_with_a_search_of_its_graph(seed):
    model = Net()
    mask = draw(weights_of(model), 0.22, seed)
    edges = graph_of_net(mask)
    forward = reached(edges, {a for a, _, _ in edges if a[0] == "x"})
    backward = reached([(b, a, w) for a, b, w in edges], {("out", 0), ("out", 1)})
    expected = {w for a, b, w in edges if w and a in forward and b in backward}
    found = mask.on_path(model, torch.randn(1, 2, 3, 3))
    marked = {(n, tuple(p.tolist())) for n, t in found.items() for p in t.nonzero()}
    assert marked == expected
    assert len(marked) < mask.nonzeros  # the case is not trivial


def test_batches_of_large_images_stay_exact():
    """Convolutions by transforms round; counts must not leak into what no path reaches."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 16, 3))
    tensors = {n: torch.ones(s, dtype=torch.bool) for n, s in weights_of(model).items()}
    tensors["0.weight"][5] = False
    tensors["2.weight"][:, 7] = False
    found = Mask(tensors).on_path(model, torch.randn(4, 16, 28, 28))
    assert not found["2.weight"][:, 5].any()
    assert not found["0.weight"][7].any()
    assert found.nonzeros == (30 * 16 + 30 * 16) * 9


def test_deep_networks_do_not_overflow_or_vanish():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(
                nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)) for _ in range(110)
            )
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            for block in self.blocks:
                x = F.relu(x + block(x))
            return self.head(x.mean((2, 3)))

    model = Deep()
    chain = nn.Sequential(*[nn.Linear(40, 40) for _ in range(150)])
    for net, x in ((model, torch.ones(1, 8, 5, 5)), (chain, torch.ones(1, 40))):
        ones = Mask({n: torch.ones(s) for n, s in weights_of(net).items()})
        assert ones.on_path(net, x) == ones
        empty = ~ones
        assert empty.on_path(net, x).nonzeros == 0


def test_a_thin_and_a_wide_branch_both_count():
    """Ratios between branches grow with depth; they must not underflow."""
    mask = Mask(
        {f"{i}.weight": torch.block_diag(torch.ones(1, 1), torch.ones(60, 60)) for i in range(300)}
    )
    model = nn.Sequential(*[nn.Linear(61, 61) for _ in range(300)])
    assert mask.on_path(model, torch.ones(1, 61)) == mask


def test_the_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model[2].eval()
    prune.random_unstructured(model[3], "weight", 0.5)
    model(torch.randn(5, 3)).sum().backward()
    state = {n: t.clone() for n, t in model.state_dict().items()}
    grads = {n: p.grad.clone() for n, p in model.named_parameters()}
    attributes = [dict(vars(m)) for m in model.modules()]
    modes = [m.training for m in model.modules()]
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    mask = Mask({"0.weight": torch.ones(4, 3), "3.weight": torch.ones(2, 4)})
    with torch.no_grad():
        mask.on_path(model, torch.randn(5, 3, generator=torch.Generator().manual_seed(1)))
    assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
    assert all(torch.equal(p.grad, grads[n]) for n, p in model.named_parameters())
    assert modes == [m.training for m in model.modules()]
    for module, before in zip(model.modules(), attributes, strict=True):
        assert vars(module).keys() == before.keys()
        assert all(vars(module)[k] is before[k] for k in before if k != "training")
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert not any(p.requires_grad is False for p in model.parameters())


def test_paths_are_those_of_evaluation():
    class Detour(nn.Linear):
        def forward(self, x):
            return super().forward(x)[:, : 1 if self.training else 2]

    mask = Mask({"weight": torch.ones(2, 3)})
    assert mask.on_path(Detour(3, 2).train(), torch.ones(1, 3)) == mask


def test_torch_pruned_weights_carry_no_path():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    prune.custom_from_mask(model[0], "weight", torch.tensor([[1, 0], [0, 0]]))
    mask = Mask({"1.weight": [[1, 1]]})
    assert mask.on_path(model, torch.ones(1, 2))["1.weight"].tolist() == [[True, False]]
    both = Mask({"0.weight": torch.ones(2, 2), "1.weight": [[1, 0]]})
    assert both.on_path(model, torch.ones(1, 2))["0.weight"].tolist() == [
        [True, False],
        [False, False],
    ]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))[:, :1]


def test_a_tied_weight_counts_if_either_use_does():
    # first use: 0 -> 1; second use: 1 -> 0, and the output is unit 0.
    mask = Mask({"first.weight": [[0, 1, 0], [1, 0, 0], [0, 0, 1]]})
    found = mask.on_path(Tied(), torch.ones(1, 3))
    assert found["first.weight"].tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]


def test_biases_and_norms_in_the_mask():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    mask = Mask(
        {
            "0.weight": [[1, 1], [1, 1]],
            "0.bias": [1, 1],
            "1.weight": [1, 0],
            "1.bias": [1, 1],
            "2.weight": [[1, 1]],
            "2.bias": [0],
        }
    )
    found = {n: t.flatten().tolist() for n, t in mask.on_path(model, torch.ones(3, 2)).items()}
    assert found == {
        "0.weight": [True, True, False, False],
        "0.bias": [True, False],
        "1.weight": [True, False],
        "1.bias": [True, True],  # a shift needs no way in
        "2.weight": [True, False],  # no input reaches it through the pruned scale
        "2.bias": [False],
    }


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.position = nn.Parameter(torch.randn(3, 4))
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, tokens):
        return self.head(self.layer(self.embed(tokens) + self.position)[:, 0])


def test_a_transformer():
    model = Attention()
    ones = Mask({n: torch.ones(s) for n, s in weights_of(model).items() if n != "position"})
    tokens = torch.zeros(1, 3, dtype=torch.long)
    assert ones.on_path(model, tokens) == ones
    tensors = {n: t.clone() for n, t in ones.items()}
    tensors["layer.self_attn.out_proj.weight"][:, :2] = False  # the first head leads nowhere
    found = Mask(tensors).on_path(model, tokens)
    dead = ~found["layer.self_attn.in_proj_weight"].view(3, 2, 2, 4)
    assert dead[:, 0].all()
    assert not dead[:, 1].any()


def test_foreign_ways_of_computing():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.randn(3, 4))
            self.b = parametrizations.weight_norm(nn.Linear(4, 4, bias=False))
            self.c = parametrizations.spectral_norm(nn.Linear(4, 2, bias=False))
            self.gate = nn.Linear(4, 4, bias=False)
            self.register_buffer("fixed", torch.eye(4))

        def forward(self, x):
            y = torch.einsum("ni,ij->nj", x, self.a) / 2 + 0.1
            y = (y - y.mean(0, keepdim=True)) @ self.fixed
            z = self.b(y) * torch.sigmoid(self.gate(y))
            z = torch.cat([z[:, :2], z[:, 2:]], 1).unsqueeze(1).transpose(1, 2).reshape(-1, 4)
            out = torch.zeros_like(z)
            out[:, :4] = z
            if (out > 1e9).any():
                raise RuntimeError
            return {"logits": self.c(out.to(torch.float64).to(x.dtype)), "extra": [None, 3]}

    model = Odd()
    mask = Mask(
        {
            "a": torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]]),
            "b.weight": torch.ones(4, 4),
            "gate.weight": torch.eye(4),
            "c.weight": [[1, 0, 0, 0], [0, 0, 0, 0]],
        }
    )
    found = {n: t.int().tolist() for n, t in mask.on_path(model, torch.randn(2, 3)).items()}
    assert found["a"] == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]]
    assert found["b.weight"] == [[1, 0, 1, 0]] + [[0] * 4] * 3
    assert found["gate.weight"] == [[1, 0, 0, 0]] + [[0] * 4] * 3
    assert found["c.weight"] == [[1, 0, 0, 0], [0] * 4]


def test_bfloat16_and_many_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(3, 2)

        def forward(self, x, *, y):
            return self.a(x.to(self.a.weight.dtype)) + self.b(y), None

    class OneArgument(nn.Module):
        def __init__(self):
            super().__init__()
            self.two = Two()

        def forward(self, x, y):
            return self.two(x, y=y)

    model = OneArgument().bfloat16()
    mask = Mask({"two.a.weight": torch.eye(2), "two.b.weight": torch.zeros(2, 3)})
    pair = (torch.ones(1, 2), torch.ones(1, 3))
    assert mask.on_path(model, pair) == mask
    inner = Mask({"a": mask["two.a.weight"], "b": mask["two.b.weight"]})
    assert inner.on_path(model.two, {"x": pair[0], "y": pair[1]}) == inner


def test_what_cannot_be_traced_is_refused_with_the_reason():
    mask = Mask({"weight": torch.ones(2, 3)})
    with pytest.raises(ValueError, match=r"example_input must be .*\(1, 5\).*RuntimeError"):
        mask.on_path(nn.Linear(3, 2), torch.ones(1, 5))
    lstm = nn.LSTM(3, 2)
    with pytest.raises(ValueError, match="'lstm'"):
        Mask({"weight_ih_l0": torch.ones(8, 3)}).on_path(lstm, torch.ones(4, 1, 3))
    with pytest.raises(MaskError, match="no such parameter"):
        Mask({"other": [1]}).on_path(nn.Linear(3, 2), torch.ones(1, 3))

    class Deaf(nn.Linear):
        def forward(self, x):
            return torch.zeros(2)

    with pytest.raises(ValueError, match="depends on the input"):
        mask.on_path(Deaf(3, 2), torch.ones(1, 3))


class Hidden(torch.autograd.Function):
    """Reads a weight where the trace cannot see it."""

    @staticmethod
    def forward(ctx, x, weight):
        return x @ weight.T

    @staticmethod
    def backward(ctx, *grads):
        return grads[0].sum(-1, keepdim=True).expand(-1, 3), None


def test_layers_that_run_again_are_refused():
    class Rerun(nn.Linear):
        def forward(self, x):  # what torch.utils.checkpoint does
            with saved_tensors_hooks(lambda t: t, lambda t: t):
                return super().forward(x)

    with pytest.raises(ValueError, match="checkpointing, which runs layers again, must be"):
        Mask({"weight": torch.ones(2, 3)}).on_path(Rerun(3, 2), torch.ones(1, 3))


def test_functions_with_a_backward_of_their_own_are_refused():
    class Own(nn.Linear):
        def forward(self, x):
            return Hidden.apply(x, self.weight)

    with pytest.raises(ValueError, match="'Hidden'"):
        Mask({"weight": torch.ones(2, 3)}).on_path(Own(3, 2), torch.ones(1, 3))


def test_an_output_may_be_an_object_with_attributes():
    class Answer:
        def __init__(self, logits):
            self.logits, self.note = logits, "as language models return"

    class Wrapped(nn.Sequential):
        def forward(self, x):
            return Answer(super().forward(x))

    model = Wrapped(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    mask = Mask({"0.weight": [[1, 1], [1, 0]], "2.weight": [[0, 1]]})
    found = mask.on_path(model, torch.ones(1, 2))
    assert found["0.weight"].tolist() == [[False, False], [True, False]]
    assert found["2.weight"].tolist() == [[False, True]]

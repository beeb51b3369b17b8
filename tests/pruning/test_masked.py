import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from mitools._validation import MaskError
from mitools.pruning import binary
from mitools.pruning import masked as masked_module
from mitools.pruning.mask import Mask
from mitools.pruning.masked import masked


def random_mask(model, seed=0, names=None):
    rng = torch.Generator().manual_seed(seed)
    names = names or [n for n, p in model.named_parameters() if p.dim() > 1]
    shapes = {n: p.shape for n, p in model.named_parameters(remove_duplicate=False)}
    return Mask({n: torch.rand(shapes[n], generator=rng) < 0.5 for n in names})


def zeroed(model, mask):
    """A copy whose stored parameters are overwritten one by one."""
    twin = copy.deepcopy(model)
    stored = dict(twin.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for name, kept in mask.items():
            stored[name].copy_(torch.where(kept, stored[name], torch.zeros(())))
    return twin


def snapshot(model):
    return {n: t.clone() for n, t in model.state_dict().items()}


def unchanged(model, before):
    after = model.state_dict()
    return after.keys() == before.keys() and all(torch.equal(after[n], before[n]) for n in before)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.deep = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(6, 4, 2)
        self.short = nn.Conv2d(6, 4, 1, padding_mode="circular")
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        y = F.relu(self.norm(self.stem(x)))
        y = y + self.deep(y)
        return self.head(F.relu(self.up(y)).mean((2, 3)) + self.short(y).mean((2, 3)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, x):
        return self.out(self.lstm(self.embed(x))[0])


class Direct(nn.Module):
    """Reads its weights in every way but through a layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))

    def forward(self, x):
        w = self.weight
        return (
            x @ w + x @ w.T + x @ w.data + w[0] + w.sum() + torch.stack([w, w]).mean() * w.size(0)
        )


MODELS = {
    "residual": (Residual, lambda: torch.randn(2, 1, 5, 5)),
    "unbatched conv": (lambda: nn.Conv1d(2, 5, 2), lambda: torch.randn(2, 6)),
    "3d": (lambda: nn.Conv3d(1, 5, 2), lambda: torch.randn(2, 1, 3, 3, 3)),
    "vector": (lambda: nn.Linear(3, 9), lambda: torch.randn(3)),
    "tied": (Tied, lambda: torch.randint(7, (2, 3))),
    "direct": (Direct, lambda: torch.randn(2, 3)),
    "attention": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        lambda: torch.randn(2, 3, 8),
    ),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        lambda: torch.randn(2, 3, 8),
    ),
    "spectral": (
        lambda: parametrizations.spectral_norm(nn.Linear(4, 5)),
        lambda: torch.randn(2, 4),
    ),
    "weight norm": (
        lambda: parametrizations.weight_norm(nn.Linear(4, 5)),
        lambda: torch.randn(2, 4),
    ),
}


@pytest.mark.parametrize("block", [4, 2**22])
@pytest.mark.parametrize("name", MODELS)
def test_computes_what_a_copy_with_zeros_computes(name, block, monkeypatch):
    monkeypatch.setattr(masked_module, "BLOCK", block)
    make, draw = MODELS[name]
    torch.manual_seed(0)
    model, x = make().eval(), draw()
    mask = random_mask(model)
    before = snapshot(model)
    with torch.no_grad():
        expected, dense = zeroed(model, mask)(x), model(x)
        with masked(model, mask) as same:
            found = same(x)
    assert same is model
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, dense)  # the mask matters
    assert unchanged(model, before)
    with torch.no_grad():
        assert torch.equal(model(x), dense)


def test_the_fast_path_of_attention_is_masked():
    torch.manual_seed(0)
    model = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x, mask = torch.randn(2, 3, 8), random_mask(model)
    twin = zeroed(model, mask)
    with torch.inference_mode():
        expected = twin(x, x, x, need_weights=False)[0]
        with masked(model, mask):
            torch.testing.assert_close(model(x, x, x, need_weights=False)[0], expected)


def test_bfloat16_keeps_its_type():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).bfloat16()
    x, mask = torch.randn(3, 4, dtype=torch.bfloat16), random_mask(model)
    with torch.no_grad(), masked(model, mask):
        found = model(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, zeroed(model, mask)(x).detach())


@pytest.mark.parametrize("block", [4, 2**22])
def test_gradients_are_those_of_the_product(block, monkeypatch):
    monkeypatch.setattr(masked_module, "BLOCK", block)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    x, mask = torch.randn(3, 4), random_mask(model)
    twin = zeroed(model, mask)
    twin(x).square().sum().backward()
    with masked(model, mask):
        model(x).square().sum().backward()
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        expected = q.grad * mask[name] if name in mask else q.grad
        torch.testing.assert_close(p.grad, expected)


def pruned_net():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    prune.random_unstructured(net[0], "weight", 0.3)
    return net


def test_a_model_already_pruned_by_torch():
    torch.manual_seed(0)
    net, x = pruned_net(), torch.randn(3, 4)
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    mask = Mask({"0.weight": torch.rand(6, 4) < 0.5, "2.weight": torch.rand(2, 6) < 0.5})
    with torch.no_grad():
        plain[0].weight.copy_(net[0].weight_orig * net[0].weight_mask * mask["0.weight"])
        plain[0].bias.copy_(net[0].bias)
        plain[2].weight.copy_(net[2].weight * mask["2.weight"])
        plain[2].bias.copy_(net[2].bias)
        before, read = snapshot(net), net[0].weight
        with masked(net, mask):
            torch.testing.assert_close(net(x), plain(x))
    assert unchanged(net, before)
    assert net[0].weight is read  # not what the hook computed in between


def test_a_pruned_layer_that_is_read_without_its_hook():
    torch.manual_seed(0)
    model, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(1, 3, 8)
    twin = copy.deepcopy(model)
    prune.identity(model.out_proj, "weight")
    mask = Mask({"out_proj.weight": torch.rand(8, 8) < 0.5})
    with torch.no_grad():
        twin.out_proj.weight.mul_(mask["out_proj.weight"])
        with masked(model, mask):
            torch.testing.assert_close(model(x, x, x)[0], twin(x, x, x)[0])


def test_a_parametrized_model():
    class Doubled(nn.Module):
        def forward(self, w):
            return 2 * w

    torch.manual_seed(0)
    net, x = nn.Linear(4, 3), torch.randn(2, 4)
    weight, bias = net.weight.detach().clone(), net.bias.detach()
    parametrize.register_parametrization(net, "weight", Doubled())
    mask = Mask({"weight": torch.rand(3, 4) < 0.5})
    with torch.no_grad(), masked(net, mask):
        torch.testing.assert_close(net(x), F.linear(x, 2 * weight * mask["weight"], bias))


def test_weights_tied_by_memory():
    first, second = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)
    second.weight = nn.Parameter(first.weight.data.T)
    net, x = nn.Sequential(first, second), torch.randn(2, 3)
    mask = Mask({"0.weight": torch.rand(4, 3) < 0.5})
    w = first.weight.detach() * mask["0.weight"]
    with torch.no_grad(), masked(net, mask):
        torch.testing.assert_close(net(x), x @ w.T @ w)


def test_neighbours_in_memory_are_left_alone():
    memory = torch.randn(20)
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[0].weight = nn.Parameter(memory[:9].view(3, 3))
    net[1].weight = nn.Parameter(memory[9:18].view(3, 3))
    x, mask = torch.randn(2, 3), Mask({"0.weight": torch.zeros(3, 3)})
    with torch.no_grad(), masked(net, mask):
        assert torch.equal(net[1](x), x @ memory[9:18].view(3, 3).T)
    net[1].weight = nn.Parameter(memory[4:13].view(3, 3))
    with pytest.raises(ValueError, match="overlaps in part"), masked(net, mask):
        pass


def test_infinite_and_negative_weights_become_plus_zero():
    net = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[float("inf"), float("nan"), -1.0]]))
        with masked(net, Mask({"weight": torch.zeros(1, 3)})):
            assert net.weight.T.signbit().sum() == 0
            assert net(torch.ones(1, 3)).item() == 0.0


def test_facts_and_in_place_changes_concern_the_true_weights():
    net = nn.Linear(2, 2)
    with torch.no_grad(), masked(net, Mask({"weight": torch.zeros(2, 2)})):
        assert net.weight.shape == (2, 2)
        assert net.weight.requires_grad
        assert hash(net.weight) == id(net.weight)
        net.weight.fill_(3.0)
        net.weight[0] = 4.0
        assert net.weight.sum() == 0
    assert net.weight.tolist() == [[4.0, 4.0], [3.0, 3.0]]


def test_compiled_models_are_run_eagerly():
    net = nn.Linear(3, 2)
    compiled = torch.compile(net, backend="eager")
    x = torch.randn(2, 3)
    with torch.no_grad():
        dense = compiled(x)
        with masked(compiled, Mask({"weight": torch.zeros(2, 3)})):
            assert torch.equal(compiled(x), net.bias.expand(2, 2))
        assert torch.equal(compiled(x), dense)


def test_torch_before_2_6_refuses_compiled_models_alone(monkeypatch):
    net, x = nn.Linear(3, 2), torch.ones(2, 3)
    compiled = torch.compile(net, backend="eager")
    monkeypatch.delattr(torch.compiler, "set_stance")
    mask = Mask({"weight": torch.zeros(2, 3)})
    with masked(net, mask):
        assert torch.equal(net(x), net.bias.expand(2, 2))
    with pytest.raises(ValueError, match="it is compiled"), masked(compiled, mask):
        pass


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused():
    scripted = torch.jit.script(nn.Linear(3, 2))
    with (
        pytest.raises(ValueError, match="TorchScript"),
        masked(scripted, Mask({"weight": torch.zeros(2, 3)})),
    ):
        pass


def test_a_mask_that_does_not_fit_is_refused_and_errors_leave_no_trace():
    net = pruned_net()
    with pytest.raises(MaskError, match="no such parameter"), masked(net, {"x": torch.ones(1)}):
        pass
    read, mask = net[0].weight, Mask({"0.weight": torch.zeros(6, 4)})
    with pytest.raises(RuntimeError, match="shapes"), masked(net, mask):
        net(torch.ones(1, 3))
    assert net[0].weight is read
    assert net(torch.ones(1, 4)).shape == (1, 2)  # the mode is gone


def test_blocks_are_as_small_as_promised(monkeypatch):
    """No product may exceed the block, whatever the layer."""
    monkeypatch.setattr(masked_module, "BLOCK", 10)
    sizes, product = [], masked_module._product
    monkeypatch.setattr(
        masked_module, "_product", lambda w, k: (sizes.append(w.numel()), product(w, k))[1]
    )
    net = nn.Sequential(nn.Linear(5, 7), nn.Unflatten(1, (7, 1)), nn.Conv1d(7, 4, 1))
    mask = random_mask(net)
    with torch.no_grad(), masked(net, mask):
        net(torch.randn(3, 5))
    assert sizes == [10, 10, 10, 5, 7, 7, 7, 7]
    assert binary.BLOCK == 2**22

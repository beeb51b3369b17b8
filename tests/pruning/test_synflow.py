import pytest
import torch
from example_nets import NETS, Residual, convolutional, plain, samples
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from mitools.models import copied, mlp, prunable
from mitools.pruning import Iterative, Mask, OneShot, SynFlow, prune, top_k
from mitools.pruning import synaptic_flow as flow_module
from mitools.pruning.pruners import geometric_counts


def scores_of(model, shape):
    return SynFlow(shape).scores(model, None, tuple(prunable(model)))


@pytest.mark.parametrize("widths", [(5, 3), (6, 8, 5, 3), (4, *(9,) * 12, 2)])
def test_every_layer_carries_the_same_flow(widths):
    # With biases in the net: they count as zero.
    sums = torch.stack([s.sum() for s in scores_of(plain(widths), widths[:1]).values()])
    torch.testing.assert_close(sums, sums[:1].expand_as(sums), rtol=1e-6, atol=0)


def test_flow_in_equals_flow_out_of_every_unit():
    first, second, third = scores_of(plain(), (6,)).values()
    torch.testing.assert_close(first.sum(1), second.sum(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(second.sum(1), third.sum(0), rtol=1e-12, atol=0)


def test_two_layers_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        model[2].weight.copy_(torch.tensor([[-5.0, 7.0]]))
    scores = scores_of(model, (2,))
    assert scores["0.weight"].tolist() == [[5.0, 10.0], [21.0, 0.0]]
    assert scores["2.weight"].tolist() == [[15.0, 21.0]]


def test_rounds_prevent_the_collapse_of_a_layer():
    torch.manual_seed(0)
    widths = (64, 200, 8, 200, 10)
    with torch.random.fork_rng([]):
        model = mlp(widths, seed=0)
    once = prune(model, None, OneShot(SynFlow()), density=0.01)
    often = prune(model, None, Iterative(SynFlow(), rounds=100), density=0.01)
    assert min(layer.kept for layer in once.layers()) == 0
    assert min(layer.kept for layer in often.layers()) > 10
    assert once.nonzeros == often.nonzeros


def test_a_unit_that_only_its_bias_feeds_carries_no_flow():
    model = plain()
    with torch.no_grad():
        model[1].weight[2] = 0.0
        model[1].bias[2] = 5.0
    scores = scores_of(model, (6,))
    assert not scores["3.weight"][:, 2].any()
    assert scores["3.weight"][:, 3].all()


def deep_chain(depth, gain, bias=False):
    net = plain((4,) * (depth + 1), bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                layer.weight *= gain
    return net


class Ladder(nn.Module):
    """A residual stream long enough to leave float64's range."""

    def __init__(self, depth, gain):
        super().__init__()
        self.steps = nn.ModuleList([Step(gain) for _ in range(depth)])
        self.head = nn.Linear(4, 2, bias=False)

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return self.head(x)


class Step(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.outer = nn.Linear(4, 4)
        with torch.no_grad():
            self.inner.weight *= gain

    def forward(self, x):
        return torch.relu(x + self.outer(torch.relu(self.inner(x))))


@pytest.mark.parametrize("gain", [2.0**20, 2.0**-20])
def test_a_chain_beyond_the_range_of_float64_is_scored_exactly(gain):
    # A factor on every layer of a chain is a factor on every score: the order must not change.
    far, near = (scores_of(deep_chain(60, g), (4,)) for g in (gain, 1.0))
    ratio = far["1.weight"][0, 0] / near["1.weight"][0, 0]
    assert torch.isfinite(ratio) and ratio > 0
    for name in near:
        torch.testing.assert_close(far[name], near[name] * ratio, rtol=1e-12, atol=0)


def test_a_residual_ladder_beyond_the_range_of_float64_is_scored_exactly():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        far = Ladder(60, 2.0**30).double()
    found = scores_of(far, (4,))
    assert all(torch.isfinite(s).all() for s in found.values())
    # The same in exact arithmetic, with exponents of their own for every tensor.
    expected = ladder_in_integers(far)
    ratio = None
    for name, score in found.items():
        for ours, exact in zip(score.flatten().tolist(), expected[name], strict=True):
            ratio = ratio or exact / ours_as_fraction(ours)
            assert abs(ours_as_fraction(ours) * ratio / exact - 1) < 1e-9


def ours_as_fraction(value):
    from fractions import Fraction

    return Fraction(value)


def ladder_in_integers(ladder):
    """Scores of a Ladder by forward and backward sums over exact fractions."""
    from fractions import Fraction

    def matrix(layer):
        return [[abs(Fraction(v)) for v in row] for row in layer.weight.detach().tolist()]

    def times(m, x):
        return [sum(a * b for a, b in zip(row, x, strict=True)) for row in m]

    def transposed(m):
        return [list(column) for column in zip(*m, strict=True)]

    # Fractions would grow without end: 200 bits are plenty.
    def trimmed(x):
        shift = max(v.numerator.bit_length() - v.denominator.bit_length() for v in x) - 200
        unit = Fraction(2) ** shift
        return [Fraction(round(v / unit)) * unit for v in x]

    x, states = [Fraction(1)] * 4, []
    for step in ladder.steps:
        a, b = matrix(step.inner), matrix(step.outer)
        hidden = times(a, x)
        states.append((a, b, x, hidden))
        x = trimmed([u + v for u, v in zip(x, times(b, hidden), strict=True)])
    head = matrix(ladder.head)
    scores = {"head.weight": [w * v for row in head for w, v in zip(row, x, strict=True)]}
    g = [sum(column) for column in zip(*head, strict=True)]
    for i in reversed(range(len(states))):
        a, b, x, hidden = states[i]
        scores[f"steps.{i}.outer.weight"] = [
            w * g[r] * hidden[c] for r, row in enumerate(b) for c, w in enumerate(row)
        ]
        gh = times(transposed(b), g)
        scores[f"steps.{i}.inner.weight"] = [
            w * gh[r] * x[c] for r, row in enumerate(a) for c, w in enumerate(row)
        ]
        g = trimmed([u + v for u, v in zip(g, times(transposed(a), gh), strict=True)])
    return scores


def test_rescaling_changes_nothing_where_it_is_not_needed(monkeypatch):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Residual()
    plainly = scores_of(model, (1, 8, 8))
    monkeypatch.setattr(flow_module, "_FEEBLE", float("inf"))  # always rescale
    monkeypatch.setattr(flow_module, "_SAFE", 1.5)  # at the slightest growth
    rescaled = scores_of(model, (1, 8, 8))
    ratio = rescaled["stem.weight"].max() / plainly["stem.weight"].max()
    assert ratio != 1.0
    assert torch.frexp(ratio).mantissa == 0.5  # a power of two
    for name in plainly:
        assert torch.equal(rescaled[name], plainly[name] * ratio)


def test_branches_are_no_cuts():
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Residual()
    cuts = flow_module._cuts(model.eval(), torch.ones(1, 1, 8, 8, dtype=torch.float64))
    names = {name for name, module in model.named_modules() if module in set(cuts)}
    assert {"", "stem", "block1", "block2", "head"} == names


def test_norm_shifts_and_running_means_do_not_flow():
    model = convolutional()
    before = scores_of(model, (1, 8, 8))
    with torch.no_grad():
        model[1].bias += 3.0
        model[1].running_mean -= 2.0
        model[0].bias += 1.0
    after = scores_of(model, (1, 8, 8))
    assert all(torch.equal(before[name], after[name]) for name in before)
    model[1].running_var *= 4.0  # but the scale does
    assert not torch.equal(before["0.weight"], scores_of(model, (1, 8, 8))["0.weight"])


def test_biases_asked_for_score_zero():
    model = plain()
    scores = SynFlow().scores(model, None, tuple(prunable(model, biases=True)))
    assert not scores["1.bias"].any() and scores["1.weight"].all()


def test_layer_norms_let_the_flow_through():
    model, data = NETS["attention"]()
    mask = prune(model, data, density=0.1)
    assert min(layer.kept for layer in mask.layers()) > 0


class TestInputShape:
    def test_a_stated_shape_wins(self):
        model = convolutional()
        model.input_shape = (1, 4, 4)
        with pytest.raises(RuntimeError):
            SynFlow().scores(model, None, ("0.weight",))
        SynFlow((1, 8, 8)).scores(model, None, ("0.weight",))

    @pytest.mark.parametrize("wrap", [
        lambda s: s,
        lambda s: DataLoader(s, batch_size=4),
        lambda s: Subset(s, [1, 2]),
        lambda s: DataLoader(Subset(TensorDataset(s.inputs, s.targets), [1])),
        lambda s: (s.inputs, s.targets),
        lambda s: [s.inputs.numpy(), s.targets.numpy()],
    ])  # fmt: skip
    def test_in_memory_data_show_it(self, wrap):
        mask = prune(convolutional(), wrap(samples((1, 8, 8))), density=0.5)
        assert mask.nonzeros == round(0.5 * mask.size)

    def test_the_loader_and_then_the_model_may_state_it(self):
        class Sealed:
            input_shape = (1, 8, 8)

            def __iter__(self):
                raise AssertionError

        model = convolutional()
        expected = scores_of(model, (1, 8, 8))
        assert torch.equal(SynFlow().scores(model, Sealed(), ("0.weight",))["0.weight"],
                           expected["0.weight"])  # fmt: skip
        model.input_shape = (1, 8, 8)
        assert torch.equal(SynFlow().scores(model, None, ("0.weight",))["0.weight"],
                           expected["0.weight"])  # fmt: skip

    def test_the_loaders_shape_goes_before_the_models(self):
        from types import SimpleNamespace

        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        model.input_shape = (1, 5, 5)
        large = SynFlow().scores(model, SimpleNamespace(input_shape=(1, 9, 9)), ("0.weight",))
        assert torch.equal(large["0.weight"], scores_of(model, (1, 9, 9))["0.weight"])

    def test_the_first_layer_tells_it(self):
        assert SynFlow().scores(plain(), None, ("1.weight",))["1.weight"].all()
        lenet = nn.Sequential(nn.Conv2d(3, 2, 5), nn.Flatten(), nn.Linear(2 * 28 * 28, 2))
        assert SynFlow().scores(lenet, None, ("0.weight",))["0.weight"].all()

    def test_nobody_knows(self):
        model = nn.Sequential(nn.Conv1d(4, 2, 3), nn.Flatten(), nn.Linear(8, 2))
        with pytest.raises(ValueError, match=r"input_shape must be given.*SynFlow\(input_shape="):
            SynFlow().scores(model, None, ("0.weight",))


class Counting(nn.Module):
    """Scales by a buffer that grows with every call, once in place and once by a new tensor."""

    def __init__(self):
        super().__init__()
        self.calls: torch.Tensor
        self.register_buffer("calls", torch.ones(()))
        self.register_buffer("replaced", torch.ones(()))

    def forward(self, x):
        self.calls += 1
        self.replaced = self.replaced + 1
        return x * self.calls * self.replaced


@pytest.mark.parametrize("name", NETS)
def test_rounds_on_one_copy_are_rounds_on_fresh_ones(name):
    model, data = NETS[name]()
    rounds = Iterative(SynFlow(), rounds=4)
    mask = prune(model, data, rounds, density=0.2)
    pruned, kept = copied(model), None
    names = tuple(mask)
    for keep in geometric_counts(mask.size, 0.2, 4):
        kept = top_k(SynFlow().scores(pruned, data, names), keep, among=kept)
        Mask(kept).apply_(pruned)
    assert kept is not None
    assert mask == Mask(kept)


def test_what_a_forward_pass_writes_does_not_last():
    model = nn.Sequential(nn.Linear(4, 6), Counting(), nn.Linear(6, 3))
    names = ("0.weight", "2.weight")
    again = SynFlow().repeatedly(model, None, names)
    mask = Mask.ones_like(model, names)
    first, second = again(mask), again(mask)
    assert all(torch.equal(first[name], second[name]) for name in names)
    assert model[1].calls == 1 and model[1].replaced == 1

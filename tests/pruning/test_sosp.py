"""SOSP-H against an explicit Hessian."""

import pytest
import torch
import torch.nn.functional as F
from conformance import STRUCTURED_CHECKS, check_labels_are_asked_for
from example_nets import CHANNEL_NETS, plain, samples
from torch import nn
from torch.func import functional_call

from mitools.models import copied
from mitools.pruning import SOSP, prune
from mitools.pruning.channels import kept_channels
from mitools.pruning.coupling import channel_groups


class Joined(nn.Module):
    """Batch norm, a residual join, a pooling and a smooth nonlinearity."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 3, 2)
        self.norm = nn.BatchNorm2d(3)
        self.inner = nn.Conv2d(3, 2, 1, bias=False)
        self.outer = nn.Conv2d(2, 3, 1)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        x = torch.tanh(self.norm(self.stem(x)))
        x = x + self.outer(torch.tanh(self.inner(x)))
        return self.head(x.mean((2, 3)))


def seeded(make):
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(3)
        model = make().double()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias)
                nn.init.uniform_(module.running_mean)
    return model.eval()


STRUCTURES = {
    "stem": ("stem.weight", "outer.weight", "stem.bias", "norm.weight", "norm.bias", "outer.bias"),
    "inner": ("inner.weight",),
}
WEIGHTS_ALONE = {"stem": ("stem.weight", "outer.weight"), "inner": ("inner.weight",)}


def by_explicit_hessian(model, inputs, targets, structures):
    """λ of every channel from all second derivatives, by rows that are written out above."""
    state = {name: t.detach() for name, t in model.state_dict().items()}
    weights = {name: p.detach() for name, p in model.named_parameters()}
    flat = torch.cat([weight.reshape(-1) for weight in weights.values()])

    def loss(flat):
        parts = flat.split([weight.numel() for weight in weights.values()])
        changed = {n: p.view(weights[n].shape) for n, p in zip(weights, parts, strict=True)}
        return F.cross_entropy(functional_call(model, state | changed, (inputs,)), targets)

    slope = torch.func.grad(loss)(flat)
    hessian = torch.autograd.functional.hessian(loss, flat)
    theta = {}
    for group, names in structures.items():
        for c in range(len(weights[names[0]])):
            only = {name: torch.zeros_like(weight) for name, weight in weights.items()}
            for name in names:
                only[name][c] = weights[name][c]
            theta[group, c] = torch.cat([part.reshape(-1) for part in only.values()])
    every = sum(theta.values())
    return {s: abs(v @ slope) + abs(v @ (hessian @ every)) / 2 for s, v in theta.items()}


@pytest.mark.parametrize("norms", [True, False])
def test_scores_equal_the_explicit_hessian(norms):
    model, data = seeded(Joined), samples((1, 4, 4), n=23, classes=2)
    inputs = data.inputs.double()
    groups = channel_groups(model, inputs[:1])
    assert {group.name: group.size for group in groups} == {"stem": 3, "inner": 2}
    structures = STRUCTURES if norms else WEIGHTS_ALONE
    expected = by_explicit_hessian(model, inputs, data.targets, structures)
    # Batches of unequal sizes: the product is of the whole mean, not batch by batch.
    batches = list(zip(inputs.split(10), data.targets.split(10), strict=True))
    for given in ((inputs, data.targets), batches):
        found = SOSP(norms=norms).channel_scores(model, given, groups)
        for (group, c), score in expected.items():
            assert found[group][c].item() == pytest.approx(score.item(), abs=1e-8, rel=1e-8)
            assert score > 1e-6
    double = SOSP(norms=norms, precision="double").channel_scores(model.float(), data, groups)
    for group, scores in double.items():
        torch.testing.assert_close(scores, found[group], rtol=1e-5, atol=1e-7)


def test_batches_statistics_and_precision_are_those_asked_for():
    model, data = seeded(Joined), samples((1, 4, 4), n=23, classes=2)
    groups = channel_groups(model, data.inputs[:1].double())
    given = list(zip(data.inputs.double().split(10), data.targets.split(10), strict=True))
    running = by_explicit_hessian(model, *given[0], STRUCTURES)
    twin = copied(model).train()
    twin.norm.track_running_stats = False  # nothing is to be counted under torch.func
    by_batch = by_explicit_hessian(twin, *given[0], STRUCTURES)
    for statistics, expected in (("running", running), ("batch", by_batch)):
        found = SOSP(batches=1, statistics=statistics).channel_scores(model, given, groups)
        for (group, c), score in expected.items():
            assert found[group][c].item() == pytest.approx(score.item(), abs=1e-8, rel=1e-8)
    single = model.float()
    expected = by_explicit_hessian(copied(single).double(), *given[0], STRUCTURES)
    errors = {}
    for precision in ("model", "double"):
        found = SOSP(batches=1, precision=precision).channel_scores(single, given, groups)
        errors[precision] = max(abs(found[g][c] - score) for (g, c), score in expected.items())
    assert errors["double"] < 1e-10 < errors["model"] < 1e-5


def test_channels_compete_as_asked():
    model, data = plain((6, 20, 20, 3)), samples((6,))
    groups = channel_groups(model, data.inputs[:1])
    with torch.no_grad():
        model[1].weight[:15] *= 1e-3
        model[1].bias[:15] *= 1e-3

    def widths(**fields):
        kept = kept_channels(groups, prune(model, data, SOSP(**fields), density=0.3))
        return [int(alive.sum()) for alive in kept.values()]

    one, two = widths(scope="layer")
    assert abs(one - two) <= 1 and one > 7
    assert widths()[0] <= 5 and widths(least=7)[0] == 7


def test_both_orders_count():
    model, data = seeded(Joined), samples((1, 4, 4), n=23, classes=2)
    groups = channel_groups(model, data.inputs[:1].double())
    given = data.inputs.double(), data.targets
    found = SOSP().channel_scores(model, given, groups)["inner"]
    weights = {name: p.detach() for name, p in model.named_parameters()}
    inner = model.inner.weight
    slope = torch.autograd.grad(F.cross_entropy(model(given[0]), given[1]), inner)[0]
    first = (weights["inner.weight"] * slope).flatten(1).sum(1).abs()
    assert (found > first * 1.01).all()


def test_labels_are_asked_for():
    check_labels_are_asked_for(SOSP(), CHANNEL_NETS["linear"])


class Rounding(nn.Sequential):
    def forward(self, x):
        return self[1](self[0](x).round())


def test_slopes_that_do_not_change_are_refused():
    model = Rounding(nn.Linear(6, 8), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"differentiable twice.*round\(\)"):
        prune(model, samples((6,)), SOSP(), density=0.5)


@pytest.mark.parametrize("net", CHANNEL_NETS)
@pytest.mark.parametrize("check", STRUCTURED_CHECKS, ids=lambda check: check.__name__)
def test_conformance(check, net):
    check(SOSP(), CHANNEL_NETS[net])


def test_keeps_the_channels_of_the_largest_scores():
    model, data = CHANNEL_NETS["residual"]()
    groups = channel_groups(model, data.inputs[:1])
    kept = kept_channels(groups, prune(model, data, SOSP(batches=1), density=0.5))
    scores = SOSP(batches=1).channel_scores(model, data, groups)
    stays = torch.cat([scores[name][kept[name]] for name in scores])
    goes = torch.cat([scores[name][~kept[name]] for name in scores])
    lowest = {name: float(score.max()) for name, score in scores.items()}
    crowned = sum(lowest[name] < goes.max() for name in scores)  # kept as the last of their group
    assert int((stays < goes.max()).sum()) <= crowned


@pytest.mark.parametrize(("change", "match"), [
    ({"batches": 0}, "batches must be at least 1"),
    ({"statistics": "none"}, "statistics must be"),
    ({"precision": "half"}, "precision must be"),
    ({"scope": "wide"}, "scope must be one of"),
    ({"least": 0}, "least must be"),
])  # fmt: skip
def test_bad_fields(change, match):
    with pytest.raises(ValueError, match=match):
        SOSP(**change)

import pytest
import torch
import torch.nn.functional as F
from example_nets import NETS, plain, samples
from torch.func import functional_call
from torch.utils.data import DataLoader

from mitools.models import prunable
from mitools.pruning import FORCE, SNIP, Iterative, Mask, OneShot, prune, top_k
from mitools.pruning.pruners import geometric_counts


def written_out(model, data, density, rounds, revive):
    """The schedule by plain autograd on masked weights."""
    weights = {name: p.detach().double() for name, p in model.named_parameters()}
    names = tuple(prunable(model))
    kept = {name: torch.ones_like(weights[name]) for name in names}
    size = sum(part.numel() for part in kept.values())
    revived = 0
    for keep in geometric_counts(size, density, rounds):
        masked = {n: (w * kept.get(n, 1.0)).requires_grad_() for n, w in weights.items()}
        loss = F.cross_entropy(functional_call(model, masked, (data.inputs.double(),)),
                               data.targets)  # fmt: skip
        slopes = torch.autograd.grad(loss, [masked[name] for name in names])
        scores = {n: (weights[n] * g).abs() for n, g in zip(names, slopes, strict=True)}
        among = None if revive else {n: part.bool() for n, part in kept.items()}
        chosen = top_k(scores, keep, among=among)
        revived += sum(int((chosen[n] & (kept[n] == 0)).sum()) for n in names)
        kept = {n: part.double() for n, part in chosen.items()}
    return Mask({n: part.bool() for n, part in kept.items()}), revived


def test_the_schedule_written_out():
    model, data = plain((6, 30, 30, 3), dtype=torch.float64), samples((6,))
    expected, revived = written_out(model, data, 0.05, 6, revive=True)
    assert revived > 0
    pair = (data.inputs.double(), data.targets)
    assert prune(model, pair, FORCE(rounds=6), density=0.05) == expected


def test_iterative_snip_differs_by_resurrection_alone():
    model, data = plain((6, 30, 30, 3), dtype=torch.float64), samples((6,))
    expected, revived = written_out(model, data, 0.05, 6, revive=False)
    assert revived == 0
    pair = (data.inputs.double(), data.targets)
    found = prune(model, pair, Iterative(SNIP(), rounds=6), density=0.05)
    assert found == expected != prune(model, pair, FORCE(rounds=6), density=0.05)


@pytest.mark.parametrize("net", ["plain", "residual"])
def test_one_round_is_snip(net):
    model, data = NETS[net]()
    expected = prune(model, data, OneShot(SNIP()), density=0.2)
    assert prune(model, data, FORCE(rounds=1), density=0.2) == expected
    assert prune(model, data, Iterative(SNIP(), rounds=1), density=0.2) == expected


def test_batch_statistics_are_another_network():
    model, data = NETS["batch norm"]()
    model[1].running_mean += 1.0
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    running, batch = (
        prune(model, data, FORCE(rounds=3, statistics=s), density=0.2) for s in ("running", "batch")
    )
    assert running != batch
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_batches_and_scope_are_those_asked_for():
    model, data = plain((6, 30, 30, 3)), samples((6,), n=40)
    given = DataLoader(data, batch_size=5)
    first = data.inputs[:5], data.targets[:5]
    found = prune(model, given, FORCE(rounds=3, batches=1), density=0.1)
    assert found == prune(model, first, FORCE(rounds=3), density=0.1)
    assert found != prune(model, given, FORCE(rounds=3), density=0.1)
    even = prune(model, data, FORCE(rounds=3, scope="layer"), density=0.1)
    assert [layer.kept for layer in even.layers()] == [18, 90, 9]


def test_a_network_that_has_zeros_is_pruned_further():
    model, data = plain((6, 20, 3)), samples((6,))
    with torch.no_grad():
        model[1].weight[:10] = 0.0
    mask = prune(model, data, FORCE(rounds=4), density=0.2)
    assert mask.nonzeros == round(0.2 * mask.size) and not mask["1.weight"][:10].any()


@pytest.mark.parametrize("bad", [{"rounds": 0}, {"batches": 0}, {"statistics": "x"}, {"scope": 1}])
def test_bad_settings(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be"):
        FORCE(**bad)

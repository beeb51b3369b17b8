"""OTO against its steps written out, its promise that zeros go for nothing, and interruptions."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conformance import (
    STRUCTURED_CHECKS,
    check_it_goes_on_when_killed,
    check_labels_are_asked_for,
)
from example_nets import CHANNEL_NETS, NETS, plain, samples
from torch import nn

from mitools.data import digits
from mitools.models import copied, mlp, tensors_of
from mitools.pruning import OTO, Mask, kept_channels, oto, prune
from mitools.pruning.channel_sums import ChannelSums
from mitools.pruning.coupling import channel_groups
from mitools.pruning.removal import remove_channels_
from mitools.training import SGD, Adam, EarlyStopping, Training, evaluate, train

QUICK = Training(epochs=6, batch_size=8, optimizer=SGD(lr=0.05, momentum=0.9))
STRONG = OTO(QUICK, penalty=1.0, epsilon=0.95, warm_up=0.3)


def small(seed=0):
    """Two layers of channels, with batch norm after the first; smooth."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        layers = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh()
        return nn.Sequential(*layers, nn.Linear(5, 3)).double()


GROUPS = {"0": ("0.weight", "0.bias", "1.weight", "1.bias"), "3": ("3.weight", "3.bias")}


def channel(tensors, group, c):
    return torch.cat([tensors[name][c].reshape(-1) for name in GROUPS[group]])


def put(tensors, group, c, row):
    for name in GROUPS[group]:
        n = tensors[name][c].numel()
        tensors[name][c] = row[:n].view(tensors[name][c].shape)
        row = row[n:]


def by_hand(model, inputs, targets, *, steps, warm, lr, penalty, epsilon, kind):
    """HSPG with plain gradient descent on one batch, channel by channel."""
    model = copied(model).train()
    for step in range(steps):
        x = {name: p.detach().clone() for name, p in model.named_parameters()}
        slopes = torch.autograd.grad(F.cross_entropy(model(inputs), targets), [*model.parameters()])
        new = {name: x[name] - lr * g for name, g in zip(x, slopes, strict=True)}
        for group, size in (("0", 6), ("3", 5)):
            rows, gone = {}, []
            for c in range(size):
                old, made = channel(x, group, c), channel(new, group, c)
                if step < warm and kind == "proximal":
                    made = made * max(0.0, 1 - lr * penalty / float(made.norm()))
                elif old.norm() > 0:
                    made = made - lr * penalty * old / old.norm()
                rows[c] = made
                if step >= warm and (old.norm() == 0 or made @ old < epsilon * old @ old):
                    gone.append((float(old.norm()), c))
            for _, c in sorted(gone)[: size - 1]:  # a layer keeps its last channel
                rows[c] = torch.zeros_like(rows[c])
            for c, row in rows.items():
                put(new, group, c, row)
        for name, parameter in model.named_parameters():
            parameter.data = new[name]
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize(("kind", "warm", "penalty", "epsilon", "zeros"), [
    ("proximal", 4, 0.5, 0.9, 4),
    ("subgradient", 4, 0.5, 0.9, 4),
    ("proximal", 8, 0.6, 0.0, 1),
    ("subgradient", 0, 1.2, 0.9, 6),
])  # fmt: skip
def test_its_steps_are_those_written_out(kind, warm, penalty, epsilon, zeros):
    model, data = small(), samples((4,), n=30)
    inputs = data.inputs.double()
    expected = by_hand(
        model, inputs, data.targets,
        steps=10, warm=warm, lr=0.1, penalty=penalty, epsilon=epsilon, kind=kind,
    )  # fmt: skip
    training = Training(epochs=10, batch_size=30, optimizer=SGD(lr=0.1, momentum=0.0))
    pruner = OTO(training, penalty, epsilon, warm / 10, kind)
    # A density so low that every channel which leaves its half space may go.
    found = pruner.run(model, (inputs, data.targets), 0.12).trained
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-12)
    rows = [channel(expected, g, c) for g, size in (("0", 6), ("3", 5)) for c in range(size)]
    assert sum(bool((row == 0).all()) for row in rows) >= zeros


def by_hand_dual(model, inputs, targets, *, steps, warm, lr, penalty, epsilon, keep):
    """DHSPG, channel by channel; those too many for so many weights are penalised."""
    channels = [("0", c) for c in range(6)] + [("3", c) for c in range(5)]
    model, chosen = copied(model).train(), set()
    for step in range(steps):
        x = {name: p.detach().clone() for name, p in model.named_parameters()}
        slopes = torch.autograd.grad(F.cross_entropy(model(inputs), targets), [*model.parameters()])
        g = dict(zip(x, slopes, strict=True))
        if step == warm:
            pairs = [(channel(x, *s), channel(g, *s)) for s in channels]
            cosine = torch.stack([a @ b / (a.norm() * b.norm()) for a, b in pairs])
            small = torch.stack([1 / (a.norm() / len(a) + 1e-6) for a, _ in pairs])
            score = cosine / cosine.norm() + small / small.norm()
            left = {"0": 6, "3": 5}
            for i in score.argsort(descending=True):
                if 4 * left["0"] + left["0"] * left["3"] + 3 * left["3"] <= keep:
                    break
                chosen.add(channels[i])
                left[channels[i][0]] -= 1
            assert min(left.values()) > 1 and len(chosen) >= 3
        new = {name: x[name] - lr * g[name] for name in x}
        for s in chosen:
            old, made, slope = channel(x, *s), channel(new, *s), channel(g, *s)
            own, inner = penalty, float(old @ slope)
            if inner < 0:
                low = -inner / float(old.norm())
                high = -float(slope.norm() ** 2 * old.norm()) / inner
                own = min(max(2 * low, penalty), 10 * penalty)
                own = (low + high) / 2 if own >= high else own
            if old.norm() > 0:
                made = made - lr * own * old / old.norm()
            if old.norm() == 0 or made @ old < epsilon * old @ old:
                made = torch.zeros_like(made)
            put(new, *s, made)
        for name, parameter in model.named_parameters():
            parameter.data = new[name]
    return {name: p.detach() for name, p in model.named_parameters()}, chosen


@pytest.mark.parametrize(("penalty", "epsilon"), [(0.03, 0.0), (0.5, 0.0), (0.5, 0.9)])
def test_the_dual_steps_are_those_written_out(penalty, epsilon):
    model, data = small(), samples((4,), n=30)
    given = data.inputs.double(), data.targets
    training = Training(epochs=12, batch_size=30, optimizer=SGD(lr=0.1, momentum=0.0))
    pruner = OTO(training, penalty, epsilon, warm_up=0.25, dual=True)
    ticket = pruner.run(model, given, 0.5)
    expected, chosen = by_hand_dual(
        model, *given, steps=12, warm=3, lr=0.1, penalty=penalty, epsilon=epsilon, keep=34
    )  # fmt: skip
    for name, weight in expected.items():
        torch.testing.assert_close(ticket.trained[name], weight, rtol=0, atol=1e-9)
    zeros = {s for s in chosen if not channel(expected, *s).any()}
    assert bool(zeros) == (epsilon == 0.9)


def test_the_choice_of_dual_among_channels_of_unequal_sizes():
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        layers = nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)
        model = nn.Sequential(*layers).double()
    data = samples((9,), n=20, classes=2)
    given = data.inputs.double(), data.targets
    weights = {name: p.detach() for name, p in model.named_parameters()}
    found = torch.autograd.grad(F.cross_entropy(model(given[0]), given[1]), [*model.parameters()])
    slopes = dict(zip(weights, found, strict=True))
    cosine, small = [], []
    for layer, size in (("0", 4), ("2", 3)):
        for c in range(size):
            names = f"{layer}.weight", f"{layer}.bias"
            a, b = (torch.cat([t[n][c].reshape(-1) for n in names]) for t in (weights, slopes))
            cosine.append(a @ b / (a.norm() * b.norm()))
            small.append(1 / (a.norm() / len(a) + 1e-6))
    cosine, small = torch.stack(cosine), torch.stack(small)
    expected = (cosine / cosine.norm() + small / small.norm()) / 2
    channels = ChannelSums(channel_groups(model, given[0][:1]))
    torch.testing.assert_close(oto._redundancy(model, given, channels), expected)


def test_the_ticket_starts_without_the_weights_that_go():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    ticket = OTO(QUICK, penalty=0.0).run(model, data, 0.5)
    for name, kept in ticket.mask.items():
        assert not ticket.start.model[name][~kept].any() and ticket.trained[name][~kept].any()
        assert torch.equal(ticket.start.model[name][kept], ticket.trained[name][kept])


def test_channels_compete_as_asked():
    model, data = plain((6, 20, 20, 3)), samples((6,))
    groups = channel_groups(model, data.inputs[:1])
    with torch.no_grad():
        model[1].weight[:15] *= 1e-3
        model[1].bias[:15] *= 1e-3
    still = Training(epochs=1, batch_size=24, optimizer=SGD(lr=1e-9, momentum=0.0))

    def widths(**fields):
        mask = prune(model, data, OTO(still, penalty=0.0, **fields), density=0.3)
        return [int(kept.sum()) for kept in kept_channels(groups, mask).values()]

    one, two = widths(scope="layer")
    assert abs(one - two) <= 1 and one > 7
    assert widths()[0] <= 5 and widths(least=7)[0] == 7


def test_nothing_to_penalise_is_refused():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    for layer in (model[1], model[3]):
        layer.requires_grad_(False)
    with pytest.raises(ValueError, match="model must have channels that are trained"):
        prune(model, data, STRONG, density=0.7)


def test_dual_reaches_the_density_and_what_goes_is_zero():
    data = digits()
    model, given = mlp((64, 60, 10), seed=1), (data.inputs[:600], data.targets[:600])
    training = Training(epochs=12, batch_size=20, optimizer=SGD(lr=0.2, momentum=0.0))
    ticket = OTO(training, penalty=0.15, dual=True).run(model, given, 0.3)
    full = copied(model)
    full.load_state_dict(ticket.trained)
    masked = ticket.apply_(copied(model))
    rest = data.inputs[600:], data.targets[600:]
    torch.testing.assert_close(masked(rest[0]), full(rest[0]), rtol=0, atol=1e-5)
    dense = copied(model)
    train(dense, given, training)
    assert evaluate(masked, rest).accuracy > evaluate(dense, rest).accuracy - 0.05
    size = ticket.mask.size
    assert 0.3 * size - 74 < ticket.mask.nonzeros <= 0.3 * size


def test_without_penalty_it_is_plain_training():
    model, data = NETS["residual"]()
    twin = copied(model)
    train(twin, data, QUICK)
    found = OTO(QUICK, penalty=0.0).run(model, data, 0.7).trained
    expected = tensors_of(twin)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("net", ["plain", "batch norm", "residual"])
def test_masked_is_sliced_is_trained(net):
    model, data = NETS[net]()
    if net == "batch norm":
        model[0].bias.requires_grad_(True)  # a frozen bias is no zero
    ticket = STRONG.run(model, data, 0.75)
    groups = channel_groups(model, data.inputs[:1])
    weights = ticket.trained
    kept = {}
    for group in groups:
        norms = torch.zeros(group.size)
        for part in group.parts:
            if part.role != "consumes":
                rows = weights[part.parameter].movedim(part.axis, 0)
                norms += torch.stack([rows[list(p)].square().sum() for p in part.positions])
        kept[group.name] = norms > 0
    gone = sum(int((~stays).sum()) for stays in kept.values())
    assert gone >= 1
    full = copied(model)
    full.load_state_dict(weights, strict=False)
    masked = ticket.apply_(copied(model))
    sliced = remove_channels_(ticket.apply_(copied(model)), groups, kept)
    outputs = [m.eval()(data.inputs) for m in (full, masked, sliced)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(outputs[2], outputs[0], rtol=0, atol=1e-5)
    assert sum(p.numel() for p in sliced.parameters()) < sum(p.numel() for p in full.parameters())


def test_no_more_channels_go_than_the_density_asks_for():
    model, data = NETS["residual"]()
    for density in (0.9, 0.7, 0.5):
        ticket = STRONG.run(model, data, density)
        trained = copied(model)
        trained.load_state_dict(ticket.trained)
        # What is 0 is exactly what the mask takes away, and every layer keeps a channel.
        for name, keep in ticket.mask.items():
            rows = keep.flatten(1).any(1)
            assert rows.any() and keep.any()
            assert torch.equal(trained.get_parameter(name).flatten(1).any(1), rows)
    assert prune(model, data, STRONG, density=1.0).density == 1.0


def test_channels_left_over_go_by_their_norm():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    ticket = OTO(QUICK, penalty=0.0).run(model, data, 0.5)
    weights, both = ticket.trained, ("weight", "bias")
    norms = {
        (layer, c): float(torch.cat([weights[f"{layer}.{w}"][[c]].flatten() for w in both]).norm())
        for layer, size in ((1, 8), (3, 5))
        for c in range(size)
    }
    kept = {key: bool(ticket.mask[f"{key[0]}.weight"][key[1]].any()) for key in norms}
    assert 0 < sum(kept.values()) < 13
    assert min(norms[key] for key in kept if kept[key]) > max(
        norms[key] for key in kept if not kept[key]
    )


def test_channels_that_leave_go_first_whatever_their_norms():
    def largest(scores):
        kept = torch.zeros(6, dtype=torch.bool)
        kept[scores.topk(3).indices] = True
        return {"a": kept[:4], "b": kept[4:]}

    norms = torch.tensor([5.0, 1.0, 0.0, 2.0, 4.0, 3.0])
    leaving = torch.tensor([1, 0, 0, 1, 1, 0]).bool()
    # Three of six go: the one at 0, and of those that leave the two smallest, 2 and 4.
    assert oto.droppable(norms, leaving, largest).tolist() == [0, 0, 0, 1, 1, 0]
    few = torch.tensor([1, 0, 0, 0, 0, 0]).bool()
    assert oto.droppable(norms, few, largest).tolist() == few.tolist()  # though it is the largest
    none = torch.zeros(6).bool()
    assert not oto.droppable(norms, none, largest).any()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 3, 5])
@pytest.mark.parametrize(("optimizer", "dual"), [
    (SGD(lr=0.05, momentum=0.9), False), (Adam(lr=0.01), False), (Adam(lr=0.01), True),
], ids=repr)  # fmt: skip
def test_a_killed_run_goes_on_and_ends_alike(optimizer, dual, after, monkeypatch, tmp_path):
    from mitools.training import loop

    model, data = NETS["batch norm"]()
    pruner = replace(STRONG, training=replace(QUICK, optimizer=optimizer), dual=dual, warm_up=0.4)
    expected = pruner.run(model, data, 0.6)
    save, calls = loop.save_checkpoint, []

    def deadly(*args):
        save(*args)
        calls.append(args)
        if len(calls) == after:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", deadly)
        with pytest.raises(Killed):
            pruner.run(model, data, 0.6, checkpoint=tmp_path)
    torch.rand(3)  # something else draws random numbers in between
    for _ in range(2):  # and once more when all is done
        found = pruner.run(model, data, 0.6, checkpoint=tmp_path)
        assert found.mask == expected.mask
        assert all(torch.equal(found.trained[n], t) for n, t in expected.trained.items())
    assert Mask.load(tmp_path / "level-001.mask.safetensors") == expected.mask
    with pytest.raises(ValueError, match="checkpoint must be of this pruning"):
        pruner.run(model, data, 0.7, checkpoint=tmp_path)


@pytest.mark.parametrize(("change", "error", "match"), [
    ({"penalty": -1.0}, ValueError, "penalty must be"),
    ({"penalty": float("nan")}, ValueError, "penalty must be"),
    ({"epsilon": 1.0}, ValueError, r"epsilon must lie in \[0, 1\)"),
    ({"warm_up": 1.1}, ValueError, "warm_up must be a share"),
    ({"warm_up_steps": "none"}, ValueError, "warm_up_steps must be 'proximal'"),
    ({"amplify": 0.5}, ValueError, "amplify must be"),
    ({"ceiling": float("inf")}, ValueError, "ceiling must be"),
    ({"scope": "wide"}, ValueError, "scope must be one of"),
    ({"least": 0}, ValueError, "least must be"),
    ({"training": 3}, TypeError, "training must be a Training"),
    ({"training": Training(early_stopping=EarlyStopping())}, ValueError, "must not stop early"),
])  # fmt: skip
def test_bad_fields(change, error, match):
    with pytest.raises(error, match=match):
        replace(STRONG, **change)


def test_too_low_a_density_shows_before_the_training(monkeypatch):
    model, data = NETS["plain"]()
    monkeypatch.setattr(oto, "train", None)
    with pytest.raises(ValueError, match="density must leave room for 1 channel in every group"):
        prune(model, data, STRONG, density=0.01)


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("check", [check_labels_are_asked_for, check_it_goes_on_when_killed])
def test_conformance_of_what_trains(check, dual):
    check(replace(STRONG, dual=dual), CHANNEL_NETS["linear"])


@pytest.mark.parametrize("dual", [False, True])
def test_a_frozen_network_is_refused(dual):
    model, data = NETS["plain"]()
    with pytest.raises(ValueError, match="model must have weights to train"):
        prune(model.requires_grad_(False), data, replace(STRONG, dual=dual, warm_up=0), density=0.7)


@pytest.mark.parametrize("net", CHANNEL_NETS)
@pytest.mark.parametrize("check", STRUCTURED_CHECKS, ids=lambda check: check.__name__)
def test_conformance(check, net):
    training = Training(epochs=2, batch_size=12, optimizer=SGD(lr=0.05))
    check(OTO(training, penalty=1.0, epsilon=0.95), CHANNEL_NETS[net])

import json

import pytest
import torch
import torch.nn.functional as F
from example_nets import NETS, plain, samples
from torch import nn

from mitools._validation import FileFormatError
from mitools.data import Samples
from mitools.models import copied, prunable, tensors_of
from mitools.pruning import IMP, LAMP, SNIP, MagnitudeAfterTraining, prune, top_k, trained
from mitools.training import SGD, Adam, MultiStep, Training, train

QUICK = Training(epochs=3, batch_size=6, optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=0.01))


def bits(tensors):
    return {name: tensor.clone() for name, tensor in tensors.items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_counts_of_lenet_over_twenty_levels():
    counts = IMP(rate=0.2).counts(266_200, 0.8**20)
    assert counts[:-1] == (
        212960, 170368, 136294, 109035, 87228, 69782, 55825, 44660, 35728, 28582, 22865, 18292,
        14633, 11706, 9364, 7491, 5992, 4793, 3834,
    )  # fmt: skip
    assert counts[-1] == round(266_200 * 0.8**20)
    assert IMP(rate=0.2).counts(132, 42 / 132) == (105, 84, 67, 53, 42)


@pytest.mark.parametrize(("pruner", "size", "density", "counts"), [
    (IMP(rate=0.2), 100, 1.0, ()),
    (IMP(rate=0.2), 100, 0.0, (0,)),
    (IMP(rate=0.2), 100, 0.9, (90,)),
    (IMP(rate=0.07), 100, 0.9, (93, 90)),  # 0.07 * 100 is 7.000000000000001
    (IMP(rate=0.9), 10, 0.1, (1,)),
    (IMP(rounds=3), 1000, 0.001, (100, 10, 1)),
    (IMP(rounds=3, rate=0.5), 1000, 0.5, (794, 630, 500)),
    (IMP(rounds=50), 4, 0.5, (3, 2)),
])  # fmt: skip
def test_counts(pruner, size, density, counts):
    assert pruner.counts(size, density) == counts


@pytest.mark.parametrize("rewind_steps", [0, 5])
@pytest.mark.parametrize("net", ["batch norm", "residual", "tied", "bfloat16"])
def test_levels_are_exact_nested_and_rewound(net, rewind_steps):
    model, data = NETS[net]()
    pruner = IMP(QUICK, rate=0.3, rewind_steps=rewind_steps)
    ticket = pruner.run(model, data, 0.2)
    counts = pruner.counts(ticket.mask.size, 0.2)
    assert tuple(mask.nonzeros for mask in ticket.levels) == counts
    for before, after in zip(ticket.levels, ticket.levels[1:], strict=False):
        assert (before & after) == after
    # The point of rewinding, reached by training anew.
    fresh, _ = NETS[net]()
    if rewind_steps:
        train(fresh, data, QUICK, steps=rewind_steps)
    expected = bits(tensors_of(fresh))
    assert same(ticket.start.model, expected)
    # Survivors are bit-equal to it, the others 0, and buffers are restored as well.
    found = tensors_of(ticket.apply_(NETS[net]()[0]))
    for name, tensor in found.items():
        kept = ticket.mask.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor[kept], expected[name][kept])
        assert not tensor[~kept].any()
    assert not same(ticket.trained, expected)


def by_hand(model, data, *, rounds, counts, k, epochs, lr, momentum, decay, leak=None):
    """IMP in plain torch, on full batches: nothing of mitools but the data.

    ``leak`` plants a fault: what is not restored between levels.
    """

    def step(optimizer, net, masks):
        optimizer.zero_grad()
        F.cross_entropy(net(data.inputs), data.targets).backward()
        optimizer.step()
        with torch.no_grad():
            for name, p in net.named_parameters():
                if name in masks:
                    p[~masks[name]] = 0.0

    def build(net):
        return torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=decay)

    masks = {n: torch.ones_like(p, dtype=torch.bool) for n, p in model.named_parameters()
             if p.dim() > 1}  # fmt: skip
    optimizer = build(model)
    for _ in range(k):
        step(optimizer, model, {})
    saved = {n: t.clone() for n, t in model.state_dict().items()}
    buffers = (
        [optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()] if k else []
    )
    for level in range(rounds):
        statistics = {n: b.clone() for n, b in model.named_buffers()}
        model.load_state_dict(saved)
        if leak == "statistics" and level:
            for name, buffer in model.named_buffers():
                buffer.copy_(statistics[name])
        if leak != "momentum" or not level:
            optimizer = build(model)
            for p, buffer in zip(model.parameters(), buffers, strict=False):
                optimizer.state[p]["momentum_buffer"] = buffer.clone()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name in masks:
                    p[~masks[name]] = 0.0
        start = 0 if leak == "schedule" else k
        for _ in range(start, epochs):
            step(optimizer, model, masks)
        if leak == "initial":
            ranked = {n: saved[n].abs() for n in masks}
        else:
            ranked = {n: p.detach().abs() for n, p in model.named_parameters() if n in masks}
        flat = torch.cat([ranked[n][masks[n]] for n in masks])
        if leak == "resurrected":
            flat = torch.cat([saved[n].abs()[~masks[n]] for n in masks] + [flat])
            ranked = {n: torch.where(masks[n], ranked[n], saved[n].abs()) for n in masks}
            masks = {n: torch.ones_like(m) for n, m in masks.items()}
        last = flat.sort(descending=True).values[counts[level] - 1]
        masks = {n: masks[n] & (ranked[n] >= last) for n in masks}
    return masks


def normalised():
    """A net with batch norm, in double precision."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(3)
        return nn.Sequential(
            nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(),
            nn.Linear(8, 3),
        ).double()  # fmt: skip


# Statistics shape nothing that batch norm trains in training mode; they are tested above.
@pytest.mark.parametrize("leak", [None, "momentum", "schedule", "initial", "resurrected"])
@pytest.mark.parametrize("k", [0, 4])
def test_the_twin_in_plain_torch_agrees_and_its_faulty_versions_do_not(k, leak):
    found = samples((6,), n=24)
    data = Samples(found.inputs.double(), found.targets)
    training = Training(
        epochs=15, batch_size=24, optimizer=SGD(lr=0.3, momentum=0.9, weight_decay=0.01)
    )
    pruner = IMP(training, rounds=4, rewind_steps=k)
    mask = prune(normalised(), data, pruner, density=0.2)
    twin = by_hand(normalised(), data, rounds=4, counts=pruner.counts(mask.size, 0.2), k=k,
                   epochs=15, lr=0.3, momentum=0.9, decay=0.01, leak=leak)  # fmt: skip
    harmless = leak == "schedule" and k == 0
    assert same(dict(mask), twin) == (leak is None or harmless)


def test_trained_weights_are_ranked_not_initial_ones():
    model, data = plain((6, 20, 3)), samples((6,))
    names = tuple(prunable(model))
    for pruner in (IMP(QUICK, rounds=1), MagnitudeAfterTraining(QUICK)):
        ticket = pruner.run(model, data, 0.3)
        keep = ticket.mask.nonzeros
        assert same(dict(ticket.mask), top_k({n: ticket.trained[n].abs() for n in names}, keep))
        weights = dict(model.named_parameters())
        assert not same(dict(ticket.mask), top_k({n: weights[n].abs() for n in names}, keep))


def test_another_score_of_the_trained_weights_decides():
    model, data = plain((6, 20, 3)), samples((6,))
    names = tuple(prunable(model))
    for score in (LAMP(), SNIP()):
        ticket = MagnitudeAfterTraining(QUICK, score=score).run(model, data, 0.3)
        net = copied(model)
        net.load_state_dict(ticket.trained)
        assert same(dict(ticket.mask), top_k(score.scores(net, data, names), ticket.mask.nonzeros))
        assert ticket.mask != MagnitudeAfterTraining(QUICK).mask(model, data, 0.3, names)
    with pytest.raises(TypeError, match="score must be a value"):
        MagnitudeAfterTraining(QUICK, score=LAMP)


def test_magnitude_after_training_keeps_trained_values():
    model, data = NETS["batch norm"]()
    ticket = MagnitudeAfterTraining(QUICK).run(model, data, 0.3)
    train(model, data, QUICK)
    assert same(ticket.start.model, bits(tensors_of(model)))
    assert ticket.start.step == 0 and not ticket.start.optimizer
    train(model, data, QUICK, mask=ticket.mask, start=ticket.start)  # fine-tuning
    assert not any(model.get_parameter(n)[~m].any() for n, m in ticket.mask.items())


def test_the_schedule_goes_on_at_the_rewinding_point():
    # From step 8 of 12 the rate is 0: levels that start there train nothing.
    model, data = plain(), samples((6,))
    training = Training(epochs=3, batch_size=6, schedule=MultiStep((2,), 1e-30))
    ticket = IMP(training, rounds=2, rewind_steps=8).run(model, data, 0.3)
    start = ticket.start.model
    for name, mask in ticket.levels[0].items():
        torch.testing.assert_close(ticket.trained[name][mask], start[name][mask])
        assert not ticket.trained[name][~mask].any()


def test_adam_works_too():
    model, data = plain(), samples((6,))
    training = Training(epochs=2, batch_size=6, optimizer=Adam(lr=0.01, weight_decay=0.1))
    mask = prune(model, data, IMP(training, rate=0.4, rewind_steps=3), density=0.3)
    assert mask.nonzeros == round(0.3 * mask.size)


def test_layer_scope():
    model, data = plain(), samples((6,))
    for pruner in (IMP(QUICK, scope="layer"), MagnitudeAfterTraining(QUICK, scope="layer")):
        mask = prune(model, data, pruner, density=0.5)
        assert all(abs(layer.kept - layer.size / 2) <= 1 for layer in mask.layers())


def test_density_one_trains_nothing_and_keeps_all(monkeypatch):
    monkeypatch.setattr(trained, "train", None)
    model, data = plain(), samples((6,))
    ticket = IMP(QUICK).run(model, data, 1.0)
    assert ticket.mask.density == 1.0
    assert same(ticket.trained, ticket.start.model)


def test_seeds_of_the_training_matter():
    from dataclasses import replace

    model, data = plain((6, 20, 3)), samples((6,))
    a, b = (prune(model, data, IMP(replace(QUICK, seed=s)), density=0.2) for s in (0, 1))
    assert a != b


class Killed(BaseException):
    pass


def killing(function, after):
    """Return the function, which dies before its call number ``after``."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(args)
        if len(calls) == after:
            raise Killed
        return function(*args, **kwargs)

    wrapped.calls = calls
    return wrapped


@pytest.mark.parametrize("where", ["train", "save_checkpoint", "save"])
@pytest.mark.parametrize("after", [1, 2, 4])
@pytest.mark.parametrize("pruner", [
    IMP(QUICK, rounds=3, rewind_steps=5), IMP(QUICK, rounds=3), MagnitudeAfterTraining(QUICK),
], ids=repr)  # fmt: skip
def test_a_killed_run_goes_on_and_ends_alike(pruner, after, where, monkeypatch, tmp_path):
    from mitools.pruning.levels import Levels
    from mitools.training import loop

    model, data = NETS["batch norm"]()
    names = tuple(prunable(model))
    expected = pruner.run(model, data, 0.3, names)
    owner = {"train": trained, "save_checkpoint": loop, "save": Levels}[where]
    with monkeypatch.context() as patch:
        deadly = killing(getattr(owner, where), after)
        patch.setattr(owner, where, deadly)
        died = False
        try:
            pruner.run(model, data, 0.3, names, checkpoint=tmp_path / "run")
        except Killed:
            died = True
    assert died == (len(deadly.calls) == after)
    torch.rand(3)  # something else draws random numbers in between
    for _ in range(2):  # and once more when all is done
        ticket = pruner.run(model, data, 0.3, names, checkpoint=tmp_path / "run")
        assert ticket.levels == expected.levels
        assert same(ticket.trained, expected.trained)
        assert same(ticket.start.model, expected.start.model)
    assert not list((tmp_path / "run").glob("*.partial"))


def test_finished_levels_are_not_trained_again(monkeypatch, tmp_path):
    model, data = plain(), samples((6,))
    pruner = IMP(QUICK, rounds=4)
    with monkeypatch.context() as patch:
        patch.setattr(trained, "train", killing(train, 4))
        with pytest.raises(Killed):
            prune(model, data, pruner, density=0.3, checkpoint=tmp_path)
    counted = killing(train, 99)
    monkeypatch.setattr(trained, "train", counted)
    mask = prune(model, data, pruner, density=0.3, checkpoint=tmp_path)
    assert len(counted.calls) == 1
    assert mask == prune(model, data, pruner, density=0.3)
    assert len(list(tmp_path.glob("*.training.safetensors"))) == 1  # the last level's


class TestCheckpointOfAnother:
    @pytest.fixture
    def directory(self, tmp_path):
        prune(plain(), samples((6,)), IMP(QUICK, rounds=2), density=0.3, checkpoint=tmp_path)
        return tmp_path

    @pytest.mark.parametrize(("difference", "change"), [
        ("weights", {"model": plain(seed=1)}),
        ("data", {"data": samples((6,), seed=1)}),
        ("pruner", {"pruner": IMP(QUICK, rounds=3)}),
        ("pruner", {"pruner": MagnitudeAfterTraining(QUICK)}),
        ("counts", {"density": 0.2}),
    ])  # fmt: skip
    def test_is_refused(self, directory, difference, change):
        run = {"model": plain(), "data": samples((6,)), "pruner": IMP(QUICK, rounds=2)}
        run = {**run, "density": 0.3, **change}
        density = run.pop("density")
        before = {p.name: p.read_bytes() for p in directory.iterdir()}
        with pytest.raises(ValueError, match=f"of another: .*{difference} is .* there"):
            prune(*run.values(), density=density, checkpoint=directory)
        assert before == {p.name: p.read_bytes() for p in directory.iterdir()}

    @pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x80pickle"])
    def test_broken_identity(self, directory, text):
        (directory / "run.json").write_text(text)
        with pytest.raises(FileFormatError, match=r"run\.json cannot be read"):
            prune(plain(), samples((6,)), IMP(QUICK, rounds=2), density=0.3, checkpoint=directory)

    @pytest.mark.parametrize("kind", ["mask", "training"])
    def test_broken_level(self, directory, kind):
        (path,) = directory.glob(f"level-002.{kind}.safetensors")
        path.write_bytes(path.read_bytes()[:-7])
        with pytest.raises(FileFormatError):
            prune(plain(), samples((6,)), IMP(QUICK, rounds=2), density=0.3, checkpoint=directory)

    def test_identity_is_plain_json(self, directory):
        found = json.loads((directory / "run.json").read_text())
        assert found["pruner"] == repr(IMP(QUICK, rounds=2))


def test_rewinding_past_the_end():
    model, data = plain(), samples((6,))
    for steps in (12, 99):  # 3 epochs of 4 batches
        with pytest.raises(ValueError, match=r"rewind_steps must leave something to train; got"):
            prune(model, data, IMP(QUICK, rewind_steps=steps), density=0.5)


@pytest.mark.parametrize(("fields", "error", "match"), [
    ({"rate": 0.0}, ValueError, "rate must lie between 0 and 1; got 0.0"),
    ({"rate": 1.0}, ValueError, "rate must lie between 0 and 1"),
    ({"rounds": 0}, ValueError, "rounds must be at least 1"),
    ({"rewind_steps": -1}, ValueError, "rewind_steps must be at least 0"),
    ({"scope": "channel"}, ValueError, "scope must be"),
    ({"training": 20}, TypeError, "training must be a Training value; got 20"),
])  # fmt: skip
def test_bad_fields(fields, error, match):
    with pytest.raises(error, match=match):
        IMP(**fields)


def test_progress_goes_to_stderr(capsys):
    model, data = plain(), samples((6,))
    prune(model, data, IMP(QUICK, rounds=2), density=0.5, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "levels" in err and "training" in err
    prune(model, data, IMP(QUICK, rounds=2), density=0.5)
    assert capsys.readouterr() == ("", "")

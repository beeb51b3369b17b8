"""AutoSparse: what it learns from, that it learns it, that what it learnt can be carried away."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from example_nets import NETS, plain, samples

from mitools._validation import FileFormatError
from mitools.data import digits
from mitools.models import copied, lenet5, mlp, prunable, tensors_of
from mitools.pruning import (
    IMP,
    AutoSparse,
    Floor,
    Mask,
    OneShot,
    Predictor,
    autosparse,
    prune,
    trained,
)
from mitools.pruning.autosparse import survived
from mitools.training import SGD, Adam, Training, train

QUICK = Training(epochs=2, batch_size=8, optimizer=SGD(lr=0.05))
SMALL = AutoSparse(QUICK, rounds=3, lowest=0.1, epochs=3)


def ranks(row):
    return row.argsort().argsort().double()


def correlation(a, b):
    return float(torch.corrcoef(torch.stack([ranks(a), ranks(b)]))[0, 1])


def test_the_target_counts_the_rounds_of_the_iterative_pruning():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    names = tuple(prunable(model))
    levels = IMP(QUICK, rounds=3).run(model, data, 0.1, names).levels
    assert len(levels) == 3
    found = survived(levels, names).flatten()
    by_hand = []
    for name in names:
        for i in range(levels[0][name].numel()):
            by_hand.append(sum(bool(level[name].flatten()[i]) for level in levels) / 3)
    assert found.tolist() == pytest.approx(by_hand)
    assert set(by_hand) == {0.0, 1 / 3, 2 / 3, 1.0}


def test_masks_that_are_all_alike_are_no_division_by_zero():
    assert survived([Mask({"a": torch.ones(3, dtype=torch.bool)})] * 2, ["a"]).sum() == 0


def test_it_learns_which_weights_survive():
    model, data = mlp((64, 30, 10), seed=2), digits()
    data = (data.inputs[:500], data.targets[:500])
    names = tuple(prunable(model))
    pruner = AutoSparse(Training(epochs=2, batch_size=50), rounds=4, lowest=0.05, epochs=20)
    predictor = pruner.fit(model, data, names)
    levels = IMP(pruner.training, rounds=4).run(model, data, 0.05, names).levels
    truth = survived(levels, names).flatten()
    scores = predictor.scores(model, data, names)
    flat = torch.cat([score.flatten() for score in scores.values()])
    untrained = replace(pruner, epochs=0).fit(model, data, names).scores(model, data, names)
    assert correlation(flat, truth) > 0.5
    assert abs(correlation(torch.cat([s.flatten() for s in untrained.values()]), truth)) < 0.3
    # And it is prune's answer: the best scored stay.
    mask = prune(model, data, pruner, density=0.2)
    assert mask == prune(model, data, OneShot(predictor), density=0.2)
    kept = torch.cat([mask[name].flatten() for name in names])
    assert flat[kept].min() >= flat[~kept].max()


def in_and_out(model, data, names):
    """Its inputs written out: weights and slopes in evaluation mode, over root mean squares."""
    twin = copied(model).double().eval()
    loss = F.cross_entropy(twin(data.inputs.double()), data.targets)
    parameters = [twin.get_parameter(name) for name in names]
    slopes = torch.autograd.grad(loss, parameters)
    columns = [torch.cat([t.detach().reshape(-1) for t in some]) for some in (parameters, slopes)]
    return torch.stack([column / column.square().mean().sqrt() for column in columns], 1)


def answers(tensors, rows):
    """The perceptron written out, batch norm by its running statistics, in float64."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    linear = sorted({n.rpartition(".")[0] for n in t if n.endswith("weight") and t[n].dim() > 1})
    norms = sorted({n.rpartition(".")[0] for n in t if n.endswith("running_mean")})
    assert (len(linear), len(norms)) == (4, 3)
    for layer, norm in zip(linear, [*norms, None], strict=True):
        rows = rows @ t[f"{layer}.weight"].T
        rows = rows + t[f"{layer}.bias"] if f"{layer}.bias" in t else rows
        if norm is not None:
            spread = (t[f"{norm}.running_var"] + 1e-5).sqrt()
            rows = (rows - t[f"{norm}.running_mean"]) / spread
            rows = torch.relu(rows * t[f"{norm}.weight"] + t[f"{norm}.bias"])
    return rows.flatten()


def test_scores_are_those_of_the_perceptron_written_out(monkeypatch, predictor):
    model, data = NETS["batch norm"]()
    with torch.no_grad():
        model[1].running_mean.fill_(0.3)
        model[0].weight.mul_(5.0)
    names = tuple(prunable(model))
    expected = answers(predictor.tensors, in_and_out(model, data, names))
    assert expected.std() > 0.01
    for at_once in (1 << 16, 7):
        monkeypatch.setattr(autosparse, "_ROWS", at_once)
        found = torch.cat([s.flatten() for s in predictor.scores(model, data, names).values()])
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


def test_the_fit_written_out():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    names = tuple(prunable(model))
    levels = IMP(QUICK, rounds=3).run(model, data, 0.2, names).levels
    rows = torch.cat(list(autosparse._rows(model, data, names).values()))
    torch.testing.assert_close(rows.double(), in_and_out(model, data, names), rtol=0, atol=1e-5)
    for seed in (0, 4):
        network = mlp((2, 16, 64, 64, 1), batch_norm=True, seed=seed)
        how = Training(3, batch_size=1024, optimizer=Adam(lr=0.01), loss="mse", seed=seed)
        train(network, (rows, survived(levels, names)), how)
        found = AutoSparse(QUICK, 3, lowest=0.2, epochs=3, seed=seed).fit(model, data, names)
        for name, tensor in tensors_of(network).items():
            torch.testing.assert_close(found.tensors[name], tensor)


def test_weights_share_the_last_step_out_as_asked():
    model, data = plain((6, 8, 5, 3)), samples((6,))
    for scope in ("layer", Floor(9)):
        pruner = replace(SMALL, scope=scope)
        predictor = pruner.fit(model, data, tuple(prunable(model)))
        expected = prune(model, data, OneShot(predictor, scope), density=0.3)
        found = prune(model, data, pruner, density=0.3)
        assert found == expected != prune(model, data, SMALL, density=0.3)


@pytest.fixture(scope="module")
def predictor():
    model, data = NETS["batch norm"]()
    return SMALL.fit(model, data, tuple(prunable(model)))


class TestPredictor:
    def test_a_score_depends_on_the_weight_and_its_slope_alone(self, predictor):
        model, data = plain((6, 8, 3)), samples((6,))
        names = ("1.weight", "3.weight")
        before = predictor.scores(model, data, names)
        order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            model[1].weight.copy_(model[1].weight[order])
            model[1].bias.copy_(model[1].bias[order])
            model[3].weight.copy_(model[3].weight[:, order])
        after = predictor.scores(model, data, names)
        torch.testing.assert_close(after["1.weight"], before["1.weight"][order])
        torch.testing.assert_close(after["3.weight"], before["3.weight"][:, order])

    def test_it_is_carried_to_other_networks_and_data(self, predictor):
        model, data = lenet5(size=8), samples((1, 8, 8), classes=10)
        mask = prune(model, data, OneShot(predictor), density=0.01)
        assert mask.nonzeros == round(0.01 * mask.size)

    def test_saved_and_loaded(self, predictor, tmp_path):
        predictor.save(tmp_path / "predictor.safetensors")
        again = Predictor.load(tmp_path / "predictor.safetensors")
        assert again == predictor and hash(again) == hash(predictor)
        model, data = NETS["residual"]()
        a, b = (prune(model, data, OneShot(p), density=0.3) for p in (predictor, again))
        assert a == b
        a.save(tmp_path / "mask.safetensors")
        assert Mask.load(tmp_path / "mask.safetensors") == a

    def test_other_files_and_other_tensors_are_refused(self, tmp_path):
        model, _ = plain(), None
        Mask.ones_like(dict(model.named_parameters())).save(tmp_path / "mask.safetensors")
        with pytest.raises(FileFormatError, match="must be a pruning predictor file"):
            Predictor.load(tmp_path / "mask.safetensors")
        with pytest.raises(ValueError, match="tensors must belong to this model"):
            Predictor({"fc1.weight": torch.zeros(16, 2)})


@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_run_goes_on_and_ends_alike(after, monkeypatch, tmp_path):
    model, data = NETS["batch norm"]()
    expected = prune(model, data, SMALL, density=0.3)
    calls = []

    def deadly(*args, **kwargs):
        calls.append(args)
        if len(calls) == after:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    whole = trained.train
    with monkeypatch.context() as patch:
        patch.setattr(trained, "train", deadly)
        with pytest.raises(KeyboardInterrupt):
            prune(model, data, SMALL, density=0.3, checkpoint=tmp_path)
    assert prune(model, data, SMALL, density=0.3, checkpoint=tmp_path) == expected
    with pytest.raises(ValueError, match="checkpoint must be of this pruning"):
        prune(model, data, replace(SMALL, rounds=2), density=0.3, checkpoint=tmp_path)


@pytest.mark.parametrize(("change", "error", "match"), [
    ({"rounds": 0}, ValueError, "rounds must be"),
    ({"lowest": 0.0}, ValueError, "lowest must lie between 0 and 1"),
    ({"lowest": 1.0}, ValueError, "lowest must lie between 0 and 1"),
    ({"epochs": -1}, ValueError, "epochs must be an integer >= 0"),
    ({"seed": -1}, ValueError, "seed must be an integer >= 0"),
    ({"scope": "wide"}, ValueError, "scope must be"),
    ({"training": 3}, TypeError, "training must be a Training"),
])  # fmt: skip
def test_bad_fields(change, error, match):
    with pytest.raises(error, match=match):
        replace(SMALL, **change)

"""AutoSparse: what it learns from, that it learns it, that what it learnt can be carried away."""

from dataclasses import replace

import pytest
import torch
from example_nets import NETS, plain, samples

from mitools._validation import FileFormatError
from mitools.data import digits
from mitools.models import lenet5, mlp, prunable
from mitools.pruning import IMP, AutoSparse, Mask, OneShot, Predictor, prune, trained
from mitools.pruning.autosparse import survived
from mitools.training import SGD, Training

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

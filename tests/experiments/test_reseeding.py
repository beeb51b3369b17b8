"""Repetitions: other seeds everywhere inside, and nothing else."""

from mitools.experiments import memorisation
from mitools.experiments.reseeding import reseeded
from mitools.pruning import IMP, Iterative, OneShot, Random, SynFlow
from mitools.training import Training


def test_every_seed_moves_and_nothing_else_does():
    assert reseeded(OneShot(Random(seed=3), scope="layer"), 4) == OneShot(Random(7), "layer")
    assert reseeded(IMP(Training(5, seed=1), rate=0.3), 2) == IMP(Training(5, seed=3), rate=0.3)
    still = Iterative(SynFlow(), rounds=3)
    assert reseeded(still, 9) == still and reseeded(Random, 1) is Random
    assert reseeded(IMP(Training(5)), 0) == IMP(Training(5))


def test_random_masks_differ_between_repetitions(monkeypatch):
    masks = []

    def kept(model, samples, pruner, density):
        masks.append(pruner.mask(model, samples, density, tuple(_prunable(model))))
        return masks[-1]

    monkeypatch.setattr(memorisation, "prune", kept)
    training = Training(epochs=1, batch_size=30)
    memorisation.memorisation_capacity(
        {"random": OneShot(Random())}, [0.1], seeds=3, hidden=(8,), training=training
    )
    assert len({mask.flat().tobytes() for mask in masks}) == 3


def _prunable(model):
    return [name for name, parameter in model.named_parameters() if parameter.dim() > 1]

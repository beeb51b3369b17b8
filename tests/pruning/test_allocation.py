"""Survivors shared out by shape or with a floor, against counts worked out by hand."""

from dataclasses import dataclass

import pytest
import torch
from example_nets import NETS, plain
from torch import nn

from mitools.pruning import (
    ERK,
    SNIP,
    Floor,
    Iterative,
    Magnitude,
    OneShot,
    Random,
    Shuffled,
    SynFlow,
    prune,
    shuffled,
    top_k,
)

WIDE = {"a": (100, 50), "b": (4, 3, 3, 3), "c": (10, 100)}


def noise(shapes=WIDE, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=rng) for name, shape in shapes.items()}


def counts(kept):
    return [int(part.sum()) for part in kept.values()]


def test_erk_by_hand():
    # Sums of the shapes are 150, 13 and 110: of 273 survivors each gets just that.
    assert counts(top_k(noise(), 273, ERK())) == [150, 13, 110]
    # Twice as many, and then b is full at 108 and the others share the rest 150 : 110.
    assert counts(top_k(noise(), 546, ERK())) == [300, 26, 220]
    assert counts(top_k(noise(), 108 + 2340, ERK())) == [1350, 108, 990]
    # Then c is full too.
    assert counts(top_k(noise(), 108 + 1000 + 3000, ERK())) == [3000, 108, 1000]


@pytest.mark.parametrize("scope", [ERK(), Floor(2), Floor(3, "layer"), Floor(2, ERK()), "layer"])
def test_counts_are_exact_nested_and_of_the_best(scope):
    scores = noise({"a": (7, 5), "b": (2, 2), "c": (11,), "d": (1, 3)})
    size, least = 35 + 4 + 11 + 3, scope.least if isinstance(scope, Floor) else 0
    before = {name: torch.zeros_like(score, dtype=torch.bool) for name, score in scores.items()}
    for keep in [0, *range(max(4 * least, 1), size + 1)]:
        kept = top_k(scores, keep, scope)
        assert sum(counts(kept)) == keep
        for name, part in kept.items():
            assert (before[name] <= part).all()
            if part.any() and not part.all():  # within a parameter the best stay
                assert scores[name][part].min() > scores[name][~part].max()
            assert keep == 0 or part.sum() >= min(least, part.numel())
        before = kept


def test_a_floor_takes_only_what_it_must():
    scores = {"strong": torch.linspace(2, 3, 50), "weak": torch.linspace(0, 1, 50)}
    assert counts(top_k(scores, 10)) == [10, 0]
    assert counts(top_k(scores, 10, Floor(3))) == [7, 3]
    assert counts(top_k(scores, 60, Floor(3))) == [50, 10]
    assert counts(top_k({**scores, "tiny": torch.zeros(2)}, 10, Floor(3))) == [5, 3, 2]


def test_a_floor_holds_among_what_is_left():
    scores = {"strong": torch.linspace(2, 3, 50), "weak": torch.linspace(0, 1, 50)}
    among = {"strong": torch.ones(50).bool(), "weak": torch.arange(50) < 20}
    kept = top_k(scores, 10, Floor(3), among=among)
    assert counts(kept) == [7, 3]
    assert kept["weak"].nonzero().flatten().tolist() == [17, 18, 19]
    few = {"strong": torch.ones(50).bool(), "weak": torch.arange(50) == 4}
    assert counts(top_k(scores, 10, Floor(3), among=few)) == [9, 1]


def test_too_few_for_the_floor():
    with pytest.raises(ValueError, match=r"enough for Floor\(least=2.*keeps 6 weights.*only 5"):
        top_k(noise(), 5, Floor(2))
    model, data = NETS["plain"]()
    with pytest.raises(ValueError, match="density must leave enough"):
        prune(model, data, OneShot(SNIP(), Floor(1)), density=0.02)
    assert prune(model, data, OneShot(SNIP(), Floor(1)), density=0.0).nonzeros == 0


def test_a_floor_prevents_the_collapse_of_one_round():
    model = plain((6, 40, 40, 40, 3), bias=False)
    one = prune(model, None, OneShot(SynFlow()), density=0.005)
    assert min(layer.kept for layer in one.layers()) == 0
    held = prune(model, None, OneShot(SynFlow(), Floor(2)), density=0.005)
    assert min(layer.kept for layer in held.layers()) == 2 and held.nonzeros == one.nonzeros
    again = prune(model, None, Iterative(Magnitude(), 5, Floor(2)), density=0.005)
    assert min(layer.kept for layer in again.layers()) == 2 and again.nonzeros == one.nonzeros


@dataclass(frozen=True)
class FirstTwice:
    def share(self, name, shape):
        return shape.numel() * (2.0 if name == "a" else 1.0)


@dataclass(frozen=True)
class Nothing:
    def share(self, name, shape):
        return 0.0


def test_allocations_of_ones_own():
    scores = noise({"a": (100,), "b": (100,)})
    assert counts(top_k(scores, 60, FirstTwice())) == [40, 20]
    with pytest.raises(ValueError, match=r"positive share; Nothing\(\) gives 0.0 to 'a'"):
        top_k(scores, 60, Nothing())


@pytest.mark.parametrize("bad", ["all", None, 3, ERK, Floor])
def test_scopes_that_are_none(bad):
    with pytest.raises(ValueError, match="scope must be 'global', 'layer', or a value"):
        OneShot(SNIP(), bad)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True])
def test_floors_that_are_none(bad):
    with pytest.raises(ValueError, match="least must be an integer of at least 1"):
        Floor(bad)
    with pytest.raises(ValueError, match="One floor is enough"):
        Floor(1, Floor(2))


def test_random_layer_by_layer():
    model = nn.Sequential(nn.Linear(30, 40), nn.Linear(40, 10), nn.Linear(10, 100))
    even = prune(model, None, OneShot(Random(), "layer"), density=0.1)
    assert [layer.kept for layer in even.layers()] == [120, 40, 100]
    by_shape = prune(model, None, OneShot(Random(), ERK()), density=0.1)
    # 260 survivors over sums of shapes 70, 50 and 110.
    assert [layer.kept for layer in by_shape.layers()] == [79, 57, 124]


def test_shuffling_keeps_counts_and_nothing_else():
    model, data = plain((6, 40, 40, 3)), NETS["plain"]()[1]
    mask = prune(model, data, OneShot(SNIP()), density=0.2)
    mixed = prune(model, data, Shuffled(OneShot(SNIP()), seed=4), density=0.2)
    assert mixed.layers() == mask.layers() and mixed != mask
    assert mixed == shuffled(mask, seed=4) != shuffled(mask, seed=5)
    assert mixed.pruner == Shuffled(OneShot(SNIP()), seed=4)
    # Chance overlap of two masks at a fifth: 0.04 / 0.36 = 0.11, more where layers are dense.
    assert mixed.overlap(mask) < 0.3
    # Every place is reached, and a parameter's draw does not hang on the others.
    places = sum(shuffled(mask, seed=s)["3.weight"].float() for s in range(80))
    assert places.min() > 0
    assert places.max() < 0.75 * 80


def test_shuffling_passes_on_what_the_other_takes(capsys, tmp_path):
    model, data = NETS["plain"]()
    prune(model, data, Shuffled(Iterative(SNIP(), rounds=2)), density=0.5, progress=True)
    assert "pruning" in capsys.readouterr().err
    with pytest.raises(TypeError, match=r"checkpoint must be None for OneShot"):
        prune(model, data, Shuffled(OneShot(SNIP())), density=0.5, checkpoint=tmp_path)
    with pytest.raises(TypeError, match=r"Try OneShot\(SNIP"):
        Shuffled(SNIP())

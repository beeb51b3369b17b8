import itertools

import pytest
import torch
from example_nets import NETS, plain, samples
from torch.utils.data import DataLoader, IterableDataset

import mitools.pruning.gradual as gradual
from mitools.models import copied
from mitools.pruning import (
    GradualMagnitude,
    Magnitude,
    MagnitudeAfterTraining,
    Mask,
    OneShot,
    prune,
)
from mitools.training import SGD, EarlyStopping, Training, train

QUICK = Training(epochs=4, batch_size=8, optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=1e-3))


def test_the_cubic_schedule_by_hand():
    pruner = GradualMagnitude(prunings=2, begin=0.0, end=1.0)
    # 1 - 0.8 (1 - 1/8) = 0.3 after the first half, 0.2 at the end.
    assert pruner.counts(1000, 0.2) == (300, 200)
    assert pruner.steps(100) == (50, 100)
    assert GradualMagnitude(prunings=1).counts(7, 1.0) == (7,)
    assert GradualMagnitude(prunings=3).counts(10, 0.0)[-1] == 0
    counts = GradualMagnitude(prunings=50).counts(10_000, 0.01)
    drops = [a - b for a, b in zip((10_000, *counts), counts, strict=False)]
    assert drops == sorted(drops, reverse=True) and counts[-1] == 100


def test_run_written_out_step_by_step():
    model, data = plain((6, 20, 3)), samples((6,))
    pruner = GradualMagnitude(QUICK, prunings=2, begin=0.0, end=0.5)  # after steps 3 and 6 of 12
    found = pruner.run(model, data, 0.2)
    mine, names, mask, state = copied(model), ("1.weight", "3.weight"), None, None
    for steps, keep in ((3, pruner.counts(180, 0.2)[0]), (6, 36), (12, 36)):
        state = train(mine, data, QUICK, mask=mask, start=state, steps=steps).state
        sizes = torch.cat([mine.get_parameter(name).detach().abs().flatten() for name in names])
        best = torch.zeros(180, dtype=torch.bool)
        best[sizes.argsort(descending=True)[:keep]] = True
        parts = dict(zip(names, best.split([120, 60]), strict=True))
        mask = Mask({n: part.view(mine.get_parameter(n).shape) for n, part in parts.items()})
    assert found.mask == mask and len(found.levels) == 3
    assert (found.levels[0] & found.mask) == found.mask
    for name, tensor in mine.state_dict().items():
        assert torch.equal(found.trained[name], tensor)
    assert all(not found.trained[name][~found.mask[name]].any() for name in names)
    other = prune(model, data, MagnitudeAfterTraining(QUICK), density=0.2)
    assert other != found.mask


def test_without_time_to_prune_in_it_is_magnitude_after_training():
    model, data = plain((6, 20, 3)), samples((6,))
    late = GradualMagnitude(QUICK, prunings=1, begin=1.0, end=1.0)
    expected = prune(model, data, MagnitudeAfterTraining(QUICK), density=0.2)
    assert prune(model, data, late, density=0.2) == expected
    many = GradualMagnitude(QUICK, prunings=500)
    assert prune(model, data, many, density=0.2).nonzeros == 36


class Killed(Exception):
    pass


@pytest.mark.parametrize("where", ["train", "top_k"])
@pytest.mark.parametrize("stop", range(5))
def test_goes_on_where_it_was_killed(where, stop, tmp_path, monkeypatch):
    model, data = plain((6, 20, 3)), samples((6,))
    pruner = GradualMagnitude(QUICK, prunings=4, begin=0.0, end=0.8)
    whole = pruner.run(model, data, 0.2)
    calls, kind = itertools.count(), getattr(gradual, where)

    def dying(*given, **named):
        if next(calls) == stop:
            raise Killed
        return kind(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(gradual, where, dying)
        pruner.run(model, data, 0.2, checkpoint=tmp_path)
    for _ in range(2):  # the second time everything is done already
        resumed = pruner.run(model, data, 0.2, checkpoint=tmp_path)
        assert resumed.levels == whole.levels
        assert all(torch.equal(resumed.trained[n], t) for n, t in whole.trained.items())
    with pytest.raises(ValueError, match="checkpoint must be of this pruning"):
        pruner.run(model, data, 0.3, checkpoint=tmp_path)


def test_the_ticket_goes_on_training():
    model, data = plain((6, 20, 3)), samples((6,))
    ticket = GradualMagnitude(QUICK, prunings=2).run(model, data, 0.2)
    ticket.apply_(model)
    train(model, data, QUICK, mask=ticket.mask, start=ticket.start)
    assert any(not torch.equal(t, ticket.trained[n]) for n, t in model.state_dict().items())
    assert all(not model.get_parameter(n).detach()[~ticket.mask[n]].any() for n in ticket.mask)


def test_no_training_is_plain_magnitude():
    model, data = plain((6, 20, 3)), samples((6,))
    expected = prune(model, data, OneShot(Magnitude()), density=0.2)
    assert prune(model, data, GradualMagnitude(Training(epochs=0)), density=0.2) == expected


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(6), 0)] * 8)


def test_bad_settings():
    for bad in ({"prunings": 0}, {"begin": 0.8, "end": 0.7}, {"end": 1.2}, {"scope": "x"}):
        with pytest.raises(ValueError, match="must be"):
            GradualMagnitude(**bad)
    with pytest.raises(TypeError, match="training must be a Training"):
        GradualMagnitude(SGD())
    with pytest.raises(ValueError, match="training must not stop early"):
        GradualMagnitude(Training(early_stopping=EarlyStopping(patience=2)))
    with pytest.raises(ValueError, match="loader must know its number of batches"):
        prune(NETS["plain"]()[0], DataLoader(Stream(), batch_size=4), GradualMagnitude(QUICK),
              density=0.5)  # fmt: skip

from dataclasses import dataclass, replace

import pytest
import torch
from conformance import (
    CHECKS,
    check_counts_with_all_weights_equal,
    check_every_weight_is_seen,
    check_exact_count,
    check_it_goes_on_when_killed,
    check_labels_are_asked_for,
    check_model_is_untouched,
    check_nested,
    check_no_global_randomness,
    check_reads_no_data,
)
from example_nets import NETS

from mitools.models import prunable
from mitools.pruning import (
    ERK,
    FORCE,
    IMP,
    LAMP,
    SNIP,
    AutoSparse,
    Floor,
    GradualMagnitude,
    GraSP,
    Iterative,
    Magnitude,
    MagnitudeAfterTraining,
    OneShot,
    ProsPr,
    Pruner,
    Random,
    Shuffled,
    SquaredGradient,
    SynFlow,
    prune,
)
from mitools.training import SGD, Training

DATA_FREE = [
    OneShot(Random(seed=3)),
    OneShot(Magnitude()),
    OneShot(Random(seed=3), scope="layer"),
    Iterative(Magnitude(), rounds=3, scope="layer"),
    OneShot(SynFlow()),
    Iterative(SynFlow(), rounds=7),
    OneShot(LAMP(), scope=ERK()),
]
ONE_RANKING = [
    OneShot(Random(seed=3), scope="layer"),
    OneShot(Magnitude()),
    OneShot(SNIP(), scope="layer"),
    OneShot(SNIP()),
    OneShot(SynFlow()),
    OneShot(LAMP()),
    OneShot(GraSP()),
    OneShot(ProsPr(steps=1)),
    OneShot(Random(seed=3), scope=ERK()),
    OneShot(SNIP(), scope=Floor(2)),
]
QUICK = Training(epochs=2, batch_size=8, optimizer=SGD(lr=0.05, momentum=0.9))
BY_SLOPES = [
    OneShot(SNIP()),
    Iterative(SNIP(batches=2), rounds=3),
    FORCE(rounds=3),
    OneShot(GraSP(batches=2)),
    Iterative(GraSP(signed=False), rounds=2, scope=Floor(1)),
    OneShot(ProsPr(steps=2)),
    Shuffled(OneShot(SNIP())),
]
THAT_TRAIN = [
    MagnitudeAfterTraining(QUICK),
    MagnitudeAfterTraining(QUICK, score=LAMP()),
    GradualMagnitude(QUICK, prunings=3),
    IMP(QUICK, rate=0.5, rewind_steps=2),
    AutoSparse(Training(epochs=1, batch_size=12), rounds=2, lowest=0.1, epochs=1),
]
EVERY = [*DATA_FREE, *BY_SLOPES, *THAT_TRAIN]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("pruner", EVERY, ids=repr)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check, pruner, net):
    check(pruner, NETS[net])


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("pruner", DATA_FREE, ids=repr)
def test_data_free_pruners_never_open_the_loader(pruner, net):
    check_reads_no_data(pruner, NETS[net])


@pytest.mark.parametrize("pruner", [p for p in EVERY if hasattr(p, "scope")], ids=repr)
def test_a_density_too_small_for_the_floor_shows_before_the_work(pruner):
    model, data = NETS["plain"]()
    floored = replace(pruner, scope=Floor(2))
    model.register_forward_pre_hook(lambda *_: pytest.fail("it began"))
    for density in (1e-9, 5 / 103):
        with pytest.raises(ValueError, match=r"density must leave enough for Floor\(least=2.* 6 w"):
            floored.mask(model, data, density, tuple(prunable(model)))


@pytest.mark.parametrize("pruner", [*BY_SLOPES, *THAT_TRAIN], ids=repr)
def test_labels_are_asked_for(pruner):
    check_labels_are_asked_for(pruner, NETS["plain"])


@pytest.mark.parametrize(
    "pruner", [*BY_SLOPES, OneShot(SquaredGradient()), Iterative(SynFlow(), rounds=3)], ids=repr
)
def test_every_weight_is_seen(pruner):
    check_every_weight_is_seen(pruner)


@pytest.mark.parametrize("net", ["plain", "batch norm"])
@pytest.mark.parametrize("pruner", [*THAT_TRAIN, Shuffled(IMP(QUICK, rounds=2))], ids=repr)
def test_goes_on_when_killed(pruner, net):
    check_it_goes_on_when_killed(pruner, NETS[net])


@pytest.mark.parametrize("pruner", ONE_RANKING, ids=repr)
def test_nested(pruner):
    check_nested(pruner, NETS["batch norm"])


class KeepsTies:
    """A threshold where a selection should be."""

    def mask(self, model, loader, density, names):
        from mitools.pruning import Mask

        weights = {n: p.detach().abs() for n, p in model.named_parameters() if n in names}
        flat = torch.cat([w.flatten() for w in weights.values()])
        if density == 0:
            return Mask.zeros_like(weights)
        last = flat.sort(descending=True).values[max(round(density * len(flat)), 1) - 1]
        return Mask({n: w >= last for n, w in weights.items()})


class LeavesTraces(KeepsTies):
    def mask(self, model, loader, density, names):
        model.train()
        model(loader.inputs[:4])
        return super().mask(model, loader, density, names)


class DrawsGlobally:
    def mask(self, model, loader, density, names):
        weights = {n: torch.rand_like(p) for n, p in model.named_parameters() if n in names}
        from mitools.pruning import Mask, top_k

        keep = round(density * sum(w.numel() for w in weights.values()))
        return Mask(top_k(weights, keep))


@pytest.mark.parametrize(("check", "wrong"), [
    (check_counts_with_all_weights_equal, KeepsTies()),
    (check_model_is_untouched, LeavesTraces()),
    (check_no_global_randomness, DrawsGlobally()),
    (check_reads_no_data, OneShot(SNIP())),
])  # fmt: skip
def test_the_checks_reject_wrong_pruners(check, wrong):
    assert isinstance(wrong, Pruner)
    with pytest.raises(AssertionError), torch.random.fork_rng([]):
        check(wrong, NETS["batch norm"])


def test_a_third_partys_pruner_passes():
    check_exact_count(OneShot(Magnitude()), NETS["plain"])


class TestPrune:
    def test_default_pruner_needs_no_data(self):
        model, _ = NETS["plain"]()
        assert prune(model, density=0.5).pruner == Iterative(SynFlow(), rounds=100)

    def test_a_score_is_no_pruner(self):
        model, data = NETS["plain"]()
        with pytest.raises(TypeError, match=r"pruner must be a value.*Try OneShot\(SNIP"):
            prune(model, data, SNIP(), density=0.5)
        with pytest.raises(TypeError, match=r"pruner must be a value"):
            prune(model, data, OneShot, density=0.5)
        with pytest.raises(TypeError, match=r"score must be a value"):
            OneShot("snip")

    def test_checkpoint_is_for_those_that_resume(self, tmp_path):
        model, data = NETS["plain"]()
        with pytest.raises(TypeError, match=r"checkpoint must be None for OneShot"):
            prune(model, data, OneShot(SNIP()), density=0.5, checkpoint=tmp_path)

    def test_biases_and_norms_take_part_when_asked(self):
        model, data = NETS["batch norm"]()
        mask = prune(model, data, OneShot(SNIP()), density=0.5, biases=True, norms=True)
        assert {"1.weight", "1.bias", "0.bias", "6.bias"} < set(mask)
        assert mask.nonzeros == round(0.5 * mask.size)

    def test_unknown_names(self):
        model, data = NETS["plain"]()
        with pytest.raises(ValueError, match=r"it has none called 9\.weight"):
            OneShot(SNIP()).mask(model, data, 0.5, ("9.weight",))

    def test_progress_goes_to_stderr(self, capsys):
        model, data = NETS["plain"]()
        prune(model, data, Iterative(SynFlow(), rounds=3), density=0.5, progress=True)
        out, err = capsys.readouterr()
        assert out == "" and "pruning" in err

    @pytest.mark.parametrize("rounds", [0, -3])
    def test_rounds_must_be_positive(self, rounds):
        with pytest.raises(ValueError, match="rounds must be at least 1"):
            Iterative(SynFlow(), rounds=rounds)


@dataclass(frozen=True)
class Smallest:
    """Prefers small weights, zeros above all; remembers the densities it was shown."""

    seen: tuple[list[int]]

    def scores(self, model, loader, names):
        weights = {name: model.get_parameter(name).detach() for name in names}
        kept = sum(int(w.count_nonzero()) for w in weights.values())
        self.seen[0].append(kept)
        return {name: -w.abs() for name, w in weights.items()}


def test_iterating_revives_nothing_even_if_the_score_asks_for_it():
    model, _ = NETS["plain"]()
    size = sum(p.numel() for p in model.parameters() if p.dim() > 1)
    score = Smallest(([],))
    mask = prune(model, None, Iterative(score, rounds=4), density=0.1)
    assert mask.nonzeros == round(0.1 * size)
    # Nothing was taken back, so what stays are the smallest weights, and zeros were shown.
    expected = prune(model, None, OneShot(Smallest(([],))), density=0.1)
    assert mask == expected
    assert score.seen[0] == [size, *(round(size * 0.1 ** (t / 4)) for t in (1, 2, 3))]


def test_random_masks():
    model, _ = NETS["plain"]()
    a, b = (prune(model, None, OneShot(Random(seed)), density=0.5) for seed in (0, 1))
    assert a != b
    # A parameter's draw does not depend on which others take part.
    names = ("1.weight", "3.weight")
    both = Random(0).scores(model, None, names)
    assert torch.equal(both["3.weight"], Random(0).scores(model, None, names[1:])["3.weight"])
    assert not torch.equal(both["1.weight"].flatten()[:40], both["3.weight"].flatten()[:40])


def test_schedule_is_a_power_of_the_density_not_a_fraction():
    from mitools.pruning.pruners import geometric_counts

    assert geometric_counts(10_000, 0.0001, 4) == [1000, 100, 10, 1]
    assert geometric_counts(100, 0.0, 3) == [0, 0, 0]
    assert geometric_counts(100, 1.0, 3) == [100, 100, 100]


@pytest.mark.parametrize("pruner", [
    OneShot(SNIP()), OneShot(GraSP(precision="double")), OneShot(ProsPr(steps=1)),
    OneShot(SynFlow()),
], ids=repr)  # fmt: skip
def test_what_hooks_have_stored_is_as_before(pruner):
    from torch.nn.utils import prune as torch_prune

    model, data = NETS["plain"]()
    torch_prune.l1_unstructured(model[1], "weight", amount=0.5)
    effective = model[1].weight
    values = effective.detach().clone()
    pruner.mask(model, data, 0.3, tuple(prunable(model)))
    assert model[1].weight is effective and torch.equal(effective, values)


def test_pruned_torch_modules_are_pruned_further():
    from torch.nn.utils import prune as torch_prune

    model, data = NETS["plain"]()
    torch_prune.l1_unstructured(model[1], "weight", amount=0.5)
    model(data.inputs)
    mask = prune(model, data, Iterative(SNIP(), rounds=3), density=0.3)
    assert mask.nonzeros == round(0.3 * mask.size)

"""peff: known answers, negative controls, foreign models, and input that cannot be used."""

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from mitools import Mask, peff, prune
from mitools._validation import FileFormatError, MaskError
from mitools.data import AdditiveNoise, Samples, SymmetricFlips, digits, flipped, gaussian
from mitools.effective import (
    Counting,
    GeneralisationGap,
    LabelNoiseDecoding,
    ResampledMasks,
    ScoreDecoding,
    TangentDecoding,
)
from mitools.models import mlp
from mitools.pruning import SNIP, Iterative, Magnitude, OneShot, Random, Shuffled, SynFlow
from mitools.results import EffectiveParameters, Estimate
from mitools.training import Training, train

DATA_FREE = {
    "random": OneShot(Random(seed=3)),
    "magnitude": OneShot(Magnitude()),
    "synflow": Iterative(SynFlow(), rounds=10),
}
EVERY = (
    *(Counting(), LabelNoiseDecoding(), TangentDecoding(), ScoreDecoding()),
    *(GeneralisationGap(), ResampledMasks(datasets=4)),
)
"""All that is done unasked, with 4 data sets instead of 16: where it matters that, not how much."""


@pytest.fixture(scope="module")
def noisy():
    return SymmetricFlips(0.3).apply(digits(train=True).take(range(400)), seed=0)


@pytest.fixture
def model():
    return mlp([64, 24, 10], seed=0)


def unseen():
    return SymmetricFlips(0.3).apply(digits(train=False), seed=1)


def last_layer(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


# ---- negative controls ----


@pytest.mark.parametrize("name", DATA_FREE)
def test_masks_that_never_saw_the_data_know_exactly_nothing(name, model, noisy):
    mask = prune(model, noisy, DATA_FREE[name], density=0.2)
    answer = peff(model, mask, noisy)
    assert answer.upper.value == 0.0
    assert answer.upper.limit == 0.0
    assert answer.point is not None and answer.point.value == 0.0
    assert answer.lower.limit <= 0.0
    assert answer.plain().low == answer.plain().high == mask.nonzeros


def test_decoder_finds_nothing_in_data_free_masks_as_often_as_promised(noisy):
    limits = []
    for seed in range(40):
        model = mlp([64, 24, 10], seed=seed)
        mask = prune(model, noisy, OneShot(Random(seed=seed)), density=0.2)
        answer = peff(model, mask, noisy, LabelNoiseDecoding())
        limits.append(answer.bounds[0].limit)
    assert np.mean(np.array(limits) > 0) <= 0.05


def test_a_pruner_that_peeks_is_not_taken_for_data_free(model, noisy):
    mask = prune(model, noisy, OneShot(SNIP()), density=0.2)
    answer = peff(model, mask, noisy, ResampledMasks(datasets=4))
    assert answer.upper.value > 0


# ---- a known answer: the mask is the label noise ----


@dataclass(frozen=True)
class Lookup:
    """Keep weight (label, i) of a linear layer: the mask spells out the labels."""

    def mask(self, model, loader, density, names):
        kept = nn.functional.one_hot(loader.targets, 2).T.bool()
        return Mask({names[0]: kept})


def lookup(n=128, seed=0):
    samples = Samples(torch.eye(n), torch.zeros(n, dtype=torch.int64), classes=2)
    noisy = SymmetricFlips(0.5).apply(samples, seed=seed)
    model = nn.Linear(n, 2, bias=False)
    nn.init.ones_(model.weight)
    return model, noisy


def test_mask_that_spells_out_n_fair_bits_has_n_log_2():
    model, noisy = lookup()
    mask = prune(model, noisy, Lookup(), density=0.5)
    answer = peff(model, mask, noisy)
    truth = 128 * math.log(2)
    assert 0.9 * truth < answer.lower.value <= truth + 1e-9
    assert answer.lower.limit <= truth
    # The code of independent weights pays for both copies of each bit: at most twice the truth,
    # and a little for learning the probabilities from 15 masks.
    assert truth <= answer.upper.value < 2.2 * truth


def test_bounds_hold_over_repetitions_of_the_lookup_task():
    truth = 32 * math.log(2)
    again = ResampledMasks(decoder=LabelNoiseDecoding())
    for seed in range(10):
        model, noisy = lookup(32, seed)
        mask = prune(model, noisy, Lookup(), density=0.5)
        answer = peff(model, mask, noisy, [Counting(), LabelNoiseDecoding(), again])
        assert answer.lower.limit <= truth <= answer.upper.limit


# ---- certificates that must not be given ----


def test_weights_that_were_trained_on_the_data_are_found_out(noisy):
    """A magnitude mask of trained weights opens no loader; the weights carry the data into it."""
    trained = mlp([64, 100, 10], seed=0)
    train(trained, noisy, Training(epochs=60, batch_size=50))
    mask = prune(trained, noisy, OneShot(Magnitude()), density=0.2)
    answer = peff(trained, mask, noisy)
    assert answer.upper.value > 0
    assert any("tells" in note and "only counting" in note for note in answer.notes)
    with pytest.raises(ValueError, match="init must be weights that have seen none"):
        peff(trained, mask, noisy, init=trained)


@dataclass(frozen=True)
class Peeks:
    """Open the loader, or try to and go on; return a mask that does not depend on it."""

    swallow: bool

    def mask(self, model, loader, density, names):
        try:
            next(iter(loader))
        except Exception:
            if not self.swallow:
                raise
        return OneShot(Magnitude()).mask(model, None, density, names)


@pytest.mark.parametrize("swallow", [False, True])
def test_a_broken_seal_is_noticed_even_if_the_pruner_hides_it(swallow, model, noisy):
    mask = prune(model, noisy, Peeks(swallow), density=0.2)
    answer = peff(model, mask, noisy, ResampledMasks(datasets=3))
    assert answer.upper.value > 0  # it opened the loader: coded, not certified


def test_a_pruner_that_reads_data_must_have_made_the_mask(noisy):
    net, spelled = lookup(32)
    mask = prune(net, spelled, Lookup(), density=0.5)
    with pytest.raises(ValueError, match="must be the one that made the mask"):
        peff(net, mask, spelled, ResampledMasks(Peeks(False)))


def test_pruner_that_fails_is_a_note_unless_it_was_asked_for(model, noisy):
    @dataclass(frozen=True)
    class Once:
        def mask(self, model, loader, density, names):
            raise RuntimeError("only once")

    mask = prune(model, noisy, OneShot(Random()), density=0.2).with_provenance(pruner=Once())
    assert any("only once" in note for note in peff(model, mask, noisy).notes)
    with pytest.raises(RuntimeError, match="only once"):
        peff(model, mask, noisy, ResampledMasks())


def test_resamples_of_the_same_points_give_a_proxy_and_no_bound(model):
    samples = digits(train=True).take(range(200))
    mask = prune(model, samples, OneShot(SNIP()), density=0.2)
    answer = peff(model, mask, samples)
    assert answer.upper.method.startswith("Counting")
    assert answer.quantity == "I(mask; data | init)"
    (proxy,) = [bound for bound in answer.bounds if bound.sense == "proxy"]
    assert "resample" in proxy.quantity and proxy.quantity in str(answer)


def test_count_that_nobody_asked_for_is_paid_for(model):
    everything = Mask.ones_like(model)
    assert peff(model, everything).upper.value == pytest.approx(math.log(everything.size + 1))
    asked = peff(model, everything, None, Counting(fixed_count=True))
    assert asked.upper.value == 0.0


def test_heldout_of_another_law_is_refused(model, noisy):
    mask = prune(model, noisy, OneShot(Random()), density=0.2)
    with pytest.raises(ValueError, match="heldout must be of the same population"):
        peff(model, mask, noisy, GeneralisationGap(), heldout=digits(train=False))


@dataclass(frozen=True)
class Fixed:
    """Says what it is told to say."""

    estimates: tuple[Estimate, ...]

    def bounds(self, evidence):
        return self.estimates


def test_bounds_of_another_information_do_not_meet_in_one_range(model, noisy):
    """From above on the label noise, from below on all data: both can hold, and cross."""
    whole = Estimate(500.0, "gap", "lower", "I(mask; data | init)")
    part = Estimate(100.0, "code", "upper", "I(mask; label noise | inputs, init)")
    mask = prune(model, noisy, OneShot(Random()), density=0.5)  # counting allows 1,226 nats
    answer = peff(model, mask, noisy, Fixed((whole, part)))
    assert (answer.quantity, answer.upper, answer.lower.value) == (part.quantity, part, 0.0)
    alone = peff(model, mask, noisy, Fixed((whole,)))
    assert (alone.quantity, alone.lower) == (whole.quantity, whole)


def test_class_missing_from_heldout_changes_nothing():
    torch.manual_seed(0)
    labels = torch.zeros(200, dtype=torch.int64)
    labels[17] = 2
    net = nn.Linear(4, 3)
    with torch.no_grad():
        net.weight.mul_(0.01)
        net.bias.copy_(torch.tensor([1.0, 0.0, 2.0]))
    mask = prune(net, None, OneShot(Random()), density=0.5)
    heldout = Samples(torch.randn(200, 4), 0 * labels)
    answer = peff(net, mask, Samples(torch.randn(200, 4), labels), heldout=heldout)
    assert answer.lower.limit <= 0.0


def test_samples_chosen_by_their_labels_are_refused(model, noisy):
    wrong = noisy.take(flipped(noisy))
    with pytest.raises(ValueError, match="selected by their labels"):
        peff(model, Mask.ones_like(model), wrong, LabelNoiseDecoding())


def test_points_taken_twice_say_why_their_noise_is_unknown(model, noisy):
    twice = noisy.take([*range(50), 0])
    with pytest.raises(ValueError, match=r"take\(...\) drops where a point comes twice"):
        peff(model, Mask.ones_like(model), twice, LabelNoiseDecoding())
    answer = peff(model, Mask.ones_like(model), twice)
    assert any("comes twice" in note for note in answer.notes)
    plain = peff(model, Mask.ones_like(model), digits(train=True).take(range(50)))
    assert not any("comes twice" in note for note in plain.notes)
    assert any("keep no clean targets. Add noise with" in note for note in plain.notes)


def test_noise_below_the_resolution_of_the_targets_is_refused():
    torch.manual_seed(0)
    values = Samples(torch.randn(50, 4), 250_000 + torch.randn(50, 1))
    noisy = AdditiveNoise(0.002).apply(values, seed=0)
    net = mlp([4, 3, 1], seed=0)
    with pytest.raises(ValueError, match="stored too coarsely"):
        peff(net, Mask.zeros_like(net), noisy, LabelNoiseDecoding())


def test_weights_outside_the_mask_are_told(model):
    answer = peff(model, {"fc1.weight": torch.ones(24, 64)})
    assert any("240 prunable weights are in no mask" in note for note in answer.notes)


# ---- what comes in ----


def test_three_forms_of_the_data_give_one_answer(model):
    samples = digits(train=True).take(range(100))
    mask = prune(model, samples, OneShot(Random(seed=0)), density=0.5)
    forms = [
        samples,
        TensorDataset(samples.inputs, samples.targets),
        DataLoader(TensorDataset(samples.inputs, samples.targets), batch_size=32),
        (samples.inputs.numpy(), samples.targets.numpy()),
        (samples.inputs, samples.targets),
    ]
    texts = {peff(model, mask, form).to_json() for form in forms}
    assert len(texts) == 1


def test_shuffled_loader_over_noisy_samples_keeps_labels_and_noise_together(model, noisy):
    mask = prune(model, noisy, OneShot(Random(seed=0)), density=0.5)
    one = peff(model, mask, DataLoader(noisy, 64, shuffle=True), LabelNoiseDecoding())
    two = peff(model, mask, noisy, LabelNoiseDecoding())
    assert one.bounds[0].value == pytest.approx(two.bounds[0].value, abs=1e-6)


def test_mask_none_reads_the_mask_from_the_model(model):
    nn.utils.prune.random_unstructured(last_layer(model), "weight", amount=0.5)
    answer = peff(model)
    assert answer.nonzeros == 120
    assert answer.excluded == (
        "fc1.weight (not in the mask)", "fc1.bias (a bias)", "fc2.bias (a bias)",
    )  # fmt: skip
    assert any("1,536 prunable weights are in no mask" in note for note in answer.notes)
    nn.utils.prune.random_unstructured(model.fc1, "weight", amount=0.5)
    nn.utils.prune.random_unstructured(model.fc1, "bias", amount=0.5)
    both = peff(model)
    assert both.excluded == ("fc2.bias (a bias)",) and "in no mask" not in str(both)
    zeros = mlp([64, 24, 10], seed=0)
    prune(zeros, None, OneShot(Magnitude()), density=0.25).apply_(zeros)
    answer = peff(zeros)
    assert answer.nonzeros == round(0.25 * answer.size)
    assert "zero" in answer.source


def test_answer_survives_a_file(model, noisy, tmp_path):
    mask = prune(model, noisy, OneShot(SNIP()), density=0.2)
    answer = peff(model, mask, noisy, EVERY, heldout=unseen())
    answer.save(tmp_path / "answer.json")
    assert EffectiveParameters.load(tmp_path / "answer.json") == answer


def test_same_arguments_same_answer_and_nothing_is_touched(model, noisy):
    mask = prune(model, noisy, OneShot(SNIP()), density=0.2)
    before = copy.deepcopy(model.state_dict())
    model.train()
    state = torch.get_rng_state()
    first = peff(model, mask, noisy, EVERY, heldout=unseen())
    assert first == peff(model, mask, noisy, EVERY, heldout=unseen())
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


# ---- which weights ----


def test_trained_weights_are_never_used_for_a_bound(model, noisy):
    mask = prune(model, noisy, OneShot(SNIP()), density=0.2)
    trained = copy.deepcopy(model)
    with torch.no_grad():
        last_layer(trained).weight.add_(1.0)
    assert "drawn afresh" in peff(trained, mask, noisy).weights
    assert "drawn afresh" in peff(model, Mask(dict(mask)), noisy).weights
    methods = LabelNoiseDecoding(), ResampledMasks(datasets=4, decoder=LabelNoiseDecoding())
    given = peff(trained, mask, noisy, methods, init=model)
    assert given.bounds == peff(model, mask, noisy, methods).bounds
    assert "which the mask was made from" in given.weights
    assert given.bounds == peff(trained, mask, noisy, methods, init=model.state_dict()).bounds


def test_pruner_that_did_not_make_the_mask_is_found_out(model, noisy):
    mask = prune(model, noisy, OneShot(Random(seed=0)), density=0.2)
    with pytest.raises(ValueError, match="must be the one that made the mask"):
        peff(model, mask, noisy, ResampledMasks(OneShot(Random(seed=1))))


# ---- other models ----


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x.view(-1, 1, 8, 8))))
        x = x + torch.relu(self.block(x))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.layer(x.view(-1, 8, 8)).mean(1))


@pytest.mark.parametrize("build", [Tied, Residual, Attention])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_foreign_models(build, dtype, noisy):
    torch.manual_seed(0)
    noisy, model = noisy.take(range(100)), build().to(dtype)
    # torch's encoder layer has no forward derivatives: what is done unasked does without.
    methods = None if build is Attention else EVERY
    for pruner, how in ((OneShot(SNIP()), methods), (OneShot(Random(seed=0)), None)):
        mask = prune(model, noisy, pruner, density=0.3)
        answer = peff(model, mask, noisy, how, heldout=unseen())
        assert answer.nonzeros == round(0.3 * answer.size)
        assert answer.lower.limit <= answer.upper.limit
        assert math.isfinite(answer.lower.value)


class LeavesTorch(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(torch.from_numpy(np.tanh(self.first(x).detach().numpy())))


def test_network_that_cannot_be_differentiated_is_only_run(noisy):
    net = LeavesTorch()
    mask = prune(net, noisy, OneShot(Random(seed=0)), density=0.5)
    answer = peff(net, mask, noisy)
    assert any("no TangentDecoding" in note and "differentiate" in note for note in answer.notes)
    lowers = [bound for bound in answer.bounds if bound.sense == "lower"]
    expected = peff(net, mask, noisy, LabelNoiseDecoding()).bounds[0]
    assert [(b.method, b.value) for b in lowers] == [(expected.method, expected.value)]
    with pytest.raises(ValueError, match="one that torch can differentiate"):
        peff(net, mask, noisy, TangentDecoding())


def test_upper_limit_holds_for_every_law_unless_asked_otherwise():
    """A certified limit pays for what few data sets cannot show; Student's does not."""
    net, noisy = lookup(16)
    mask = prune(net, noisy, Lookup(), density=0.5)
    few = ResampledMasks(datasets=6, decoder=LabelNoiseDecoding())
    upper = peff(net, mask, noisy, few).bounds[0]
    student = peff(net, mask, noisy, replace(few, limit="student")).bounds[0]
    assert upper.value == student.value and upper.limit > student.limit + 1
    assert any("holds for every law" in note for note in upper.notes)
    assert any("approximate" in note for note in student.notes)


def test_tied_weights_count_once():
    assert peff(Tied(), Mask.ones_like(Tied())).size == 64 * 64 + 640


def test_regression(model):
    torch.manual_seed(0)
    inputs = torch.randn(200, 5)
    noisy = AdditiveNoise(0.5).apply(Samples(inputs, inputs.sum(1, keepdim=True)), seed=0)
    net = mlp([5, 16, 1], seed=0)
    mask = prune(net, noisy, OneShot(SNIP()), density=0.3)
    answer = peff(net, mask, noisy)
    assert answer.lower.limit <= answer.upper.limit
    assert any("Decoding" in bound.method for bound in answer.bounds)


def test_legal_extremes(model, noisy):
    for density in (0.0, 1.0):
        mask = prune(model, noisy, OneShot(SNIP()), density=density)
        answer = peff(model, mask, noisy, EVERY, heldout=unseen())
        assert answer.nonzeros == density * answer.size
        assert answer.upper.value == pytest.approx(0.0, abs=1e-9)
        assert answer.lower.value <= answer.upper.value


# ---- input that cannot be used ----


def spoiled(model):
    with torch.no_grad():
        last_layer(model).weight[0, 0] = math.nan
    return model


def misfit(model):
    return Mask({"elsewhere.weight": torch.ones(3, 3, dtype=torch.bool)})


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda m, s: peff(m, misfit(m), s), MaskError, "elsewhere.weight"),
        (lambda m, s: peff(m, {"fc1.weight": torch.full((24, 64), 0.5)}, s), MaskError, "0"),
        (lambda m, s: peff(nn.ReLU(), None, s), ValueError, "prun"),
        (lambda m, s: peff(nn.LazyLinear(3), None, s), ValueError, "initialised|lazy|uninitial"),
        (lambda m, s: peff(spoiled(m), None, s), ValueError, "NaN"),
        (lambda m, s: peff(m, None, []), ValueError, "loader"),
        (lambda m, s: peff(m, None, DataLoader([torch.ones(64)] * 3)), ValueError, "loader"),
        (lambda m, s: peff(m, None, s, confidence=1.0), ValueError, "confidence"),
        (lambda m, s: peff(m, None, s, init={"a": torch.ones(1)}), ValueError, "init must hold"),
        (lambda m, s: peff(m, None, s, GeneralisationGap()), ValueError, "heldout must be given"),
        (lambda m, s: peff(m, None, s, ResampledMasks()), ValueError, "pruner must be"),
        (lambda m, s: peff(m, None, s, ResampledMasks), TypeError, "method must be a method"),
        (lambda m, s: peff(s, m), TypeError, "model must be a torch module"),
        (lambda m, s: peff(m, s), MaskError, r"\(model, mask, loader\)"),
        (lambda m, s: peff(m, None, None, LabelNoiseDecoding()), ValueError, "label noise"),
        (
            lambda m, s: peff(mlp([64, 5, 3], seed=0), None, s, LabelNoiseDecoding()),
            ValueError,
            "an output for each of the 10 classes",
        ),
    ],
    ids=range(16),
)
def test_bad_input_is_named(call, kind, message, model, noisy):
    with pytest.raises(kind, match=message):
        call(model, noisy)


class Unnamed:
    """Keeps what its settings say, which its repr does not."""

    def mask(self, model, loader, density, names):
        next(iter(loader))
        return OneShot(Magnitude()).mask(model, None, density, names)


def test_checkpoints_are_for_directories_and_for_pruners_that_name_themselves(
    model, noisy, tmp_path
):
    mask = prune(model, noisy, OneShot(SNIP()), density=0.2)
    occupied = tmp_path / "file"
    occupied.touch()
    for method in (None, ResampledMasks()):
        with pytest.raises(ValueError, match="'file' is a file"):
            peff(model, mask, noisy, method, checkpoint=occupied)
    for pruner in (Unnamed(), Shuffled(Unnamed())):
        mask = prune(model, noisy, pruner, density=0.2)
        for method in (None, ResampledMasks()):
            with pytest.raises(TypeError, match="repr that states its settings where checkpoint"):
                peff(model, mask, noisy, method, checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == [occupied]


def test_data_of_another_width_are_named(model):
    samples = gaussian(20, 7, 2, seed=0)
    with pytest.raises(ValueError, match="inputs"):
        peff(model, None, samples, LabelNoiseDecoding())


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"not a mask at all" * 10])
def test_files_that_hold_no_mask(content, model, tmp_path):
    path = tmp_path / "mask.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError):
        peff(model, path)

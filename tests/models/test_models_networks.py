"""Networks: sizes known from the papers, seeds, and fresh weights."""

import copy
import hashlib

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from mitools.models import (
    copied,
    fingerprint,
    lenet5,
    lenet_300_100,
    mlp,
    prunable,
    reinitialized,
    seeded,
    tensors_of,
)


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_sizes_of_the_papers():
    assert count(lenet_300_100()) == 266_610
    assert prunable(lenet_300_100()).size == 266_200
    assert count(lenet5()) == 61_706
    assert prunable(lenet5()).size == 61_470
    assert count(mlp((4, 3, 2), batch_norm=True)) == 4 * 3 + 3 + 2 * 3 + 3 * 2 + 2


@pytest.mark.parametrize("size", [8, 27, 28, 31, 32, 33, 40])
def test_lenet5_takes_images_of_any_size(size):
    assert lenet5(3, 7, size=size)(torch.zeros(2, 3, size, size)).shape == (2, 7)


def test_mlp_flattens_and_computes_what_it_says():
    model = mlp((6, 5, 2), seed=3)
    x = torch.randn(4, 2, 3)
    by_hand = (x.reshape(4, 6) @ model.fc1.weight.T + model.fc1.bias).clamp(min=0)
    by_hand = by_hand @ model.fc2.weight.T + model.fc2.bias
    torch.testing.assert_close(model(x), by_hand)


def test_the_seed_decides_and_global_randomness_is_untouched():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (mlp((3, 4, 2), seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert fingerprint(one) == fingerprint(two) != fingerprint(other)


@pytest.mark.parametrize("widths", [(), (3,), (3, 0), (3, 2.5), (3, -1)])
def test_bad_widths(widths):
    with pytest.raises(ValueError, match="widths must be at least two positive integers"):
        mlp(widths)


def test_seeded_gives_back_the_generator_even_after_an_error():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1):
        torch.rand(3)
        raise RuntimeError
    assert torch.equal(state, torch.get_rng_state())


# Fresh weights.


def test_reinitialised_equals_the_constructor():
    for build in (
        lambda seed: mlp((4, 5, 3), batch_norm=True, seed=seed),
        lambda seed: lenet5(seed=seed),
    ):
        model = build(0)
        before = fingerprint(model)
        assert fingerprint(reinitialized(model, 7)) == fingerprint(build(7))
        assert fingerprint(model) == before


def test_reinitialised_attention_equals_its_constructor():
    # A parent that resets what its child owns must come after the child.
    def build(seed):
        with seeded(seed):
            return nn.TransformerEncoderLayer(8, 2, 16)

    assert fingerprint(reinitialized(build(0), 7)) == fingerprint(build(7))


def test_reinitialised_forgets_batch_norm_statistics_and_keeps_dtype_and_mode():
    model = mlp((4, 5, 3), batch_norm=True).to(torch.bfloat16)
    model(torch.randn(9, 4, dtype=torch.bfloat16))
    model.eval()
    fresh = reinitialized(model, 0)
    assert not fresh.training and fresh.fc1.weight.dtype == torch.bfloat16
    assert fresh.norm1.running_mean.eq(0).all() and fresh.norm1.num_batches_tracked == 0


def test_reinitialised_keeps_ties():
    fresh = reinitialized(tied(), 1)
    assert fresh.head.weight is fresh.embed.weight


class Stubborn(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.token = nn.Parameter(torch.ones(3))


def test_what_cannot_be_drawn_anew_is_named():
    with pytest.raises(ValueError, match=r"fresh weights; body own parameters"):
        reinitialized(nn.ModuleDict({"body": Stubborn(), "other": nn.Linear(2, 2)}), 0)
    pruned = mlp((3, 2))
    prune.random_unstructured(pruned.fc1, "weight", 0.5)
    with pytest.raises(ValueError, match=r"fc1 own parameters"):
        reinitialized(pruned, 0)
    with_parametrization = mlp((3, 2))
    nn.utils.parametrizations.weight_norm(with_parametrization.fc1)
    with pytest.raises(ValueError, match=r"fc1\.parametrizations\.weight own"):
        reinitialized(with_parametrization, 0)


def test_copies_of_models_that_deepcopy_refuses():
    model = mlp((3, 4, 2))
    prune.random_unstructured(model.fc1, "weight", 0.5)
    x = torch.randn(5, 3)
    out = model(x)
    with pytest.raises(RuntimeError):
        copy.deepcopy(model)
    twin = copied(model)
    torch.testing.assert_close(twin(x), out)
    with torch.no_grad():
        twin.fc1.weight_orig.zero_()
    torch.testing.assert_close(model(x), out)


# Identity.


def tied():
    model = nn.Module()
    model.embed = nn.Embedding(5, 3)
    model.head = nn.Linear(3, 5, bias=False)
    model.head.weight = model.embed.weight
    return model


def test_fingerprint_from_the_definition():
    model = mlp((2, 1))
    total = hashlib.sha256()
    for name, shape in (("fc1.weight", "(1, 2)"), ("fc1.bias", "(1,)")):
        total.update(f"{name} {shape} torch.float32;".encode())
        total.update(dict(model.named_parameters())[name].detach().numpy().tobytes())
    assert fingerprint(model) == total.hexdigest()


def test_fingerprint_sees_every_change():
    def changed(change):
        model = mlp((3, 4, 2), batch_norm=True)
        with torch.no_grad():
            change(model)
        return fingerprint(model)

    def flip_zero(model):
        model.fc1.weight[0, 0] = -model.fc1.weight[0, 0].mul(0).abs()

    def set_zero(model):
        model.fc1.weight[0, 0] = 0.0

    prints = [
        changed(change)
        for change in (
            lambda m: None,
            lambda m: m.fc2.weight[1, 3].add_(1e-6),
            lambda m: m.norm1.running_mean[0].add_(1),
            lambda m: m.norm1.num_batches_tracked.add_(1),
            lambda m: m.double(),
            flip_zero,
            set_zero,
        )
    ]
    assert len(set(prints)) == len(prints)
    assert changed(lambda m: m.eval()) == prints[0]


def test_fingerprint_of_wrapped_and_reduced_precision_models():
    model = mlp((3, 4, 2))
    for wrapper in ("module", "_orig_mod"):  # DataParallel, torch.compile
        assert fingerprint(nn.ModuleDict({wrapper: model})) == fingerprint(model)
    assert fingerprint(nn.ModuleDict({"other": model})) != fingerprint(model)
    half = mlp((3, 4, 2)).to(torch.bfloat16)
    assert fingerprint(half) != fingerprint(model)
    transposed = mlp((3, 4, 2))
    transposed.fc1.weight.data = transposed.fc1.weight.data.T.contiguous().T
    assert fingerprint(transposed) == fingerprint(model)


def test_tied_tensors_come_once():
    assert list(tensors_of(tied())) == ["embed.weight"]


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_models_without_values_are_refused():
    lazy = nn.Sequential(nn.LazyLinear(3))
    meta = nn.Linear(3, 3, device="meta")
    for question in (fingerprint, prunable, lambda m: reinitialized(m, 0)):
        with pytest.raises(ValueError, match=r"'0\.weight' is lazy.*Run one batch"):
            question(lazy)
        with pytest.raises(ValueError, match=r"'weight' is on the meta device"):
            question(meta)


class Scaled(nn.Linear):
    """Its inherited reset_parameters knows nothing of the scale."""

    def __init__(self):
        super().__init__(3, 2)
        self.scale = nn.Parameter(torch.full((2,), 5.0))


def test_a_parameter_that_is_not_drawn_anew_is_named():
    with pytest.raises(ValueError, match=r"0\.scale are not touched"):
        reinitialized(nn.Sequential(Scaled()), 0)

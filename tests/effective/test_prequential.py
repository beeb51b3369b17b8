"""Decoders that learn from point to point: causal, silent where the mask is, and stronger."""

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mitools.data import AdditiveNoise, Samples, SymmetricFlips, gaussian
from mitools.effective import (
    Evidence,
    LabelNoiseDecoding,
    PrequentialDecoding,
    ScoreDecoding,
    TangentDecoding,
)
from mitools.effective.decoding import noise_in
from mitools.effective.tangents import Tangents
from mitools.mask_information import (
    decoded_classes,
    regressed_classes,
    regressed_values,
    threshold_scores,
)
from mitools.models import fingerprint, mlp
from mitools.pruning import SNIP, MagnitudeAfterTraining, Mask, OneShot, Random, prune
from mitools.training import SGD, Training


@pytest.fixture(scope="module")
def samples() -> Samples:
    return gaussian(200, 20, 2, seed=0)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return mlp([20, 40, 2], seed=0)


def evidence(model: nn.Module, mask: Mask, samples: Samples) -> Evidence:
    return Evidence(model=model, mask=mask, samples=samples, original=True)


# ---- the arrays ----


def kernel_of(n: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).standard_normal((n, 5))
    kernel = np.exp(-0.5 * ((points[:, None] - points) ** 2).sum(axis=2))
    return kernel / np.trace(kernel) * n


def test_regression_equals_conditioning_a_normal_law_row_by_row():
    rng = np.random.default_rng(1)
    kernel, noise = kernel_of(12), rng.standard_normal((12, 2))
    mean = rng.standard_normal((12, 2))
    found = regressed_values(kernel, [mean], noise)
    share, amplitude = 0.5, 0.3  # the second law
    covariance = (amplitude * kernel + np.eye(12)) / (1 + amplitude) * (1 - share**2)
    means, variances = found[1]
    for i in range(12):
        gain = np.linalg.solve(covariance[:i, :i], covariance[:i, i]) if i else np.zeros(0)
        expected = share * mean[i] + gain @ (noise - share * mean)[:i]
        assert means[i] == pytest.approx(expected, abs=1e-10)
        assert variances[i, 0] == pytest.approx(covariance[i, i] - gain @ covariance[:i, i])


@pytest.mark.parametrize("at", [0, 7, 19])
def test_no_prediction_depends_on_its_own_or_later_noise(at: int):
    rng = np.random.default_rng(2)
    n, kernel = 20, kernel_of(20)
    law = np.full((n, 3), 1 / 3)
    targets = rng.integers(0, 3, n)
    changed = targets.copy()
    changed[at:] = (changed[at:] + 1) % 3
    mean = rng.standard_normal((n, 3))
    for one, other in zip(
        *(regressed_classes(kernel, [mean], t, np.log(law)) for t in (targets, changed)),
        strict=True,
    ):
        assert np.array_equal(one[: at + 1], other[: at + 1])
    effects = rng.standard_normal((n, 3, 50))
    kept = rng.random(50) < 0.3

    def scores(labels: np.ndarray) -> np.ndarray:
        return threshold_scores(
            lambda rows, weights: np.einsum("ic,icp->p", weights, effects[rows]),
            lambda rows, slope: effects[rows] @ slope,
            law,
            labels,
            [kept],
            blocks=n,
            draws=8,
            seed=0,
        )

    one, other = scores(targets), scores(changed)
    assert np.array_equal(one[: at + 1], other[: at + 1])
    if at < n - 1:
        assert not np.array_equal(one, other)  # but later ones do learn


def test_a_threshold_on_sums_over_labels_is_decoded():
    rng = np.random.default_rng(3)
    n, p = 100, 2_000
    slopes = rng.standard_normal((n, p))
    effects = np.stack([-slopes, slopes], axis=1)
    law, targets = np.full((n, 2), 0.5), rng.integers(0, 2, n)
    total = np.abs(effects[np.arange(n), targets].sum(axis=0))
    kept = total >= np.sort(total)[-p // 5]

    def told(labels: np.ndarray) -> float:
        scores = threshold_scores(
            lambda rows, weights: np.einsum("ic,icp->p", weights, effects[rows]),
            lambda rows, slope: effects[rows] @ slope,
            law,
            labels,
            [kept],
            blocks=25,
            draws=16,
            seed=0,
        )
        return decoded_classes(
            np.zeros((n, 2)), labels, np.log(law), "", 0.95, sequential=[scores]
        ).value

    assert told(targets) > 0.5 * n * math.log(2)  # 2,000 bits about 100 labels, up to one sign
    others = [told(rng.integers(0, 2, n)) for _ in range(5)]
    assert max(others) < 1.0  # other labels are not in this mask


def test_a_score_that_saw_its_own_label_is_not_excused():
    """The plant: what causality forbids does give more nats than there are to know."""
    rng = np.random.default_rng(4)
    targets, law = rng.integers(0, 2, 100), np.full((100, 2), 0.5)
    leaked = np.eye(2)[targets]
    value = decoded_classes(
        np.zeros((100, 2)), targets, np.log(law), "", 0.95, sequential=[leaked]
    ).value
    assert value > 50.0


# ---- networks ----


def test_the_kernel_is_the_product_of_jacobians_over_kept_weights(model, samples):
    mask = prune(model, samples, OneShot(Random(seed=1)), density=0.3)
    inputs = samples.inputs[:6]
    masked = copy.deepcopy(model)
    mask.apply_(masked)
    rows = []
    for point in inputs:
        for index in range(2):
            masked.zero_grad()
            masked(point[None])[0, index].backward()
            slopes = {name: p.grad for name, p in masked.named_parameters()}
            rows.append(np.concatenate([(slopes[n] * mask[n]).numpy().ravel() for n in mask]))
    jacobian = np.array(rows, np.float64).reshape(6, 2, -1)
    expected = np.einsum("icp,jcp->ij", jacobian, jacobian)
    expected /= np.trace(expected) / 6
    network = Tangents(model, mask, inputs, pruned=True)
    assert network.kernel(1, 0) == pytest.approx(expected, abs=1e-5)
    sketched = network._sketched_kernel(4_000, 0)
    assert sketched / (np.trace(sketched) / 6) == pytest.approx(expected, abs=0.1)


def test_responses_and_gradients_are_derivatives(model, samples):
    mask = Mask.ones_like(model)
    network = Tangents(model, mask, samples.inputs[:5], pruned=False)
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(network.size)
    step = 1e-6

    def outputs(at: float) -> np.ndarray:
        moved = copy.deepcopy(model).double()
        start = 0
        with torch.no_grad():
            for name in mask:
                weight = moved.get_parameter(name)
                part = direction[start : start + weight.numel()].reshape(weight.shape)
                weight += at * torch.from_numpy(part)
                start += weight.numel()
            return moved(samples.inputs[:5].double()).numpy()

    slope = (outputs(step) - outputs(-step)) / (2 * step)
    assert network.response(slice(0, 5), direction) == pytest.approx(slope, abs=1e-3)
    targets = rng.random((5, 2))

    def loss(at: float) -> float:
        return float((-targets * torch.from_numpy(outputs(at)).log_softmax(1).numpy()).sum())

    along = float(network.loss_gradient(slice(0, 5), targets) @ direction)
    assert along == pytest.approx((loss(step) - loss(-step)) / (2 * step), abs=1e-3)


DECODERS = (
    TangentDecoding(),
    PrequentialDecoding(blocks=3, training=Training(epochs=2, optimizer=SGD(lr=0.1))),
    ScoreDecoding(blocks=10, draws=4),
)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: type(d).__name__)
def test_over_all_labels_that_there_are_the_ratio_has_mean_1(decoder, monkeypatch):
    """A decoder is one law of the labels, so its probabilities sum to 1: no label is seen twice."""
    monkeypatch.setattr("mitools.effective.decoding._drawn_by_law", lambda samples: True)
    network = mlp([3, 6, 2], seed=1)
    points = gaussian(5, 3, 2, seed=0)
    mask = prune(network, gaussian(40, 3, 2, seed=1), OneShot(SNIP()), density=0.5)
    total = 0.0
    for labels in itertools.product((0, 1), repeat=5):
        noisy = replace(
            points, targets=torch.tensor(labels), noise=SymmetricFlips(0.3), clean=points.clean
        )
        (bound,) = decoder.bounds(evidence(network, mask, noisy))
        flips = sum(labels)
        total += 0.3**flips * 0.7 ** (5 - flips) * math.exp(bound.value)
    assert total == pytest.approx(1.0, abs=1e-9)


def test_a_law_that_cannot_have_drawn_the_labels_is_refused(model):
    clean = Samples(torch.randn(400, 20), torch.arange(400) % 2)
    turned = torch.where(torch.rand(400) < 0.6, 1, clean.targets)  # only zeros become ones
    wrong = replace(clean, targets=turned, clean=clean.targets, noise=SymmetricFlips(0.3))
    with pytest.raises(ValueError, match="can have drawn"):
        LabelNoiseDecoding().bounds(evidence(model, Mask.ones_like(model), wrong))


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: type(d).__name__)
def test_a_silent_mask_tells_nothing(decoder, model):
    values = []
    for seed in range(8):
        noisy = gaussian(120, 20, 2, seed=seed)
        mask = Mask(
            prune(model, noisy, OneShot(Random(seed=9)), density=0.2),
            pruner=OneShot(SNIP()),  # a lie, so that ScoreDecoding looks
            density=0.2,
            fingerprint=fingerprint(model),
        )
        (bound,) = decoder.bounds(evidence(model, mask, noisy))
        assert bound.limit <= 0.0
        values.append(bound.value)
    assert np.mean(np.exp(values)) < 1.6  # the ratio has mean 1


def test_learning_decoders_tell_more_than_the_outputs_at_initialisation(model, samples):
    training = Training(epochs=100, batch_size=32, optimizer=SGD(lr=0.3, momentum=0.0))
    mask = prune(model, samples, MagnitudeAfterTraining(training), density=0.3)
    plain, tangent = (
        decoder.bounds(evidence(model, mask, samples))[0]
        for decoder in (LabelNoiseDecoding(), TangentDecoding())
    )
    assert tangent.value > plain.value + 5.0
    assert tangent.value < 200 * math.log(2)


def test_snip_is_decoded_by_who_knows_its_score(model, samples):
    mask = prune(model, samples, OneShot(SNIP()), density=0.2)
    plain, knowing = (
        decoder.bounds(evidence(model, mask, samples))[0]
        for decoder in (TangentDecoding(), ScoreDecoding())
    )
    assert plain.limit < 1.0
    assert knowing.limit > 5.0
    redrawn = replace(samples, targets=samples.targets.roll(1))
    (other,) = ScoreDecoding().bounds(evidence(model, mask, redrawn))
    assert other.limit <= 0.0


@pytest.mark.parametrize("decoder", DECODERS[:2], ids=lambda d: type(d).__name__)
def test_real_valued_noise(decoder):
    rng = np.random.default_rng(0)
    inputs = torch.from_numpy(rng.standard_normal((150, 10))).float()
    clean = Samples(inputs, torch.zeros(150, 1))
    noisy = AdditiveNoise(1.0).apply(clean, seed=1)
    model = mlp([10, 60, 1], seed=0)
    training = Training(epochs=150, batch_size=32, optimizer=SGD(lr=0.05, momentum=0.9))
    mask = prune(model, noisy, MagnitudeAfterTraining(training), density=0.3)
    (bound,) = decoder.bounds(evidence(model, mask, noisy))
    (plain,) = LabelNoiseDecoding().bounds(evidence(model, mask, noisy))
    assert bound.value > plain.value - 0.5
    other = AdditiveNoise(1.0).apply(clean, seed=2)
    (silent,) = decoder.bounds(evidence(model, mask, other))
    assert silent.limit <= 0.0


def test_the_order_of_points_is_random_and_seeded(model):
    flips = SymmetricFlips(0.3).apply(gaussian(60, 20, 2, seed=3), seed=4)
    mask = prune(model, flips, OneShot(SNIP()), density=0.2)
    first, again, other = (
        TangentDecoding(seed=seed).bounds(evidence(model, mask, flips))[0].value
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    assert TangentDecoding(points=20).bounds(evidence(model, mask, flips))[0].value != first


def test_what_cannot_be_decoded_is_said(model, samples):
    mask = prune(model, samples, OneShot(Random(seed=0)), density=0.5)
    with pytest.raises(ValueError, match="made by OneShot"):
        ScoreDecoding().bounds(evidence(model, mask, samples))
    plain = replace(samples, clean=None, noise=None)
    for decoder in DECODERS:
        with pytest.raises(ValueError, match="know their label noise"):
            decoder.bounds(evidence(model, mask, plain))
    with pytest.raises(ValueError, match="blocks must be"):
        PrequentialDecoding(blocks=1)
    assert noise_in(samples) is not None

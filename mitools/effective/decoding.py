"""Lower bounds from one mask: what the network can say about the data through its mask alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest, chi2, chisquare
from torch import nn

from mitools._typing import FloatArray, IntArray
from mitools.data import AdditiveNoise, Samples, as_batches
from mitools.data.samples import without_noise
from mitools.effective.evidence import Evidence
from mitools.mask_information import decoded_classes, decoded_values, generalisation_gap
from mitools.models import untouched
from mitools.pruning.mask import Mask
from mitools.pruning.masked import masked
from mitools.results import Estimate


@dataclass(frozen=True)
class LabelNoiseDecoding:
    """Predict the label noise from the masked network at initialisation, and count the nats.

    Needs data that know their noise: the clean targets and the law of the noise, as
    `SymmetricFlips` and `AdditiveNoise` keep them. `mask_information.decoded_classes` states the
    predictor, and why nothing has to be corrected for its fitting.

    References
    ----------
    Kumar, Luo and Sellke, arXiv 2402.01089, section 5.2, whose correlation with label noise this
    turns into nats; Barber and Agakov 2003 for the bound.
    """

    batch_size: int = 256

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError where the data do not know their noise."""
        samples = noisy_samples(evidence, type(self).__name__)
        return (self.decode(evidence.model, evidence.mask, samples, evidence.confidence),)

    def decode(self, model: nn.Module, mask: Mask, samples: Samples, confidence: float) -> Estimate:
        """Bound the information of one mask by decoding the label noise that samples know."""
        outputs = masked_outputs(model, mask, samples, self.batch_size)
        return decoded(outputs, samples, repr(self), confidence)


@dataclass(frozen=True)
class GeneralisationGap:
    """Compare the masked network's mistakes on the data and on points that nobody used.

    Needs held-out points and classes. The network has its initial weights, so that only the mask
    can have learnt from the data.

    References
    ----------
    Xu and Raginsky 2017; Maurer 2004 for the moment of the relative entropy.
    """

    batch_size: int = 256

    def bounds(self, evidence: Evidence) -> tuple[Estimate, ...]:
        """Return one lower bound; ValueError without held-out points."""
        samples, heldout = evidence.samples, evidence.heldout
        if samples is None or heldout is None:
            raise ValueError(
                "heldout must be given for GeneralisationGap: points of the same population as "
                "the loader's that neither pruning nor training has used."
            )
        if samples.targets.is_floating_point():
            raise ValueError(
                "loader must hold classes for GeneralisationGap; its targets are real-valued. "
                "Use LabelNoiseDecoding with AdditiveNoise for regression."
            )
        if heldout.targets.is_floating_point() or heldout.noise != samples.noise:
            raise ValueError(
                "heldout must be of the same population as loader, its label noise included; "
                f"loader has noise {samples.noise} and heldout {heldout.noise}. "
                "Apply the same noise to it, with another seed."
            )
        classes = max(samples.classes or 1, heldout.classes or 1)
        wrong, unseen_wrong = (
            self._mistakes(evidence.model, evidence.mask, part, classes)
            for part in (samples, heldout)
        )
        bound = generalisation_gap(
            wrong, len(samples), unseen_wrong, len(heldout), repr(self), evidence.confidence
        )
        return (bound,)

    def _mistakes(self, model: nn.Module, mask: Mask, samples: Samples, classes: int) -> int:
        outputs = masked_outputs(model, mask, samples, self.batch_size)
        predicted = class_scores(outputs, classes).argmax(axis=1)
        return int((predicted != samples.targets.cpu().numpy()).sum())


def knows_noise(samples: Samples) -> bool:
    """Return whether samples keep their clean targets and the law of their noise."""
    return samples.noise is not None and samples.clean is not None


def noisy_samples(evidence: Evidence, decoder: str) -> Samples:
    """Return the data of the evidence, which must know their label noise."""
    samples = evidence.samples
    if samples is None or not knows_noise(samples):
        raise ValueError(
            f"loader must hold samples that know their label noise for {decoder}; "
            f"{without_noise(samples)} Prune on that, and pass it here."
        )
    return samples


@dataclass(frozen=True)
class KnownLabels:
    """Noisy classes, and the law that drew them.

    Parameters
    ----------
    targets : int array, shape (n,)
    log_prior : float array, shape (n, c)
    """

    targets: IntArray
    log_prior: FloatArray


@dataclass(frozen=True)
class KnownResiduals:
    """Gaussian noise in units of its standard deviation, shape (n, t); and that deviation."""

    noise: FloatArray
    std: float


def noise_in(samples: Samples) -> KnownLabels | KnownResiduals:
    """Return the noise that samples keep; ValueError if their law cannot have drawn it."""
    noise, clean = samples.noise, samples.clean
    assert noise is not None and clean is not None  # callers ask knows_noise first
    _check_plausible(samples)
    if isinstance(noise, AdditiveNoise):
        residuals = (samples.targets - clean).double().cpu().numpy().reshape(len(samples), -1)
        return KnownResiduals(residuals / noise.std, noise.std)
    classes = samples.classes or int(samples.targets.max()) + 1
    log_prior = np.stack(
        [
            noise.log_prob(label.expand(len(clean)), clean, classes).cpu().numpy()
            for label in torch.arange(classes, device=clean.device)
        ],
        axis=1,
    )
    return KnownLabels(samples.targets.cpu().numpy(), log_prior)


def decoded(
    outputs: FloatArray,
    samples: Samples,
    method: str,
    confidence: float,
    sequential: Sequence[Any] = (),
) -> Estimate:
    """Bound the information of a mask by what its outputs, and more, predict of the noise."""
    known = noise_in(samples)
    if isinstance(known, KnownResiduals):
        _require_columns(outputs, known.noise.shape[1], "targets")
        return decoded_values(
            outputs, known.noise * known.std, known.std, method, confidence, sequential=sequential
        )
    outputs = class_scores(outputs, known.log_prior.shape[1])
    return decoded_classes(
        outputs, known.targets, known.log_prior, method, confidence, sequential=sequential
    )


def _check_plausible(samples: Samples) -> None:
    """Raise ValueError if the noise in the data cannot have been drawn by the law they state.

    Choosing samples by their labels, or storing targets too coarsely, would make certainties of
    what the decoder is to predict.
    """
    noise, targets, clean = samples.noise, samples.targets, samples.clean
    assert noise is not None and clean is not None
    if isinstance(noise, AdditiveNoise):
        spacing = float(torch.finfo(targets.dtype).eps * targets.abs().max())
        total = float(((targets.double() - clean.double()) / noise.std).square().sum())
        tail = float(chi2.cdf(total, targets.numel()))
        likely = min(tail, 1.0 - tail) > _IMPLAUSIBLE and spacing < noise.std / 4
    else:
        likely = _drawn_by_law(samples)
    if not likely:
        raise ValueError(
            f"loader must hold noise that {noise!r} can have drawn; its targets differ from the "
            "clean ones in another way (p < 1e-6), or are stored too coarsely to tell. Were "
            "samples selected by their labels? Draw the noise after selecting."
        )


def _drawn_by_law(samples: Samples) -> bool:
    """Return whether the table of clean and noisy classes is one that the law draws."""
    noise, clean, targets = samples.noise, samples.clean, samples.targets
    assert noise is not None and clean is not None
    classes = samples.classes or 1
    every = torch.arange(classes, device=clean.device)
    for truth in every[torch.bincount(clean, minlength=classes) > 0]:
        law = noise.log_prob(every, truth.expand(classes), classes).exp().cpu().numpy()
        seen = torch.bincount(targets[clean == truth], minlength=classes).cpu().numpy()
        kept, n = int(truth), int(seen.sum())
        if binomtest(int(seen[kept]), n, min(float(law[kept]), 1.0)).pvalue <= _IMPLAUSIBLE:
            return False
        expected = n * law
        if expected.min() >= 5.0 and chisquare(seen, expected).pvalue <= _IMPLAUSIBLE:
            return False
    return True


_IMPLAUSIBLE = 1e-6


def masked_outputs(model: nn.Module, mask: Mask, samples: Samples, batch_size: int) -> FloatArray:
    """Outputs of the masked model in evaluation mode, float64 of shape (n, outputs).

    Raises
    ------
    ValueError
        If an output is not one row of finite numbers per input.
    """
    device = next(model.parameters()).device
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    rows = []
    with untouched(model), torch.no_grad(), masked(model, mask):
        for inputs, _ in as_batches(samples, batch_size=batch_size):
            inputs = inputs.to(device=device, dtype=dtype if inputs.is_floating_point() else None)
            outputs = run_checked(model, inputs)
            rows.append(outputs.double().cpu().numpy())
    stacked = np.concatenate(rows)
    if not np.isfinite(stacked).all():
        raise ValueError(
            "model must give finite outputs at its data-independent weights; some are NaN or "
            "infinite. Does it overflow in its dtype? Try model.double()."
        )
    return stacked


def run_checked(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return the outputs for a batch, a row for each input, or say what is wrong with them."""
    try:
        outputs = model(inputs)
    except Exception as error:  # whatever foreign code raises, it is about this input
        raise ValueError(
            f"inputs must be such as the model accepts; it refused a batch of shape "
            f"{tuple(inputs.shape)} and dtype {inputs.dtype}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(outputs, torch.Tensor) or len(outputs) != len(inputs):
        raise ValueError(
            "model must return one tensor with a row for each input; got "
            f"{_shape(outputs)} for {len(inputs)} inputs. Wrap it in a module that does."
        )
    return outputs.reshape(len(outputs), -1)


def class_scores(outputs: FloatArray, classes: int) -> FloatArray:
    """Return one column of scores for each class; a single output is the logit of class 1 of 2."""
    if outputs.shape[1] == 1 and classes <= 2:
        return np.hstack([-0.5 * outputs, 0.5 * outputs])
    _require_columns(outputs, classes, "classes")
    return outputs[:, :classes]


def _require_columns(outputs: FloatArray, count: int, what: str) -> None:
    exact = what == "targets"
    if outputs.shape[1] < count or (exact and outputs.shape[1] != count):
        raise ValueError(
            f"model must have an output for each of the {count} {what} in loader; it has "
            f"{outputs.shape[1]}. Are labels numbered from 0, and is this the right model?"
        )


def _shape(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"

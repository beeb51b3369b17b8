"""The paper's two proxies for I(mask; data): what a network memorises, and how it follows noise.

Neither is an amount of information: one is a share of points, the other a covariance.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from mitools._typing import FloatArray
from mitools.data import AdditiveNoise, Samples, samples_of
from mitools.data.samples import checked_inputs, without_noise
from mitools.effective.decoding import class_scores, knows_noise, run_checked
from mitools.models import check_module, untouched
from mitools.training.evaluation import place_of, placed


def memorised(model: nn.Module, samples: Samples, *, threshold: float | None = None) -> float:
    """Share of the points whose own cross-entropy is at most `threshold`.

    Parameters
    ----------
    model : nn.Module
        Trained on the samples; not changed.
    samples : Samples, or what `mitools.data.samples_of` reads
        Classes.
    threshold : float or None
        In nats; None: a tenth of what guessing costs, log(c) / 10, as in the paper's figure 1a.

    Raises
    ------
    ValueError
        If the targets are not classes that the model has outputs for, or threshold is no positive
        number.
    TypeError
        If model is no module, or samples no data.

    References
    ----------
    Kumar, Luo and Sellke, arXiv 2402.01089, section 5.1.

    Examples
    --------
    >>> from mitools.data import gaussian
    >>> from mitools.models import mlp
    >>> from mitools.training import Training, train
    >>> samples, model = gaussian(20, 8, seed=0), mlp((8, 64, 2))
    >>> history = train(model, samples, Training(200, batch_size=20))
    >>> memorised(model, samples)
    1.0
    """
    check_module(model)
    samples = samples_of(samples, argument="samples")
    if not (threshold is None or threshold > 0.0):
        raise ValueError(
            f"threshold must be a positive number of nats, or None; got {threshold!r}. A "
            "cross-entropy is never below 0."
        )
    if samples.targets.is_floating_point():
        raise ValueError(
            "samples must hold classes to be memorised; their targets are real-valued. "
            "noise_covariance follows those."
        )
    classes = max(2, samples.classes or int(samples.targets.max()) + 1)
    limit = math.log(classes) / 10.0 if threshold is None else threshold
    scores = torch.from_numpy(class_scores(_outputs(model, samples.inputs), classes))
    losses = torch.nn.functional.cross_entropy(scores, samples.targets.cpu(), reduction="none")
    return float((losses <= limit).double().mean())


def noise_covariance(model: nn.Module, samples: Samples, population: Tensor) -> float:
    """(1/n) Σ_i (f(x_i) - E f) z_i: how far the network follows the noise of these targets.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    samples : Samples
        With their noise kept. For classes f is the probability and z what the label is above its
        law, summed over classes; for real-valued targets f is the output.
    population : Tensor, shape (N, ...)
        Fresh inputs of the same law, from which E f is estimated.

    Returns
    -------
    float
        About the variance of the noise where all of it is fitted, 0 where none is.

    Raises
    ------
    ValueError
        If the samples do not know their noise, or the model has not an output for each target.
    TypeError
        If model is no module, samples no data, or population no tensor.

    References
    ----------
    Kumar, Luo and Sellke, arXiv 2402.01089, section 5.2.
    """
    check_module(model)
    samples = samples_of(samples, argument="samples")
    checked_inputs(population, "population")
    if not knows_noise(samples):
        raise ValueError(f"samples must know their label noise; {without_noise(samples)}")
    noise, clean = samples.noise, samples.clean
    assert noise is not None and clean is not None
    seen, fresh = _outputs(model, samples.inputs), _outputs(model, population)
    if isinstance(noise, AdditiveNoise):
        rest = (samples.targets - clean).double().cpu().numpy().reshape(len(samples), -1)
    else:
        classes = samples.classes or int(samples.targets.max()) + 1
        seen, fresh = (_probabilities(class_scores(f, classes)) for f in (seen, fresh))
        every = torch.arange(classes, device=clean.device)
        law = [noise.log_prob(y.expand(len(clean)), clean, classes).exp() for y in every]
        rest = np.eye(classes)[samples.targets.cpu().numpy()] - torch.stack(law, 1).cpu().numpy()
    if seen.shape != rest.shape:
        raise ValueError(
            f"model must have an output for each target; it has {seen.shape[1]} for "
            f"{rest.shape[1]}. Is this the right model?"
        )
    return float(((seen - fresh.mean(axis=0)) * rest).sum() / len(samples))


def _outputs(model: nn.Module, inputs: Tensor) -> FloatArray:
    place = place_of(model)
    with untouched(model), torch.no_grad():
        rows = [run_checked(model, placed(part, *place)) for part in inputs.split(4096)]
    return torch.cat(rows).double().cpu().numpy()


def _probabilities(scores: FloatArray) -> FloatArray:
    return torch.from_numpy(scores).softmax(dim=1).numpy()

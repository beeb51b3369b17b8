"""Law of robustness: how smooth a network can be that fits noise, and how smooth it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vjp, vmap

from mitools._typing import FloatArray
from mitools._validation import checked_count
from mitools.data.samples import checked_inputs
from mitools.effective.decoding import run_checked
from mitools.models import check_module, copied, untouched
from mitools.pruning import Mask
from mitools.pruning.scoring import state_of_model, undisturbed
from mitools.training.evaluation import place_of, placed

_CHAIN = 72.0  # a₁² of Xu and Raginsky's lemma, as Kumar, Luo and Sellke state it


@dataclass(frozen=True)
class LipschitzBound:
    """No network of this size that fits so far below the noise has a smaller Lipschitz constant.

    Parameters
    ----------
    value : float
        The bound; holds with probability 1 - delta over the data.
    form : {"bubeck-sellke", "no free prune"}
        Whose theorem.
    applies : bool
        Whether there are enough points for the theorem to hold.
    needed : float
        The least number of points for that.
    """

    value: float
    form: str
    applies: bool
    needed: float

    def __str__(self) -> str:
        caution = (
            "" if self.applies else f" (not proven: the theorem needs n >= {self.needed:,.0f})"
        )
        return f"Lip(f) >= {self.value:.3g} [{self.form}]{caution}"


def lipschitz_bound(
    parameters: float,
    *,
    n: int,
    d: int,
    epsilon: float,
    form: Literal["bubeck-sellke", "no free prune"] = "no free prune",
    diameter: float = 1.0,
    lipschitz: float = 1.0,
    delta: float = 0.05,
    isoperimetry: float = 1.0,
    components: int = 1,
) -> LipschitzBound:
    """Least Lipschitz constant of a network that fits `epsilon` below the noise level.

    Parameters
    ----------
    parameters : float
        Number of weights p for "bubeck-sellke"; p_eff for "no free prune", in the form of its
        Theorem 4 (`EffectiveParameters.theorem4`), which contains W and J already.
    n, d : int
        Points, and dimension of an input.
    epsilon : float
        ε > 0: the training error is at most σ² - ε, σ² the variance of the label noise.
    form : str
        For masks that have seen no data, "bubeck-sellke" is sharper.
    diameter, lipschitz : float
        W and J, used by "bubeck-sellke" only: the diameter of the set of weights, and the Lipschitz
        constant of the map from weights to functions.
    delta : float
        The bound may fail with this probability.
    isoperimetry : float
        c of the inputs' law: of order 1 for N(0, I/d), the unit sphere and the cube of diameter 1.
    components : int
        k: the inputs' law is a mixture of so many isoperimetric ones.

    Returns
    -------
    LipschitzBound
        With these constants it is below 1 on any small problem: a law of scaling.

    References
    ----------
    Bubeck and Sellke, *A universal law of robustness via isoperimetry*, 2021, Theorem 3: ``ε / (2⁹
    √c) sqrt(n d / (p log(60 W J / ε) + log(4/δ)))``. Kumar, Luo and Sellke, arXiv 2402.01089,
    Theorem 4: ``ε / (96 a₁ √(2c)) sqrt(n d δ / (p_eff + (δ/2) log(4/δ)))``, a₁² = 72.

    Examples
    --------
    >>> print(lipschitz_bound(1_000, n=10**6, d=100, epsilon=0.5))
    Lip(f) >= 0.0307 [no free prune]
    """
    for name, value in (
        ("parameters", parameters), ("n", n), ("d", d), ("epsilon", epsilon),
        ("diameter", diameter), ("lipschitz", lipschitz), ("isoperimetry", isoperimetry),
        ("components", components),
    ):  # fmt: skip
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite; got {value!r}.")
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta must lie between 0 and 1; got {delta!r}. 0.05 is usual.")
    if form == "bubeck-sellke":
        weights = parameters * math.log(60.0 * diameter * lipschitz / epsilon)
        inside = weights + math.log(4.0 / delta)
        if inside <= 0.0:
            raise ValueError(
                "60 * diameter * lipschitz must exceed epsilon for the theorem to say anything; "
                f"got {60.0 * diameter * lipschitz:.3g} and {epsilon:.3g}."
            )
        value = epsilon / (2.0**9 * math.sqrt(isoperimetry)) * math.sqrt(n * d / inside)
        power = 4
    elif form == "no free prune":
        inside = parameters + 0.5 * delta * math.log(4.0 / delta)
        front = epsilon / (96.0 * math.sqrt(_CHAIN) * math.sqrt(2.0 * isoperimetry))
        value = front * math.sqrt(n * d * delta / inside)
        power = 3
    else:
        raise ValueError(f"form must be 'bubeck-sellke' or 'no free prune'; got {form!r}.")
    needed = 8.0**power * components * math.log(8.0 * components / delta) / epsilon**2
    return LipschitzBound(value, form, n >= needed, needed)


def local_lipschitz(
    model: nn.Module,
    inputs: Tensor,
    *,
    mask: Mapping[str, Tensor] | None = None,
    batch_size: int = 64,
) -> FloatArray:
    """Largest singular value of the network's Jacobian by its input, at each point: exact.

    Its maximum over any points is a lower bound on the Lipschitz constant.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; not changed.
    inputs : Tensor, shape (n, ...)
        The points.
    mask : Mask, optional
        Applied to a copy.
    batch_size : int
        Points at a time: memory grows with it, the outputs and the size of an input.

    Returns
    -------
    float array, shape (n,)
        For one output, the norm of the gradient.

    Raises
    ------
    TypeError
        If model is no module, or inputs no tensor.
    ValueError
        If the model refuses the inputs, or batch_size is not positive.
    """
    check_module(model)
    checked_inputs(inputs, "inputs")
    checked_count("batch_size", batch_size)
    place = place_of(model)
    found = []
    model = _pruned(model, mask)
    with undisturbed(model):
        state = {name: tensor.detach() for name, tensor in state_of_model(model).items()}

        def output(point: Tensor) -> Tensor:
            return functional_call(model, state, (point[None],)).flatten()

        with untouched(model), torch.no_grad():
            run_checked(model, placed(inputs[:1], *place))
        for part in inputs.split(batch_size):
            jacobians = vmap(jacrev(output))(placed(part, *place))
            found.append(torch.linalg.matrix_norm(jacobians.flatten(2).double(), ord=2).cpu())
    return torch.cat(found).numpy()


def spectral_product(
    model: nn.Module, example: Tensor, *, mask: Mapping[str, Tensor] | None = None, steps: int = 100
) -> float:
    """Product of the operator norms of the layers: an upper bound on the Lipschitz constant.

    For networks that are a chain of linear and convolutional layers, batch norms in evaluation
    mode, and parts that cannot stretch (ReLU, tanh, sigmoid, pooling without overlap, dropout,
    flattening). Norms come from power iteration, hence a hair below their limit.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    example : Tensor, shape (1, ...)
        An input, to learn the sizes from.
    mask : Mask, optional
        Applied to a copy.
    steps : int
        Of the power iteration.

    Raises
    ------
    ValueError
        If the network has a part of which this is not known.
    """
    check_module(model)
    checked_inputs(example, "example")
    checked_count("steps", steps)
    model = _pruned(model, mask)
    product = 1.0
    with untouched(model), torch.no_grad():
        for module, shape in _chain(model, placed(example, *place_of(model))):
            product *= _stretch(module, shape, steps)
    return product


def _pruned(model: nn.Module, mask: Mapping[str, Tensor] | None) -> nn.Module:
    return model if mask is None else Mask.of(mask, model).apply_(copied(model))


_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d)
_FLAT = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.Flatten, nn.Dropout)


def _stretch(module: nn.Module, shape: torch.Size, steps: int) -> float:
    """Return the Lipschitz constant of one layer, or an upper bound on it."""
    if isinstance(module, _LINEAR):
        return _operator_norm(module, shape, steps)
    if isinstance(module, _FLAT):
        return 1.0
    if isinstance(module, nn.LeakyReLU):
        return max(1.0, abs(module.negative_slope))
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        apart = _pair(module.kernel_size) == _pair(module.stride)  # no value is in two windows
        divided = getattr(module, "divisor_override", None) is None
        if apart and divided and _pair(getattr(module, "dilation", 1)) == (1, 1):
            return 1.0
    raise ValueError(
        "model must be a chain of linear, convolutional and 1-Lipschitz layers for "
        f"spectral_product; it has a {module}. local_lipschitz has no such limit."
    )


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _operator_norm(module: nn.Module, shape: torch.Size, steps: int) -> float:
    """Largest singular value of the linear part of a layer, by power iteration in float64."""
    generator = torch.Generator().manual_seed(0)
    device = next(iter([*module.parameters(), *module.buffers()])).device
    state = {name: t.double() if t.is_floating_point() else t for name, t in _tensors(module)}
    vector = torch.randn(shape, generator=generator, dtype=torch.float64).to(device)
    zero = torch.zeros_like(vector)

    def linear(x: Tensor) -> Tensor:
        return functional_call(module, state, (x,))

    shift, pull = vjp(linear, zero)[:2]
    norm = 0.0
    for _ in range(steps):
        vector = vector / vector.norm()
        image = linear(vector) - shift
        norm = float(image.norm())
        if norm == 0.0:
            return 0.0
        vector = pull(image)[0]
    return norm


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _chain(model: nn.Module, example: Tensor) -> list[tuple[nn.Module, torch.Size]]:
    """Return the layers in the order of their calls, each fed by the one before and nothing else.

    What happens between layers shows as a tensor that is no view of the output before it.
    """
    calls: list[tuple[nn.Module, torch.Size]] = []
    last = [example]

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        (given,) = inputs
        _check_same_values(given, last[0], module)
        calls.append((module, given.shape))
        last[0] = output

    leaves = [module for module in model.modules() if not any(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        result = model(example)
    finally:
        for hook in hooks:
            hook.remove()
    _check_same_values(result, last[0], model)
    return calls


def _check_same_values(given: Tensor, before: Tensor, module: nn.Module) -> None:
    one, other = (tensor.untyped_storage().data_ptr() for tensor in (given, before))
    if one != other or given.numel() != before.numel():
        raise ValueError(
            "model must be a plain chain of layers for spectral_product; something else happens "
            f"around its {type(module).__name__}. local_lipschitz has no such limit."
        )

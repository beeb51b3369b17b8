"""Which of a network's parameters are weights that pruning may remove, and which are not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from mitools.models.identity import check_finite as check_finite_weights
from mitools.models.identity import check_materialized

_LAYERS = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention)
_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    *((nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()),
)


@dataclass(frozen=True, eq=False)
class Prunable(Mapping[str, nn.Parameter]):
    """The parameters that pruning may thin out, by name, and why the others stay whole.

    Attributes
    ----------
    parameters : dict of str to torch.nn.Parameter
        In the order of ``model.named_parameters()``; the model's own tensors.
    excluded : dict of str to str
        Every other parameter, with the reason.
    """

    parameters: dict[str, nn.Parameter]
    excluded: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of prunable weights."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def __getitem__(self, name: str) -> nn.Parameter:
        return self.parameters[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __str__(self) -> str:
        lines = [f"{self.size:,} prunable weights in {len(self)} tensors"]
        lines += [f"  {name} {tuple(p.shape)}" for name, p in self.items()]
        lines += [f"  not counted: {name}, {reason}" for name, reason in self.excluded.items()]
        return "\n".join(lines)


def prunable(
    model: nn.Module,
    *,
    biases: bool = False,
    norms: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    check_finite: bool = False,
) -> Prunable:
    """Return the weights that pruning may remove: those of linear and convolutional layers.

    Subclasses count too, and so do the projections of ``torch.nn.MultiheadAttention``. A tensor
    that several layers share is counted once, under its first name; it is prunable if one of the
    layers makes it so. Under ``torch.nn.utils.prune`` or a parametrisation, the tensor that is
    trained (``weight_orig``, ``parametrizations.weight.original``) is the one returned.

    Parameters
    ----------
    model : torch.nn.Module
        Any network; only read.
    biases : bool
        Count the biases of those layers too.
    norms : bool
        Count scales and shifts of normalisation layers too.
    include, exclude : sequence of str
        Names of parameters or of modules, or patterns with ``*``: what to count besides (a layer
        of your own, an embedding), what to leave whole. ``exclude`` has the last word.
    check_finite : bool
        Also refuse weights that are NaN or infinite.

    Returns
    -------
    Prunable
        A mapping from name to parameter, with ``size`` and ``excluded``.

    Raises
    ------
    ValueError
        If nothing is prunable, a weight has no values yet (lazy, meta) or, with ``check_finite``,
        a bad one, or a name in ``include`` or ``exclude`` matches no parameter.

    Examples
    --------
    >>> from mitools.models import mlp
    >>> print(prunable(mlp((4, 3, 2)), exclude=["fc2"]))
    12 prunable weights in 1 tensors
      fc1.weight (3, 4)
      not counted: fc1.bias, a bias
      not counted: fc2.weight, excluded by 'fc2'
      not counted: fc2.bias, excluded by 'fc2'
    """
    check_materialized(model)
    _check_patterns(model, include=include, exclude=exclude)
    wanted = {"a bias": biases, "part of a normalisation": norms, "": True}
    roles = _roles(model)
    chosen: dict[str, nn.Parameter] = {}
    excluded: dict[str, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        role, first = roles[id(parameter)]
        out = _matching(name, exclude)
        if name != first:
            excluded[name] = f"the same tensor as {first}"
        elif out is not None:
            excluded[name] = f"excluded by {out!r}"
        elif not parameter.is_floating_point():
            excluded[name] = f"of dtype {parameter.dtype}"
        elif wanted.get(role, False) or _matching(name, include) is not None:
            chosen[name] = parameter
        else:
            excluded[name] = role
    if not sum(parameter.numel() for parameter in chosen.values()):
        raise ValueError(_nothing(model, excluded))
    if check_finite:
        check_finite_weights(dict(chosen))
    return Prunable(chosen, excluded)


def _roles(model: nn.Module) -> dict[int, tuple[str, str]]:
    """Return why each parameter, by identity, is not prunable ("" if it is), and its first name."""
    roles: dict[int, tuple[str, str]] = {}
    for prefix, module in model.named_modules():
        for local, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{prefix}.{local}" if prefix else local
            known, first = roles.get(id(parameter), (None, name))
            role = _role(model, prefix, module, local)
            roles[id(parameter)] = (role if known is None or role == "" else known, first)
    return roles


def _role(model: nn.Module, prefix: str, module: nn.Module, local: str) -> str:
    if isinstance(module, nn.utils.parametrize.ParametrizationList):
        # model.fc.parametrizations.weight.original plays the part of model.fc.weight
        owner, _, local = prefix.rpartition(".parametrizations.")
        module = model.get_submodule(owner) if owner else model
    local = local.removesuffix("_orig")
    if isinstance(module, _NORMS):
        return "part of a normalisation"
    if isinstance(module, _LAYERS):
        if local == "weight" or local.endswith("proj_weight"):
            return ""
        if local in ("bias", "in_proj_bias"):
            return "a bias"
    return f"in a {type(module).__name__}, neither a linear nor a convolutional layer's weight"


def _matching(name: str, patterns: Sequence[str]) -> str | None:
    """Return the first pattern that names this parameter or a module around it."""
    for pattern in patterns:
        if fnmatchcase(name, pattern) or name.startswith(pattern + "."):
            return pattern
    return None


def _check_patterns(model: nn.Module, **patterns: Sequence[str]) -> None:
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    for argument, given in patterns.items():
        if isinstance(given, str):
            raise TypeError(
                f"{argument} must be a sequence of names; got the string {given!r}. "
                f"Write [{given!r}]."
            )
        for pattern in given:
            if not any(_matching(name, [pattern]) for name in names):
                raise ValueError(
                    f"{argument} must name parameters or modules of the model; {pattern!r} matches "
                    f"none. Parameters: {', '.join(names)}."
                )


def _nothing(model: nn.Module, excluded: dict[str, str]) -> str:
    found = (
        "; ".join(f"{name}: {reason}" for name, reason in excluded.items())
        or "no parameters at all"
    )
    return (
        f"model must have something to prune; the {type(model).__name__} has {found}. Only weights "
        "of linear and convolutional layers count by themselves: name others with include=[...], "
        "or ask for biases=True or norms=True."
    )

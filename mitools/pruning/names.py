"""Where the tensors of a network live, and which of them a name in a mask means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from mitools._validation import MaskError

ACCEPTED = (
    "name -> 0/1 tensor or array, names with or without '.weight' and with 'module.', 'model.' or "
    "'_orig_mod.' in front; module -> tensor; a list of tensors in module order; "
    "{module: {'weight': tensor}}; a .safetensors, .npz or torch file of one of these; "
    "or a model that carries its mask"
)
"""The formats `Mask.of` reads, for error messages."""

_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_MOST_LISTED = 12


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """One tensor of a network: the parameter that stores it and the attribute that code reads.

    The two differ under ``torch.nn.utils.prune`` (stored in ``weight_orig``, read from ``weight``)
    and under a parametrization.
    """

    name: str
    parameter: nn.Parameter
    module: nn.Module
    attribute: str

    @property
    def derived(self) -> Tensor | None:
        """The plain tensor that ``torch.nn.utils.prune`` left where the parameter used to be."""
        value = self.module.__dict__.get(self.attribute)
        return value if isinstance(value, Tensor) and value is not self.parameter else None


def places(model: nn.Module) -> dict[str, Place]:
    """Return every parameter by each name it goes by, tied ones under all their names.

    A tensor that is stored under one name and read under another appears under both; the name
    that is read, such as ``fc.weight``, is `Place.name`.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    found: dict[str, Place] = {}
    for stored, parameter in model.named_parameters(remove_duplicate=False):
        owner, _, attribute = stored.rpartition(".")
        owner, attribute = _read_from(modules, owner, attribute)
        name = f"{owner}.{attribute}" if owner else attribute
        place = Place(name, parameter, modules[owner], attribute)
        found[name] = place
        found.setdefault(stored, place)
    return found


def _read_from(modules: Mapping[str, nn.Module], owner: str, attribute: str) -> tuple[str, str]:
    """Return the module and attribute from which code reads what is stored in owner.attribute."""
    if attribute.endswith("_orig"):
        read = attribute.removesuffix("_orig")
        if f"{read}_mask" in modules[owner]._buffers:
            return owner, read
    above, _, tensor_name = owner.rpartition(".")
    if above == "parametrizations" or above.endswith(".parametrizations"):
        # "original1" is the direction of a weight norm: its zeros are zeros of the weight.
        weight_norm = attribute == "original1" and type(modules[f"{owner}.0"]).__name__ == (
            "_WeightNorm"
        )
        if attribute == "original" or weight_norm:
            return above.removesuffix("parametrizations").removesuffix("."), tensor_name
    return owner, attribute


def plain_name(name: str) -> str:
    """Return the name without wrappers in front and without ``.weight`` at the end."""
    parts = [part for part in name.split(".")[:-1] if part not in _WRAPPERS]
    parts.append(name.split(".")[-1])
    while len(parts) > 1 and parts[0] == "model":
        parts = parts[1:]
    if parts[-1] == "weight":
        parts = parts[:-1]
    return ".".join(parts)


def matches(wanted: Iterable[str], available: Iterable[str]) -> dict[str, str]:
    """Return which available name each wanted name means; those without a match are left out.

    Equal names match first. What remains matches where the plain names are equal and nothing
    else has that plain name.
    """
    available = list(available)
    exact = set(available)
    found = {name: name for name in wanted if name in exact}
    taken = set(found)
    by_plain: dict[str, list[str]] = {}
    for name in available:
        if name not in taken:
            by_plain.setdefault(plain_name(name), []).append(name)
    rest = [name for name in wanted if name not in found]
    plain_wanted = [plain_name(name) for name in rest]
    for name, plain in zip(rest, plain_wanted, strict=True):
        candidates = by_plain.get(plain, [])
        if len(candidates) == 1 and plain_wanted.count(plain) == 1:
            found[name] = candidates[0]
    return found


def fit(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Place]:
    """Return where each tensor of a mask belongs in the model.

    Raises
    ------
    MaskError
        If a name or a shape does not fit, or two names mean one tied tensor; all are listed.
    """
    known = places(model)
    names = matches(list(tensors), known)
    found: dict[str, Place] = {}
    problems: list[str] = []
    owners: dict[int, str] = {}
    for name, tensor in tensors.items():
        if name not in names:
            problems.append(f"{name!r} {tuple(tensor.shape)}: the model has no such parameter")
            continue
        place = known[names[name]]
        first = owners.setdefault(id(place.parameter), name)
        if isinstance(place.parameter, UninitializedParameter):
            problems.append(f"{name!r}: not initialised yet; run the model on one batch first")
        elif place.parameter.shape != tensor.shape:
            problems.append(
                f"{name!r}: mask {tuple(tensor.shape)}, model {tuple(place.parameter.shape)}"
            )
        elif first != name:
            problems.append(f"{name!r} and {first!r} are one tied tensor: name it once")
        found[name] = place
    if problems:
        raise misfit(problems, known)
    return found


def misfit(problems: list[str], known: Mapping[str, Place]) -> MaskError:
    """Return the error that lists what does not fit, what the model has, and what is accepted."""
    unique = {place.name: place.parameter for place in known.values()}
    has = [
        f"{name!r} {'(lazy)' if isinstance(p, UninitializedParameter) else tuple(p.shape)}"
        for name, p in unique.items()
    ]
    return MaskError(
        f"mask must fit the model, name by name and shape by shape; it does not in {len(problems)} "
        f"place{'s' if len(problems) != 1 else ''}: {_listed(problems)}. "
        f"The model has {_listed(has)}. Was the mask made for another model? "
        f"Accepted formats: {ACCEPTED}."
    )


def _listed(items: list[str]) -> str:
    rest = f"; and {len(items) - _MOST_LISTED} more" if len(items) > _MOST_LISTED else ""
    return "; ".join(items[:_MOST_LISTED]) + rest

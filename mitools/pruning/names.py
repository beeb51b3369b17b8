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
    """Return the name without wrappers, without ``.weight``, and as it is read, not stored.

    Examples
    --------
    >>> plain_name("module.model.fc.weight"), plain_name("fc.weight_orig"), plain_name("fc")
    ('fc', 'fc', 'fc')
    """
    name = name.removesuffix("_orig")
    if name.endswith((".original", ".original1")):
        name = f".{name}".rpartition(".")[0].replace(".parametrizations.", ".").removeprefix(".")
    *front, last = name.split(".")
    parts = [part for part in front if part not in _WRAPPERS]
    while parts and parts[0] == "model":
        parts = parts[1:]
    return ".".join(parts if last == "weight" else [*parts, last])


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
    exact = {name: name for name in tensors if name in known}
    taken = {known[name].name for name in exact}
    unique = [place.name for place in known.values() if place.name not in taken]
    names = exact | matches([n for n in tensors if n not in exact], dict.fromkeys(unique))
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


def paired(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the tensors of two masks side by side, by the names and on the devices of the first.

    Raises
    ------
    MaskError
        If they do not cover the same tensors.
    """
    names = matches(list(first), list(second))
    odd = [f"{n!r} only in the first" for n in first if n not in names]
    odd += [f"{n!r} only in the second" for n in second if n not in set(names.values())]
    odd += [
        f"{n!r} {tuple(first[n].shape)} and {tuple(second[m].shape)}"
        for n, m in names.items()
        if first[n].shape != second[m].shape
    ]
    if odd:
        raise MaskError(
            f"masks must cover the same tensors; these differ: {_listed(odd)}. "
            "Were they made for the same model?"
        )
    return {n: (first[n], second[names[n]].to(first[n].device)) for n in first}


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

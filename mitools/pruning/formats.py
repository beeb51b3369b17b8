"""Masks as other tools keep them: read into named boolean tensors, and written back."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from mitools._validation import MaskError
from mitools.models import copied, prunable
from mitools.pruning.binary import as_bool
from mitools.pruning.mask_files import read_file
from mitools.pruning.names import ACCEPTED, Place, fit, misfit, places

Tensors = dict[str, Tensor]


def read(given: Any, model: nn.Module | None) -> tuple[Tensors, str]:
    """Return the tensors of a mask in any accepted format, and in words where they came from.

    With a model, the tensors carry the model's names, in the model's order.

    Raises
    ------
    MaskError
        If the format is unknown, needs a model, or does not fit it.
    FileFormatError
        If a file is corrupt or would run code.
    """
    if isinstance(given, nn.Module):
        given, model = None, given
    named, source = _named(given, model)
    tensors = {name: as_bool(name, named.pop(name)) for name in list(named)}
    return (tensors if model is None else renamed(tensors, model)), source


def renamed(tensors: Mapping[str, Tensor], model: nn.Module) -> Tensors:
    """Return the tensors under the model's names, in its order; tied ones that agree only once."""
    known = places(model)
    once: Tensors = {}
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        owner = known[name].parameter if name in known else None
        twin = first.setdefault(id(owner), name) if owner is not None else name
        if twin == name or tensor.shape != tensors[twin].shape:
            once[name] = tensor
        elif not torch.equal(tensor, tensors[twin]):
            raise misfit(
                [f"{name!r} and {twin!r} are one tied tensor, but their masks differ"], known
            )
    found = fit(once, model)
    names = {name: name if name in known else place.name for name, place in found.items()}
    order = {name: position for position, name in enumerate(known)}
    return {names[n]: once[n] for n in sorted(once, key=lambda n: order[names[n]])}


def _named(given: Any, model: nn.Module | None) -> tuple[dict[str, Any], str]:
    if given is None:
        if model is None:
            raise MaskError(f"a mask, or a model that carries one, is needed; got neither. {_CURE}")
        return _from_model(model)
    if isinstance(given, (str, os.PathLike)):
        content, kind = read_file(given)
        return _named(content, model)[0], f"{kind} {os.path.basename(os.fspath(given))}"
    if isinstance(given, Mapping):
        return _from_mapping(given, model)
    if isinstance(given, (Tensor, np.ndarray)):
        given = [given]
    if isinstance(given, Sequence):
        return _from_sequence(given, model), "a list in module order"
    raise MaskError(
        f"mask must be in a known format; got {type(given).__name__}. {_CURE} "
        "If it is data: the order is (model, mask, loader)."
    )


_CURE = f"Accepted formats: {ACCEPTED}."


def _from_model(model: nn.Module) -> tuple[dict[str, Any], str]:
    """Return the mask that the model carries; failing that, where its weights are not zero."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    for name, chain in model.named_modules():
        if isinstance(chain, parametrize.ParametrizationList):
            for step, parametrization in chain.named_children():
                mask = getattr(parametrization, "mask", None)
                if isinstance(mask, Tensor):
                    tensors[f"{name}.{step}.mask"] = mask
    found = carried(tensors)
    if found is not None:
        return found
    nonzero = {name: p.detach() != 0 for name, p in prunable(model).items()}
    if all(bool(kept.all()) for kept in nonzero.values()):
        return nonzero, "the model: no mask and no exact zeros, so every weight counts as kept"
    return nonzero, "exact zeros in the model's weights"


def carried(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
    """Return the masks among the entries of a state dict, by the name of what they mask.

    Looks for one tool after the other; None where none left a mask.
    """
    for source, finder in _FINDERS.items():
        found: dict[str, Any] = {}
        for key, value in tensors.items():
            owner, _, attribute = key.rpartition(".")
            name = finder(tensors, f"{owner}." if owner else "", attribute)
            if name is not None:
                found[name] = value if name not in found else found[name] * value
        if source == "Synaptic-Flow buffers":
            found = _pruned_by_synflow(found)
        if found:
            return found, source
    return None


def _torch_prune(tensors: Mapping[str, Any], owner: str, attribute: str) -> str | None:
    name = attribute.removesuffix("_mask")
    return f"{owner}{name}" if name != attribute and f"{owner}{name}_orig" in tensors else None


def _parametrization(tensors: Mapping[str, Any], owner: str, attribute: str) -> str | None:
    above, _, rest = f".{owner}".rpartition(".parametrizations.")
    if attribute != "mask" or rest.count(".") != 2:  # "weight.0."
        return None
    return f"{above}.{rest.split('.')[0]}".removeprefix(".")


def _synflow(tensors: Mapping[str, Any], owner: str, attribute: str) -> str | None:
    name = attribute.removesuffix("_mask")
    return f"{owner}{name}" if name != attribute and f"{owner}{name}" in tensors else None


def _prospr(tensors: Mapping[str, Any], owner: str, attribute: str) -> str | None:
    return f"{owner}weight" if attribute == "keep_mask" else None


def _open_lth(tensors: Mapping[str, Any], owner: str, attribute: str) -> str | None:
    name = attribute.removeprefix("mask_").replace("___", ".")
    if attribute.startswith("mask_"):
        for candidate in (f"{owner}model.{name}", f"{owner}{name}"):
            if candidate in tensors:
                return candidate
    return None


_FINDERS = {
    "torch.nn.utils.prune buffers": _torch_prune,
    "the masks of parametrizations": _parametrization,
    "Synaptic-Flow buffers": _synflow,
    "keep_mask buffers": _prospr,
    "open_lth buffers": _open_lth,
}


def _pruned_by_synflow(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out its masks of ones on biases and norms, which it does not prune by default."""
    return {n: m for n, m in found.items() if m.dim() > 1 or not bool((m == 1).all())}


def _from_mapping(given: Mapping[Any, Any], model: nn.Module | None) -> tuple[dict[str, Any], str]:
    if isinstance(given.get("state_dict"), Mapping):
        given = given["state_dict"]
    if all(isinstance(key, str) for key in given):
        found = carried({k: v for k, v in given.items() if isinstance(v, Tensor)})
        if found is not None:
            return found
    named: dict[str, Any] = {}
    nested = False
    for key, value in given.items():
        owner = _module_name(key, model) if isinstance(key, nn.Module) else key
        if not isinstance(owner, str):
            raise MaskError(f"a mask's keys must be names or modules; got {owner!r}. {_CURE}")
        prefix = f"{owner}." if owner else ""
        if isinstance(value, Mapping):
            nested = True
            # NNI also lists masks of inputs and outputs; None stands for "not pruned".
            named |= {
                f"{prefix}{target}": mask
                for target, mask in value.items()
                if not str(target).startswith("_") and mask is not None
            }
        else:
            named[f"{prefix}weight" if isinstance(key, nn.Module) else owner] = value
    if not named:
        raise MaskError(f"a mask must hold at least one tensor; got an empty mapping. {_CURE}")
    return named, "masks by module and target" if nested else "given"


def _module_name(module: nn.Module, model: nn.Module | None) -> str:
    if model is None:
        raise MaskError("a mask keyed by modules needs its model; got none. Pass model=.")
    for name, candidate in model.named_modules(remove_duplicate=False):
        if candidate is module:
            return name
    raise MaskError(
        f"a mask's modules must belong to the model; a {type(module).__name__} does not. "
        "Was the mask made for a copy? Key it by names, from model.named_modules()."
    )


def _from_sequence(given: Sequence[Any], model: nn.Module | None) -> dict[str, Any]:
    """Name the tensors of a list by the model's prunable weights, in module order."""
    if model is None:
        raise MaskError("a mask without names needs its model; got none. Pass model=.")
    expected = dict(prunable(model))
    everything = dict(model.named_parameters())
    if len(given) != len(expected) and len(given) == len(everything):
        expected = everything  # one mask for each parameter, as ProsPr returns
    shapes = [tuple(np.shape(item)) for item in given]
    problems = [
        f"number {i} {shape} stands where {name!r} {tuple(p.shape)} should"
        for i, (shape, (name, p)) in enumerate(zip(shapes, expected.items(), strict=False))
        if shape != tuple(p.shape)
    ]
    if len(given) != len(expected):
        problems.insert(0, f"{len(given)} masks for {len(expected)} prunable tensors")
    if problems:
        raise misfit(problems, places(model))
    return dict(zip(expected, given, strict=True))


def to_torch_prune(tensors: Mapping[str, Tensor], model: nn.Module) -> nn.Module:
    """Return a copy of the model that carries the mask as ``torch.nn.utils.prune`` does."""
    pruned = copied(model)
    found = fit(tensors, pruned)
    masks = {id(place.parameter): tensors[name] for name, place in found.items()}
    for place in {(id(p.module), p.attribute): p for p in places(pruned).values()}.values():
        if id(place.parameter) in masks:
            _attach(place, masks[id(place.parameter)])
    return pruned


def _attach(place: Place, mask: Tensor) -> None:
    module, name = place.module, place.attribute
    if f"{name}_orig" in module._parameters:  # pruned before: its hook reads this buffer
        with torch.no_grad():
            buffer = module.get_buffer(f"{name}_mask")
            setattr(module, name, place.parameter * buffer.copy_(mask))
        return
    if module._parameters.get(name) is not place.parameter:
        raise ValueError(
            "model must keep the masked weights as plain parameters for torch.nn.utils.prune; "
            f"{place.name!r} is parametrised. Remove its parametrizations first."
        )
    prune.custom_from_mask(module, name, mask.to(place.parameter.device))


def to_open_lth(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return what open_lth keeps in ``mask.pth``: name of the tensor -> 0/1 integers."""
    return {_full(name): tensor.to("cpu", torch.int32) for name, tensor in tensors.items()}


def to_synflow(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return Synaptic-Flow's buffers, for ``load_state_dict(..., strict=False)``."""
    return {f"{_full(name)}_mask": tensor.to(torch.float32) for name, tensor in tensors.items()}


def to_nni(tensors: Mapping[str, Tensor]) -> dict[str, Tensors]:
    """Return NNI's nested masks: name of the module -> {"weight": 0/1 floats}."""
    nested: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        module, _, target = _full(name).rpartition(".")
        nested.setdefault(module, {})[target] = tensor.to(torch.float32)
    return nested


def to_numpy(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return boolean arrays by name, copied."""
    return {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()}


def _full(name: str) -> str:
    """Return the name of the tensor, where only its module may have been named."""
    last = name.rpartition(".")[2]
    return name if "weight" in last or "bias" in last else f"{name}.weight"

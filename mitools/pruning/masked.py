"""Run a network with pruned weights at zero, without changing or copying it."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mitools.models import eagerly
from mitools.pruning.binary import BLOCK
from mitools.pruning.names import Place, fit

_BY_ROWS = frozenset({F.linear, F.conv1d, F.conv2d, F.conv3d})
# Getters that hand out values; every other one tells a fact that masking does not change.
_VALUES = frozenset(
    getattr(torch.Tensor, name).__get__ for name in ("T", "mT", "H", "mH", "data", "real", "imag")
)
_FACTS = frozenset(
    {
        "size",
        "dim",
        "ndimension",
        "numel",
        "nelement",
        "stride",
        "storage_offset",
        "element_size",
        "data_ptr",
        "get_device",
        "is_floating_point",
        "is_complex",
        "is_signed",
        "is_contiguous",
        "is_pinned",
        "is_shared",
        "is_inference",
        "is_same_size",
        "is_conj",
        "is_neg",
        "has_names",
        "storage",
        "untyped_storage",
        "register_hook",
        "register_post_accumulate_grad_hook",
        "retain_grad",
        "result_type",
        "can_cast",
        "__len__",
        "__hash__",
        "__reduce_ex__",
    }
)


@contextmanager
def masked(model: nn.Module, mask: Mapping[str, Tensor]) -> Iterator[nn.Module]:
    """Within this context ``model(x)`` computes with the weights m ⊙ w.

    The model is neither copied nor changed. Large linear and convolutional layers are computed
    in blocks of output rows, so that without gradients at most some 16 MiB (float32) of masked
    weights exist at a time; any other function receives a masked copy of its weights while it
    runs. With gradients enabled, those of pruned weights are 0.

    Parameters
    ----------
    model : Module
        Also one with tied weights, ``torch.nn.utils.prune`` or parametrizations. Its in-place
        methods act on the true weights.
    mask : Mask or mapping of str to bool tensor
        Weights that it does not name are used as they are.

    Yields
    ------
    Module
        `model` itself.

    Raises
    ------
    MaskError
        If the mask does not fit the model.
    ValueError
        If the model hides its weights from Python: TorchScript, or DataParallel on many devices.

    Examples
    --------
    >>> from mitools.pruning.mask import Mask
    >>> model = nn.Linear(2, 1, bias=False)
    >>> with torch.no_grad(), masked(model, Mask({"weight": [[0, 0]]})):
    ...     model(torch.ones(1, 2))
    tensor([[0.]])
    """
    _check_visible(model)
    found = fit(mask, model)
    kept = _Kept(found, mask, model)
    # The hook of torch.nn.utils.prune stores what it computes on the module; put it back after.
    derived = [(p.module, p.attribute, p.derived) for p in found.values() if p.derived is not None]
    with ExitStack() as stack:
        stack.enter_context(eagerly())  # compiled code need not ask the mode
        try:
            stack.enter_context(_MaskedWeights(kept))
            yield model
        finally:
            for module, attribute, tensor in derived:
                module.__dict__[attribute] = tensor


def _check_visible(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            what, cure = "is compiled to TorchScript", "Pass the Python model"
        elif isinstance(module, nn.DataParallel) and len(module.device_ids or ()) > 1:
            what, cure = "copies its weights to several devices", "Pass model.module"
        else:
            continue
        raise ValueError(
            "model must run its layers in Python, one copy of each; "
            f"{name or 'it'!r} {what}. {cure}."
        )
    if "torch._dynamo" in sys.modules and not hasattr(torch.compiler, "set_stance"):
        compiled = sys.modules["torch._dynamo"].OptimizedModule
        if any(isinstance(module, compiled) for module in model.modules()):
            raise ValueError(
                "model must run its layers in Python; it is compiled, and torch "
                f"{torch.__version__} cannot suspend that. Pass model._orig_mod, or update torch."
            )


class _Kept:
    """Which tensors of a model are masked, by identity; they are held, so that ids stay theirs."""

    def __init__(
        self, found: Mapping[str, Place], mask: Mapping[str, Tensor], model: nn.Module
    ) -> None:
        self._entries: dict[int, tuple[Tensor, Tensor]] = {}
        for name, place in found.items():
            kept = mask[name].to(place.parameter.device)
            if bool(kept.all()):
                continue
            for tensor in (place.parameter, place.derived):
                if tensor is not None:
                    self._entries[id(tensor)] = (tensor, kept)
        self._add_shared_storage(model)

    def _add_shared_storage(self, model: nn.Module) -> None:
        """Mask what is tied by memory rather than by being one object, as zeros in it would be."""
        owners: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for owner, kept in self._entries.values():
            owners.setdefault(owner.untyped_storage().data_ptr(), []).append((owner, kept))
        for tensor in (*model.parameters(), *model.buffers()):
            if id(tensor) in self._entries or tensor.layout != torch.strided or not tensor.numel():
                continue
            for owner, kept in owners.get(tensor.untyped_storage().data_ptr(), ()):
                same = _seen_through(tensor, owner, kept)
                if same is not None:
                    self._entries[id(tensor)] = (tensor, same)

    def __contains__(self, value: object) -> bool:
        return id(value) in self._entries

    def of(self, tensor: Tensor) -> Tensor:
        return self._entries[id(tensor)][1]

    def applied(self, value: Any) -> Any:
        """Return the value with every masked tensor in it, however nested, replaced by m ⊙ w."""
        if isinstance(value, Tensor):
            return _product(value, self.of(value)) if value in self else value
        if isinstance(value, dict):
            return {key: self.applied(item) for key, item in value.items()}
        if isinstance(value, list) or type(value) is tuple:
            return type(value)(self.applied(item) for item in value)
        return value

    def anywhere(self, value: Any) -> bool:
        if isinstance(value, Tensor):
            return value in self
        if isinstance(value, dict):
            return any(self.anywhere(item) for item in value.values())
        return isinstance(value, (list, tuple)) and any(self.anywhere(item) for item in value)


def _seen_through(tensor: Tensor, owner: Tensor, kept: Tensor) -> Tensor | None:
    """Return the mask of a tensor that lies in its owner's memory; None where it lies beside it."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    first = tensor.storage_offset() - owner.storage_offset()
    last = first + sum((n - 1) * step for n, step in steps)
    if last < 0 or first >= owner.numel():
        return None
    if first < 0 or last >= owner.numel() or not owner.is_contiguous():
        raise ValueError(
            "model must not have parameters whose memory overlaps in part; two of shapes "
            f"{tuple(tensor.shape)} and {tuple(owner.shape)} do. Tie the whole parameter instead."
        )
    return kept.contiguous().as_strided(tensor.shape, tensor.stride(), first)


def _product(weights: Tensor, kept: Tensor) -> Tensor:
    return torch.where(kept, weights, 0)  # not a product: 0 * inf would be NaN, 0 * -1 is -0


class _MaskedWeights(TorchFunctionMode):
    """Hands m ⊙ w to every function that is given w."""

    def __init__(self, kept: _Kept) -> None:
        super().__init__()
        self._kept = kept

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        kept = self._kept
        if not kept.anywhere(args) and not kept.anywhere(kwargs):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in _FACTS or (name == "__get__" and func not in _VALUES):
            return func(*args, **kwargs)
        if (name.endswith("_") and not name.endswith("__")) or name in ("__setitem__", "__set__"):
            return func(args[0], *kept.applied(args[1:]), **kept.applied(kwargs))
        if func in _BY_ROWS:
            weight = args[1] if len(args) > 1 else kwargs.get("weight")
            if (
                isinstance(weight, Tensor)
                and weight in kept
                and _worth_blocks(weight, args, kwargs)
            ):
                return self._by_rows(func, args, kwargs)
        return func(*kept.applied(args), **kept.applied(kwargs))

    def _by_rows(self, func: Callable, args: tuple, kwargs: dict) -> Tensor:
        """Compute a linear or convolutional layer in blocks of output rows."""
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        weight = given.pop("weight")
        kept = self._kept.of(weight)
        inputs = self._kept.applied(given.pop("input"))
        bias = self._kept.applied(given.pop("bias", None))
        channels = -1 if func is F.linear else inputs.dim() - weight.dim() + 1
        rows = max(1, BLOCK // (weight.numel() // len(weight)))
        output = None
        for start in range(0, len(weight), rows):
            part = slice(start, min(start + rows, len(weight)))
            block = func(
                inputs,
                _product(weight[part], kept[part]),
                None if bias is None else bias[part],
                *args[3:],
                **given,
            )
            if output is None:
                shape = list(block.shape)
                shape[channels] = len(weight)
                output = block.new_empty(shape)
            output.narrow(channels, start, part.stop - start).copy_(block)
        assert output is not None  # a layer worth blocks has rows
        return output


def _worth_blocks(weight: Tensor, args: tuple, kwargs: dict) -> bool:
    groups = args[6] if len(args) > 6 else kwargs.get("groups", 1)
    return weight.numel() > BLOCK and len(weight) > 1 and groups == 1

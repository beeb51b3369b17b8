"""Reachability in a network: run in this mode, it computes what its inputs can touch.

Tensors are of three kinds. A *flow* is nonnegative, and positive where some input reaches; it is
what requires a gradient. A *weight* is a parameter, or made from parameters alone: 1 where kept, 0
where pruned. All else is constant, and carries no flow.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mitools.pruning.flow_rules import ADDED, BY_NAME, MULTIPLIED, SHAPED, THROUGH, UNITED, plain

_CHANGING = frozenset({"__iadd__", "__isub__", "__imul__", "__itruediv__"})


class Flow(TorchFunctionMode):
    """Within this mode a network computes flows instead of values.

    Parameters
    ----------
    stand_ins : sequence of pairs of tensors
        Each parameter, and the zeros and ones that replace it; those that require a gradient
        will have a positive one where the weight lies between a flow and the output.
    source : Tensor
        A single 1 that requires a gradient: where flow comes from when inputs are integers.
    """

    def __init__(self, stand_ins: Sequence[tuple[Tensor, Tensor]], source: Tensor) -> None:
        super().__init__()
        # By identity; the tensors are held so that no other tensor gets their id.
        self._replaced = {id(tensor): (tensor, stand_in) for tensor, stand_in in stand_ins}
        self._weights = {id(stand_in): stand_in for _, stand_in in stand_ins}
        self.source = source

    def flows(self, value: Any) -> bool:
        """Return whether a value is a flow."""
        return isinstance(value, Tensor) and value.requires_grad and id(value) not in self._weights

    def is_weight(self, value: Any) -> bool:
        """Return whether a value is a weight."""
        return isinstance(value, Tensor) and id(value) in self._weights

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        args, given = self._replace(args), self._replace(kwargs or {})
        name = plain(func)
        tensors = list(tensors_in((args, given)))
        changes = _changes(func)
        if any(map(self.flows, tensors)):
            result = self._passed_on(func, name, args, given)
            if changes and isinstance(result, Tensor) and result is not args[0]:
                return args[0].copy_(result)
            return result
        if any(map(self.is_weight, tensors)):
            first = next(filter(self.is_weight, tensors))
            return first if changes else self._of_weights(func, name, first, args, given)
        return func(*args, **given)

    def _replace(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._replaced.get(id(value), (None, value))[1]
        if isinstance(value, dict):
            return {key: self._replace(item) for key, item in value.items()}
        if isinstance(value, list) or type(value) is tuple:
            return type(value)(self._replace(item) for item in value)
        return value

    def _of_weights(
        self, func: Callable, name: str, first: Tensor, args: tuple, kwargs: dict
    ) -> Any:
        """Compute from weights alone: reshaped, masked, multiplied or rescaled weights."""
        if name == "embedding":
            return BY_NAME[name](self, *args, **kwargs)
        if name in MULTIPLIED and len(args) > 1:
            result = func(*(a if self.is_weight(a) else nonzero(a, first) for a in args[:2]))
        elif name in SHAPED:
            result = func(*args, **kwargs)
        else:
            with torch.no_grad():
                result = func(*args, **kwargs)
            if not isinstance(result, Tensor) or not result.is_floating_point():
                return result
            if result.shape != first.shape:
                return torch.ones_like(result)  # a scale, such as a norm: no weight itself
            result = first
        self.know([tensor for tensor in tensors_in(result) if tensor.is_floating_point()])
        return result

    def know(self, tensors: Iterable[Tensor]) -> None:
        """Remember that these tensors are weights."""
        self._weights |= {id(tensor): tensor for tensor in tensors}

    def _passed_on(self, func: Callable, name: str, args: tuple, kwargs: dict) -> Any:
        if name in BY_NAME:
            return BY_NAME[name](self, *args, **kwargs)
        if name in THROUGH:
            return next(filter(self.flows, tensors_in((args, kwargs))))
        if name in UNITED:
            return self.united([*args, *kwargs.values()])
        if name in MULTIPLIED:
            operands = [*args, *kwargs.values()][:2]
            return self.multilinear(lambda a, b: func(a, b), operands)
        if name in SHAPED or name in ADDED or name.startswith("."):
            return func(*args, **kwargs)
        raise NotImplementedError(f"no rule says how reachability passes through {name!r}")

    def united(self, operands: Sequence[Any]) -> Tensor:
        """Unite flows. Constants add none; a weight that is added only feels the way out."""
        tensors = [value for value in operands if isinstance(value, Tensor)]
        shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
        flows = [tensor for tensor in tensors if self.flows(tensor)]
        total = flows[0].expand(shape)
        for tensor in flows[1:]:
            total = total + tensor
        for tensor in tensors:
            if self.is_weight(tensor) and tensor.requires_grad:
                total = total + self.as_added(tensor)
        return total

    def as_added(self, value: Tensor) -> Tensor:
        """Return a flow as it is, a constant as zeros, a weight as zeros that feel a gradient."""
        if self.flows(value):
            return value
        if self.is_weight(value) and value.requires_grad:
            return value - value.detach()
        return torch.zeros_like(value, dtype=self.source.dtype)

    def multilinear(self, call: Callable[..., Tensor], operands: Sequence[Any]) -> Tensor:
        """Pass flows through what is linear in each operand, from each flow in turn.

        Operands become zeros and ones, so that every result is a whole number: rounding, even in
        convolutions by transforms, cannot turn 0 into 1.
        """
        ready = [self._as_factor(operand) for operand in operands]
        flows = [i for i, operand in enumerate(operands) if self.flows(operand)]
        total: Tensor | None = None
        for i in flows:
            others = [torch.ones_like(r) if j in flows else r for j, r in enumerate(ready)]
            part = call(*others[:i], ready[i], *others[i + 1 :])
            total = part if total is None else total + part
        return _Signs.apply(total, 0.5, 0.0)

    def _as_factor(self, operand: Any) -> Tensor:
        if self.flows(operand):
            return _Signs.apply(operand, 0.0, 0.5)
        if self.is_weight(operand):
            return _Counted.apply(operand) if operand.requires_grad else operand
        return nonzero(operand, self.source)


def nonzero(value: Any, like: Tensor) -> Tensor:
    """Return 1 where a constant is not zero, else 0."""
    return (torch.as_tensor(value, device=like.device) != 0).to(like.dtype)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested tuples, lists, mappings and plain objects."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def _changes(func: Callable) -> bool:
    name = getattr(func, "__name__", "")
    return name in _CHANGING or (name.endswith("_") and not name.endswith("__"))


class _Signs(torch.autograd.Function):
    """1 where a number exceeds a threshold, else 0; the gradient likewise, with its own."""

    @staticmethod
    def forward(ctx: Any, flow: Tensor, above: float, above_back: float) -> Tensor:
        ctx.above = above_back
        return (flow > above).to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return (grads[0] > ctx.above).to(torch.float32), None, None


class _Counted(torch.autograd.Function):
    """The same numbers; gradients, which count paths, become 0 and 1."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return (grads[0] > 0.5).to(grads[0].dtype)


def check_known(outputs: Iterable[Tensor]) -> None:
    """Raise NotImplementedError if a path passes an `autograd.Function` of somebody else's.

    What happens in one is hidden from the mode: it sees true weights, and differentiates itself.
    """
    todo: list[Any] = [output.grad_fn for output in outputs]
    seen: set[Any] = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        todo += [after for after, _ in node.next_functions]
        made_by = getattr(node, "_forward_cls", None)
        if made_by not in (None, _Signs, _Counted):
            raise NotImplementedError(
                f"no rule says how reachability passes through {made_by.__name__!r}"
            )

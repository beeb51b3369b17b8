"""K copies of one network along a new first axis, which take their training steps together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, vmap

from mitools.models import copied, tensors_of
from mitools.training.loop import Training, on_threads
from mitools.training.losses import Loss, modes_kept
from mitools.training.passes import Passes
from mitools.training.state import TrainState, copy_of


@dataclass(frozen=True, eq=False)
class StackedData:
    """K data sets in memory, of one shape; and the rows of each batch, the same for all."""

    inputs: Tensor
    targets: Tensor
    rows: Passes
    shared: bool
    """Whether all have the same inputs, which are then kept once."""

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs and targets of all networks at these rows."""
        inputs = self.inputs[rows] if self.shared else self.inputs[:, rows]
        return inputs, self.targets[:, rows]


class Stack:
    """K copies of a network, stacked along a new first axis, and their optimiser."""

    def __init__(
        self,
        model: nn.Module,
        data: StackedData,
        loss: Loss,
        training: Training,
        dead: Mapping[str, Tensor],
    ) -> None:
        self._model = model
        self._data = data
        self._loss = loss
        self._training = training
        self._count = len(data.targets)
        self.numbers = 0
        """Numbers of one network that one step touches."""
        trainable = [name for name, p in model.named_parameters() if p.requires_grad]
        self._tensors = {
            name: t.expand(self._count, *t.shape).clone() for name, t in tensors_of(model).items()
        }
        self._leaves = {name: nn.Parameter(self._tensors[name]) for name in trainable}
        self._dead = {name: where for name, where in dead.items() if where.any()}
        self._optimizer = training.optimizer.build(self._leaves.values())

    def can_be_mapped(self) -> bool:
        """Try one forward pass: does it give what the networks give one by one?

        The second network gets other weights, so that a module that does not use those it is given
        is found out. Leaves the size of a step in `numbers`.
        """
        inputs, targets = self._data.batch(next(iter(self._data.rows.of(0)))[1])
        given = inputs if self._data.shared else inputs[:2]
        networks = [copied(self._model), copied(self._model)]
        with torch.no_grad():
            for parameter in networks[1].parameters():
                parameter.mul_(0.875)
        before = [copy_of(tensors_of(network)) for network in networks]
        state = {name: torch.stack([one[name] for one in before]) for name in before[0]}
        self._losses(state, given, targets[:2])  # raises if it cannot be mapped
        mapped = self._outputs(state, given)
        saved = 0

        def counted(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.numel()
            return tensor

        with saved_tensors_hooks(counted, lambda tensor: tensor), torch.enable_grad():
            alone = [
                network(inputs if self._data.shared else inputs[index])
                for index, network in enumerate(networks)
            ]
        self.numbers = saved // 2 + sum(tensor.numel() for tensor in before[0].values())
        still = all(
            torch.equal(tensor, kept[name])
            for kept, network in zip(before, networks, strict=True)
            for name, tensor in tensors_of(network).items()
        )
        return still and _close(mapped, torch.stack(alone))

    def trained(
        self, starts: Sequence[TrainState] | None, steps: int | None
    ) -> list[TrainState] | None:
        """Train all to the end, or to so many steps; None if one of them diverges."""
        step = epoch = batch = 0
        if starts is not None:
            places = {(state.step, state.epoch, state.batch) for state in starts}
            if len(places) != 1 or not self._resume(starts):
                return None
            ((step, epoch, batch),) = places
        if steps is not None and step > steps:
            return None
        self._zero_weights()
        total = torch.zeros(self._count, dtype=torch.float64, device=self._data.targets.device)
        with modes_kept(self._model), on_threads(self._training.threads), torch.enable_grad():
            self._model.train()
            while epoch < self._training.epochs and step != steps:
                left = None if steps is None else batch + steps - step
                for _, rows in islice(self._data.rows.of(epoch), batch, left):
                    self._set_rate(epoch, batch)
                    total += self._step(rows)
                    step, batch = step + 1, batch + 1
                if batch == self._data.rows.steps:
                    epoch, batch = epoch + 1, 0
        finite = [total, *self._leaves.values()]
        if not all(bool(torch.isfinite(tensor.detach()).all()) for tensor in finite):
            return None
        return self._states(step, epoch, batch)

    def _step(self, rows: Tensor) -> Tensor:
        state = {**self._tensors, **self._leaves}
        losses = self._losses(state, *self._data.batch(rows))
        for leaf in self._leaves.values():
            leaf.grad = None
        losses.sum().backward()  # networks do not touch each other: each gets its own gradient
        for name, where in self._dead.items():
            leaf = self._leaves.get(name)
            if leaf is not None and leaf.grad is not None:
                leaf.grad.masked_fill_(where, 0.0)
        self._optimizer.step()
        self._zero_weights()
        return losses.detach()

    def _losses(self, state: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        def loss(state: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            return self._loss(functional_call(self._model, state, (inputs,)), targets)

        return vmap(loss, in_dims=(0, None if self._data.shared else 0, 0))(state, inputs, targets)

    def _outputs(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        def output(state: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return functional_call(self._model, state, (inputs,))

        return vmap(output, in_dims=(0, None if self._data.shared else 0))(state, inputs)

    def _set_rate(self, epoch: int, batch: int) -> None:
        time = epoch + batch / (self._data.rows.steps or 1)
        factor = self._training.schedule.factor(time, self._training.epochs)
        for group in self._optimizer.param_groups:
            group["lr"] = self._training.optimizer.lr * factor

    def _zero_weights(self) -> None:
        for name, where in self._dead.items():
            self._tensors[name].masked_fill_(where, 0.0)  # a leaf shares its memory

    def _resume(self, starts: Sequence[TrainState]) -> bool:
        """Take up the weights and optimisers of the states; False if they are not of one kind."""
        if any(state.model.keys() != self._tensors.keys() for state in starts):
            return False
        for name, tensor in self._tensors.items():
            if any(state.model[name].shape != tensor.shape[1:] for state in starts):
                return False
            tensor.copy_(torch.stack([state.model[name] for state in starts]))
        joined: dict[int, dict[str, Any]] = {}
        for index, (name, leaf) in enumerate(self._leaves.items()):
            kept = [state.optimizer.get(index, {}) for state in starts]
            if any(one.keys() != kept[0].keys() for one in kept):
                return False
            joined[index] = {key: _joined([one[key] for one in kept], leaf) for key in kept[0]}
            for value in joined[index].values():
                if name in self._dead and isinstance(value, Tensor) and value.shape == leaf.shape:
                    value.masked_fill_(self._dead[name], 0.0)
        groups = self._optimizer.state_dict()["param_groups"]
        filled = {index: kept for index, kept in joined.items() if kept}
        self._optimizer.load_state_dict({"state": filled, "param_groups": groups})
        return True

    def _states(self, step: int, epoch: int, batch: int) -> list[TrainState]:
        kept = self._optimizer.state_dict()["state"]
        shapes = [leaf.shape for leaf in self._leaves.values()]
        return [
            TrainState(
                model={name: tensor[k].clone() for name, tensor in self._tensors.items()},
                optimizer={
                    i: {key: _row(value, k, shapes[i]) for key, value in values.items()}
                    for i, values in kept.items()
                },
                step=step,
                epoch=epoch,
                batch=batch,
            )
            for k in range(self._count)
        ]


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    tolerance = float(other.detach().abs().max()) * torch.finfo(other.dtype).eps ** 0.5
    return bool((one - other).detach().abs().max() <= tolerance)


def _joined(values: list[Any], leaf: Tensor) -> Any:
    """Stack what optimisers remember of a parameter; step counters are the same for all."""
    if isinstance(values[0], Tensor) and values[0].shape == leaf.shape[1:]:
        return torch.stack(values)
    return values[0].clone() if isinstance(values[0], Tensor) else values[0]


def _row(value: Any, k: int, shape: torch.Size) -> Any:
    if not isinstance(value, Tensor):
        return value
    return (value[k] if value.shape == shape else value).clone()
